//! The backend for one machine: jobs run on threads of this process, and are stored on its disk.

pub(super) mod backup;
mod circle_queues;
mod commit_gate;
mod deletion;
mod durable;
mod interactive;
mod job_pages;
mod job_store;
mod record;
mod running_file;
#[cfg(test)]
mod tests;
mod transaction_runner;
mod waiting_by_caller;

use std::{sync::Arc, time::Duration};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub use durable::Scripts;
pub use interactive::EmbeddedOutcomeHandle;

use circled_protocol::{
    DeviceKey, JobId, PublicKey, Role,
    methods::{CircleUsage, JobCounts},
};

use jiff::Timestamp;

use self::{durable::DurableJobs, transaction_runner::TransactionRunner};
use super::{
    Account, Delivery, DiskFigures, Figures, JobRecord, Listing, NotAccepted, NotRetried, Receipt,
    Retried, Settings, StartError,
    compile::Requester,
    deletion::Deleting,
    job_pages::PageProgress,
    job_reads::JobReads,
    jobs::{JobPart, ListedJobs},
    retry::{self, Rerun},
    retry_dead::DeadJobs,
    submission::{Input, JobRequest, Submission},
};
use crate::{
    backup::{Failure, PartsOut},
    circle::{self, Caller, Compiler, DeviceRecord, Executor, Pinned},
    script::{RunError, Runner, RunnerLimits},
    store::{
        CommitError, CommitFeed, Counting, Counts, Feed, Log, Preconditions, Store, Table,
        Transaction, Unavailable,
    },
};

/// Runs jobs in this process.
#[derive(Debug)]
pub struct Embedded {
    runner: Arc<TransactionRunner>,
    durable: Arc<DurableJobs>,
    job_timeout: Duration,
    job_reads: JobReads,
    halt: CancellationToken,
    deleting: Deleting,
    /// Held while a circle is deleted.
    one_deletion: tokio::sync::Mutex<()>,
}

