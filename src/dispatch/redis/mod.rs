//! The backend for any number of machines: gateways put jobs into Redis, workers take them out, run them, and commit
//! what they come to in one atomic script.
//!
//! These always hold:
//!
//! - **A job is pending as long as its entry in the stream is.** A commit takes the entry away in the
//!   same script; a run that comes second finds nothing, and changes nothing.
//! - **Nothing is only in a server.** A worker that is gone is noticed by its lease, and others take what it held;
//!   a gateway that is gone leaves no more than an inbox that expires.
//! - **Whatever a run has read is compared when it is committed.** So it may be read anywhere, at any time.

mod activity;
mod backup;
mod conn;
mod deletion;
mod figures;
mod gateway;
mod jobs;
mod proto;
mod settings;
#[cfg(test)]
mod tests;
mod url;
mod worker;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use backup::RedisBackup;
pub use conn::Disagreement;
pub use gateway::{RedisOutcomeHandle, Workers};
pub use jobs::RedisJobs;
pub use settings::{Durability, RedisSettings};

use circled_protocol::{DeviceKey, PublicKey, methods::ActivityCounts};
use jiff::Timestamp;
use uuid::Uuid;

use self::{
    conn::Connection,
    gateway::{Accepted, Gateway, HookScript, HookScriptCache},
    proto::keys::Keys,
    worker::{Committer, DirectReads, KnownValues, Moments, Worker},
};
use super::{
    Account, BackendHandle, Delivery, MAX_ATTEMPTS, NotAccepted, Played, Receipt, Role, Scripts,
    Settings, StartError,
    compile::Requester,
    deletion::Deleting,
    job_reads::JobReads,
    submission::{JobRequest, Submission},
};
use crate::{
    backup::{Failure, PartsOut},
    circle::{self, Compiler, DeviceRecord, Executor, JobSpec},
    memory::MemoryBudget,
    script::{RunError, Runner, RunnerLimits},
    store::{self, CommitError, CommitFeed, Feed, Log, Transaction, Unavailable},
};

/// The pause between two checks that all is prepared.
const SOON: Duration = Duration::from_millis(5);

/// One server of many.
pub struct Redis {
    redis: Connection,
    /// The connection for reads and changes of durable jobs. A worker waits on it for syncs, and so has one for that.
    jobs_connection: Connection,
    executor: Executor,
    /// Compiles scripts of submissions, retries and deliveries: on threads of a gateway's own, or on a worker's.
    compiler: Arc<Runner<Account>>,
    limits: Arc<store::Settings>,
    gateway: Option<Arc<Gateway>>,
    worker: Option<Arc<Worker>>,
    settings: Settings,
    hook_scripts: HookScriptCache,
    job_reads: JobReads,
    handle: Handle,
    /// Sends and receives.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when the server can't go on.
    fatal: CancellationToken,
    why: Arc<OnceLock<Disagreement>>,
    deleting: Deleting,
}

