//! Runs durable jobs, and decides what comes after a run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey, methods::JobError};
use jiff::Timestamp;

use super::DurableJobs;
use crate::{
    dispatch::{
        JobRecord, Progress, Status,
        embedded::{
            circle_queues::ReadyJob,
            commit_gate::CommitGate,
            job_store::{self, NewJob},
            record,
            transaction_runner::{BoundedJob, CircleCommitter, Ran},
            waiting_by_caller::Submitter,
        },
        ended::DurableRun,
        record::{later, no_provider, unreadable},
        slow::{TimedRun, Times},
        submission::{Input, MAX_INLINE_INPUT, ParsedInput},
    },
    script::{self, Occasion, RunError},
    store::{CommitCallback, CommitError, NewEvent, Preconditions, Table, Unavailable, WaitPolicy},
    weight,
};

/// The pause before a job runs again whose commit the disk didn't take.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// The next step for a job whose run is over.
enum AfterRun {
    /// It is over, or will be once the disk says so.
    Over,
    /// It runs again then.
    At(Timestamp),
}

impl AfterRun {
    fn again() -> Self {
        Self::At(later(Timestamp::now(), AGAIN))
    }

    /// Returns the next step that the record says.
    fn of(job: &JobRecord) -> Self {
        job.due.map_or(Self::Over, Self::At)
    }
}

impl DurableJobs {
    /// Runs a job that may run, on a script thread.
    pub(super) fn run(self: &Arc<Self>, circle: PublicKey, ready: ReadyJob) {
        let ReadyJob {
            id,
            submitter,
            new_job,
        } = ready;
        self.run_counted(circle, id, submitter, |gate| {
            Some(match new_job {
                Some(new_job) => {
                    let NewJob { job, input, size } = &new_job.new_job;
                    self.attempt(job, input, *size, gate)
                }
                None => self.resume_or_end(circle, id, gate),
            })
        });
    }

    /// Runs a new job here and now if its script is known to be short, as sessions do with theirs: two hops
    /// between threads cost more than it does. Whatever doesn't end at once goes to a script thread.
    pub(super) fn run_here(self: &Arc<Self>, circle: PublicKey, ready: ReadyJob) {
        let is_over = ready.new_job.as_ref().is_some_and(|new_job| {
            self.run_counted(circle, ready.id, ready.submitter, |gate| {
                self.try_attempt(&new_job.new_job, gate)
            })
        });
        if !is_over {
            let mut queues = self.lock();
            self.submit(&mut queues, circle, ready);
        }
    }

    /// Counts a job as running while `attempt` runs it, and does what comes after. Returns whether the run is over: if
    /// not, the job counts as running still.
    fn run_counted(
        self: &Arc<Self>,
        circle: PublicKey,
        id: JobId,
        submitter: Option<Submitter>,
        attempt: impl FnOnce(&Arc<CommitGate>) -> Option<AfterRun>,
    ) -> bool {
        let gate = Arc::new(CommitGate::default());
        let stopping = {
            let mut queues = self.lock();
            queues.mark_running(id, gate.clone());
            queues.stopping
        };
        let next = if stopping {
            // It stays on disk, and is resumed.
            Some(AfterRun::Over)
        } else {
            tracing::debug_span!("job", %id).in_scope(|| attempt(&gate))
        };
        let Some(next) = next else {
            return false;
        };
        let mut queues = self.lock();
        queues.stopped(&circle, id, &gate);
        if let AfterRun::At(due) = next {
            queues.delay(circle, id, submitter, due);
            self.wake.notify_one();
        }
        self.advance(&mut queues, circle);
        true
    }

    /// Runs a job as it is stored.
    fn resume_or_end(
        self: &Arc<Self>,
        circle: PublicKey,
        id: JobId,
        gate: &Arc<CommitGate>,
    ) -> AfterRun {
        let begun = Instant::now();
        let read = self
            .runner
            .store
            .lock_circle(circle, WaitPolicy::Wait, |locked| {
                script::waited_for_lock(begun.elapsed());
                let job = locked.read(Table::Jobs, id.as_bytes())?;
                let input = locked.read(Table::Inputs, id.as_bytes())?;
                Ok::<_, Unavailable>((job, input))
            });
        let Some(Ok((job, input))) = read else {
            return AfterRun::again();
        };
        let job = job.and_then(|bytes| record::job(&circle, id, &bytes));
        let Some(job) = job.filter(|job| job.status == Status::Pending) else {
            return AfterRun::Over;
        };
        let input = input.filter(|_| job.unread.is_none());
        let size = input.as_deref().map_or(0, weight::of_json);
        if job.needs_room() && !script::has_room(size) {
            return self.postpone(job, gate);
        }
        let input = input.and_then(|bytes| record::read::<Input>(&bytes));
        let Some(input) = input else {
            return self.fail_unreadable(&job, gate);
        };
        self.attempt(&job, &input, size, gate)
    }

