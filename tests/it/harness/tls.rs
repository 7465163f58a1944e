//! Certificates of a CA of the test's own, and clients that trust only that.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::server::{Builder, TestServer, Ws, circle, within};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A CA, and the folder with its certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "the CA of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            issuer,
            folder: tempfile::tempdir().unwrap(),
        };
        authority.write("root.pem", &pem("CERTIFICATE", authority.issuer.der()));
        authority
    }

    /// Returns the place of a file in its folder; `root.pem` is its own certificate.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Replaces a file as a whole.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(file)).unwrap();
    }

    /// Writes `<name>.pem` and `<name>.key`, for these hosts and the next 90 days.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> CertificateDer<'static> {
        let now = Timestamp::now();
        self.issue_for(name, hosts, now - DAY, now + 90 * DAY)
    }

    /// Writes `<name>.pem` and `<name>.key`, for this time.
    pub(crate) fn issue_for(
        &self,
        name: &str,
        hosts: &[&str],
        begins: Timestamp,
        ends: Timestamp,
    ) -> CertificateDer<'static> {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        let time = |time: Timestamp| date_time_ymd(1970, 1, 1) + time.as_duration().unsigned_abs();
        (params.not_before, params.not_after) = (time(begins), time(ends));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // The key comes first, as a pair that doesn't fit is told.
        self.write(
            &format!("{name}.key"),
            &pem("PRIVATE KEY", key.serialized_der()),
        );
        self.write(
            &format!("{name}.pem"),
            &pem("CERTIFICATE", certificate.der()),
        );
        certificate.der().clone()
    }

    /// Returns the setting with these certificates.
    pub(crate) fn setting(&self, names: &[&str]) -> String {
        let pair = |name: &&str| {
            let file = |end| self.path(&format!("{name}.{end}")).display().to_string();
            format!("{{ cert = {:?}, key = {:?} }}", file("pem"), file("key"))
        };
        let pairs: Vec<_> = names.iter().map(pair).collect();
        format!("certificates = [{}]\n", pairs.join(", "))
    }

    /// Returns a server with these certificates, which looks at them often.
    pub(crate) fn server(&self, names: &[&str]) -> Builder {
        TestServer::builder()
            .toml(format!("[server.tls]\n{}", self.setting(names)))
            .env("CIRCLED_SERVER__TLS__CHECK_FILES", "50ms")
    }

    /// Returns the configuration of a client with these versions of TLS.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Connects under the name of a host.
    pub(crate) async fn dial(
        &self,
        server: &TestServer,
        host: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.client(&[&TLS13, &TLS12]);
        let stream = TcpStream::connect(server.address).await?;
        shake(stream, host, config).await
    }

    /// Opens a session in [`circle`].
    pub(crate) async fn connect(&self, server: &TestServer) -> Ws {
        let stream = self.dial(server, "127.0.0.1").await.unwrap();
        let request = server.url(circle()).into_client_request().unwrap();
        Ws::over(stream, request).await
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines = der
        .chunks(48)
        .map(|line| data_encoding::BASE64.encode(line));
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// Makes a connection one of TLS.
pub(crate) async fn shake(
    stream: TcpStream,
    host: &str,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let shaking = TlsConnector::from(Arc::new(config)).connect(host, stream);
    within("a TLS handshake", shaking).await
}

/// Returns the certificate that a server has shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}
