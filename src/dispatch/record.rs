//! The record of a durable job, and the rules by which it changes: they are the same in every backend.

use std::time::Duration;

use circled_json::Json;
use circled_protocol::{
    DeviceKey, JobId, JobKind, JobStatus, PublicKey,
    methods::{Job, JobError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Delivery, Progress, Series, Submission, settings};
use crate::{
    circle::Caller,
    script::{Failure, Outcome, RunError, Success},
    store::{self, NewEvent, SubmittedJob},
};

/// The pause before a job runs again that there was no room to set aside, twice as long after each further time, and
/// the longest one.
const DISPLACED: Duration = Duration::from_millis(500);
const DISPLACED_AT_MOST: Duration = Duration::from_secs(8);
/// Of so many times, a job begins once although there is no room: it may have more right to it than those that have it.
const BEGINS_WITHOUT_ROOM: u32 = 4;

/// Servers that may die while they run a job, one after another, before it is dead.
pub(super) const MAX_CRASHES: u32 = 3;

/// A durable job, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// The circle that it runs in.
    #[serde(with = "circled_protocol::trusted")]
    pub circle: PublicKey,
    /// The caller: a public key, or `webhook:<provider>`.
    pub caller: String,
    /// The key of the caller's device that submitted it, if one did.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "circled_protocol::trusted::device::option"
    )]
    pub device: Option<DeviceKey>,
    /// The script's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The script's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// True if the caller was below member when it was submitted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_guest: bool,
    /// The time that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The event's id, if it has one.
    pub event_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The series that its delivery belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// The time when it came.
    pub received_at: Timestamp,
    /// Its status.
    pub status: Status,
    /// Runs of the script that came to an end, well or not.
    pub tries: u32,
    /// Servers that died while they ran it, since its last run that came to an end.
    pub crashes: u32,
    /// The number of times, since its last run that came to an end, that there was no room to set it aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub displaced: u32,
    /// Not before then will it run.
    pub due: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The script's value as Rhai prints it.
    pub output: Option<String>,
    /// The same as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// The last error.
    pub error: Option<JobError>,
    /// The stored bytes of a record that can't be read, for a version that can: this record stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Box<str>>,
    /// The lines that the last run which came to an end has printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

/// The status of a durable job, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for its turn, or for its next try.
    Pending,
    /// It ended successfully.
    Finished,
    /// It was cancelled before it ended.
    Cancelled,
    /// It ended without success, and waits for an operator.
    Dead,
}

impl From<JobStatus> for Status {
    fn from(shown: JobStatus) -> Self {
        match shown {
            JobStatus::Pending | JobStatus::Running | JobStatus::Failed => Self::Pending,
            JobStatus::Finished => Self::Finished,
            JobStatus::Cancelled => Self::Cancelled,
            JobStatus::Dead => Self::Dead,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        })
    }
}

impl JobRecord {
    /// The job of a new delivery.
    pub(super) fn of_delivery(id: JobId, delivery: &Delivery) -> Self {
        let caller = Caller::Provider((&*delivery.provider).into()).to_string();
        Self {
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
            series: delivery.series.clone(),
            ..Self::new(id, delivery.circle, caller, delivery.received_at)
        }
    }

    /// The job that a caller asks for.
    pub(super) fn of_submission(id: JobId, submission: &Submission) -> Self {
        let Submission {
            circle,
            caller,
            device,
            script,
            ..
        } = submission;
        Self {
            device: *device,
            name: script.name.clone(),
            version: script.version.clone().filter(|_| !submission.newest),
            by_guest: submission.by_guest,
            run_at: submission.run_at,
            due: submission.run_at,
            ..Self::new(id, *circle, caller.to_string(), submission.submitted_at)
        }
    }

    fn new(id: JobId, circle: PublicKey, caller: String, received_at: Timestamp) -> Self {
        Self {
            id,
            circle,
            caller,
            device: None,
            name: None,
            version: None,
            by_guest: false,
            run_at: None,
            event_id: None,
            event_type: None,
            series: None,
            received_at,
            status: Status::Pending,
            tries: 0,
            crashes: 0,
            displaced: 0,
            due: None,
            ended_at: None,
            output: None,
            value: None,
            error: None,
            logs: Vec::new(),
            unread: None,
        }
    }

