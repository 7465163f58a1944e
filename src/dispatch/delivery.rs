//! A webhook's request, once it is known to be genuine.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::JobId;
use crate::auth::PublicKey;

/// What a provider has sent to a circle.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// For whom.
    pub circle: PublicKey,
    /// By whom.
    pub provider: Arc<str>,
    /// The provider's name for the event, if it has one.
    pub event_id: Option<String>,
    /// What kind of event.
    pub event_type: Option<String>,
    /// What tells it from all others of the provider: a hash of its id, or else of its body.
    pub identity: [u8; 32],
    /// The series that it belongs to, if it does.
    pub series: Option<Series>,
    /// What was sent, as JSON.
    pub payload: Value,
    /// When.
    pub received_at: Timestamp,
}

/// A series of deliveries about one thing: once the final one has been committed, no other has any effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// What tells the series from all others: a hash of what its deliveries have in common.
    #[serde(with = "hex::serde")]
    pub identity: [u8; 32],
    /// Whether this is the final one.
    pub is_final: bool,
}

/// A delivery that is safely kept.
#[derive(Debug)]
pub enum Receipt {
    /// It is a new one.
    Accepted {
        /// Its job.
        job: JobId,
        /// What becomes of the first run; nothing if the server stops before that.
        ended: oneshot::Receiver<Ended>,
    },
    /// It has been here before.
    Duplicate {
        /// The job of the first one.
        job: JobId,
    },
}

/// How a run of a durable job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Finished,
    /// The script failed. It runs again later, or is given up.
    Failed,
}

/// Why a delivery was not accepted: it must be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The circle has too many jobs waiting already.
    #[error("too many deliveries wait")]
    Backlog,
    /// The server stops, or its disk takes nothing.
    #[error("the delivery can't be kept")]
    Unavailable,
}
