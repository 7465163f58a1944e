//! The `[server]` settings.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::address::AddressRange;

/// Where the server listens, and how it is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where people connect.
    pub listen: SocketAddr,
    /// How clients reach this server; empty for the loopback names at its own port.
    pub public_url: String,
    /// Web pages that may connect; none for those of this very host.
    pub allowed_origins: Vec<String>,
    /// Where health is asked for; empty for nowhere.
    pub admin_listen: String,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Connections from one address.
    pub max_connections_per_address: usize,
    /// Connections to the admin listener.
    pub max_admin_connections: usize,
    /// Open files that are never connections.
    pub reserved_files: usize,
    /// Bytes that clients make the server hold, all together.
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// How long a connection may take to send its request.
    #[serde(with = "crate::units::duration")]
    pub handshake_timeout: Duration,
    /// How long a client may take to take a response, whatever its length.
    #[serde(with = "crate::units::duration")]
    pub response_timeout: Duration,
    /// Bytes of a response that each further second is for.
    #[serde(with = "crate::units::size")]
    pub response_rate: usize,
    /// Bytes of responses that the system takes for a client besides what is on its way.
    #[serde(with = "crate::units::size")]
    pub max_unsent: usize,
    /// How long running jobs may take to finish when the server stops.
    #[serde(with = "crate::units::duration")]
    pub shutdown_grace: Duration,
}