    /// Reads a stored record. For one that can't be read it returns a record that says so, and whose every try fails;
    /// nothing, if its circle isn't known.
    pub(super) fn read(id: JobId, circle: Option<PublicKey>, stored: &[u8]) -> Option<Self> {
        let Ok(job) = circled_json::from_slice::<Self>(stored) else {
            return Self::in_place_of(id, circle, stored);
        };
        let original = job
            .unread
            .as_deref()
            .filter(|_| job.status == Status::Pending);
        let original = original.and_then(|stored| circled_json::from_str::<Self>(stored).ok());
        Some(match original {
            // Some other version has taken it for one that can't be read.
            Some(original) => Self {
                tries: job.tries,
                ..original
            },
            None => job,
        })
    }

    fn in_place_of(id: JobId, circle: Option<PublicKey>, stored: &[u8]) -> Option<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Partial {
            circle: Json,
            caller: Json,
        }
        let partial: Partial = circled_json::from_slice(stored).unwrap_or_default();
        let circle = circle.or_else(|| partial.circle.as_str()?.parse().ok())?;
        let caller = partial.caller.as_str().unwrap_or("unknown").to_owned();
        Some(Self {
            unread: Some(String::from_utf8_lossy(stored).into()),
            ..Self::new(id, circle, caller, id.made_at())
        })
    }

    /// Logs that a job can't be read, once for each.
    pub(super) fn log_unreadable(&self) {
        if self.tries == 0 {
            tracing::error!(
                circle = %self.circle,
                job = %self.id,
                "failed to read a durable job: it is damaged, or of a newer version; each try of it fails"
            );
        }
    }

    /// The provider that sent it, if one did.
    pub fn provider(&self) -> Option<&str> {
        self.caller.strip_prefix(Caller::PROVIDER)
    }

    /// Its kind.
    pub fn kind(&self) -> JobKind {
        match self.provider() {
            Some(_) => JobKind::Delivery,
            None => JobKind::Submitted,
        }
    }

    /// The key that asked for it, if one did.
    pub fn submitter(&self) -> Option<PublicKey> {
        // It has proved it: no need to find its point.
        let mut bytes = [0; PublicKey::LENGTH];
        hex::decode_to_slice(&self.caller, &mut bytes).ok()?;
        Some(PublicKey::from_stored(bytes))
    }

    /// Returns the caller who submitted it, or nothing for a delivery.
    pub(super) fn submitted_by(&self) -> &str {
        match self.provider() {
            Some(_) => "",
            None => &self.caller,
        }
    }

    /// Returns about how many bytes it has.
    pub(super) fn size(&self) -> usize {
        let output = self.output.as_ref().map_or(0, String::len);
        let value = self.value.as_ref().map_or(0, |value| value.get().len());
        let logs: usize = self.logs.iter().map(|line| line.len() + 8).sum();
        let unread = self.unread.as_ref().map_or(0, |stored| stored.len());
        512 + output + value + logs + unread
    }

    /// Returns the series whose final delivery, once it is committed, keeps this job from having any effect.
    pub(super) fn superseded_by(&self) -> Option<&[u8; 32]> {
        let series = self.series.as_ref().filter(|series| !series.is_final)?;
        Some(&series.identity)
    }

    /// Returns whether it begins only if there is room to set it aside. Jobs that don't fit together would otherwise take
    /// all the time for runs that come to nothing.
    pub(super) fn needs_room(&self) -> bool {
        !self.displaced.is_multiple_of(BEGINS_WITHOUT_ROOM)
    }

    /// Notes how a run ended. Returns nothing where it isn't over.
    pub(super) fn ran(
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
    pub(super) fn supersede(&mut self, now: Timestamp) -> Progress {
        self.tries += 1;
        self.status = Status::Finished;
        self.output = Some("superseded by the final delivery".to_owned());
        self.error = None;
        self.due = None;
        self.ended_at = Some(now);
        Progress::Finished
    }

    /// Cancels it.
    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.status = Status::Cancelled;
        self.due = None;
        self.ended_at = Some(now);
    }

    /// Has it run again at the time `due`; that was no try.
    pub(super) fn postpone(&mut self, due: Timestamp) -> Progress {
        self.due = Some(due);
        Progress::Accepted
    }

    /// Counts a failed try: it runs again when it is [due](Self::due), or it is dead.
    pub(super) fn fail(
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
    pub(super) fn crash(&mut self, now: Timestamp) {
        self.crashes += 1;
        if self.crashes >= MAX_CRASHES {
            self.died_of(now);
        }
    }

    /// Makes a job dead that too many servers died of.
    pub(super) fn died_of(&mut self, now: Timestamp) -> Progress {
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
    pub(super) fn may_be_retried(&self) -> bool {
        matches!(self.status, Status::Dead | Status::Cancelled)
    }

    /// Has a dead or cancelled job run again, from the first try: at its time, if that is still to come. If its submitter
    /// retries it, it runs by the key that they use now.
    pub(super) fn retry(&mut self, now: Timestamp, by: Option<&Caller<'_>>) {
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

    /// Returns how long its record is stored once it is over.
    pub(super) fn keep_for(&self, settings: &settings::Durable) -> Option<Duration> {
        match self.status {
            Status::Pending => None,
            Status::Finished | Status::Cancelled => Some(settings.keep_for),
            Status::Dead => Some(settings.keep_dead_for),
        }
    }
}

impl JobRecord {
    /// Its status.
    pub fn state(&self, running: bool) -> JobStatus {
        match self.status {
            Status::Pending if running => JobStatus::Running,
            Status::Pending if self.tries > 0 => JobStatus::Failed,
            Status::Pending => JobStatus::Pending,
            Status::Finished => JobStatus::Finished,
            Status::Cancelled => JobStatus::Cancelled,
            Status::Dead => JobStatus::Dead,
        }
    }

    /// Returns it as it is shown.
    pub fn view(self, running: bool) -> Job<Box<RawValue>> {
        Job {
            status: self.state(running).into(),
            job_id: self.id,
            circle: self.circle,
            caller: self.caller,
            device: self.device,
            name: self.name,
            version: self.version,
            event_id: self.event_id,
            event_type: self.event_type,
            submitted_at: self.received_at,
            run_at: self.run_at,
            due: self.due,
            ended_at: self.ended_at,
            tries: self.tries,
            crashes: self.crashes,
            output: self.output,
            value: self.value,
            error: self.error,
            logs: self.logs,
            input_bytes: None,
        }
    }

    /// Returns it as a commit takes it. `input`: its input, unless that stays as it is stored; `replaced`: the record that
    /// it had, if it runs again.
    pub(super) fn submitted(
        &self,
        input: Option<&impl Serialize>,
        replaced: Option<store::Value>,
    ) -> SubmittedJob {
        SubmittedJob {
            id: self.id,
            submitter: self.submitter(),
            due: self.due,
            record: json(self),
            input: input.map(json),
            replaced,
        }
    }

    /// Returns the event of a job that has just been stored. A delivery has none: there are many, and most of them have
    /// run in the next moment.
    pub(super) fn accepted_event(&self) -> Option<NewEvent> {
        self.provider().is_none().then(|| self.change_event())
    }

    /// Returns whether its event is published only if somebody listens: for a delivery that has ended well at its first
    /// run. There are many, and the log is for what nobody would find otherwise.
    pub(super) fn is_routine(&self) -> bool {
        self.provider().is_some() && self.status == Status::Finished && self.tries == 1
    }

    /// Returns it without its results, which may be large.
    pub(crate) fn without_results(self) -> Self {
        Self {
            output: None,
            value: None,
            logs: Vec::new(),
            ..self
        }
    }

    /// Returns the event of a change: its submitter and the owner receive it; of a delivery's, the owner alone.
    pub(super) fn change_event(&self) -> NewEvent {
        let bare = Self {
            output: None,
            value: None,
            error: self.error.clone(),
            caller: self.caller.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            event_id: self.event_id.clone(),
            event_type: self.event_type.clone(),
            series: None,
            unread: None,
            logs: Vec::new(),
            ..*self
        };
        let view = bare.view(false);
        NewEvent {
            topic: format!("job.{}", self.id).into(),
            data: json(&view),
            to: Some(self.submitter().unwrap_or(self.circle)),
        }
    }
}

/// Returns a value as it is stored.
pub(super) fn json(value: &impl Serialize) -> store::Value {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Returns the error of a job that can't be read, or whose input can't.
pub(super) fn unreadable() -> JobError {
    JobError::plain("the record of this job can't be read: it is damaged, or of a newer version")
}

/// Returns the error of a delivery for which there is nothing to run any more.
pub(super) fn no_provider(job: &JobRecord) -> JobError {
    let provider = job.provider().unwrap_or_default();
    JobError::plain(format!(
        "the settings no longer have a provider \"{provider}\""
    ))
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

/// Returns the script's `EVENT`.
pub(super) fn event(delivery: &Delivery) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct Event<'a> {
        provider: &'a str,
        id: Option<&'a str>,
        r#type: Option<&'a str>,
        payload: &'a RawValue,
        received_at: Timestamp,
    }

    let event = Event {
        provider: &delivery.provider,
        id: delivery.event_id.as_deref(),
        r#type: delivery.event_type.as_deref(),
        payload: &delivery.payload,
        received_at: delivery.received_at,
    };
    to_raw_value(&event).ok()
}

/// Keeps the first lines that have room, with a last one that says so where there were more.
fn fitting_logs(mut logs: Vec<String>, room: usize) -> Vec<String> {
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
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Returns the pause after so many runs that failed, or had no room: twice as long after each, up to `at_most`. It is not
/// the same for all: from three quarters to all of that.
fn backoff(first: Duration, runs: u32, at_most: Duration) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(runs.saturating_sub(1)));
    let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    doubled.min(at_most).mul_f64(0.75 + jitter / 4.0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use circled_protocol::{DeviceKey, FailureKind, JobId, SecretKey, methods::JobError};
    use jiff::Timestamp;

    use super::{JobRecord, RunError, Series, Status, fitting_logs};
    use crate::golden;

    #[test]
    fn records_are_stored_as_before() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let new = JobRecord::new(JobId::from_bytes([7; 16]), key, key.to_string(), at(0));
        let text = |text: &str| Some(text.to_owned());
        let dead = JobRecord {
            caller: "webhook:stripe".to_owned(),
            name: text("on_stripe"),
            version: text("aa"),
            event_id: text("evt_1"),
            event_type: text("ping"),
            series: Some(Series {
                identity: [9; 32],
                is_final: true,
            }),
            status: Status::Dead,
            tries: 5,
            crashes: 1,
            ended_at: Some(at(60)),
            error: Some(JobError {
                kind: Some(FailureKind::Runtime.into()),
                message: "no".to_owned(),
                line: Some(3),
                column: Some(1),
            }),
            logs: vec!["a line".to_owned()],
            unread: Some("{\"id\":".into()),
            ..new.clone()
        };
        let finished = JobRecord {
            status: Status::Finished,
            tries: 1,
            run_at: Some(at(30)),
            ended_at: Some(at(31)),
            output: text("[1.0, 2]"),
            value: Some(circled_json::from_str("[1.0,9007199254740993]").unwrap()),
            ..new.clone()
        };
        let displaced = JobRecord {
            displaced: 2,
            due: Some(at(1)),
            ..new.clone()
        };
        let delayed = JobRecord {
            run_at: Some(at(30)),
            due: Some(at(30)),
            ..new.clone()
        };
        let of_device = JobRecord {
            device: DeviceKey::from_stored_hex(&key.to_string()),
            ..new.clone()
        };
        let of_guest = JobRecord {
            by_guest: true,
            ..new.clone()
        };
        let cancelled = JobRecord {
            status: Status::Cancelled,
            ended_at: Some(at(1)),
            ..new.clone()
        };
        for (name, job) in [
            ("job", new),
            ("job_delayed", delayed),
            ("job_of_guest", of_guest),
            ("job_displaced", displaced),
            ("job_finished", finished),
            ("job_cancelled", cancelled),
            ("job_dead", dead),
            ("job_of_device", of_device),
        ] {
            let written = serde_json::to_string(&job).unwrap();
            golden::check_json(name, &written, &[""], |text| {
                let read = JobRecord::read(job.id, Some(key), text.as_bytes())?;
                assert_eq!(read.unread, job.unread, "it can't be read: {text}");
                serde_json::to_string(&read).ok()
            });
        }
    }

    #[test]
    fn what_finds_no_room_pauses_longer_each_time() {
        let loaded = crate::config::Settings::load(None, []).unwrap();
        let settings = &loaded.settings.dispatch.durable;
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let now = Timestamp::UNIX_EPOCH;
        let mut job = JobRecord::new(JobId::from_bytes([7; 16]), key, key.to_string(), now);
        let mut needed = Vec::new();
        for most in [500, 1000, 2000, 4000, 8000, 8000] {
            needed.push(job.needs_room());
            job.ran(Err(RunError::Displaced), now, settings).unwrap();
            let due = job.due.unwrap().as_millisecond();
            assert!(due <= most && due >= most * 3 / 4, "{due}");
        }
        assert_eq!(needed, [false, true, true, true, false, true]);
        job.fail(JobError::plain("no".to_owned()), now, settings);
        assert_eq!((job.tries, job.displaced), (1, 0));
    }

    #[test]
    fn what_was_printed_is_kept_as_far_as_there_is_room() {
        let lines = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let cut = "(more was logged than is kept)";
        let all: Vec<String> = lines(&["one", "two", "three"]);
        for (room, left) in [
            (0, vec![cut]),
            (34, vec![cut]),
            (35, vec!["one", cut]),
            (106, vec!["one", "two", cut]),
            (107, vec!["one", "two", "three"]),
        ] {
            assert_eq!(fitting_logs(all.clone(), room), left, "{room}");
        }
        assert!(fitting_logs(Vec::new(), 0).is_empty());
    }
}
