//! Jobs that are kept until they are done.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    claim::Claim,
    lanes::{Lanes, Ready},
    ledger::{self, Fresh},
    machine::{Machine, Ran, Work},
    record::{self, JobError, JobRecord, Status, later},
    running::Running,
};
use crate::{
    auth::PublicKey,
    dispatch::{Delivery, Ended, JobId, NotAccepted, Receipt, settings},
    script::{Ending, Inputs},
    store::{Alone, CommitError, Done, Patience, Record, Table, Terms, Unavailable},
};

/// When to try again what the disk, or a full runner, kept from happening.
const AGAIN: Duration = Duration::from_millis(500);
const HELD: Duration = Duration::from_millis(20);
/// How often what is past its time is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// The scripts of the providers, by name.
pub type Scripts = HashMap<Arc<str>, Arc<str>>;

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

/// Says when a delivery is on disk, or that it isn't going to be.
type OnDisk = oneshot::Receiver<Result<(), Unavailable>>;

/// A delivery that is about to be kept.
struct New {
    identity: [u8; 32],
    fresh: Fresh,
    records: Vec<Record>,
}

impl New {
    fn of(delivery: Delivery, settings: &settings::Durable) -> Self {
        let identity = delivery.identity;
        let (fresh, records) = ledger::accepted(delivery, settings);
        Self {
            identity,
            fresh,
            records,
        }
    }
}

fn again() -> Next {
    Next::At(later(Timestamp::now(), AGAIN))
}

/// What becomes of a job whose run is over.
enum Next {
    /// It is over, or will be once the disk says so.
    Over,
    /// It runs again then.
    At(Timestamp),
}

