//! The ends of jobs: both backends and all kinds of jobs pass through [`on_end`], which knows the outcome and the time.
//! It logs and counts them.
//!
//! No job is told twice. A durable job in Redis isn't told at all if its worker ends before it has the answer to its commit.

use std::{sync::Arc, time::Instant};

use circled_protocol::{JobId, PublicKey, Word};

use super::{
    JobRecord, Progress, Status,
    activity::{self, Counters, Happening},
    busiest, job,
};
use crate::{
    circle::{JobSpec, Task},
    metrics::{JobLabels, metrics},
    script::Outcome,
    units::duration::milliseconds,
};

/// A job that has ended, or one run of a durable job.
struct Ended<'a> {
    job: JobId,
    /// The kind of a durable job.
    durable: Option<&'static str>,
    /// `finished`, or the reason why it isn't.
    ending: &'static str,
    /// The time when it began, if it ran: a durable job in Redis begins when its worker has taken it.
    begun: Option<Instant>,
    /// The record of a durable job whose run failed.
    failed: Option<&'a JobRecord>,
}

fn on_end(ended: &Ended<'_>) {
    tracing::debug!(
        job = %ended.job,
        durable = ended.durable.is_some(),
        ending = ended.ending,
        duration_ms = ended.begun.map(|begun| milliseconds(begun.elapsed())),
        "a job ended"
    );
    if let Some(failed) = ended.failed {
        log_failure(failed);
    }
    // Interactive jobs are counted as calls, and as runs of scripts.
    if let Some(kind) = ended.durable {
        let ending = ended.ending;
        let labels = JobLabels { kind, ending };
        metrics().jobs.get_or_create(&labels).increment();
    }
}

/// An interactive job that hasn't ended. Dropping it says that its caller has left.
#[derive(Debug)]
pub(super) struct Interactive {
    job: JobId,
    begun: Instant,
    is_over: bool,
    /// What it counts as, if its circle is counted.
    counts: Option<(Arc<Counters>, Happening)>,
}

impl Interactive {
    pub(super) fn begin(job: &JobSpec<'_>, begun: Instant) -> Self {
        busiest::count(&job.circle);
        let what = match job.task {
            Task::Source(_) => Some(Happening::Play),
            Task::Named { .. } => Some(Happening::Call),
            Task::Pinned(_) | Task::Procedure(_) | Task::Query { .. } => None,
        };
        Self {
            job: job.id,
            begun,
            is_over: false,
            counts: activity::counters(&job.circle).zip(what),
        }
    }

    /// Ends the job with the outcome that its caller gets.
    pub(super) fn end(mut self, outcome: &Outcome) {
        if let (Some((counters, _)), Err(_)) = (&self.counts, outcome) {
            counters.add(Happening::Error, 1);
        }
        self.end_as(job::name(outcome));
    }

    fn end_as(&mut self, ending: &'static str) {
        self.is_over = true;
        if let Some((counters, what)) = &self.counts {
            counters.add(*what, 1);
        }
        on_end(&Ended {
            job: self.job,
            durable: None,
            ending,
            begun: Some(self.begun),
            failed: None,
        });
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        if !self.is_over {
            self.end_as("abandoned");
        }
    }
}

/// The end of a run of a durable job. It counts once it is committed.
pub(super) struct DurableRun {
    job: JobId,
    circle: PublicKey,
    kind: &'static str,
    ending: &'static str,
    begun: Instant,
    failed: Option<Box<JobRecord>>,
}

impl DurableRun {
    /// `job`: the record after the run, which began then.
    pub(super) fn new(job: &JobRecord, progress: Progress, begun: Instant) -> Self {
        let has_failed = progress == Progress::Failed;
        Self {
            job: job.id,
            circle: job.circle,
            kind: match job.provider() {
                Some(_) => "delivery",
                None => "submitted",
            },
            ending: match job.status {
                Status::Finished => "finished",
                Status::Cancelled => "cancelled",
                Status::Dead => "dead",
                Status::Pending if has_failed => "failed",
                Status::Pending => "postponed",
            },
            begun,
            failed: has_failed.then(|| Box::new(job.clone().without_results())),
        }
    }

    /// Notes that the run is committed.
    pub(super) fn committed(self) {
        busiest::count(&self.circle);
        activity::count(&self.circle, Happening::Job);
        if self.failed.is_some() {
            activity::count(&self.circle, Happening::Failure);
        }
        on_end(&Ended {
            job: self.job,
            durable: Some(self.kind),
            ending: self.ending,
            begun: Some(self.begun),
            failed: self.failed.as_deref(),
        });
    }
}

/// Counts a run that conflicted with others, and starts over. Logged under a target of its own, so that it can be watched
/// alone.
pub(super) fn starts_over(circle: &PublicKey, job: JobId) {
    activity::count(circle, Happening::Conflict);
    metrics().conflict_reruns.increment();
    tracing::debug!(target: "circled::conflicts", %job, "a run conflicted, and starts over");
}

/// Notes that a durable job is cancelled.
pub(super) fn cancelled(job: JobId) {
    on_end(&Ended {
        job,
        durable: Some("any"),
        ending: "cancelled",
        begun: None,
        failed: None,
    });
}

/// Logs a run that failed. Not the message of a script: it may quote the payload.
fn log_failure(job: &JobRecord) {
    let error = job.error.as_ref();
    let kind = error.and_then(|error| error.kind.as_ref());
    let what = match (kind, job.provider()) {
        (None, _) => "a durable job failed",
        (Some(_), Some(_)) => "a webhook's script failed",
        (Some(_), None) => "the script of a submitted job failed",
    };
    tracing::warn!(
        circle = %job.circle,
        job = %job.id,
        caller = job.caller,
        script = job.name,
        error = error.filter(|_| kind.is_none()).map(|error| &*error.message),
        kind = kind.map(Word::name),
        line = error.and_then(|error| error.line),
        tries = job.tries,
        dead = job.status == Status::Dead,
        "{what}"
    );
}
