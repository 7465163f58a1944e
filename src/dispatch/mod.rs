//! Jobs: who asks for which run, and its outcome.
//!
//! A job is data, and so is its outcome: whoever runs it, here or elsewhere, needs nothing else. The [`Dispatcher`]
//! hands jobs to the backend that the settings name. A backend commits a job in one step: if the job is still pending,
//! its effects land and its outcome is handed over; if not, nothing happens at all.

mod activity;
mod backup;
mod busiest;
mod circles;
mod compile;
mod deletion;
mod delivery;
mod embedded;
mod ended;
mod figures;
mod job;
mod job_pages;
mod job_reads;
mod jobs;
mod record;
mod redis;
mod retry;
mod retry_dead;
mod room;
pub mod settings;
mod slow;
mod submission;
mod usage;

use activity::Look;
pub use activity::{Happening, count};
pub use backup::{Target, check_unserved, read_stopped, restore, verify};
pub use busiest::{busiest_circles, forget_busiest};
pub use circles::Largest;
use compile::Requester;
pub use deletion::Deleting;
pub use delivery::{Delivery, NotAccepted, Progress, Receipt, Series};
pub use embedded::{Embedded, EmbeddedOutcomeHandle, JobStore, Scripts};
use ended::Interactive;
pub use figures::{DiskFigures, Figures, JobFigures, RedisFigures};
use job::Account;
pub use job::ReservedOutcome;
pub use job_pages::{ListedJob, Page};
pub use job_reads::{JobReadError, ReservedRead};
use jobs::JobsBackend;
pub use jobs::{Cursor, InvalidCursor, Jobs, Listing, Viewer};
pub use record::{JobRecord, Status};
pub use redis::{
    Disagreement, Durability, Redis, RedisJobs, RedisOutcomeHandle, RedisSettings, Workers,
};
pub use retry::{NotRetried, Retried};
pub use retry_dead::{DeadJobs, DeadRetried};
pub use settings::{Backend, Settings};
pub use slow::{SlowScript, log_runs_over, slow_scripts};
pub use submission::Submission;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{DeviceKey, JobId, Permission, PublicKey, methods::ActivityCounts};
use uuid::Uuid;

use crate::{
    circle::{self, Caller, Compiler, DeviceRecord, Executor, JobSpec, Pinned},
    memory::MemoryBudget,
    script::{Outcome, RunError},
    store::{
        self, CommitError, CommitFeed, Disk, Feed, Log, OpenError, Store, Transaction, Unavailable,
    },
};
use submission::JobRequest;

/// A look at what happens in a circle, which is counted meanwhile.
pub struct Looking {
    looked: Looked,
    last: Option<ActivityCounts>,
    total: ActivityCounts,
}

enum Looked {
    /// All that happens is counted in this process.
    Here(Look),
    /// Redis has the counts of all servers.
    Redis(Arc<Redis>, PublicKey),
}

impl Looking {
    fn new(looked: Looked) -> Self {
        Self {
            looked,
            last: None,
            total: ActivityCounts::default(),
        }
    }

    /// Returns what was counted since the first call.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn counts(&mut self) -> Result<ActivityCounts, Unavailable> {
        let now = match &self.looked {
            Looked::Here(look) => look.counts(),
            Looked::Redis(redis, circle) => redis.look(circle).await?,
        };
        let last = self.last.replace(now).unwrap_or(now);
        activity::add_new(&mut self.total, now, last);
        Ok(self.total)
    }
}

/// The name of the limit of what waits because a queue is full.
const MAX_WAITING: &str = "dispatch.max_waiting";

/// Attempts to store a delivery whose script changes.
const MAX_ATTEMPTS: u32 = 8;

/// Hands jobs to the backend that runs them. A cheap handle.
#[derive(Debug, Clone)]
pub enum Dispatcher {
    /// This process.
    Embedded(Arc<Embedded>),
    /// Workers, which take jobs out of Redis.
    Redis(Arc<Redis>),
}

/// The role of a server. On one machine, it has all roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It serves clients and providers.
    Gateway {
        /// True if it ends at once when Redis can't be reached.
        fail_fast: bool,
    },
    /// It runs jobs.
    Worker {
        /// True if it ends at once when Redis can't be reached.
        fail_fast: bool,
    },
}

/// The result of asking for a run.
#[derive(Debug)]
pub enum Played<Handle = OutcomeHandle> {
    /// It is over already.
    Now(Outcome),
    /// Its outcome comes later.
    Later(Handle),
}

/// The handle of a job that waits or runs. Dropping it cancels the job, unless it has been committed.
#[derive(Debug)]
pub struct OutcomeHandle {
    backend: BackendHandle,
    job: Interactive,
}

/// The handle of the backend that runs the job.
#[derive(Debug)]
enum BackendHandle {
    Embedded(EmbeddedOutcomeHandle),
    Redis(RedisOutcomeHandle),
}