    /// Runs a new job at once, if it is known to be short. If it returns `None`, nothing has happened.
    fn try_attempt(self: &Arc<Self>, new_job: &NewJob, gate: &Arc<CommitGate>) -> Option<AfterRun> {
        let NewJob { job, input, size } = new_job;
        // Others wait for this thread.
        if *size > MAX_INLINE_INPUT {
            return None;
        }
        let ran = self.try_run(job, &input.parse().ok()?)?;
        let store = &self.runner.store;
        let mut committer = CircleCommitter::Concurrent(store, job.circle, WaitPolicy::FailFast);
        self.settle(job, gate, &mut committer, ran, &mut None).ok()
    }

    /// Runs a job's script here and now, if it is known to be short.
    pub(super) fn try_run(&self, job: &JobRecord, input: &ParsedInput<'_>) -> Option<Ran> {
        let provided = self.provided(job);
        let executor = &self.runner.executor;
        let spec = input.spec(job, Occasion::now(), provided.as_deref(), executor)?;
        let transaction = self.runner.store.try_begin_latest(job.circle)?;
        let mut transaction = Some(Box::new(transaction));
        let slot = self.running.begin(job.id);
        let outcome = executor.try_run(&spec, &mut transaction);
        drop(slot);
        Some(Ran::new(outcome?, transaction))
    }

    fn provided(&self, job: &JobRecord) -> Option<Arc<str>> {
        job.provider().and_then(|name| self.scripts.get(name))
    }

    /// Runs a job on an input of so many bytes in memory.
    fn attempt(
        self: &Arc<Self>,
        job: &JobRecord,
        input: &Input,
        size: usize,
        gate: &Arc<CommitGate>,
    ) -> AfterRun {
        let Ok(input) = input.parse() else {
            return self.fail_unreadable(job, gate);
        };
        let provided = self.provided(job);
        let executor = &self.runner.executor;
        let spec = input.spec(job, Occasion::now(), provided.as_deref(), executor);
        let Some(spec) = spec else {
            return self.fail(job, gate, no_provider(job));
        };
        let bounded = BoundedJob {
            job: &spec,
            deadline: None,
            cancelled: gate.cancelled(),
            latest: true,
            noted: Some((&self.running, job.id)),
        };
        let mut version = job.version.clone();
        let settled = script::holding(size, || {
            self.runner.run(&bounded, |committer, ran| {
                self.settle(job, gate, committer, ran, &mut version)
            })
        });
        let as_ran = || JobRecord {
            version,
            ..job.clone()
        };
        match settled {
            Ok(next) => next,
            // The server stops, and the job stays pending; or it isn't any more.
            Err(CommitError::Gone) => AfterRun::Over,
            Err(CommitError::Superseded) => self.supersede(&as_ran(), gate),
            Err(CommitError::Unavailable(Unavailable) | CommitError::Busy) => AfterRun::again(),
            // The script isn't to blame, so this is no try.
            Err(CommitError::Conflict) => {
                tracing::warn!(circle = %job.circle, job = %job.id, "a durable job keeps colliding with others; it runs again");
                AfterRun::again()
            }
            Err(
                why @ (CommitError::Quota { .. }
                | CommitError::Add { .. }
                | CommitError::RangeDelete { .. }
                | CommitError::Backlog),
            ) => self.fail(&as_ran(), gate, JobError::plain(why.to_string())),
        }
    }

    fn fail_unreadable(self: &Arc<Self>, job: &JobRecord, gate: &Arc<CommitGate>) -> AfterRun {
        job.log_unreadable();
        self.fail(job, gate, unreadable())
    }

    /// Commits the result of a run if the job is still pending, and nothing otherwise. Notes which version of its
    /// script ran.
    fn settle(
        self: &Arc<Self>,
        job: &JobRecord,
        gate: &Arc<CommitGate>,
        committer: &mut CircleCommitter<'_, '_>,
        ran: Ran,
        version: &mut Option<String>,
    ) -> Result<AfterRun, CommitError> {
        let Ran {
            outcome,
            writes,
            times,
            ..
        } = ran;
        let why = match outcome {
            Err(RunError::Unavailable) => Unavailable.into(),
            Ok(_) | Err(_) => CommitError::Gone,
        };
        let (before, mut job) = (job, job.clone());
        let progress = job
            .ran(outcome, Timestamp::now(), &self.settings)
            .ok_or(why)?;
        version.clone_from(&job.version);
        let times = Times {
            waited: waited(before, gate.begun()),
            ..times
        };
        let timed = TimedRun::of_durable(&job, times);
        let may_commit = || gate.try_commit() && self.attach_waiter(job.id, gate);
        let preconditions = Preconditions {
            open: Some(job.id),
            no_final_of: job.superseded_by().copied(),
            gate: Some(&may_commit),
        };
        let (event, done) = self.event_of(&job, self.done(&job, gate.clone(), progress, timed));
        let records = job_store::settled(&job, &self.settings);
        committer.commit(writes, event, records, preconditions, done)?;
        Ok(AfterRun::of(&job))
    }

