//! The `[server]` settings. They are not in `server`, which uses all settings and so is above this module.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::Deserialize;

use crate::{
    address::AddressRange,
    units::{PositiveDuration, Size},
};

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
}
