//! The `[server]` settings.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Deserialize;

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
    pub trusted_proxies: Vec<IpAddr>,
    /// How long a connection may take to send its request.
    #[serde(with = "crate::units::duration")]
    pub handshake_timeout: Duration,
    /// How long running jobs may take to finish when the server stops.
    #[serde(with = "crate::units::duration")]
    pub shutdown_grace: Duration,
}