impl Redis {
    /// Connects, or keeps on trying.
    ///
    /// # Errors
    /// A URL that makes no sense; servers of another kind in the same namespace; no threads.
    pub(super) async fn start(
        settings: &Settings,
        executor: Executor,
        store: store::Settings,
        scripts: Scripts,
        role: Role,
    ) -> Result<Self, StartError> {
        let own = &settings.redis;
        let name = format!(
            "circled-{:012x}",
            getrandom::u64().unwrap_or_default() >> 16
        );
        let keys = Arc::new(Keys::new(&own.namespace, own.partitions.get()));
        let redis = Connection::start(own, keys, &name).map_err(StartError::redis)?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let fatal = CancellationToken::new();
        let why = Arc::new(OnceLock::new());
        tasks.spawn({
            let (redis, stop, fatal, why) =
                (redis.clone(), stop.clone(), fatal.clone(), why.clone());
            async move {
                tokio::select! {
                    Err(disagreement) = redis.watch() => {
                        let _ = why.set(disagreement);
                        fatal.cancel();
                    }
                    () = stop.cancelled() => {}
                }
            }
        });
        let deleting = Deleting::default();
        tasks.spawn(activity::run(redis.clone(), deleting.clone(), stop.clone()));
        let (gateway, worker) = match role {
            Role::Gateway { .. } => (true, own.worker),
            Role::Worker { .. } => (false, true),
        };
        let limits = Arc::new(store);
        let gateway = if gateway {
            let durable_connection = match own.delivery_replicas() {
                0 => redis.clone(),
                _ => redis.separate().map_err(StartError::redis)?,
            };
            let gateway = Gateway::start(
                redis.clone(),
                durable_connection,
                settings,
                limits.clone(),
                &tasks,
                stop.clone(),
            );
            gateway
                .start_tasks(executor.clone(), &tasks)
                .map_err(StartError::redis)?;
            Some(gateway)
        } else {
            None
        };
        let worker = worker
            .then(|| Worker::start(settings, &redis, executor.clone(), limits.clone(), scripts))
            .transpose()?;
        let compiler = match (&gateway, &worker) {
            (None, Some(worker)) => worker.runner().clone(),
            _ => {
                let limits = executor.sandbox.limits();
                let runner = Runner::start(RunnerLimits::of(
                    limits,
                    limits.queue.get(),
                    settings.max_waiting,
                ));
                Arc::new(runner.map_err(StartError::Threads)?)
            }
        };
        let jobs_connection = match gateway.is_none() && own.synced_replicas().is_some() {
            true => redis.separate().map_err(StartError::redis)?,
            false => redis.clone(),
        };
        let server = Self {
            compiler,
            jobs_connection,
            executor,
            limits,
            gateway,
            worker,
            settings: settings.clone(),
            hook_scripts: HookScriptCache::new(),
            job_reads: JobReads::new(settings.durable.looks.get()),
            handle: Handle::current(),
            tasks,
            stop,
            fatal,
            why,
            redis,
            deleting,
        };
        let connected = timeout(own.timeout.get() * 2, server.until_up());
        tokio::select! {
            connected = connected => if connected.is_err() {
                if role.fails_fast() {
                    return Err(StartError::NoRedis);
                }
                tracing::warn!("starting without Redis, and trying again: plays and webhooks are refused until it can be reached");
            },
            () = server.fatal.cancelled() => {}
        }
        match server.why.get() {
            Some(disagreement) => Err(disagreement.clone().into()),
            None => Ok(server),
        }
    }

    async fn until_up(&self) {
        self.redis.until_up().await;
        while !self.is_ready() {
            sleep(SOON).await;
        }
    }

    /// Waits until this server can't go on, and returns the reason.
    pub(super) async fn failed(&self) -> StartError {
        self.fatal.cancelled().await;
        match self.why.get() {
            Some(disagreement) => disagreement.clone().into(),
            None => StartError::NoRedis,
        }
    }

    pub(super) fn job_reads(&self) -> JobReads {
        self.job_reads.clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.fatal.is_cancelled()
    }

    pub(super) fn job_timeout(&self) -> Duration {
        self.settings.job_timeout.get()
    }

    pub(super) fn play(
        &self,
        job: &JobSpec<'_>,
        session: Uuid,
        memory: &MemoryBudget,
    ) -> Played<BackendHandle> {
        match &self.gateway {
            Some(gateway) => gateway.play(job, session, memory),
            None => Played::Now(Err(RunError::Unavailable)),
        }
    }