/// The reason why a backend could not be started, or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// The data folder takes nothing more.
    #[error(
        "the data folder {} takes no more writes; the log above says why. Check that its disk works and has space, and start circled again. Acknowledged data is safe",
        .0.display()
    )]
    Failed(PathBuf),
    /// The jobs in it.
    #[error(
        "the jobs that are kept in the data folder cannot be read; the log above says why (dispatch.embedded.data_dir)"
    )]
    Jobs(#[from] Unavailable),
    /// The file that says which of them run.
    #[error("the file \"running\" in the data folder cannot be used (dispatch.embedded.data_dir)")]
    Running(#[source] io::Error),
    /// No threads.
    #[error("the threads that jobs run on cannot be started")]
    Threads(#[source] io::Error),
    /// The address of Redis.
    #[error("no connection to Redis can be made (dispatch.redis.url): {0}")]
    Redis(String),
    /// It wasn't reached, and nobody wants to wait for it.
    #[error(
        "Redis can't be reached (dispatch.redis.url); without --fail-fast, circled tries again until it can"
    )]
    NoRedis,
    /// Servers of another kind use it.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
}

impl StartError {
    fn redis(error: impl std::fmt::Display) -> Self {
        Self::Redis(error.to_string())
    }
}

impl Role {
    fn fails_fast(self) -> bool {
        match self {
            Self::Gateway { fail_fast } | Self::Worker { fail_fast } => fail_fast,
        }
    }
}

impl OutcomeHandle {
    /// Waits for the job, at most until its deadline. What has been committed by then is waited for.
    pub async fn outcome(self) -> ReservedOutcome {
        let reserved = match self.backend {
            BackendHandle::Embedded(handle) => handle.outcome().await,
            BackendHandle::Redis(handle) => handle.outcome().await,
        };
        self.job.end(&reserved.outcome);
        reserved
    }
}

