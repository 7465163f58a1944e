//! What can go wrong at the other end of a session.

use std::time::Duration;

use circled_protocol::{
    ChallengeError, InvalidKey, LoginRefusal, PublicKey, RpcError, Vocabulary, code,
};
use serde_json::Value;
use thiserror::Error;
use tokio_tungstenite::tungstenite;

/// Why something failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The address is no `ws://` or `wss://` one.
    #[error("{0:?} is not the address of a server: it must begin with ws:// or wss:// and a host")]
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
        /// What the server answered in place of a welcome, if it did: 404 where it doesn't serve the circle.
        status: Option<u16>,
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
    #[error("the server's answer can't be understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// A subscription was read too slowly, and more came than is kept for it. What it had until then was handed out; the
    /// server's log has the rest.
    #[error("events were read too slowly; those after the last one are in the server's log")]
    Behind,
}

impl Error {
    /// Whether trying again, with a new connection, may end better: nothing listened, the connection was lost, the server is
    /// busy or stopping. Not where the key, the circle or the call is what's wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { status, .. } => match status {
                // Of a proxy whose server is away, or of one that asks for patience.
                Some(status) => *status >= 500 || matches!(status, 408 | 429),
                None => true,
            },
            Self::Silent { .. } | Self::Closed(_) | Self::Behind => true,
            Self::Rpc(error) => may_pass(error),
            Self::Address(_)
            | Self::NoCircle(_)
            | Self::Circle(_)
            | Self::Challenge(_)
            | Self::Unsigned(_)
            | Self::Answer(_) => false,
        }
    }

    /// How long the server asks to wait first, if it says.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rpc(error) => error.data["retry_after_ms"]
                .as_u64()
                .map(Duration::from_millis),
            Self::Connect { .. }
            | Self::Silent { .. }
            | Self::Closed(_)
            | Self::Behind
            | Self::Address(_)
            | Self::NoCircle(_)
            | Self::Circle(_)
            | Self::Challenge(_)
            | Self::Unsigned(_)
            | Self::Answer(_) => None,
        }
    }
}

fn may_pass(error: &RpcError) -> bool {
    match error.code {
        code::INTERNAL_ERROR
        | code::TIMEOUT
        | code::LIMIT_EXCEEDED
        | code::UNAVAILABLE
        | code::CANCELLED
        | code::CONFLICT => true,
        // The text to sign can have become too old on the way.
        code::INVALID_CREDENTIALS => {
            let reason = error.data["reason"].as_str();
            [LoginRefusal::NoNonce, LoginRefusal::Expired]
                .iter()
                .any(|refusal| reason == Some(refusal.name()))
        }
        _ => false,
    }
}

/// How the connection was closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", describe(*.code, .reason))]
pub struct Closed {
    /// What the server closed it with (RFC 6455, section 7.4); none where it just went away.
    pub code: Option<u16>,
    /// What the server says, or what became of the connection.
    pub reason: String,
}

impl Closed {
    /// It just went away.
    pub(crate) fn silently() -> Self {
        Self::lost(String::new())
    }

    /// It went away, and this is known about it.
    pub(crate) fn lost(reason: String) -> Self {
        Self { code: None, reason }
    }
}

/// Why an upgrade failed; a server of ours says more in the body.
pub(crate) fn refusal(error: tungstenite::Error) -> (String, Option<u16>) {
    let response = match error {
        tungstenite::Error::Http(response) => response,
        tungstenite::Error::Io(error) => return (error.to_string(), None),
        tungstenite::Error::Url(error) => return (error.to_string(), None),
        other @ (tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Tls(_)
        | tungstenite::Error::Capacity(_)
        | tungstenite::Error::Protocol(_)
        | tungstenite::Error::WriteBufferFull(_)
        | tungstenite::Error::Utf8(_)
        | tungstenite::Error::AttackAttempt
        | tungstenite::Error::HttpFormat(_)) => return (other.to_string(), None),
    };
    let body: Value = response
        .body()
        .as_deref()
        .and_then(|body| circled_json::parse(body).ok())
        .unwrap_or_default();
    let reason = match body["error"]["message"].as_str() {
        Some(message) => format!("{message} ({})", response.status()),
        None => format!(
            "the server answers {}, and not as a WebSocket",
            response.status()
        ),
    };
    (reason, Some(response.status().as_u16()))
}

fn describe(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, "") => "the server closed the connection".to_owned(),
        (None, reason) => format!("the connection was lost: {reason}"),
        (Some(code), "") => format!("the server closed the connection ({code})"),
        (Some(code), reason) => format!("the server closed the connection ({code}: {reason})"),
    }
}
