//! Durable jobs: how they start, wait for their turn, and stop.

mod accept;
mod attempt;

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;

use super::{
    circle_queues::{CircleQueues, ReadyJob},
    job_store,
    running_file::RunningFile,
    transaction_runner::TransactionRunner,
    waiting_by_caller::Submitter,
};
use crate::{
    dispatch::{
        Account, JobFigures, JobRecord, NotAccepted, StartError, Status,
        record::later,
        room::{Room, most_waiting},
        settings,
    },
    store::{JobQueue, SubmittedJob, Unavailable},
};

/// The pause before a job is offered again to a runner whose queue was full.
const THROTTLED: Duration = Duration::from_millis(20);
/// The pause between two sweeps while there is much to delete.
const SOON: Duration = Duration::from_millis(500);
/// The pause between two sweeps for expired records.
const SWEEP: Duration = Duration::from_secs(60);
/// The pause between two sweeps for keys of stores that have expired.
const EXPIRE: Duration = Duration::from_secs(1);
/// The same while there are many.
const EXPIRE_MORE: Duration = Duration::from_millis(10);

/// The scripts of the providers, by provider. A cheap handle: all clones see a change.
#[derive(Debug, Clone, Default)]
pub struct Scripts(Arc<ArcSwap<HashMap<Arc<str>, Arc<str>>>>);

impl Scripts {
    /// Returns the script of a provider.
    pub fn get(&self, provider: &str) -> Option<Arc<str>> {
        self.0.load().get(provider).cloned()
    }

