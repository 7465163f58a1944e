//! The backend for one machine: jobs run on threads of this process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::fmt::Hyphenated;

use super::{Job, Outcome, Played};
use crate::{
    auth::PublicKey,
    script::{Ending, Failure, Inputs, Limits, Runner, Sandbox, Success},
};

/// How long past its deadline a run may take to notice it. Then its caller is told without it.
const NOTICE: Duration = Duration::from_millis(50);

/// Runs jobs in this process.
#[derive(Debug)]
pub struct Embedded {
    sandbox: Sandbox,
    runner: Runner<PublicKey>,
    job_timeout: Duration,
    script_timeout: Duration,
    halt: CancellationToken,
}

/// A job that is waiting or running. Dropping it cancels the job.
#[derive(Debug)]
pub struct Ticket {
    outcome: oneshot::Receiver<Outcome>,
    deadline: Instant,
    timeout: Duration,
    cancel: CancelGuard,
    halt: CancellationToken,
}

impl Embedded {
    /// Starts the threads.
    pub(super) fn start(job_timeout: Duration, limits: Limits) -> io::Result<Self> {
        let runner = Runner::start(limits.thread_count(), limits.queue)?;
        Ok(Self {
            script_timeout: limits.timeout,
            sandbox: Sandbox::new(limits),
            runner,
            job_timeout,
            halt: CancellationToken::new(),
        })
    }

    pub(super) fn job_timeout(&self) -> Duration {
        self.job_timeout
    }

    /// Tries the fast lane: a script that is known to be short runs here and now, for two hops
    /// between threads cost more than it does. Whatever doesn't end at once goes to a runner.
    pub(super) fn play(&self, job: Job<'_>, here: bool) -> Played {
        let span = tracing::debug_span!("job", id = %job.id, caller = %job.caller);
        let attempt = || {
            span.in_scope(|| with_inputs(&job, |inputs| self.sandbox.try_run(&job.script, inputs)))
        };
        match here.then(attempt).flatten() {
            Some(result) => Played::Now(outcome(result)),
            None => self.submit(job.into_owned(), span),
        }
    }

    fn submit(&self, job: Job<'static>, span: Span) -> Played {
        let (sender, receiver) = oneshot::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let (circle, timeout) = (job.circle, job.timeout);
        let deadline = Instant::now() + timeout;
        let run = Run {
            job,
            deadline,
            script_timeout: self.script_timeout,
            cancelled: cancelled.clone(),
            sandbox: self.sandbox.clone(),
        };
        // The one step that commits: once the ticket is gone, there is nobody to hand the outcome to,
        // and nothing of the run remains.
        let task = Box::new(move || drop(sender.send(span.in_scope(|| run.outcome()))));
        match self.runner.submit(circle, cancelled.clone(), task) {
            Ok(()) => Played::Later(Ticket {
                outcome: receiver,
                deadline,
                timeout,
                cancel: CancelGuard(cancelled),
                halt: self.halt.clone(),
            }),
            Err(_) => Played::Now(Outcome::QueueFull),
        }
    }

    pub(super) fn cancel_all(&self) {
        self.halt.cancel();
    }

    pub(super) fn shutdown(&self) {
        self.runner.shutdown();
    }
}

impl Ticket {
    /// Waits for the job, at most until its deadline.
    pub async fn outcome(self) -> Outcome {
        let Self {
            outcome,
            deadline,
            timeout,
            cancel: _cancel,
            halt,
        } = self;
        tokio::select! {
            biased;
            outcome = outcome => outcome.unwrap_or(Outcome::Cancelled),
            () = halt.cancelled() => Outcome::Cancelled,
            () = sleep_until((deadline + NOTICE).into()) => Outcome::TimedOut { after: timeout },
        }
    }
}

#[derive(Debug)]
struct CancelGuard(Arc<AtomicBool>);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A job on its way through the runner's queue.
struct Run {
    job: Job<'static>,
    deadline: Instant,
    script_timeout: Duration,
    cancelled: Arc<AtomicBool>,
    sandbox: Sandbox,
}

impl Run {
    fn outcome(&self) -> Outcome {
        let Self {
            job,
            deadline,
            script_timeout,
            cancelled,
            sandbox,
        } = self;
        let now = Instant::now();
        if cancelled.load(Ordering::Relaxed) {
            return Outcome::Cancelled;
        }
        if now >= *deadline {
            return Outcome::TimedOut { after: job.timeout };
        }
        let (deadline, after) = if now + *script_timeout < *deadline {
            (now + *script_timeout, *script_timeout)
        } else {
            (*deadline, job.timeout)
        };
        let ending = with_inputs(job, |inputs| {
            sandbox.run(&job.script, inputs, deadline, cancelled)
        });
        let outcome = match ending {
            Ending::Finished(result) => outcome(result),
            Ending::TimedOut => Outcome::TimedOut { after },
            Ending::Cancelled => Outcome::Cancelled,
        };
        tracing::debug!(took = ?now.elapsed(), ending = outcome.name(), "ran");
        outcome
    }
}

fn outcome(result: Result<Success, Failure>) -> Outcome {
    match result {
        Ok(success) => Outcome::Finished(success),
        Err(failure) => Outcome::Failed(Box::new(failure)),
    }
}

/// Spells the job out for its script.
fn with_inputs<R>(job: &Job<'_>, run: impl FnOnce(&Inputs<'_>) -> R) -> R {
    let mut id = [0; Hyphenated::LENGTH];
    run(&Inputs {
        caller_id: &job.caller.to_string(),
        context_id: &job.circle.to_string(),
        job_id: job.id.encode(&mut id),
        args: &job.args,
        event: None,
    })
}
