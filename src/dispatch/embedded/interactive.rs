//! Jobs whose caller waits for the outcome.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::Uuid;

use super::{
    Embedded,
    commit_gate::CommitGate,
    transaction_runner::{BoundedJob, Ran, TransactionRunner},
};
use crate::{
    circle::JobSpec,
    dispatch::{
        Account, BackendHandle, MAX_WAITING, Played, ReservedOutcome, ended,
        job::{name, reserve},
        slow::{TimedRun, Times},
    },
    memory::MemoryBudget,
    script::RunError,
    store::{CommitCallback, CommitError, Preconditions, Transaction, WaitPolicy},
    units::duration::milliseconds,
};

/// The time that a run may take to notice its deadline. After that its caller is told without it.
const NOTICE: Duration = Duration::from_millis(50);

/// A job that is waiting or running. Dropping it cancels the job, unless it has committed.
#[derive(Debug)]
pub struct EmbeddedOutcomeHandle {
    outcome: oneshot::Receiver<ReservedOutcome>,
    deadline: Instant,
    timeout: Duration,
    gate: CancelGuard,
    halt: CancellationToken,
}

#[derive(Debug)]
struct CancelGuard(Arc<CommitGate>);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Hands the outcome over, once.
struct Reply(Mutex<Option<oneshot::Sender<ReservedOutcome>>>);

impl Embedded {
    /// Runs a script that is known to be short at once, on this thread: two hops between threads cost more than the
    /// script does. All others go to a script thread.
    pub(in crate::dispatch) fn play(
        &self,
        job: JobSpec<'_>,
        session: Uuid,
        memory: &MemoryBudget,
        here: bool,
    ) -> Played<BackendHandle> {
        let span = tracing::debug_span!("job", id = %job.id, caller = %job.caller);
        if here && let Some(played) = span.in_scope(|| self.try_play(&job, memory)) {
            return played;
        }
        self.hand_over(job.into_owned(), session, memory.clone(), span)
    }

    fn try_play(&self, job: &JobSpec<'_>, memory: &MemoryBudget) -> Option<Played<BackendHandle>> {
        let store = &self.runner.store;
        let mut played = self.try_run(job, memory, store.begin(job.circle));
        if matches!(played, Err(CommitError::Conflict)) {
            ended::starts_over(&job.circle, job.id);
            // What it conflicts with may be on its way to the disk still, and is seen by this transaction.
            played = self.try_run(job, memory, store.try_begin_latest(job.circle)?);
        }
        match played {
            Ok(played) => played,
            Err(CommitError::Conflict) => {
                ended::starts_over(&job.circle, job.id);
                None
            }
            Err(CommitError::Busy) => None,
            Err(why) => Some(Played::Now(Err(why.into()))),
        }
    }

    /// Runs a script here and now, and begins to commit what it does. Returns nothing if it isn't known to be short.
    fn try_run(
        &self,
        job: &JobSpec<'_>,
        memory: &MemoryBudget,
        transaction: Transaction,
    ) -> Result<Option<Played<BackendHandle>>, CommitError> {
        // In a box: it is passed on from hand to hand.
        let mut transaction = Some(Box::new(transaction));
        let Some(outcome) = self.runner.executor.try_run(job, &mut transaction) else {
            return Ok(None);
        };
        let ran = Ran::new(outcome, transaction);
        let Some(writes) = ran.writes else {
            return Ok(Some(Played::Now(ran.outcome)));
        };
        let reserved = reserve(ran.outcome, memory);
        if reserved.reservation.is_none() {
            return Ok(Some(Played::Now(reserved.outcome)));
        }
        // A short one is slow only if its commit is.
        let timed = TimedRun::of(job, &reserved.outcome, Times::default());
        let (reply, handle) = self.outcome_handle(job.timeout);
        let gate = handle.gate.0.clone();
        let committed = self.runner.store.commit(
            writes,
            Vec::new(),
            Preconditions::gated_by(&|| gate.try_commit()),
            reply.done(reserved, timed),
            WaitPolicy::FailFast,
        );
        committed.map_err(|refused| refused.why)?;
        Ok(Some(Played::Later(BackendHandle::Embedded(handle))))
    }

