//! The durable jobs of a running server, to be looked at and retried.

use serde_json::Value;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{JobId, JobRecord, Ledger, RedisJobs, State, retry::Rerun, submission::Input};
use crate::{auth::PublicKey, store::Unavailable};

/// Looks at jobs that go on at once: each may have a page of them in memory, or one that is large.
static LOOKS: Semaphore = Semaphore::const_new(8);

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

/// Some of the jobs of all circles, the oldest first.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Those that stand in one of these ways.
    pub states: Vec<State>,
    /// Those of one circle.
    pub circle: Option<PublicKey>,
    /// Those of one named script.
    pub script: Option<String>,
    /// Those after this one.
    pub after: Option<JobId>,
    /// So many at most.
    pub limit: usize,
}

/// Jobs, each with whether it runs right now, and where to go on, if there may be more.
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

impl Listing {
    /// Whether it may have a job of this circle and name in it.
    pub(super) fn may_have(&self, circle: &PublicKey, id: JobId) -> bool {
        self.circle.is_none_or(|wanted| wanted == *circle)
            && self.after.is_none_or(|after| id > after)
    }

    pub(super) fn wants(&self, job: &JobRecord, running: bool) -> bool {
        let script = self.script.as_deref();
        self.states.contains(&job.state(running))
            && self.may_have(&job.circle, job.id)
            && script.is_none_or(|wanted| job.name.as_deref() == Some(wanted))
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
    /// Returns some of the jobs that are wanted, the oldest first, each with whether it runs right now; and where to
    /// go on, if there may be more.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn list(
        self,
        listing: Listing,
    ) -> Result<(Vec<(JobRecord, bool)>, Option<JobId>), Unavailable> {
        let _turn = LOOKS.acquire().await;
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.list(&listing)).await,
            Self::Redis(jobs) => jobs.list(&listing).await,
        }
    }

    /// Returns one job, and whether it runs right now.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn find(self, id: JobId) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let _turn = LOOKS.acquire().await;
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.find(id)).await,
            Self::Redis(jobs) => jobs.find(id).await,
        }
    }

    /// Has a job run again that was given up or stopped, from the first try. Answers whether there is such a job.
    pub(super) async fn retry_in(
        self,
        circle: PublicKey,
        id: JobId,
        rerun: Rerun,
    ) -> Result<bool, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.retry_in(circle, id, &rerun)).await,
            Self::Redis(jobs) => jobs.retry_in(circle, id, &rerun).await,
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
        let _turn = LOOKS.acquire().await;
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
        let _turn = LOOKS.acquire().await;
        let input = self.input_in(circle, id).await?;
        Ok(input.and_then(|input| input.event))
    }

    /// What a job runs on, if that can be read.
    pub(super) async fn input_in(
        self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<Input>, Unavailable> {
        match self {
            Self::Embedded(ledger) => blocking(move || ledger.input_in(&circle, id)).await,
            Self::Redis(jobs) => jobs.input_in(circle, id).await,
        }
    }

    /// Some of a circle's jobs, each with whether it runs right now, and what comes before them, if anything may.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn page(
        self,
        page: Page,
    ) -> Result<(Vec<(JobRecord, bool)>, Option<JobId>), Unavailable> {
        let _turn = LOOKS.acquire().await;
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
