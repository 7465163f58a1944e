//! The rules by which the record of a durable job changes.

use std::time::Duration;

use circled_protocol::methods::JobError;
use jiff::Timestamp;

use super::{JobRecord, Status};
use crate::{
    circle::Caller,
    dispatch::{Progress, settings},
    script::{Failure, Outcome, RunError, Success},
};

/// The pause before a job runs again that there was no room to set aside, twice as long after each further time, and
/// the longest one.
const DISPLACED: Duration = Duration::from_millis(500);
const DISPLACED_AT_MOST: Duration = Duration::from_secs(8);
/// Of so many times, a job begins once although there is no room: it may have more right to it than those that have it.
const BEGINS_WITHOUT_ROOM: u32 = 4;

/// Servers that may die while they run a job, one after another, before it is dead.
pub(in crate::dispatch) const MAX_CRASHES: u32 = 3;

impl JobRecord {
    /// Returns whether it begins only if there is room to set it aside. Jobs that don't fit together would otherwise take
    /// all the time for runs that come to nothing.
    pub(in crate::dispatch) fn needs_room(&self) -> bool {
        !self.displaced.is_multiple_of(BEGINS_WITHOUT_ROOM)
    }

    /// Notes how a run ended. Returns nothing where it isn't over.
    pub(in crate::dispatch) fn ran(
        &mut self,
        outcome: Outcome,
        now: Timestamp,
        settings: &settings::Durable,
    ) -> Option<Progress> {
        let error = match outcome {
            Ok(success) => return Some(self.finish(success, now, settings)),
            Err(RunError::Failed(failure)) => {
                let error = JobError::from(&*failure);
                self.set_version(failure.version.map(Into::into));
                self.logs = fitting_logs(failure.logs, settings.max_logs);
                error
            }
            Err(RunError::TimedOut { after, version }) => {
                self.set_version(version);
                JobError::plain(format!("it took longer than {} ms", after.as_millis()))
            }
            Err(RunError::Displaced) => {
                self.displaced = self.displaced.saturating_add(1);
                let pause = backoff(DISPLACED, self.displaced, DISPLACED_AT_MOST);
                return Some(self.postpone(later(now, pause)));
            }
            Err(refusal) => return self.refuse(refusal, now),
        };
        Some(self.fail(error, now, settings))
    }

    /// Ends a job that may not run: another try would mend nothing, so it is dead. That was no try.
    fn refuse(&mut self, refusal: RunError, now: Timestamp) -> Option<Progress> {
        let script = self.name.as_deref().unwrap_or_default();
        let message = match refusal {
            RunError::NotFound { what } => format!(
                "the circle no longer has a {what} \"{script}\": put one there, then retry the job"
            ),
            RunError::Forbidden { needs } => {
                let rule = if self.name.is_some() { "call" } else { "play" };
                format!(
                    "its caller may no longer run it: this needs the role \"{needs}\" (circles.{rule})"
                )
            }
            RunError::OutOfScope { needs: Some(needs) } => {
                format!("the device key that submitted it lacks the scope \"{needs}\" now")
            }
            RunError::OutOfScope { needs: None } => {
                "no device key may submit such a job".to_owned()
            }
            RunError::UnknownDevice => {
                "the device key that submitted it was removed, or has expired".to_owned()
            }
            RunError::Invalid { reason } => reason,
            RunError::Limit { limit } => format!("it exceeds {limit}"),
            RunError::Failed(_)
            | RunError::TimedOut { .. }
            | RunError::Displaced
            | RunError::Cancelled
            | RunError::Conflict
            | RunError::Outdated { .. }
            | RunError::Unavailable => return None,
        };
        self.error = Some(JobError::plain(message));
        self.give_up(now);
        Some(Progress::Failed)
    }

    /// Ends a job that succeeded.
    fn finish(
        &mut self,
        success: Success,
        now: Timestamp,
        settings: &settings::Durable,
    ) -> Progress {
        self.tries += 1;
        self.status = Status::Finished;
        self.output = Some(success.output);
        self.value = Some(success.value);
        self.set_version(success.version);
        self.logs = fitting_logs(success.logs, settings.max_logs);
        self.error = None;
        self.due = None;
        self.ended_at = Some(now);
        Progress::Finished
    }

    /// Notes which version of its script ran, where it has one.
    fn set_version(&mut self, version: Option<String>) {
        if version.is_some() {
            self.version = version;
        }
    }

