//! The durable jobs of a running server, to be looked at and retried.

use tokio::task::spawn_blocking;

use super::{JobId, JobRecord, Ledger, RedisJobs, Status};
use crate::store::Unavailable;

/// The durable jobs, wherever they are kept. A cheap handle.
#[derive(Debug, Clone)]
pub enum Jobs {
    /// On this machine's disk.
    Embedded(Ledger),
    /// In Redis.
    Redis(RedisJobs),
}

impl Jobs {
    /// Jobs in this state, the oldest first, `limit` at most.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn list(self, status: Status, limit: usize) -> Result<Vec<JobRecord>, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.list(status, limit)).await,
            Self::Redis(jobs) => jobs.list(status, limit).await,
        }
    }

    /// One job.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn find(self, id: JobId) -> Result<Option<JobRecord>, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.find(id)).await,
            Self::Redis(jobs) => jobs.find(id).await,
        }
    }

    /// Has a dead job run again, from the first try. Answers whether there is such a job.
    ///
    /// # Errors
    /// It can't be read or written.
    pub async fn retry(self, id: JobId) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.retry(id)).await,
            Self::Redis(jobs) => jobs.retry(id).await,
        }
    }
}

/// Reading what is on disk takes its time.
async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    spawn_blocking(look).await.unwrap_or(Err(Unavailable))
}
