//! What can go wrong at the other end of a session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio_tungstenite::tungstenite;

use crate::auth::{ChallengeError, InvalidKey, PublicKey};

/// Why something failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The address is no `ws://` or `wss://` one.
    #[error("{0:?} is no address of a server: it begins with ws:// or wss://, and a host")]
    Address(String),
    /// The address has no path.
    #[error(
        "{0:?} names no circle: its public key is missing at the end, ws://host:port/<circle_pk>"
    )]
    NoCircle(String),
    /// The address's path names no circle.
    #[error("the address must end in the public key of a circle, ws://host:port/<circle_pk>: {0}")]
    Circle(#[from] InvalidKey),
    /// No connection came about.
    #[error("no connection to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The server takes too long over a login.
    #[error("the server did not answer `{method}` within {after:?}")]
    Silent {
        /// What it was asked.
        method: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The text to sign is not one to sign: the server may be passing another one's on.
    #[error("the login text was not signed: {0}")]
    Challenge(#[from] ChallengeError),
    /// The key can't sign, which doesn't happen.
    #[error("the key {0} cannot sign")]
    Unsigned(PublicKey),
    /// The server answered an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server answered something that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
}

/// An error that the server answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// Which kind, as [`crate::rpc::code`] lists them.
    pub code: i32,
    /// What it says.
    pub message: String,
    /// What more it says.
    #[serde(default)]
    pub data: Value,
}

/// How the server closed the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the server closed the connection{}", describe(*.code, .reason))]
pub struct Closed {
    /// RFC 6455, section 7.4; none where it just went away.
    pub code: Option<u16>,
    /// What it says.
    pub reason: String,
}

/// Why an upgrade failed; a server of ours says more in the body.
pub(super) fn refusal(error: tungstenite::Error) -> String {
    let response = match error {
        tungstenite::Error::Http(response) => response,
        tungstenite::Error::Io(error) => return error.to_string(),
        tungstenite::Error::Url(error) => return error.to_string(),
        other @ (tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Tls(_)
        | tungstenite::Error::Capacity(_)
        | tungstenite::Error::Protocol(_)
        | tungstenite::Error::WriteBufferFull(_)
        | tungstenite::Error::Utf8(_)
        | tungstenite::Error::AttackAttempt
        | tungstenite::Error::HttpFormat(_)) => return other.to_string(),
    };
    let body: Value = response
        .body()
        .as_deref()
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    match body["error"]["message"].as_str() {
        Some(message) => format!("{message} ({})", response.status()),
        None => format!(
            "the server answers {}, not as a WebSocket",
            response.status()
        ),
    }
}

fn describe(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" ({code})"),
        (Some(code), reason) => format!(" ({code}: {reason})"),
    }
}