impl Durable {
    /// Resumes what was pending, and starts the thread that wakes jobs up.
    pub(super) fn start(
        machine: Arc<Machine>,
        settings: settings::Durable,
        scripts: Scripts,
    ) -> io::Result<Arc<Self>> {
        let now = Timestamp::now();
        let (running, died_of) = Running::open(machine.store.disk().path())?;
        let pending =
            ledger::recover(&machine.store, &died_of, now, &settings).map_err(io::Error::other)?;
        running.clear()?;
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
                    Some(due) => lanes.delay(job.circle, job.id, due),
                    None => lanes.delay(job.circle, job.id, Timestamp::UNIX_EPOCH),
                }
            }
        }
        let this = durable.clone();
        let clock = Builder::new()
            .name("circled-clock".to_owned())
            .spawn(move || this.keep_time())?;
        *durable.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(durable)
    }

    /// Keeps a delivery, and has its job run. Answers once it is on disk.
    pub(super) async fn accept(
        self: &Arc<Self>,
        delivery: Delivery,
    ) -> Result<Receipt, NotAccepted> {
        let new = Box::new(New::of(delivery, &self.settings));
        let accepted = match self.try_accept(new, Patience::Hurry) {
            Ok(accepted) => accepted?,
            // Somebody is alone in the circle: that takes a moment, and blocks.
            Err(new) => {
                let this = self.clone();
                let accept = move || this.try_accept(new, Patience::Wait);
                let accepted = tokio::task::spawn_blocking(accept).await;
                accepted
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or(Err(NotAccepted::Unavailable))?
            }
        };
        let (receipt, on_disk) = accepted;
        match on_disk.await {
            Ok(Ok(())) => Ok(receipt),
            Ok(Err(Unavailable)) | Err(_) => Err(NotAccepted::Unavailable),
        }
    }

    /// Gives `new` back if it would have to wait, and was told not to.
    fn try_accept(
        self: &Arc<Self>,
        new: Box<New>,
        patience: Patience,
    ) -> Result<Result<(Receipt, OnDisk), NotAccepted>, Box<New>> {
        let circle = new.fresh.job.circle;
        {
            let lanes = self.lock();
            if lanes.stopping {
                return Ok(Err(NotAccepted::Unavailable));
            }
            if lanes.backlog(&circle) >= self.settings.backlog {
                return Ok(Err(NotAccepted::Backlog));
            }
        }
        let mut given = Some(new);
        let accepted = self.machine.store.alone(circle, patience, |alone| {
            let new = given.take()?;
            Some(self.keep(circle, *new, alone))
        });
        match (accepted.flatten(), given) {
            (Some(accepted), _) => Ok(accepted),
            (None, Some(new)) => Err(new),
            (None, None) => Ok(Err(NotAccepted::Unavailable)),
        }
    }

    fn keep(
        self: &Arc<Self>,
        circle: PublicKey,
        new: New,
        alone: &mut Alone<'_>,
    ) -> Result<(Receipt, OnDisk), NotAccepted> {
        let New {
            identity,
            fresh,
            records,
        } = new;
        let unavailable = |_| NotAccepted::Unavailable;
        let seen = alone.read(Table::Seen, &identity).map_err(unavailable)?;
        let seen = seen.and_then(|value| record::seen_job(&value, fresh.job.received_at));
        let (tell, on_disk) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Whoever waited may have left.
            let _ = tell.send(result);
        });
        if let Some(job) = seen {
            // The first one may be on its way to the disk still. This comes after it.
            let nothing = alone.commit(None, Vec::new(), Terms::NONE, done);
            nothing.map_err(|_| NotAccepted::Unavailable)?;
            return Ok((Receipt::Duplicate { job }, on_disk));
        }
        alone
            .commit(None, records, Terms::NONE, done)
            .map_err(|_| NotAccepted::Unavailable)?;
        // It may run at once: what it commits is written after this, or not at all.
        let job = fresh.job.id;
        let (waiter, ended) = oneshot::channel();
        let mut lanes = self.lock();
        lanes.wait_for(job, waiter);
        lanes.push_fresh(circle, fresh);
        self.advance(&mut lanes, circle);
        Ok((Receipt::Accepted { job, ended }, on_disk))
    }

    /// Starts what may start.
    fn advance(self: &Arc<Self>, lanes: &mut Lanes, circle: PublicKey) {
        while let Some(Ready { id, fresh }) = lanes.start(&circle, self.settings.per_circle) {
            let this = self.clone();
            let task = Box::new(move || this.run(circle, id, fresh));
            let runner = &self.machine.runner;
            if runner.submit(circle, Arc::default(), task).is_err() {
                lanes.hold(circle, id);
                self.wake.notify_one();
                return;
            }
        }
    }

    /// Runs a job on a script thread.
    fn run(self: &Arc<Self>, circle: PublicKey, id: JobId, fresh: Option<Box<Fresh>>) {
        let claim = Arc::new(Claim::default());
        let stopping = {
            let mut lanes = self.lock();
            lanes.running(id, claim.clone());
            lanes.stopping
        };
        // It stays on disk, and is resumed.
        let next = if stopping {
            Next::Over
        } else {
            let _slot = self.running.begin(id);
            let attempt = || match fresh {
                Some(fresh) => self.attempt(fresh.job, &fresh.event, &claim),
                None => self.resume_or_end(circle, id, &claim),
            };
            tracing::debug_span!("job", %id).in_scope(attempt)
        };
        let mut lanes = self.lock();
        lanes.stopped(&circle, id);
        if let Next::At(due) = next {
            lanes.delay(circle, id, due);
            self.wake.notify_one();
        }
        self.advance(&mut lanes, circle);
    }

    /// Runs a job as it is kept.
    fn resume_or_end(self: &Arc<Self>, circle: PublicKey, id: JobId, claim: &Arc<Claim>) -> Next {
        let read = self.machine.store.alone(circle, Patience::Wait, |alone| {
            let job = alone.read(Table::Jobs, id.as_bytes())?;
            let event = alone.read(Table::Inputs, id.as_bytes())?;
            Ok::<_, Unavailable>((job, event))
        });
        let Some(Ok((job, event))) = read else {
            return again();
        };
        let job = job.and_then(|bytes| record::read::<JobRecord>(&bytes));
        let (Some(job), Some(event)) = (job, event) else {
            return Next::Over;
        };
        if job.status != Status::Pending {
            return Next::Over;
        }
        match record::read_event(&event) {
            Some(event) => self.attempt(job, &event, claim),
            None => self.fail(job, JobError::plain("what was sent can't be read any more")),
        }
    }

    fn attempt(self: &Arc<Self>, job: JobRecord, event: &Value, claim: &Arc<Claim>) -> Next {
        let (circle, id) = (job.circle, job.id);
        let Some(source) = self.scripts.get(job.provider()).cloned() else {
            let message = format!(
                "there is no provider \"{}\" in the settings any more",
                job.provider()
            );
            return self.fail(job, JobError::plain(message));
        };
        let args = Value::Null;
        let inputs = Inputs {
            caller_id: &job.caller,
            context_id: &circle,
            job_id: &id,
            args: &args,
            event: Some(event),
        };
        let work = Work {
            circle,
            source: &source,
            inputs: &inputs,
            deadline: Instant::now() + self.machine.script_timeout,
            cancelled: claim.cancelled(),
            latest: true,
        };
        // The rule of all commits: if the job is still pending, or else nothing.
        let may_commit = || claim.commit();
        let terms = || Terms {
            present: Some((Table::Open, id.as_bytes())),
            absent: job.superseded_by().map(|series| (Table::Seen, &series[..])),
            claim: &may_commit,
        };
        let mut next = Next::Over;
        let committed = self.machine.run(&work, |committer, ran| {
            next = Next::Over;
            let Ran { ending, writes, .. } = ran;
            let now = Timestamp::now();
            let error = match ending {
                Ending::Finished(Ok(success)) => {
                    let records =
                        ledger::finished(job.clone(), success.output, now, &self.settings);
                    let done = self.done(circle, id, Ended::Finished);
                    return committer.commit(writes, records, terms(), done);
                }
                Ending::Finished(Err(failure)) => JobError::from(&failure),
                Ending::TimedOut => JobError::plain(format!(
                    "it took longer than {} ms",
                    self.machine.script_timeout.as_millis()
                )),
                Ending::Cancelled => return Err(CommitError::Gone),
                Ending::Unavailable => return Err(Unavailable.into()),
            };
            let (records, due) = ledger::failed(job.clone(), error, now, &self.settings);
            next = due.map_or(Next::Over, Next::At);
            let done = self.done(circle, id, Ended::Failed);
            committer.commit(writes, records, terms(), done)
        });
        match committed {
            Ok(()) => next,
            // The server stops, and the job stays pending; or it isn't any more.
            Err(CommitError::Gone) => Next::Over,
            Err(CommitError::Superseded) => self.supersede(job),
            Err(CommitError::Unavailable(Unavailable) | CommitError::Busy) => again(),
            Err(why @ (CommitError::Conflict | CommitError::Quota { .. })) => {
                self.fail(job, JobError::plain(why.to_string()))
            }
        }
    }

    /// Counts a try that failed.
    fn fail(self: &Arc<Self>, job: JobRecord, error: JobError) -> Next {
        let (circle, id) = (job.circle, job.id);
        tracing::warn!(%circle, job = %id, error = error.message, "a durable job failed");
        let (records, due) = ledger::failed(job, error, Timestamp::now(), &self.settings);
        self.end(circle, id, records, Ended::Failed, due)
    }

    /// Ends a job that may have no effect any more: the final one of its series has been committed.
    fn supersede(self: &Arc<Self>, job: JobRecord) -> Next {
        let (circle, id) = (job.circle, job.id);
        let output = "superseded by the final delivery".to_owned();
        let records = ledger::finished(job, output, Timestamp::now(), &self.settings);
        self.end(circle, id, records, Ended::Finished, None)
    }

    /// Commits how a run without effects ended.
    fn end(
        self: &Arc<Self>,
        circle: PublicKey,
        id: JobId,
        records: Vec<Record>,
        ended: Ended,
        due: Option<Timestamp>,
    ) -> Next {
        let done = self.done(circle, id, ended);
        let store = &self.machine.store;
        let terms = still_open(&id);
        let committed = store.commit(store.begin(circle), records, terms, done, Patience::Wait);
        match committed.map_err(|refused| refused.why) {
            Err(CommitError::Gone) => Next::Over,
            Ok(()) => due.map_or(Next::Over, Next::At),
            Err(_) => Next::At(later(Timestamp::now(), AGAIN)),
        }
    }

    /// Tells whoever waits, once it is on disk. What the disk didn't take runs again.
    fn done(self: &Arc<Self>, circle: PublicKey, id: JobId, ended: Ended) -> Done {
        let this = self.clone();
        Box::new(move |result| {
            let mut lanes = this.lock();
            match result {
                Ok(()) => {
                    if let Some(waiter) = lanes.waiter(id) {
                        // Whoever waited may have left.
                        let _ = waiter.send(ended);
                    }
                }
                Err(Unavailable) => {
                    lanes.waiter(id);
                    lanes.delay(circle, id, later(Timestamp::now(), AGAIN));
                    this.wake.notify_one();
                }
            }
        })
    }

    /// Has a job run that was dead, and isn't any more.
    pub(super) fn resume(self: &Arc<Self>, circle: PublicKey, id: JobId) {
        let mut lanes = self.lock();
        lanes.push(circle, id);
        self.advance(&mut lanes, circle);
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
                sweep_at = Instant::now() + if more { AGAIN } else { SWEEP };
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

/// If the job isn't over, or else nothing.
fn still_open(id: &JobId) -> Terms<'_> {
    Terms {
        present: Some((Table::Open, id.as_bytes())),
        ..Terms::NONE
    }
}