impl Embedded {
    /// Starts the threads, and resumes the jobs that were pending.
    pub(super) fn start(
        settings: &Settings,
        executor: Executor,
        store: Store,
        scripts: Scripts,
    ) -> Result<Self, StartError> {
        let limits = executor.sandbox.limits();
        let threads = Runner::start(RunnerLimits::of(
            limits,
            limits.queue.get(),
            settings.max_waiting,
        ));
        let runner = Arc::new(TransactionRunner {
            threads: threads.map_err(StartError::Threads)?,
            executor,
            store,
        });
        Ok(Self {
            durable: DurableJobs::start(runner.clone(), settings.durable.clone(), scripts)?,
            runner,
            job_timeout: settings.job_timeout.get(),
            job_reads: JobReads::new(settings.durable.looks.get()),
            halt: CancellationToken::new(),
            deleting: Deleting::default(),
            one_deletion: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn job_timeout(&self) -> Duration {
        self.job_timeout
    }

    pub(super) async fn accept(
        &self,
        delivery: Delivery,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        let script = self.script_for(&delivery).await?;
        let request = JobRequest::of_delivery(delivery, script);
        self.durable.accept(request, wait).await
    }

    /// Returns the circle's script for a provider's deliveries, as it is now.
    async fn script_for(&self, delivery: &Delivery) -> Result<Option<Arc<Pinned>>, NotAccepted> {
        let name = circle::script_for(&delivery.provider);
        let (store, key) = (&self.runner.store, circle::name_key(&name));
        let there = store.read_own(&delivery.circle, &key);
        if there
            .map_err(|Unavailable| NotAccepted::Unavailable)?
            .is_none()
        {
            return Ok(None);
        }
        let requester = Requester {
            accounts: Account::of_job(delivery.circle, None),
            session: None,
        };
        let pinned = self.with_compiler(
            delivery.circle,
            requester,
            move |mut transaction, compiler| {
                circle::pin_for_deliveries(&mut transaction, compiler, &name)
            },
        );
        let pinned = pinned.await.map_err(|_| NotAccepted::ScriptQueue)?;
        let pinned = pinned.map_err(|Unavailable| NotAccepted::Unavailable)?;
        Ok(pinned.map(Arc::new))
    }

    pub(super) async fn submit(&self, submission: Submission) -> Result<Receipt, NotAccepted> {
        let request = JobRequest::of_submission(submission);
        self.durable.accept(request, Duration::ZERO).await
    }

    /// Commits a transaction, and waits until it is on disk.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<(), CommitError> {
        let store = self.runner.store.clone();
        let commit = move || store.commit_and_wait(transaction, Vec::new(), Preconditions::NONE);
        spawn_blocking(commit)
            .await
            .unwrap_or(Err(Unavailable.into()))
    }

    /// Calls `work` with a compiler on a script thread, at its turn: compiling takes time.
    pub(super) async fn with_compiler<R: Send + 'static>(
        &self,
        circle: PublicKey,
        requester: Requester,
        work: impl FnOnce(Transaction, &Compiler<'_>) -> R + Send + 'static,
    ) -> Result<R, RunError> {
        let runner = &self.runner;
        let store = runner.store.clone();
        let begin = move || store.begin(circle);
        let (executor, time) = (runner.executor.clone(), self.job_timeout);
        super::compile::compile(&runner.threads, requester, executor, time, begin, work).await
    }

    pub(super) fn list_role(
        &self,
        circle: PublicKey,
        caller: &PublicKey,
    ) -> Result<Option<Role>, Unavailable> {
        let mut transaction = self.runner.store.begin(circle);
        circle::list_role(&mut transaction, caller).map_err(|_| Unavailable)
    }

    pub(super) fn device(
        &self,
        circle: PublicKey,
        device: &DeviceKey,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        let mut transaction = self.runner.store.begin(circle);
        circle::find_device(&mut transaction, device, Timestamp::now()).map_err(|_| Unavailable)
    }

    pub(super) fn listen(&self, circle: PublicKey) -> Feed {
        self.runner.store.hub().listen(circle)
    }

    pub(super) fn watch_commits(&self, circle: PublicKey) -> CommitFeed {
        self.runner.store.hub().commits().watch(circle)
    }

    pub(super) fn last_commit(&self, circle: &PublicKey) -> Result<u64, Unavailable> {
        self.runner.store.last_commit(circle)
    }

    pub(super) async fn log(
        &self,
        circle: PublicKey,
        from: u64,
        most: usize,
    ) -> Result<Log, Unavailable> {
        let store = self.runner.store.clone();
        let read = spawn_blocking(move || store.log(&circle, from, most));
        read.await.unwrap_or(Err(Unavailable))
    }

    pub(super) async fn read_circles(&self, only: Option<PublicKey>) -> Result<PartsOut, Failure> {
        let store = self.runner.store.clone();
        let settings = self.durable.settings().clone();
        let begin = move || super::backup::begin_embedded(&store, &settings, only, || {});
        spawn_blocking(begin).await.unwrap_or(Err(Failure::Ended))
    }

    /// Waits until it can't go on, and returns the reason.
    pub(super) async fn failed(&self) -> StartError {
        self.runner.store.failed().await;
        StartError::Failed(self.runner.store.disk().path().to_owned())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.runner.store.has_failed()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.runner.store.works()
    }

    /// Looks up the figures.
    pub(super) async fn figures(&self) -> Figures {
        let (script_queue, waiting_room) = self.runner.threads.waiting();
        let (durable, store) = (self.durable.clone(), self.runner.store.clone());
        let look = move || {
            let disk = DiskFigures {
                free: store.disk().free().ok(),
                min_free: store.disk().min_free(),
                write_queue: store.waiting_bytes() as u64,
            };
            (durable.figures().ok(), disk)
        };
        let (jobs, disk) = spawn_blocking(look).await.ok().unzip();
        Figures {
            script_queue,
            waiting_room,
            jobs: jobs.flatten(),
            disk,
            redis: None,
        }
    }

    pub(super) fn jobs(&self) -> JobStore {
        JobStore {
            store: self.runner.store.clone(),
            max_page: self.durable.max_page(),
            durable: Some(self.durable.clone()),
        }
    }

    pub(super) fn job_reads(&self) -> JobReads {
        self.job_reads.clone()
    }

    pub(super) fn stop_durable(&self) {
        self.durable.stop();
    }

    pub(super) async fn halted(&self) {
        self.halt.cancelled().await;
    }

    pub(super) fn cancel_all(&self) {
        self.halt.cancel();
        self.durable.cancel_all();
    }

    pub(super) fn shutdown(&self) {
        self.durable.stop();
        self.runner.threads.shutdown();
        self.durable.join();
        self.runner.store.shutdown();
        let pending = self.durable.pending();
        if pending > 0 {
            tracing::info!(
                jobs = pending,
                "jobs stay pending; they are resumed at the next start"
            );
        }
    }
}

/// The durable jobs of a data folder: those of a running server, or of one that is stopped.
#[derive(Debug, Clone)]
pub struct JobStore {
    store: Store,
    durable: Option<Arc<DurableJobs>>,
    /// Bytes of a page.
    max_page: usize,
}

/// Bytes that are read at a time of a folder that no server has.
const STOPPED_PAGE: usize = 1 << 20;

impl JobStore {
    /// Opens those in a folder that no server uses.
    pub fn stopped(store: Store) -> Self {
        Self {
            store,
            durable: None,
            max_page: STOPPED_PAGE,
        }
    }

    /// Writes what waits, and closes the store: for a stopped server's jobs, at the end. Blocks.
    pub fn close(&self) {
        self.store.shutdown();
    }

    /// Returns some of the jobs that are wanted, the oldest of a page first, each with whether it runs right now; and where to
    /// go on, if there may be more. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn list(&self, listing: &Listing) -> Result<ListedJobs, Unavailable> {
        job_store::list(
            &self.store,
            listing,
            &|id| self.is_running(id),
            self.max_page,
        )
    }

    /// Returns one job, and whether it runs right now. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn find(&self, id: JobId) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let found = job_store::find(&self.store, id)?;
        Ok(found.map(|job| (job, self.is_running(id))))
    }

