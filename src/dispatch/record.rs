//! A durable job as it is kept, and what becomes of it: decisions that are the same wherever it is kept.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Delivery, JobId, Progress, Series, settings};
use crate::{
    auth::PublicKey,
    script::{Ending, Failure, FailureKind},
};

/// Servers that may die while they run a job, one after another, before it is given up.
pub(super) const MAX_CRASHES: u32 = 3;

/// A durable job, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Where it runs.
    #[serde(with = "crate::auth::trusted")]
    pub circle: PublicKey,
    /// Who runs it: `webhook:` and the provider.
    pub caller: String,
    /// The provider's name for the event, if it has one.
    pub event_id: Option<String>,
    /// What kind of event.
    pub event_type: Option<String>,
    /// The series that its delivery belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// When it came.
    pub received_at: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// Runs that ended with an error of the script.
    pub tries: u32,
    /// Runs that ended with the server, since one that came to its end.
    pub crashes: u32,
    /// Not before then will it run.
    pub due: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What the script answered, as Rhai prints it.
    pub output: Option<String>,
    /// What went wrong last.
    pub error: Option<JobError>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for its turn, or for its next try.
    Pending,
    /// It ended well.
    Finished,
    /// It was given up, and waits for somebody to look at it.
    Dead,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Finished => "finished",
            Self::Dead => "dead",
        })
    }
}

/// What went wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// Which sort of failure; nothing where the script wasn't to blame.
    pub kind: Option<FailureKind>,
    /// In words.
    pub message: String,
    /// Line in the script, from 1.
    pub line: Option<usize>,
    /// Column in the line, from 1.
    pub column: Option<usize>,
}

impl JobRecord {
    /// The job of a new delivery.
    pub(super) fn new(id: JobId, delivery: &Delivery) -> Self {
        Self {
            id,
            circle: delivery.circle,
            caller: format!("webhook:{}", delivery.provider),
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
            series: delivery.series.clone(),
            received_at: delivery.received_at,
            status: Status::Pending,
            tries: 0,
            crashes: 0,
            due: None,
            ended_at: None,
            output: None,
            error: None,
        }
    }

    /// The provider that sent it.
    pub(super) fn provider(&self) -> &str {
        self.caller.strip_prefix("webhook:").unwrap_or_default()
    }

    /// What keeps the job from having any effect, once that is remembered as final.
    pub(super) fn superseded_by(&self) -> Option<&[u8; 32]> {
        let series = self.series.as_ref().filter(|series| !series.is_final)?;
        Some(&series.identity)
    }

    /// What a run came to that was given so much time. Nothing, where it isn't over.
    pub(super) fn ran(
        &mut self,
        ending: Ending,
        time: Duration,
        now: Timestamp,
        settings: &settings::Durable,
    ) -> Option<Progress> {
        let error = match ending {
            Ending::Finished(Ok(success)) => return Some(self.finish(success.output, now)),
            Ending::Finished(Err(failure)) => JobError::from(&failure),
            Ending::TimedOut => {
                JobError::plain(format!("it took longer than {} ms", time.as_millis()))
            }
            Ending::Cancelled | Ending::Unavailable => return None,
        };
        Some(self.fail(error, now, settings))
    }

    /// It ended well.
    fn finish(&mut self, output: String, now: Timestamp) -> Progress {
        self.status = Status::Finished;
        self.output = Some(output);
        self.error = None;
        self.due = None;
        self.ended_at = Some(now);
        Progress::Finished
    }

    /// It ended without any effect: the final delivery of its series has been committed.
    pub(super) fn supersede(&mut self, now: Timestamp) -> Progress {
        self.finish("superseded by the final delivery".to_owned(), now)
    }

    /// It runs again then; that was no try.
    pub(super) fn postpone(&mut self, due: Timestamp) -> Progress {
        self.due = Some(due);
        Progress::Accepted
    }

    /// The script failed: it runs again when it is [due](Self::due), or it is dead.
    pub(super) fn fail(
        &mut self,
        error: JobError,
        now: Timestamp,
        settings: &settings::Durable,
    ) -> Progress {
        self.tries += 1;
        // It has been run to its end: whatever the server died of before, it wasn't this.
        self.crashes = 0;
        self.error = Some(error);
        if self.tries >= settings.max_tries {
            self.give_up(now);
        } else {
            self.due = Some(later(now, backoff(self.tries, settings)));
        }
        Progress::Failed
    }

    /// A server died while it ran the job: it runs again, or it is dead.
    pub(super) fn crash(&mut self, now: Timestamp) {
        self.crashes += 1;
        if self.crashes >= MAX_CRASHES {
            self.died_of(now);
        }
    }

    /// Too many servers died while they ran the job.
    pub(super) fn died_of(&mut self, now: Timestamp) -> Progress {
        self.crashes = MAX_CRASHES;
        let message = format!("the server died {MAX_CRASHES} times while it ran this job");
        self.error = Some(JobError::plain(message));
        self.give_up(now);
        Progress::Failed
    }

    /// Tells of a run that failed. Not what the script says: it may say what was sent.
    pub(super) fn log_failure(&self) {
        let error = self.error.as_ref();
        let (kind, line) = (
            error.and_then(|error| error.kind),
            error.and_then(|error| error.line),
        );
        let dead = self.status == Status::Dead;
        tracing::warn!(circle = %self.circle, job = %self.id, ?kind, line, dead, "a webhook's script failed");
    }

    fn give_up(&mut self, now: Timestamp) {
        self.status = Status::Dead;
        self.due = None;
        self.ended_at = Some(now);
    }

    /// Somebody wants a dead job to run again, from the first try.
    pub(super) fn retry(&mut self) {
        self.status = Status::Pending;
        self.tries = 0;
        self.crashes = 0;
        self.due = None;
        self.ended_at = None;
    }

    /// How long its record is kept once it is over.
    pub(super) fn keep_for(&self, settings: &settings::Durable) -> Option<Duration> {
        match self.status {
            Status::Pending => None,
            Status::Finished => Some(settings.keep_for),
            Status::Dead => Some(settings.keep_dead_for),
        }
    }
}

impl JobError {
    /// One that is not the script's fault, or nowhere in it.
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self {
            kind: None,
            message: message.into(),
            line: None,
            column: None,
        }
    }
}

impl From<&Failure> for JobError {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: Some(failure.kind),
            message: failure.message.clone(),
            line: failure.line,
            column: failure.column,
        }
    }
}

/// What a script sees as `EVENT`.
pub(super) fn event(delivery: Delivery) -> Value {
    let text = |text: Option<String>| text.map_or(Value::Null, Value::String);
    let members = [
        ("provider", Value::String(delivery.provider.to_string())),
        ("id", text(delivery.event_id)),
        ("type", text(delivery.event_type)),
        ("payload", delivery.payload),
        (
            "received_at",
            Value::String(delivery.received_at.to_string()),
        ),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Later by `by`, or as late as can be told.
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Twice as long after each failure, and not all at the same moment: from three quarters to all of it.
fn backoff(tries: u32, settings: &settings::Durable) -> Duration {
    let doubled = settings
        .retry_after
        .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    doubled
        .min(settings.retry_at_most)
        .mul_f64(0.75 + jitter / 4.0)
}