impl Dispatcher {
    /// Starts the backend, and resumes the jobs that were pending. `scripts` are those of the providers whose
    /// deliveries are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        settings: &Settings,
        executor: Executor,
        store: store::Settings,
        scripts: Scripts,
        role: Role,
    ) -> Result<Self, StartError> {
        match settings.backend {
            Backend::Embedded => {
                let settings = settings.clone();
                // Reading what is on disk takes its time.
                let start = move || {
                    let disk = Disk::open(&settings.embedded)?;
                    let store = Store::start(disk, &settings.embedded, store)
                        .map_err(StartError::Threads)?;
                    Embedded::start(&settings, executor, store, scripts)
                };
                let started = tokio::task::spawn_blocking(start).await;
                let embedded =
                    started.map_err(|error| StartError::Threads(io::Error::other(error)))?;
                Ok(Self::Embedded(Arc::new(embedded?)))
            }
            Backend::Redis => {
                let redis = Redis::start(settings, executor, store, scripts, role).await?;
                Ok(Self::Redis(Arc::new(redis)))
            }
        }
    }

    /// Waits until the backend can't go on, and returns the reason.
    pub async fn failed(&self) -> StartError {
        match self {
            Self::Embedded(embedded) => embedded.failed().await,
            Self::Redis(redis) => redis.failed().await,
        }
    }

    /// Returns whether the backend can't go on.
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Embedded(embedded) => embedded.has_failed(),
            Self::Redis(redis) => redis.has_failed(),
        }
    }

    /// Stores a webhook's delivery, and has its job run: from then on, it is done sooner or later. Waits so long for it
    /// to end.
    ///
    /// # Errors
    /// It is not kept, and must be sent again.
    pub async fn accept(&self, delivery: Delivery, wait: Duration) -> Result<Receipt, NotAccepted> {
        let circle = delivery.circle;
        if self.deleting().contains(&circle) {
            return Err(NotAccepted::Unavailable);
        }
        let receipt = match self {
            Self::Embedded(embedded) => embedded.accept(delivery, wait).await,
            Self::Redis(redis) => redis.accept(delivery, wait).await,
        }?;
        let what = match receipt.status {
            Progress::Duplicate => Happening::Duplicate,
            Progress::Finished | Progress::Failed | Progress::Accepted => Happening::Delivery,
        };
        count(&circle, what);
        Ok(receipt)
    }

    /// Runs a delivery once more, whether or not it has been here before, by a job of its own: with the circle's script
    /// for it as it is at the commit, or else the settings' one. Returns the job.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn redeliver(&self, delivery: Delivery, session: Uuid) -> Result<JobId, RunError> {
        let circle = delivery.circle;
        let name = circle::script_for(&delivery.provider);
        let mut request = JobRequest::of_delivery(delivery, None);
        for _ in 0..MAX_ATTEMPTS {
            let name = name.clone();
            let submit = move |mut transaction: Transaction, compiler: &Compiler<'_>| {
                let script = circle::pin_for_deliveries(&mut transaction, compiler, &name)?;
                request.give(script.map(Arc::new));
                transaction.submit(request.job.submitted(Some(&request.input), None));
                Ok((transaction, request))
            };
            let requester = Requester {
                accounts: Account::of_job(circle, None),
                session: Some(session),
            };
            let submitted = self.with_compiler(circle, requester, submit).await;
            let transaction;
            (transaction, request) = submitted?.map_err(|Unavailable| RunError::Unavailable)?;
            let committed = match self {
                Self::Embedded(embedded) => embedded.commit(transaction).await,
                Self::Redis(redis) => redis.commit(transaction).await,
            };
            match committed {
                Ok(()) => return Ok(request.job.id),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Backlog) => {
                    return Err(RunError::limit("dispatch.durable.backlog"));
                }
                Err(_) => return Err(RunError::Unavailable),
            }
        }
        Err(RunError::Unavailable)
    }

    /// Pins a script as it is now, with all that it imports: the circle's script of this name, in its newest version if
    /// none is given.
    ///
    /// # Errors
    /// See [`circle::pin`].
    pub async fn pin_named(
        &self,
        circle: PublicKey,
        caller: PublicKey,
        session: Uuid,
        name: String,
        version: Option<String>,
    ) -> Result<Pinned, RunError> {
        self.pin(
            circle,
            Some(caller),
            Some(session),
            move |mut transaction, compiler| {
                circle::pin(&mut transaction, compiler, &name, version.as_deref())
            },
        )
        .await
    }

    /// Pins a source with all that it imports, as that is now.
    ///
    /// # Errors
    /// See [`circle::pin_source`].
    pub async fn pin_source(
        &self,
        circle: PublicKey,
        caller: PublicKey,
        session: Uuid,
        source: String,
    ) -> Result<Pinned, RunError> {
        self.pin(
            circle,
            Some(caller),
            Some(session),
            move |mut transaction, compiler| {
                circle::pin_source(&mut transaction, compiler, &source)
            },
        )
        .await
    }

    /// Calls `work` with a compiler on a script thread, at its turn.
    async fn with_compiler<R: Send + 'static>(
        &self,
        circle: PublicKey,
        requester: Requester,
        work: impl FnOnce(Transaction, &Compiler<'_>) -> R + Send + 'static,
    ) -> Result<R, RunError> {
        match self {
            Self::Embedded(embedded) => embedded.with_compiler(circle, requester, work).await,
            Self::Redis(redis) => redis.with_compiler(circle, requester, work).await,
        }
    }

    /// Compiles, which takes time and a turn. It ends when whoever waits for it leaves.
    async fn pin<R: Send + 'static>(
        &self,
        circle: PublicKey,
        caller: Option<PublicKey>,
        session: Option<Uuid>,
        pin: impl FnOnce(Transaction, &Compiler<'_>) -> Result<R, RunError> + Send + 'static,
    ) -> Result<R, RunError> {
        let requester = Requester {
            accounts: Account::of_caller(circle, caller.as_ref()),
            session,
        };
        self.with_compiler(circle, requester, pin).await?
    }

    /// Stores a job that a caller submits, and has it run: from then on, it is done sooner or later.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, NotAccepted> {
        match self {
            Self::Embedded(embedded) => embedded.submit(submission).await,
            Self::Redis(redis) => redis.submit(submission).await,
        }
    }

    /// Returns the role that the circle's own list gives the caller.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn list_role(
        &self,
        circle: PublicKey,
        caller: PublicKey,
    ) -> Result<Option<circled_protocol::Role>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.list_role(circle, &caller),
            Self::Redis(redis) => redis.list_role(circle, caller).await,
        }
    }

    /// Returns the record of a device key, unless it has expired.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn device(
        &self,
        circle: PublicKey,
        device: DeviceKey,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.device(circle, &device),
            Self::Redis(redis) => redis.device(circle, device).await,
        }
    }

    /// Checks that the device key by which a caller acts, if they do, is theirs still, and has these permissions.
    ///
    /// # Errors
    /// [`RunError::UnknownDevice`], [`RunError::OutOfScope`]; [`RunError::Unavailable`] if it can't be read.
    pub async fn check_device(
        &self,
        circle: PublicKey,
        caller: &Caller<'_>,
        needs: Option<Permission>,
    ) -> Result<(), RunError> {
        let Caller::Device { key, device } = caller else {
            return Ok(());
        };
        let record = self.device(circle, *device).await;
        let record = record.map_err(|Unavailable| RunError::Unavailable)?;
        circle::check_scope(&DeviceRecord::scope_for(record, key)?, needs)
    }

    /// Listens to a circle's events. From then on, none is missed.
    ///
    /// # Errors
    /// Nobody would be told of any.
    pub async fn listen(&self, circle: PublicKey) -> Result<Feed, Unavailable> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.listen(circle)),
            Self::Redis(redis) => redis.listen(circle).await,
        }
    }

    /// Watches a circle's commits: the feed tells which keys of its store each has written. From then on, none is missed
    /// unless the feed says so.
    ///
    /// # Errors
    /// Nobody would be told of any.
    pub async fn watch_commits(&self, circle: PublicKey) -> Result<CommitFeed, Unavailable> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.watch_commits(circle)),
            Self::Redis(redis) => redis.watch_commits(circle).await,
        }
    }

    /// Returns the number of a circle's last commit that changed its store; 0 where there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn last_commit(&self, circle: PublicKey) -> Result<u64, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.last_commit(&circle),
            Self::Redis(redis) => redis.last_commit(circle).await,
        }
    }

    /// Returns up to `most` events of a circle from the log, from the number `from` on.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn log(&self, circle: PublicKey, from: u64, most: usize) -> Result<Log, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.log(circle, from, most).await,
            Self::Redis(redis) => redis.log(circle, from, most).await,
        }
    }

    /// Begins to look at what happens in a circle.
    pub fn look(&self, circle: PublicKey) -> Looking {
        Looking::new(match self {
            Self::Embedded(_) => Looked::Here(Look::begin(circle)),
            Self::Redis(redis) => Looked::Redis(redis.clone(), circle),
        })
    }

    /// Returns whether jobs can be accepted.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Embedded(embedded) => embedded.is_ready(),
            Self::Redis(redis) => redis.is_ready(),
        }
    }

    /// Returns the workers that a gateway has seen, if it has looked.
    pub fn workers(&self) -> Option<Workers> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(redis) => redis.workers(),
        }
    }

    /// Looks up the figures of the backend. Those that can't be had now are missing.
    pub async fn figures(&self) -> Figures {
        match self {
            Self::Embedded(embedded) => embedded.figures().await,
            Self::Redis(redis) => redis.figures().await,
        }
    }

    /// Returns the durable jobs.
    pub fn jobs(&self) -> Jobs {
        let (backend, job_reads) = match self {
            Self::Embedded(embedded) => {
                (JobsBackend::Embedded(embedded.jobs()), embedded.job_reads())
            }
            Self::Redis(redis) => (JobsBackend::Redis(redis.jobs()), redis.job_reads()),
        };
        Jobs { backend, job_reads }
    }

    /// Stops starting durable jobs: those that wait stay pending.
    pub fn stop_durable(&self) {
        match self {
            Self::Embedded(embedded) => embedded.stop_durable(),
            Self::Redis(redis) => redis.stop_durable(),
        }
    }

    /// Runs an interactive job of a session, which has asked for it at `begun`: its caller waits for the outcome, and leaves
    /// by dropping the handle. With `here`, a short script may run on this very thread. Where a queue is full, the job waits
    /// for a place in it.
    pub fn play(
        &self,
        spec: JobSpec<'_>,
        session: Uuid,
        memory: &MemoryBudget,
        begun: Instant,
        here: bool,
    ) -> Played {
        let job = Interactive::begin(&spec, begun);
        let played = match self {
            Self::Embedded(embedded) => embedded.play(spec, session, memory, here),
            Self::Redis(redis) => redis.play(&spec, session, memory),
        };
        match played {
            Played::Now(outcome) => {
                job.end(&outcome);
                Played::Now(outcome)
            }
            Played::Later(backend) => Played::Later(OutcomeHandle { backend, job }),
        }
    }

    /// Returns the longest that a job may take.
    pub fn job_timeout(&self) -> Duration {
        match self {
            Self::Embedded(embedded) => embedded.job_timeout(),
            Self::Redis(redis) => redis.job_timeout(),
        }
    }

    /// Returns a new name for a play. In Redis, plays wait in the order of their names.
    pub fn name_play(&self) -> JobId {
        match self {
            Self::Embedded(_) => JobId::unordered(),
            Self::Redis(_) => JobId::new(),
        }
    }

    /// Cancels every job that is waiting or running: their callers are told so.
    pub fn cancel_all(&self) {
        match self {
            Self::Embedded(embedded) => embedded.cancel_all(),
            Self::Redis(redis) => redis.cancel_all(),
        }
    }

    /// Waits until what waits or runs has been cancelled.
    pub async fn halted(&self) {
        match self {
            Self::Embedded(embedded) => embedded.halted().await,
            Self::Redis(redis) => redis.halted().await,
        }
    }

    /// Ends the backend, after the last session has ended. Blocks until its threads are done.
    pub fn shutdown(&self) {
        match self {
            Self::Embedded(embedded) => embedded.shutdown(),
            Self::Redis(redis) => redis.shutdown(),
        }
    }
}