    /// Ends a job without any effect: the final delivery of its series has been committed.
    pub(in crate::dispatch) fn supersede(&mut self, now: Timestamp) -> Progress {
        self.tries += 1;
        self.status = Status::Finished;
        self.output = Some("superseded by the final delivery".to_owned());
        self.error = None;
        self.due = None;
        self.ended_at = Some(now);
        Progress::Finished
    }

    /// Cancels it.
    pub(in crate::dispatch) fn cancel(&mut self, now: Timestamp) {
        self.status = Status::Cancelled;
        self.due = None;
        self.ended_at = Some(now);
    }

    /// Has it run again at the time `due`; that was no try.
    pub(in crate::dispatch) fn postpone(&mut self, due: Timestamp) -> Progress {
        self.due = Some(due);
        Progress::Accepted
    }

    /// Counts a failed try: it runs again when it is [due](Self::due), or it is dead.
    pub(in crate::dispatch) fn fail(
        &mut self,
        error: JobError,
        now: Timestamp,
        settings: &settings::Durable,
    ) -> Progress {
        self.tries += 1;
        // It has been run to its end: whatever the server died of before, it wasn't this.
        self.crashes = 0;
        self.displaced = 0;
        self.error = Some(error);
        if self.tries >= settings.max_tries.get() {
            self.give_up(now);
        } else {
            let pause = backoff(settings.retry_after, self.tries, settings.retry_at_most);
            self.due = Some(later(now, pause));
        }
        Progress::Failed
    }

    /// Counts a crash of a server that ran the job: it runs again, or it is dead.
    pub(in crate::dispatch) fn crash(&mut self, now: Timestamp) {
        self.crashes += 1;
        if self.crashes >= MAX_CRASHES {
            self.died_of(now);
        }
    }

    /// Makes a job dead that too many servers died of.
    pub(in crate::dispatch) fn died_of(&mut self, now: Timestamp) -> Progress {
        self.crashes = MAX_CRASHES;
        let message = format!("the server died {MAX_CRASHES} times while it ran this job");
        self.error = Some(JobError::plain(message));
        self.give_up(now);
        Progress::Failed
    }

    fn give_up(&mut self, now: Timestamp) {
        self.status = Status::Dead;
        self.due = None;
        self.ended_at = Some(now);
    }

    /// Returns whether it may be retried.
    pub(in crate::dispatch) fn may_be_retried(&self) -> bool {
        matches!(self.status, Status::Dead | Status::Cancelled)
    }

    /// Has a dead or cancelled job run again, from the first try: at its time, if that is still to come. If its submitter
    /// retries it, it runs by the key that they use now.
    pub(in crate::dispatch) fn retry(&mut self, now: Timestamp, by: Option<&Caller<'_>>) {
        if let Some(by) = by
            && by.key().copied() == self.submitter()
        {
            self.device = by.device().copied();
        }
        self.status = Status::Pending;
        self.tries = 0;
        self.crashes = 0;
        self.displaced = 0;
        self.due = self.run_at.filter(|run_at| *run_at > now);
        self.ended_at = None;
    }
}

/// Keeps the first lines that have room, with a last one that says so where there were more.
pub(super) fn fitting_logs(mut logs: Vec<String>, room: usize) -> Vec<String> {
    /// Bytes that a line counts besides its text.
    const PER_LINE: usize = 32;
    let mut left = room;
    let mut fitting = 0;
    for line in &logs {
        let Some(rest) = left.checked_sub(line.len() + PER_LINE) else {
            break;
        };
        left = rest;
        fitting += 1;
    }
    if fitting < logs.len() {
        logs.truncate(fitting);
        logs.push("(more was logged than is kept)".to_owned());
    }
    logs
}

/// Returns a time later by `by`, or the latest possible one.
pub(in crate::dispatch) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Returns the pause after so many runs that failed, or had no room: twice as long after each, up to `at_most`. It is not
/// the same for all: from three quarters to all of that.
fn backoff(first: Duration, runs: u32, at_most: Duration) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(runs.saturating_sub(1)));
    let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    doubled.min(at_most).mul_f64(0.75 + jitter / 4.0)
}

impl From<&Failure> for JobError {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: Some(failure.kind.into()),
            message: failure.message.clone(),
            line: failure.line,
            column: failure.column,
        }
    }
}
