//! The `[server]` settings.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::address::AddressRange;

/// The `[server]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address for clients.
    pub listen: SocketAddr,
    /// The server's public URL; if empty, the server is known by the loopback names at its own port.
    pub public_url: String,
    /// The web pages that may connect; if empty, those of the server's own host.
    pub allowed_origins: Vec<String>,
    /// The address of the admin listener; if empty, there is none.
    pub admin_listen: String,
    /// The reverse proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<AddressRange>,
    /// The most connections from one address.
    pub max_connections_per_address: usize,
    /// The most connections to the admin listener.
    pub max_admin_connections: usize,
    /// The open files that are reserved, not for connections.
    pub reserved_files: usize,
    /// The most bytes that all clients together make the server hold.
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// The time in which a connection must send its request.
    #[serde(with = "crate::units::duration")]
    pub handshake_timeout: Duration,
    /// The time in which a client must read a response, whatever its length.
    #[serde(with = "crate::units::duration")]
    pub response_timeout: Duration,
    /// The bytes of a response for which a client has one more second.
    #[serde(with = "crate::units::size")]
    pub response_rate: usize,
    /// The most bytes of a response that the system buffers beside those on their way.
    #[serde(with = "crate::units::size")]
    pub max_unsent: usize,
    /// The time in which running jobs may finish when the server stops.
    #[serde(with = "crate::units::duration")]
    pub shutdown_grace: Duration,
}