    /// Replaces the scripts with those of another one. Returns the providers whose script has changed.
    pub fn take(&self, other: &Self) -> Vec<Arc<str>> {
        let new = other.0.load_full();
        let old = self.0.swap(new.clone());
        let changed = new.iter().filter(|(name, script)| {
            let before = old.get(*name);
            before.is_some_and(|before| before != *script)
        });
        changed.map(|(name, _)| name.clone()).collect()
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Scripts {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(scripts: I) -> Self {
        let scripts = scripts.into_iter().collect();
        Self(Arc::new(ArcSwap::from_pointee(scripts)))
    }
}

/// Accepts deliveries and runs their jobs.
#[derive(Debug)]
pub(super) struct DurableJobs {
    runner: Arc<TransactionRunner>,
    settings: settings::Durable,
    scripts: Scripts,
    running: RunningFile,
    /// True if the last server may have died of a job that it had not stored: then all are stored before they run.
    pub(super) has_lost_a_job: bool,
    queues: Mutex<CircleQueues>,
    wake: Condvar,
    clock: Mutex<Option<JoinHandle<()>>>,
}

/// The jobs that commits submit wait for their turn like all others.
impl JobQueue for Weak<DurableJobs> {
    fn has_room(&self, circle: &PublicKey, new: usize, has_submitter: bool) -> bool {
        let durable = self.upgrade();
        durable.is_none_or(|durable| {
            let most = most_waiting(durable.settings.backlog.get(), has_submitter);
            durable.lock().backlog(circle) + new <= most
        })
    }

    fn push(&self, circle: PublicKey, jobs: &[SubmittedJob]) {
        // Where the server ends, they are resumed by the next one.
        let Some(durable) = self.upgrade() else {
            return;
        };
        let mut queues = durable.lock();
        for job in jobs {
            // One that runs again doesn't count as a guest's: it was counted before.
            let submitter = job.submitter.map(|key| Submitter {
                key,
                is_guest: false,
            });
            match job.due {
                Some(due) => queues.delay(circle, job.id, submitter, due),
                None => queues.push(circle, job.id, submitter),
            }
        }
        durable.wake.notify_one();
        durable.advance(&mut queues, circle);
    }
}

impl DurableJobs {
    /// Returns how many bytes a page of jobs may have.
    pub(super) fn max_page(&self) -> usize {
        self.settings.max_page.get()
    }

    /// Returns the settings.
    pub(super) fn settings(&self) -> &settings::Durable {
        &self.settings
    }

    /// Resumes what was pending, and starts the thread that wakes jobs up.
    pub(super) fn start(
        runner: Arc<TransactionRunner>,
        settings: settings::Durable,
        scripts: Scripts,
    ) -> Result<Arc<Self>, StartError> {
        let now = Timestamp::now();
        let (running, died_of) =
            RunningFile::open(runner.store.disk().path()).map_err(StartError::Running)?;
        let pending = job_store::recover(&runner.store, &died_of, now, &settings)?;
        let is_stored = |id: &JobId| pending.iter().any(|job| job.id == *id);
        let has_lost_a_job = !died_of.iter().all(is_stored);
        running.clear().map_err(StartError::Running)?;
        let durable = Arc::new(Self {
            runner,
            settings,
            scripts,
            running,
            has_lost_a_job,
            queues: Mutex::default(),
            wake: Condvar::new(),
            clock: Mutex::default(),
        });
        if !pending.is_empty() {
            tracing::info!(jobs = pending.len(), "resuming pending jobs");
        }
        {
            let mut queues = durable.lock();
            for job in pending {
                // Those whose time has come already wait in their order, too.
                match job.due.filter(|due| *due > now) {
                    Some(due) => queues.delay(job.circle, job.id, job.submitter, due),
                    None => {
                        queues.delay(job.circle, job.id, job.submitter, Timestamp::UNIX_EPOCH);
                    }
                }
            }
        }
        let this = durable.clone();
        let jobs = Arc::downgrade(&durable);
        durable.runner.store.hand_jobs_to(Box::new(jobs));
        let clock = Builder::new()
            .name("circled-clock".to_owned())
            .spawn(move || this.keep_time())
            .map_err(StartError::Threads)?;
        *durable.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(durable)
    }

    /// Starts the jobs of a circle that may start, on script threads.
    fn advance(self: &Arc<Self>, queues: &mut CircleQueues, circle: PublicKey) {
        while let Some(ready) = queues.start(&circle, self.settings.per_circle.get()) {
            if !self.submit(queues, circle, ready) {
                return;
            }
        }
    }

    /// Gives a job to a script thread. Returns whether there was room for it.
    fn submit(
        self: &Arc<Self>,
        queues: &mut CircleQueues,
        circle: PublicKey,
        ready: ReadyJob,
    ) -> bool {
        let (this, id, submitter) = (self.clone(), ready.id, ready.submitter);
        let task = Box::new(move || this.run(circle, ready));
        let threads = &self.runner.threads;
        let accounts = Account::of_job(circle, submitter.map(|submitter| submitter.key));
        let found = threads.submit(accounts, Arc::default(), task).is_ok();
        if !found {
            queues.throttle(circle, id, submitter);
            self.wake.notify_one();
        }
        found
    }

    /// Checks if a new job may wait.
    fn check_room(&self, job: &JobRecord) -> Result<(), NotAccepted> {
        let room = Room::of(job, self.settings.backlog.get());
        let queues = self.lock();
        let (own, guests) = queues.waiting_of(&job.circle, job.submitter());
        if own >= room.of_caller {
            Err(NotAccepted::CallerShare)
        } else if job.by_guest && guests >= room.of_guests {
            Err(NotAccepted::GuestsShare)
        } else if queues.backlog(&job.circle) >= room.of_all {
            Err(NotAccepted::Backlog)
        } else {
            Ok(())
        }
    }

    /// Cancels a job that isn't over. Returns true if it wasn't. Blocks.
    pub(super) fn stop_job(&self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        self.lock().cancel(id);
        let mut submitter = None;
        let stopped = job_store::change(&self.runner.store, circle, id, |job| {
            let open = job.status == Status::Pending;
            submitter = Submitter::of(job);
            open.then(|| {
                // While nobody can have it run again: whoever has locked a circle may lock the queues.
                let mut queues = self.lock();
                queues.cancel(id);
                queues.forget(&circle, id);
                drop(queues);
                job.cancel(Timestamp::now());
                job_store::settled(job, &self.settings)
            })
        });
        if stopped.is_err() {
            // It is pending still, and what was to run it is gone. Running one that is over does nothing.
            let due = later(Timestamp::now(), attempt::AGAIN);
            self.lock().delay(circle, id, submitter, due);
            self.wake.notify_one();
        }
        stopped
    }

    /// Forgets the jobs of a circle that wait: there are none any more.
    pub(super) fn forget_circle(&self, circle: &PublicKey) {
        self.lock().forget_circle(circle);
    }

    pub(super) fn is_running(&self, id: JobId) -> bool {
        self.lock().is_running(id)
    }

    /// Returns how many jobs are not over.
    pub(super) fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Looks up the figures of all jobs. Reads the disk.
    pub(super) fn figures(&self) -> Result<JobFigures, Unavailable> {
        let dead = job_store::count_dead(&self.runner.store)?;
        let queues = self.lock();
        Ok(JobFigures {
            pending: queues.len() as u64,
            oldest: queues.oldest().map(JobId::made_at),
            dead,
        })
    }

    /// Starts no more jobs.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Cancels what runs.
    pub(super) fn cancel_all(&self) {
        self.lock().cancel_all();
    }

    /// Waits for the thread that wakes jobs up.
    pub(super) fn join(&self) {
        let clock = self
            .clock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(clock) = clock {
            let _ = clock.join();
        }
    }

    fn keep_time(self: &Arc<Self>) {
        let mut sweep_at = Instant::now();
        let mut expire_at = sweep_at;
        let mut queues = self.lock();
        while !queues.stopping {
            if Instant::now() >= sweep_at {
                drop(queues);
                let swept = job_store::sweep(&self.runner.store, Timestamp::now(), &self.settings);
                let more = swept.unwrap_or(false);
                sweep_at = Instant::now() + if more { SOON } else { SWEEP };
                queues = self.lock();
                continue;
            }
            if Instant::now() >= expire_at {
                drop(queues);
                let more = self.runner.store.sweep().unwrap_or(false);
                expire_at = Instant::now() + if more { EXPIRE_MORE } else { EXPIRE };
                queues = self.lock();
                continue;
            }
            let now = Timestamp::now();
            let (circles, next) = queues.wake(now);
            for circle in circles {
                self.advance(&mut queues, circle);
            }
            let mut wait = sweep_at
                .min(expire_at)
                .saturating_duration_since(Instant::now());
            if let Some(next) = next {
                let until = Duration::try_from(next.duration_since(now)).unwrap_or_default();
                wait = wait.min(until.max(Duration::from_millis(1)));
            }
            if queues.has_throttled() {
                wait = wait.min(THROTTLED);
            }
            queues = self
                .wake
                .wait_timeout(queues, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, CircleQueues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
