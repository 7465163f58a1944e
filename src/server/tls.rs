//! TLS of the listener for clients, by rustls: handshakes, which strangers may begin, and the certificates for them.
//!
//! A handshake is bounded in time by `server.handshake_timeout`, and in number by `server.tls.max_handshakes`, of which no
//! address gets everything. Its costly part waits for a turn, so that handshakes keep no session waiting.

mod certificate;
mod certificates;
mod renewal;
mod validity;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{Acceptor, ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

pub use certificates::Certificates;
pub(super) use certificates::KEY;
pub(super) use renewal::renew;

use crate::{
    address::Network,
    config::server::Settings,
    metrics::{HandshakeLabels, OK, metrics},
    shares::{Bounds, Full, ShareGuard, Shares},
    turns::Turns,
};

/// The most bytes that TLS keeps for a client that reads slowly: one record.
const UNSENT: usize = 16 << 10;

/// The response to a request without TLS.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 107\r\n\r\n\
    {\"error\":{\"code\":\"tls_required\",\"message\":\"this port takes only TLS: write wss:// or https:// in the URL\"}}";

/// TLS of a listener. A cheap handle.
#[derive(Clone)]
pub(super) struct Tls(Arc<Inner>);

struct Inner {
    config: Arc<ServerConfig>,
    certificates: Arc<Chosen>,
    places: Shares<Network>,
    turns: Turns<Network>,
    patience: Duration,
}

/// The certificates in force, of which each client gets one.
#[derive(Debug)]
struct Chosen(ArcSwap<Certificates>);

/// A connection that has ended before it was one of TLS.
#[derive(Debug)]
pub(super) enum NoHandshake {
    /// The client sends something else, or refuses what it is sent. It should still read why.
    Failed(io::Error, Option<TcpStream>),
    /// The client is too slow.
    TimedOut,
}

impl Tls {
    /// Creates TLS with these certificates. So many of the costly parts of handshakes run at once.
    pub(super) fn new(server: &Settings, certificates: Certificates, checks: usize) -> Self {
        let certificates = Arc::new(Chosen(ArcSwap::from_pointee(certificates)));
        let places = server.tls.max_handshakes.get();
        Self(Arc::new(Inner {
            config: Arc::new(config(certificates.clone())),
            certificates,
            places: Shares::new(Bounds {
                places,
                share: places,
                shared_places: places,
            }),
            // Each handshake waits once.
            turns: Turns::new(checks, usize::MAX),
            patience: server.handshake_timeout.get(),
        }))
    }

    /// Returns the certificates in force.
    pub(super) fn certificates(&self) -> Arc<Certificates> {
        self.0.certificates.0.load_full()
    }

    /// Puts these certificates in force, for new connections. Returns true if they are others than before.
    pub(super) fn replace(&self, certificates: Certificates) -> bool {
        let before = self.0.certificates.0.swap(Arc::new(certificates));
        !before.is_same(&self.certificates())
    }

    /// Puts certificates in force, unless there are others than `before` by now.
    fn replace_if(&self, before: &Arc<Certificates>, certificates: Arc<Certificates>) -> bool {
        let current = &self.0.certificates.0;
        Arc::ptr_eq(&current.compare_and_swap(before, certificates), before)
    }

    /// Takes the place of a handshake.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn begin(&self, network: Option<Network>) -> Result<ShareGuard<Network>, Full> {
        let place = self.0.places.take(network);
        if place.is_err() {
            count("refused");
        }
        place
    }

    /// Makes a connection one of TLS.
    ///
    /// # Errors
    /// See [`NoHandshake`].
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: ShareGuard<Network>,
    ) -> Result<TlsStream<TcpStream>, NoHandshake> {
        let _place = place;
        let ended = timeout(self.0.patience, self.handshake(stream, peer)).await;
        let ended = ended.unwrap_or(Err(NoHandshake::TimedOut));
        count(match &ended {
            Ok(_) => OK,
            Err(NoHandshake::Failed(..)) => "failed",
            Err(NoHandshake::TimedOut) => "timeout",
        });
        ended
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<TlsStream<TcpStream>, NoHandshake> {
        let mut first = [0];
        if stream.peek(&mut first).await.is_ok() && first[0].is_ascii_uppercase() {
            // The name of a method. It fits into the socket's buffer.
            let _ = stream.write_all(PLAIN.as_bytes()).await;
            let error = io::Error::new(io::ErrorKind::InvalidData, "a request without TLS");
            return Err(NoHandshake::Failed(error, Some(stream)));
        }
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = match (&mut hello).await {
            Ok(hello) => hello,
            Err(error) => return Err(NoHandshake::Failed(error, hello.take_io())),
        };
        let turn = self.0.turns.take([Network::of(peer.ip()); 2]).await;
        // The costly part is here: the exchange of keys and the signature.
        let rest = hello.into_stream_with(self.0.config.clone(), |connection| {
            connection.set_buffer_limit(Some(UNSENT));
        });
        drop(turn);
        rest.into_fallible()
            .await
            .map_err(|(error, stream)| NoHandshake::Failed(error, Some(stream)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let chosen = certificates.choose(hello.server_name(), hello.signature_schemes());
        chosen.map(|certificate| certificate.key().clone())
    }
}

fn config(certificates: Arc<Chosen>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring has what both versions need")]
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring supports TLS 1.2 and 1.3");
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client that comes back needs no new signature, and the server keeps nothing for that.
    match ring::Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "clients that come back need a whole handshake"),
    }
    config
}

fn count(outcome: &'static str) {
    let labels = HandshakeLabels { outcome };
    metrics().tls_handshakes.get_or_create(&labels).increment();
}
