//! The `[server]` settings. They are not in `server`, which uses all settings and so is above this module.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use circled_protocol::Origin;
use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    address::AddressRange,
    auth::{AllowedPage, SecretSource},
    units::{PositiveDuration, Size},
};

/// The `[server]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address for clients.
    pub listen: SocketAddr,
    /// True if the web console is served there.
    pub console: bool,
    /// The server's public URL. If there is none, the server is known by the loopback names at its own port.
    #[serde(deserialize_with = "public_url")]
    pub public_url: Option<Origin>,
    /// The source of the server's own secret key, if it has one.
    #[serde(deserialize_with = "key")]
    pub key: Option<SecretSource>,
    /// The web pages that may connect; if empty, those of the server's own host.
    pub allowed_origins: Vec<AllowedPage>,
    /// The address of the admin listener, if there is one.
    #[serde(deserialize_with = "admin_listen")]
    pub admin_listen: Option<SocketAddr>,
    /// The reverse proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<AddressRange>,
    /// The most connections from one address.
    pub max_connections_per_address: NonZeroUsize,
    /// The most connections to the admin listener.
    pub max_admin_connections: NonZeroUsize,
    /// The open files that are reserved, not for connections.
    pub reserved_files: usize,
    /// The most bytes that all clients together make the server hold.
    pub max_buffered: Size<{ 1 << 20 }>,
    /// The time in which a connection must send its request.
    pub handshake_timeout: PositiveDuration,
    /// The time in which a client must read a response, whatever its length.
    pub response_timeout: PositiveDuration,
    /// The bytes of a response for which a client has one more second.
    pub response_rate: Size,
    /// The most bytes of a response that the system buffers beside those on their way.
    pub max_unsent: Size<{ 4 << 10 }>,
    /// The time in which running jobs may finish when the server stops.
    #[serde(with = "crate::units::duration")]
    pub shutdown_grace: Duration,
    /// `[server.tls]`
    pub tls: TlsSettings,
}

/// The `[server.tls]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificates. If there are none, connections are plain.
    pub certificates: Vec<CertificateSettings>,
    /// The interval at which the files are read again.
    pub check_files: PositiveDuration,
    /// The most handshakes under way.
    pub max_handshakes: NonZeroUsize,
}

/// A certificate in `server.tls.certificates`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSettings {
    /// The PEM file with the certificate and its chain, relative to the settings file.
    pub cert: PathBuf,
    /// The PEM file with its key, relative to the settings file.
    pub key: PathBuf,
}

fn public_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Origin>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let origin = text.parse::<Origin>().ok().filter(Origin::is_socket);
    origin.map(Some).ok_or_else(|| {
        D::Error::custom(
            "must be what clients dial, ws:// or wss:// and a host without a path, like \"wss://circles.example.org\"",
        )
    })
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretSource>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}

fn admin_listen<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(
            "must be an IP address and a port, like \"127.0.0.1:8081\", or \"\" for none",
        )
    })
}
