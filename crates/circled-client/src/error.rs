//! The client's errors.

use std::time::Duration;

use circled_protocol::{
    ChallengeError, InvalidKey, LoginRefusal, ProofError, PublicKey, RpcError, Scheme, Vocabulary,
    code,
};
use serde_json::Value;
use thiserror::Error;
use tokio_tungstenite::tungstenite;

/// The reason why something failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The address isn't a `ws://` or `wss://` one.
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
    /// There is no connection.
    #[error("no connection to {address}: {reason}")]
    Connect {
        /// The address.
        address: String,
        /// The reason.
        reason: String,
        /// The server's HTTP status, if it refused the upgrade: 404 if it doesn't serve the circle.
        status: Option<u16>,
    },
    /// The server took too long for a step of a login, or couldn't be reached in the time of a call.
    #[error("the server did not answer `{method}` within {after:?}")]
    Silent {
        /// The method that was called.
        method: &'static str,
        /// The time that the server had.
        after: Duration,
    },
    /// The login text must not be signed: the server may be passing on another server's text.
    #[error("the login text was not signed: {0}")]
    Challenge(#[from] ChallengeError),
    /// The server's proof is worth nothing: this may be another server. Nothing was signed.
    #[error("the server does not speak for this circle: {0}")]
    Proof(#[from] ProofError),
    /// The server has no grant of the circle's owner, and a proof is required. Nothing was signed.
    #[error("the server has no grant of the circle's owner, and a proof is required")]
    NoProof,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// In this scheme, keys of secp256k1 sign no login texts.
    #[error("the key {0} cannot sign a login text by {1:?}")]
    Unsigned(PublicKey, Scheme),
    /// The server returned an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server's reply can't be read.
    #[error("the server's answer can't be understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// A subscription was read too slowly, and more events came than the client keeps. Those until then were handed
    /// out; the others are in the server's log.
    #[error("events were read too slowly; those after the last one are in the server's log")]
    Behind,
    /// The last reply to a call was lost, and its time is over. The same call with this id finds out whether it has
    /// happened, and has it happen if not.
    #[error("the call may have happened, or not: {last}")]
    Unanswered {
        /// The id of the request: [`Options::request_id`](crate::Options::request_id).
        request_id: String,
        /// The last error.
        last: Box<Error>,
    },
}

impl Error {
    /// Returns true if a new attempt with a new connection may succeed: nothing listened, the connection was lost, or
    /// the server is busy or stopping. False if the key, the circle or the call is wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { status, .. } => match status {
                // The status of a proxy whose server is away, or that is busy.
                Some(status) => *status >= 500 || matches!(status, 408 | 429),
                None => true,
            },
            Self::Silent { .. } | Self::Closed(_) | Self::Behind => true,
            Self::Rpc(error) => may_pass(error),
            Self::Unanswered { last, .. } => last.may_pass(),
            Self::Address(_)
            | Self::NoCircle(_)
            | Self::Circle(_)
            | Self::Challenge(_)
            | Self::Proof(_)
            | Self::NoProof
            | Self::Randomness(_)
            | Self::Unsigned(..)
            | Self::Answer(_) => false,
        }
    }

    /// Returns true if the server is of an older version, which takes no `request_id`.
    pub fn lacks_request_ids(&self) -> bool {
        let Self::Rpc(error) = self else {
            return false;
        };
        let reason = error.data["reason"].as_str().unwrap_or_default();
        error.code == code::INVALID_PARAMS && reason.contains("unknown field `request_id`")
    }

    /// Returns true if the call has run before, and its reply is kept no more: it must not be sent again with another id.
    pub fn has_run(&self) -> bool {
        self.has_reason(code::INVALID_PARAMS, "reply_dropped")
    }

    /// Returns true if the login was by a device key that was removed, has expired, or acts for nobody in the circle.
    pub fn is_unknown_device(&self) -> bool {
        self.has_reason(code::INVALID_CREDENTIALS, "unknown_device")
    }

    fn has_reason(&self, code: i32, reason: &str) -> bool {
        matches!(self, Self::Rpc(error) if error.code == code && error.data["reason"] == reason)
    }

    /// Returns the time after which to try again, if the server gave one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rpc(error) => error.data["retry_after_ms"]
                .as_u64()
                .map(Duration::from_millis),
            Self::Unanswered { last, .. } => last.retry_after(),
            Self::Connect { .. }
            | Self::Silent { .. }
            | Self::Closed(_)
            | Self::Behind
            | Self::Address(_)
            | Self::NoCircle(_)
            | Self::Circle(_)
            | Self::Challenge(_)
            | Self::Proof(_)
            | Self::NoProof
            | Self::Randomness(_)
            | Self::Unsigned(..)
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
        // The text to sign may have expired on the way.
        code::INVALID_CREDENTIALS => {
            let reason = error.data["reason"].as_str();
            [LoginRefusal::NoNonce, LoginRefusal::Expired]
                .iter()
                .any(|refusal| reason == Some(refusal.name()))
        }
        _ => false,
    }
}

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", describe(*.code, .reason))]
pub struct Closed {
    /// The server's close code (RFC 6455, section 7.4); `None` if there was no close frame.
    pub code: Option<u16>,
    /// The server's reason, or the error of the connection.
    pub reason: String,
}

impl Closed {
    /// Creates the end of a connection without any reason.
    pub(crate) fn silently() -> Self {
        Self::lost(String::new())
    }

    /// Creates the end of a connection with an error.
    pub(crate) fn lost(reason: String) -> Self {
        Self { code: None, reason }
    }
}

/// Returns the reason why an upgrade failed. circled gives more details in the body.
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
