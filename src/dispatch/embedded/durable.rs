//! Jobs that are kept until they are done: how they start, wait for their turn, and stop.

mod accept;
mod attempt;

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::{
    lanes::{Lanes, Ready},
    ledger,
    machine::Machine,
    running::Running,
};
use crate::{
    auth::PublicKey,
    dispatch::{Account, JobId, StartError, Status, record::later, settings},
    store::Unavailable,
};

/// When to look again for a place that a full runner didn't have.
const HELD: Duration = Duration::from_millis(20);
/// When to look for more of what is past its time, where there is much of it.
const SOON: Duration = Duration::from_millis(500);
/// How often what is past its time is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// The scripts of the providers, by name. A cheap handle; all of one see what one of them is given.
#[derive(Debug, Clone, Default)]
pub struct Scripts(Arc<ArcSwap<HashMap<Arc<str>, Arc<str>>>>);

impl Scripts {
    /// Returns the script of a provider.
    pub fn get(&self, provider: &str) -> Option<Arc<str>> {
        self.0.load().get(provider).cloned()
    }

    /// Takes the scripts of another one. Returns the providers whose script was another.
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
pub(super) struct Durable {
    machine: Arc<Machine>,
    settings: settings::Durable,
    scripts: Scripts,
    running: Running,
    lanes: Mutex<Lanes>,
    wake: Condvar,
    clock: Mutex<Option<JoinHandle<()>>>,
}

impl Durable {
    /// Returns how many bytes a page of jobs may have.
    pub(super) fn max_page(&self) -> usize {
        self.settings.max_page
    }

    /// Resumes what was pending, and starts the thread that wakes jobs up.
    pub(super) fn start(
        machine: Arc<Machine>,
        settings: settings::Durable,
        scripts: Scripts,
    ) -> Result<Arc<Self>, StartError> {
        let now = Timestamp::now();
        let (running, died_of) =
            Running::open(machine.store.disk().path()).map_err(StartError::Running)?;
        let pending = ledger::recover(&machine.store, &died_of, now, &settings)?;
        running.clear().map_err(StartError::Running)?;
        let durable = Arc::new(Self {
            machine,
            settings,
            scripts,
            running,
            lanes: Mutex::default(),
            wake: Condvar::new(),
            clock: Mutex::default(),
        });
        if !pending.is_empty() {
            tracing::info!(jobs = pending.len(), "resuming jobs that were pending");
        }
        {
            let mut lanes = durable.lock();
            for job in pending {
                // Those whose time has come already wait in their order, too.
                match job.due.filter(|due| *due > now) {
                    Some(due) => lanes.delay(job.circle, job.id, job.submitter, due),
                    None => {
                        lanes.delay(job.circle, job.id, job.submitter, Timestamp::UNIX_EPOCH);
                    }
                }
            }
        }
        let this = durable.clone();
        let clock = Builder::new()
            .name("circled-clock".to_owned())
            .spawn(move || this.keep_time())
            .map_err(StartError::Threads)?;
        *durable.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(durable)
    }

    /// Starts what may start, on script threads.
    fn advance(self: &Arc<Self>, lanes: &mut Lanes, circle: PublicKey) {
        while let Some(ready) = lanes.start(&circle, self.settings.per_circle) {
            if !self.submit(lanes, circle, ready) {
                return;
            }
        }
    }

    /// Gives a job that may run to a script thread. Answers whether there was a place for it.
    fn submit(self: &Arc<Self>, lanes: &mut Lanes, circle: PublicKey, ready: Ready) -> bool {
        let (this, id, submitter) = (self.clone(), ready.id, ready.submitter);
        let task = Box::new(move || this.run(circle, ready));
        let runner = &self.machine.runner;
        let accounts = Account::of_job(circle, submitter);
        let found = runner.submit(accounts, Arc::default(), task).is_ok();
        if !found {
            lanes.hold(circle, id, submitter);
            self.wake.notify_one();
        }
        found
    }

    /// Has a job run that was given up or stopped, and isn't any more: when it is due, or at its turn.
    pub(super) fn resume(
        self: &Arc<Self>,
        circle: PublicKey,
        id: JobId,
        submitter: Option<PublicKey>,
        due: Option<Timestamp>,
    ) {
        let mut lanes = self.lock();
        if let Some(due) = due {
            lanes.delay(circle, id, submitter, due);
            self.wake.notify_one();
        } else {
            lanes.push(circle, id, submitter);
            self.advance(&mut lanes, circle);
        }
    }

    /// Ends a job that isn't over, wherever it is. Answers whether that was so. Blocks.
    pub(super) fn stop_job(&self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        self.lock().cancel(id);
        let mut submitter = None;
        let stopped = ledger::change(&self.machine.store, circle, id, |job| {
            let open = job.status == Status::Pending;
            submitter = job.submitter();
            open.then(|| {
                // While nobody can have it run again: whoever holds a circle may take the lanes.
                let mut lanes = self.lock();
                lanes.cancel(id);
                lanes.forget(&circle, id);
                drop(lanes);
                job.cancel(Timestamp::now());
                ledger::settled(job, &self.settings)
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

    pub(super) fn is_running(&self, id: JobId) -> bool {
        self.lock().is_running(id)
    }

    /// Jobs that are not over.
    pub(super) fn pending(&self) -> usize {
        self.lock().len()
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
        let mut lanes = self.lock();
        while !lanes.stopping {
            if Instant::now() >= sweep_at {
                drop(lanes);
                let swept = ledger::sweep(&self.machine.store, Timestamp::now(), &self.settings);
                let more = swept.unwrap_or(false);
                sweep_at = Instant::now() + if more { SOON } else { SWEEP };
                lanes = self.lock();
                continue;
            }
            let now = Timestamp::now();
            let (circles, next) = lanes.wake(now);
            for circle in circles {
                self.advance(&mut lanes, circle);
            }
            let mut wait = sweep_at.saturating_duration_since(Instant::now());
            if let Some(next) = next {
                let until = Duration::try_from(next.duration_since(now)).unwrap_or_default();
                wait = wait.min(until.max(Duration::from_millis(1)));
            }
            if lanes.holds() {
                wait = wait.min(HELD);
            }
            lanes = self
                .wake
                .wait_timeout(lanes, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
