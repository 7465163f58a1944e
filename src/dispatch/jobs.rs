//! The durable jobs of a running server, to be looked at and retried.

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{JobId, JobRecord, Ledger, RedisJobs, State, Status, submission::Input};
use crate::{auth::PublicKey, store::Unavailable};

/// Some of a circle's jobs, the newest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where.
    pub circle: PublicKey,
    /// Whose; nothing: all.
    pub caller: Option<PublicKey>,
    /// Those that stand so.
    pub state: Option<State>,
    /// Deliveries alone, or none of them.
    pub deliveries: Option<bool>,
    /// Those of one provider.
    pub provider: Option<String>,
    /// Those before this one.
    pub before: Option<JobId>,
    /// So many at most.
    pub limit: usize,
}

/// Jobs, each with whether it runs right now, and what comes before them, if anything may.
pub(super) type Listed = (Vec<(JobRecord, bool)>, Option<JobId>);

impl Page {
    pub(super) fn wants(&self, job: &JobRecord, running: bool) -> bool {
        let provider = job.provider();
        self.state.is_none_or(|state| state == job.state(running))
            && self
                .deliveries
                .is_none_or(|wanted| wanted == provider.is_some())
            && self
                .provider
                .as_deref()
                .is_none_or(|wanted| provider == Some(wanted))
    }
}

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

    /// Has a job run again that was given up or stopped, from the first try. Answers whether there is such a job.
    ///
    /// # Errors
    /// It can't be read or written.
    pub async fn retry(self, id: JobId) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.retry(id)).await,
            Self::Redis(jobs) => jobs.retry(id).await,
        }
    }

    /// As [`Jobs::retry`], of one circle's.
    ///
    /// # Errors
    /// It can't be read or written.
    pub async fn retry_in(self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.retry_in(circle, id)).await,
            Self::Redis(jobs) => jobs.retry_in(circle, id).await,
        }
    }

    /// Ends a job that isn't over. Answers whether there is such a job.
    ///
    /// # Errors
    /// It can't be read or written.
    pub async fn stop_in(self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.stop_in(circle, id)).await,
            Self::Redis(jobs) => jobs.stop_in(circle, id).await,
        }
    }

    /// One job of a circle, and whether it runs right now.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn find_in(
        self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.find_in(&circle, id)).await,
            Self::Redis(jobs) => jobs.find_in(circle, id).await,
        }
    }

    /// What a delivery's job was given as `EVENT`.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn event_in(
        self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<Value>, Unavailable> {
        let input: Option<Input> = match self {
            Self::Embedded(ledger) => blocking(move || ledger.input_in(&circle, id)).await?,
            Self::Redis(jobs) => jobs.input_in(circle, id).await?,
        };
        Ok(input.and_then(|input| input.event))
    }

    /// Some of a circle's jobs, each with whether it runs right now, and what comes before them, if anything may.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn page(
        self,
        page: Page,
    ) -> Result<(Vec<(JobRecord, bool)>, Option<JobId>), Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.page(&page)).await,
            Self::Redis(jobs) => jobs.page(page).await,
        }
    }
}

/// Reading what is on disk takes its time.
async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    spawn_blocking(look).await.unwrap_or(Err(Unavailable))
}