    pub(super) async fn accept(
        &self,
        delivery: Delivery,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        let Some(gateway) = &self.gateway else {
            return Err(NotAccepted::Unavailable);
        };
        let (circle, provider) = (delivery.circle, delivery.provider.clone());
        let mut hook_script = self.hook_script(circle, &provider).await?;
        let mut request = JobRequest::of_delivery(delivery, hook_script.script.clone());
        let mut again = false;
        for _ in 0..MAX_ATTEMPTS {
            let accepted = gateway.accept(&request, Some(hook_script.clone()), again, wait);
            match accepted.await? {
                Accepted::Stored(receipt) => return Ok(receipt),
                Accepted::Dead(first) => {
                    tracing::info!(
                        %circle,
                        job = %first,
                        "a duplicate of a dead letter has come: its job runs again"
                    );
                    request.job.id = first;
                    again = true;
                }
                Accepted::Outdated => {
                    self.hook_scripts.forget(circle, &provider);
                    hook_script = self.hook_script(circle, &provider).await?;
                    request.give(hook_script.script.clone());
                }
            }
        }
        Err(NotAccepted::Unavailable)
    }

    /// Returns the circle's script for a provider's deliveries, as it was last time.
    async fn hook_script(
        &self,
        circle: PublicKey,
        provider: &Arc<str>,
    ) -> Result<Arc<HookScript>, NotAccepted> {
        let find_script = |name: String| {
            let requester = Requester {
                accounts: Account::of_job(circle, None),
                session: None,
            };
            self.with_compiler(circle, requester, move |transaction, compiler| {
                gateway::read_hook_script(transaction, compiler, &name)
            })
        };
        self.hook_scripts.find(circle, provider, find_script).await
    }

    pub(super) async fn submit(&self, submission: Submission) -> Result<Receipt, NotAccepted> {
        match &self.gateway {
            Some(gateway) => {
                let request = JobRequest::of_submission(submission);
                match gateway
                    .accept(&request, None, false, Duration::ZERO)
                    .await?
                {
                    Accepted::Stored(receipt) => Ok(receipt),
                    Accepted::Dead(_) | Accepted::Outdated => Err(NotAccepted::Unavailable),
                }
            }
            None => Err(NotAccepted::Unavailable),
        }
    }

