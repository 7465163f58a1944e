//! The record of a durable job, the same in every backend. `changes` has the rules by which it changes, `view` how it is
//! shown.

mod changes;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use circled_json::Json;
use circled_protocol::{DeviceKey, JobId, JobKind, JobStatus, PublicKey, methods::JobError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Delivery, Series, Submission, settings};
use crate::{circle::Caller, store};

pub(super) use changes::{MAX_CRASHES, later};

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

    /// Returns how long its record is stored once it is over.
    pub(super) fn keep_for(&self, settings: &settings::Durable) -> Option<Duration> {
        match self.status {
            Status::Pending => None,
            Status::Finished | Status::Cancelled => Some(settings.keep_for),
            Status::Dead => Some(settings.keep_dead_for),
        }
    }
}

/// Returns whether a stored record can be that of a job of a circle.
pub(super) fn fits(circle: &PublicKey, id: JobId, stored: &[u8]) -> bool {
    /// More times than this, nothing is tried.
    const MOST: u32 = 1 << 20;
    JobRecord::read(id, Some(*circle), stored).is_some_and(|job| {
        let times = job.tries.max(job.crashes).max(job.displaced);
        job.id == id && job.circle == *circle && times <= MOST
    })
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}
