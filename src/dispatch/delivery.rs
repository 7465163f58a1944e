//! A webhook's request, once it is known to be genuine.

use std::sync::Arc;

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A webhook's delivery to a circle. Its payload is never printed.
#[derive(Clone)]
pub struct Delivery {
    /// The circle that it is for.
    pub circle: PublicKey,
    /// The provider that sent it.
    pub provider: Arc<str>,
    /// The event's id, if it has one.
    pub event_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The identity of the delivery: a hash of its id, or else of its body. Nothing, if it is to run whether or not it
    /// has been here before.
    pub identity: Option<[u8; 32]>,
    /// The series that it belongs to, if it does.
    pub series: Option<Series>,
    /// The body that the provider sent, as JSON.
    pub payload: Box<RawValue>,
    /// The time when it came.
    pub received_at: Timestamp,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("circle", &self.circle)
            .field("provider", &self.provider)
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// A series of deliveries about one thing: once the final one has been committed, no other has any effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The identity of the series: a hash of what its deliveries have in common.
    #[serde(with = "hex::serde")]
    pub identity: [u8; 32],
    /// True if this is the final one.
    pub is_final: bool,
}

/// The receipt for a delivery that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Its job; that of the first one for a delivery that has been here before.
    #[serde(rename = "job_id")]
    pub job: JobId,
    /// The progress of that job.
    pub status: Progress,
}

/// The progress of a delivery's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// The script ended well.
    Finished,
    /// The script failed. It runs again later, or the job is dead.
    Failed,
    /// The script hasn't ended yet.
    Accepted,
    /// It has been here before, and nothing more happens.
    Duplicate,
}

/// The reason why a durable job was not accepted: it must be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The circle has too many durable jobs waiting already (`dispatch.durable.backlog`).
    #[error("too many durable jobs wait")]
    Backlog,
    /// Too many of the caller's own wait.
    #[error("too many durable jobs of the caller wait")]
    CallerShare,
    /// Too many wait of callers below member.
    #[error("too many durable jobs of guests wait")]
    GuestsShare,
    /// Too much waits for a script thread, which would compile its script (`script.queue`).
    #[error("too many scripts wait for a thread")]
    ScriptQueue,
    /// The server stops, or there is nowhere to keep it.
    #[error("the job can't be kept")]
    Unavailable,
}