    /// Commits a transaction, and waits until it is as safe as the settings say.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<(), CommitError> {
        let Some(gateway) = self.gateway.as_ref().filter(|gateway| gateway.is_ready()) else {
            return Err(Unavailable.into());
        };
        let circle = transaction.circle();
        let redis = gateway.durable_connection();
        let since = redis.number();
        let committer = Committer::new(&self.settings, redis, &self.limits);
        let effects = transaction.into_effects();
        let answer = committer.commit_effects(circle, &effects).await?;
        answer.into_result(&self.limits)?;
        gateway.confirm(redis, circle, since).await?;
        match gateway.is_replicated(self.redis.keys().of(&circle)).await {
            true => Ok(()),
            false => Err(Unavailable.into()),
        }
    }

    /// Calls `work` with a compiler on a thread that may block, at its turn.
    pub(super) async fn with_compiler<R: Send + 'static>(
        &self,
        circle: PublicKey,
        requester: Requester,
        work: impl FnOnce(Transaction, &Compiler<'_>) -> R + Send + 'static,
    ) -> Result<R, RunError> {
        let (executor, time) = (self.executor.clone(), self.settings.job_timeout.get());
        let transaction = self.transaction(circle);
        let begin = move || transaction;
        super::compile::compile(&self.compiler, requester, executor, time, begin, work).await
    }

    pub(super) async fn list_role(
        &self,
        circle: PublicKey,
        caller: PublicKey,
    ) -> Result<Option<circled_protocol::Role>, Unavailable> {
        let mut transaction = self.transaction(circle);
        let found = spawn_blocking(move || circle::list_role(&mut transaction, &caller)).await;
        found.ok().and_then(Result::ok).ok_or(Unavailable)
    }

    pub(super) async fn device(
        &self,
        circle: PublicKey,
        device: DeviceKey,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        let mut transaction = self.transaction(circle);
        let find = move || circle::find_device(&mut transaction, &device, Timestamp::now());
        let found = spawn_blocking(find).await;
        found.ok().and_then(Result::ok).ok_or(Unavailable)
    }

    /// Begins a transaction. It blocks where it reads.
    fn transaction(&self, circle: PublicKey) -> Transaction {
        let reads = DirectReads {
            known: KnownValues::default(),
            moments: Moments::default(),
            redis: self.redis.clone(),
            handle: self.handle.clone(),
            circle,
        };
        Transaction::remote(Box::new(reads), self.limits.clone(), circle)
    }

    /// Begins to read the namespace for a backup.
    pub(super) async fn read_circles(&self, only: Option<PublicKey>) -> Result<PartsOut, Failure> {
        let backup = RedisBackup::connect(&self.settings, &self.limits).await?;
        let begun = backup.begin_read(only, &self.tasks, self.stop.clone());
        Ok(begun.await?)
    }

    pub(super) async fn look(&self, circle: &PublicKey) -> Result<ActivityCounts, Unavailable> {
        activity::look(&self.redis, circle).await
    }

    pub(super) async fn listen(&self, circle: PublicKey) -> Result<Feed, Unavailable> {
        match &self.gateway {
            Some(gateway) => gateway.listen(circle).await,
            None => Err(Unavailable),
        }
    }

    pub(super) async fn watch_commits(&self, circle: PublicKey) -> Result<CommitFeed, Unavailable> {
        match &self.gateway {
            Some(gateway) => gateway.watch_commits(circle).await,
            None => Err(Unavailable),
        }
    }

    pub(super) async fn last_commit(&self, circle: PublicKey) -> Result<u64, Unavailable> {
        let partition = self.redis.keys().of(&circle);
        let usage = [partition.usage(&circle).into()];
        let usage = self.redis.send("GET", partition, usage).await?;
        let usage = usage.as_string().unwrap_or_default();
        let number = usage.split_once(' ').map(|(_, number)| number.parse());
        number.unwrap_or(Ok(0)).map_err(|_| Unavailable)
    }

    pub(super) async fn log(
        &self,
        circle: PublicKey,
        from: u64,
        most: usize,
    ) -> Result<Log, Unavailable> {
        match &self.gateway {
            Some(gateway) => gateway.log(circle, from, most).await,
            None => Err(Unavailable),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        match &self.gateway {
            Some(gateway) => gateway.is_ready(),
            None => self.redis.is_up(),
        }
    }

    /// Returns the workers that a gateway has last seen, if it has looked.
    pub(super) fn workers(&self) -> Option<Workers> {
        self.gateway.as_ref()?.workers()
    }

    pub(super) fn jobs(&self) -> RedisJobs {
        RedisJobs {
            committer: Committer::new(&self.settings, &self.jobs_connection, &self.limits),
            gateway: self.gateway.clone(),
        }
    }

    pub(super) fn stop_durable(&self) {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.gateway.is_none()) {
            worker.stop();
        }
    }

    pub(super) async fn halted(&self) {
        match &self.gateway {
            Some(gateway) => gateway.halted().await,
            None => self.stop.cancelled().await,
        }
    }

    pub(super) fn cancel_all(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.cancel_all();
        }
        if let Some(worker) = &self.worker {
            worker.cancel_all();
        }
    }

    /// Waits for runs to finish, gives back the others, and leaves. Blocks.
    pub(super) fn shutdown(&self) {
        if let Some(worker) = &self.worker {
            worker.stop();
        }
        self.compiler.shutdown();
        if let Some(worker) = &self.worker {
            worker.shutdown();
        }
        self.stop.cancel();
        self.tasks.close();
        self.handle.block_on(async {
            self.tasks.wait().await;
            if let Some(gateway) = &self.gateway {
                gateway.close().await;
            }
            self.jobs_connection.close().await;
            self.redis.close().await;
        });
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("name", &self.redis.name())
            .field("gateway", &self.gateway.is_some())
            .field("worker", &self.worker.is_some())
            .finish_non_exhaustive()
    }
}
