//! What happens in a circle: the value of the view `activity`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The value of a watch of the view `activity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The time when the watch began.
    pub since: Timestamp,
    /// The time until which is counted.
    pub at: Timestamp,
    /// The numbers since it began.
    #[serde(flatten)]
    pub counts: ActivityCounts,
}

/// How often things have happened in a circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityCounts {
    /// Plays that ended.
    pub plays: u64,
    /// Calls that ended.
    pub calls: u64,
    /// Plays and calls that ended with an error.
    pub errors: u64,
    /// Webhooks that were accepted.
    pub deliveries: u64,
    /// Webhooks that had been here before.
    pub duplicates: u64,
    /// Webhooks that were refused.
    pub refused: u64,
    /// Runs of durable jobs that ended.
    pub jobs: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Runs that conflicted with others, and started over.
    pub conflicts: u64,
}