    fn hand_over(
        &self,
        job: JobSpec<'static>,
        session: Uuid,
        memory: MemoryBudget,
        span: Span,
    ) -> Played<BackendHandle> {
        let (reply, handle) = self.outcome_handle(job.timeout);
        let accounts = Account::of_caller(job.circle, job.caller.key());
        let gate = handle.gate.0.clone();
        let cancelled = gate.cancelled().clone();
        let (runner, deadline, weight) = (self.runner.clone(), handle.deadline, job.weight());
        let came = Instant::now();
        let task = Box::new(move || {
            span.in_scope(|| run(&runner, &job, &memory, came, deadline, &gate, &reply))
        });
        let threads = &self.runner.threads;
        match threads.submit_waiting(session, weight, accounts, cancelled, task) {
            Ok(()) => Played::Later(BackendHandle::Embedded(handle)),
            Err(_) => Played::Now(Err(RunError::limit(MAX_WAITING))),
        }
    }

    fn outcome_handle(&self, timeout: Duration) -> (Arc<Reply>, EmbeddedOutcomeHandle) {
        let (sender, outcome) = oneshot::channel();
        let handle = EmbeddedOutcomeHandle {
            outcome,
            deadline: Instant::now() + timeout,
            timeout,
            gate: CancelGuard(Arc::default()),
            halt: self.halt.clone(),
        };
        (Arc::new(Reply(Mutex::new(Some(sender)))), handle)
    }
}

impl EmbeddedOutcomeHandle {
    /// Waits for the job, at most until its deadline. What has committed by then is waited for.
    pub async fn outcome(mut self) -> ReservedOutcome {
        let early = tokio::select! {
            biased;
            reserved = &mut self.outcome => return reserved.unwrap_or(RunError::Cancelled.into()),
            () = self.halt.cancelled() => RunError::Cancelled,
            () = sleep_until((self.deadline + NOTICE).into()) => RunError::TimedOut {
                after: self.timeout,
                version: None,
            },
        };
        if self.gate.0.cancel() {
            return early.into();
        }
        self.outcome.await.unwrap_or(early.into())
    }
}

impl Reply {
    fn send(&self, reserved: impl Into<ReservedOutcome>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Whoever waited may have left.
            let _ = sender.send(reserved.into());
        }
    }

    /// Hands the outcome over once the commit is on disk.
    fn done(
        self: &Arc<Self>,
        reserved: ReservedOutcome,
        timed: Option<TimedRun>,
    ) -> CommitCallback {
        let reply = self.clone();
        Box::new(move |result| {
            reply.send(match result {
                Ok(()) => reserved,
                Err(_) => RunError::Unavailable.into(),
            });
            if let (Ok(()), Some(timed)) = (result, timed) {
                timed.committed();
            }
        })
    }
}

/// Runs a job on a script thread.
fn run(
    runner: &TransactionRunner,
    job: &JobSpec<'_>,
    memory: &MemoryBudget,
    came: Instant,
    deadline: Instant,
    gate: &CommitGate,
    reply: &Arc<Reply>,
) {
    let now = Instant::now();
    if now >= deadline {
        return reply.send(RunError::TimedOut {
            after: job.timeout,
            version: None,
        });
    }
    let bounded = BoundedJob {
        job,
        deadline: Some(deadline),
        cancelled: gate.cancelled(),
        latest: false,
        noted: None,
    };
    let committed = runner.run(&bounded, |committer, ran| {
        let outcome = ran
            .outcome
            .map_err(|error| error.by_deadline(deadline, job.timeout));
        // What never ran may be called by anything that somebody has sent.
        let has_run = !outcome.as_ref().is_err_and(RunError::is_refusal);
        tracing::debug!(
            script = job.task.script().filter(|_| has_run),
            duration_ms = milliseconds(now.elapsed()),
            ending = name(&outcome),
            "ran"
        );
        let times = Times {
            waited: now - came,
            ..ran.times
        };
        let timed = TimedRun::of(job, &outcome, times).filter(|_| has_run);
        let reserved = reserve(outcome, memory);
        // A result for which there is no room isn't committed.
        if ran.writes.is_none() && ran.safe || reserved.reservation.is_none() {
            reply.send(reserved);
            if let Some(timed) = timed {
                timed.committed();
            }
            return Ok(());
        }
        committer.commit(
            ran.writes,
            None,
            Vec::new(),
            Preconditions::gated_by(&|| gate.try_commit()),
            reply.done(reserved, timed),
        )
    });
    if let Err(why) = committed {
        reply.send(RunError::from(why));
    }
}
