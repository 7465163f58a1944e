//! The `[dispatch]` settings.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use serde::Deserialize;

use super::redis::RedisSettings;
use crate::{
    store::DiskSettings,
    units::{PositiveDuration, Size},
};

/// The settings of jobs. The defaults stand in `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The backend that runs them.
    pub backend: Backend,
    /// The longest a job may take, waiting for its turn included. A durable job waits as long as it must.
    pub job_timeout: PositiveDuration,
    /// Bytes of the jobs of sessions that wait because a queue is full.
    #[serde(with = "crate::units::size")]
    pub max_waiting: usize,
    /// The time for which the reply to a request with an id is kept.
    pub requests_for: PositiveDuration,
    /// Bytes of one circle's replies that are kept.
    #[serde(with = "crate::units::size")]
    pub max_requests: usize,
    /// Durable jobs.
    pub durable: Durable,
    /// The backend for one machine.
    pub embedded: DiskSettings,
    /// The backend for any number of machines.
    pub redis: RedisSettings,
}

/// The backend that runs jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// This process.
    Embedded,
    /// Workers, which take jobs out of Redis.
    Redis,
}

/// The `[dispatch.durable]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durable {
    /// Jobs of one circle that run at once.
    pub per_circle: NonZeroUsize,
    /// Jobs of one circle that wait. One more is refused.
    pub backlog: NonZeroUsize,
    /// Bytes of a page of jobs, wherever they are listed.
    pub max_page: Size<{ 1 << 10 }>,
    /// Reads of jobs that go on at once, besides the operator's.
    pub looks: NonZeroUsize,
    /// Runs of a job whose script fails, before it goes to the dead letters.
    pub max_tries: NonZeroU32,
    /// The pause before the job runs again after a first failure; twice as long after each further one.
    #[serde(with = "crate::units::duration")]
    pub retry_after: Duration,
    /// The longest of these waits.
    #[serde(with = "crate::units::duration")]
    pub retry_at_most: Duration,
    /// Bytes of what a run has printed that are kept with the job.
    #[serde(with = "crate::units::size")]
    pub max_logs: usize,
    /// The time for which a delivery is remembered, so that a second one runs nothing.
    #[serde(with = "crate::units::duration")]
    pub dedupe_for: Duration,
    /// The time for which a job's record is stored after its end.
    #[serde(with = "crate::units::duration")]
    pub keep_for: Duration,
    /// The time for which a dead letter is stored.
    #[serde(with = "crate::units::duration")]
    pub keep_dead_for: Duration,
}