    /// Returns the event of a job's change, if it is published, and what the callback of its commit is then.
    pub(super) fn event_of(
        &self,
        job: &JobRecord,
        done: CommitCallback,
    ) -> (Option<NewEvent>, CommitCallback) {
        let (store, circle) = (&self.runner.store, job.circle);
        if !job.is_routine() || store.hub().has_listeners(&circle) {
            return (Some(job.change_event()), done);
        }
        // Whoever has begun to listen meanwhile waits for it, maybe.
        let store = store.clone();
        let done = Box::new(move |result| {
            done(result);
            store.hub().signal_read_log(&circle);
        });
        (None, done)
    }

    /// Has a job run again later that there is no room for.
    fn postpone(self: &Arc<Self>, mut job: JobRecord, gate: &Arc<CommitGate>) -> AfterRun {
        let outcome = Err(RunError::Displaced);
        let progress = job.ran(outcome, Timestamp::now(), &self.settings);
        progress.map_or_else(AfterRun::again, |progress| self.end(&job, gate, progress))
    }

    /// Counts a try that failed.
    fn fail(
        self: &Arc<Self>,
        job: &JobRecord,
        gate: &Arc<CommitGate>,
        error: JobError,
    ) -> AfterRun {
        let mut job = job.clone();
        let progress = job.fail(error, Timestamp::now(), &self.settings);
        self.end(&job, gate, progress)
    }

    /// Ends a job without effects: the final one of its series has been committed.
    fn supersede(self: &Arc<Self>, job: &JobRecord, gate: &Arc<CommitGate>) -> AfterRun {
        let mut job = job.clone();
        let progress = job.supersede(Timestamp::now());
        self.end(&job, gate, progress)
    }

    /// Commits the end of a run without effects.
    fn end(
        self: &Arc<Self>,
        job: &JobRecord,
        gate: &Arc<CommitGate>,
        progress: Progress,
    ) -> AfterRun {
        let records = job_store::settled(job, &self.settings);
        let done = self.done(job, gate.clone(), progress, None);
        let store = &self.runner.store;
        let mut transaction = store.begin(job.circle);
        transaction.emit_unchecked(job.change_event());
        let attach = || self.attach_waiter(job.id, gate);
        let preconditions = Preconditions {
            open: Some(job.id),
            no_final_of: None,
            gate: Some(&attach),
        };
        let committed = store.commit(transaction, records, preconditions, done, WaitPolicy::Wait);
        match committed.map_err(|refused| refused.why) {
            Err(CommitError::Gone) => AfterRun::Over,
            Ok(()) => AfterRun::of(job),
            Err(_) => AfterRun::again(),
        }
    }

    /// Gives the run that is committed right now those who wait for the job; a later run of that id has none. Always
    /// true.
    fn attach_waiter(&self, id: JobId, gate: &CommitGate) -> bool {
        gate.set_waiter(self.lock().waiter(id));
        true
    }

    /// Returns the callback of a commit: it tells whoever waits, or has the job run again if the disk didn't take it.
    fn done(
        self: &Arc<Self>,
        job: &JobRecord,
        gate: Arc<CommitGate>,
        progress: Progress,
        timed: Option<TimedRun>,
    ) -> CommitCallback {
        let this = self.clone();
        let (circle, id, submitter) = (job.circle, job.id, Submitter::of(job));
        let run = DurableRun::new(job, progress, gate.begun());
        Box::new(move |result| {
            gate.notify(result.is_ok().then_some(progress));
            match result {
                Ok(()) => {
                    run.committed();
                    if let Some(timed) = timed {
                        timed.committed();
                    }
                }
                Err(Unavailable) => {
                    let due = later(Timestamp::now(), AGAIN);
                    this.lock().delay(circle, id, submitter, due);
                    this.wake.notify_one();
                }
            }
        })
    }
}

/// Returns how long a job has waited from the time when it could run until its run began.
fn waited(job: &JobRecord, begun: Instant) -> Duration {
    let could_run = job
        .due
        .map_or(job.received_at, |due| due.max(job.received_at));
    let since = Duration::try_from(Timestamp::now().duration_since(could_run));
    since.unwrap_or_default().saturating_sub(begun.elapsed())
}