    /// Has a dead or cancelled job of a server that doesn't run be run again by the next one, from the first try: with
    /// its script as it is now, or in a version of it. `executor` compiles that. Blocks.
    ///
    /// # Errors
    /// See [`NotRetried`].
    pub fn retry(
        &self,
        id: JobId,
        version: Option<&str>,
        executor: &Executor,
    ) -> Result<Retried, NotRetried> {
        let (job, _) = self.find(id)?.ok_or(NotRetried::NotOver)?;
        let input = match job.unread {
            Some(_) => None,
            None => {
                let input = self.input_in(&job.circle, id)?;
                Some(input.ok_or(NotRetried::Unreadable)?)
            }
        };
        let mut transaction = self.store.begin(job.circle);
        let chosen = retry::choose(&job, input.as_ref(), version, &mut transaction, executor);
        let (rerun, told) = chosen?;
        let input = input.filter(|_| rerun.changes());
        if self.retry_in(job.circle, id, &rerun, input, None)? {
            Ok(told)
        } else {
            Err(NotRetried::NotOver)
        }
    }

    pub(super) fn retry_in(
        &self,
        circle: PublicKey,
        id: JobId,
        rerun: &Rerun,
        input: Option<Input>,
        by: Option<&Caller<'_>>,
    ) -> Result<bool, Unavailable> {
        job_store::commit_locked(&self.store, circle, id, |stored, transaction| {
            let job = record::job(&circle, id, stored)?;
            let (job, event) = rerun.submitted(job, stored, input, by)?;
            transaction.submit(job);
            transaction.emit_unchecked(event);
            Some(Vec::new())
        })
    }

    pub(super) fn stop_in(&self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        match &self.durable {
            Some(durable) => durable.stop_job(circle, id),
            None => Ok(false),
        }
    }

    pub(super) fn find_in(
        &self,
        circle: &PublicKey,
        id: JobId,
    ) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let job = job_store::read(&self.store, circle, id)?;
        Ok(job.map(|job| (job, self.is_running(id))))
    }

    /// Returns the length of a part of a job, as it is stored.
    pub(super) fn size_in(
        &self,
        part: JobPart,
        circle: &PublicKey,
        id: JobId,
    ) -> Result<Option<usize>, Unavailable> {
        let table = match part {
            JobPart::Record => Table::Jobs,
            JobPart::Input => Table::Inputs,
        };
        self.store.size_of(table, circle, id.as_bytes())
    }

    /// Returns about how many bytes a page may have.
    pub(super) fn max_page(&self) -> usize {
        self.max_page
    }

    /// Returns what `read` finds in the stored input of a job.
    pub(super) fn kept_input_in<T>(
        &self,
        circle: &PublicKey,
        id: JobId,
        read: fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Unavailable> {
        let input = self.store.read(Table::Inputs, circle, id.as_bytes())?;
        Ok(input.and_then(|input| read(&input)))
    }

    pub(super) fn input_in(
        &self,
        circle: &PublicKey,
        id: JobId,
    ) -> Result<Option<Input>, Unavailable> {
        let input = self.store.read(Table::Inputs, circle, id.as_bytes())?;
        Ok(input.and_then(|bytes| record::read(&bytes)))
    }

    /// Returns those of some dead jobs that are wanted, and the one to go on after, if there may be more.
    pub(super) fn dead(
        &self,
        wanted: &DeadJobs,
    ) -> Result<(Vec<JobId>, Option<JobId>), Unavailable> {
        job_pages::dead(&self.store, wanted)
    }

    /// Waits for the right to count what a circle has, if it isn't counted.
    pub(super) async fn counting(&self, circle: PublicKey) -> Counting {
        self.store.counting(circle).await
    }

    pub(super) fn usage(
        &self,
        circle: PublicKey,
        counting: Counting,
    ) -> Result<CircleUsage, Unavailable> {
        let Counts {
            keys,
            jobs,
            open,
            dead,
            bytes,
        } = self.store.counts(circle, counting)?;
        Ok(CircleUsage {
            keys,
            bytes,
            quota: self.store.limits().quota as u64,
            jobs: JobCounts {
                open,
                dead,
                ended: jobs.saturating_sub(open + dead),
            },
            ..CircleUsage::default()
        })
    }

    /// Reads on in a page, a bounded number of jobs.
    pub(super) fn read_page(&self, progress: &mut PageProgress) -> Result<(), Unavailable> {
        job_pages::read(&self.store, progress, &|id| self.is_running(id))
    }

    fn is_running(&self, id: JobId) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| durable.is_running(id))
    }
}
