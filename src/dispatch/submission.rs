//! A durable job that somebody asks for: by a webhook's request, or with a login.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, value::RawValue};

use super::{Delivery, JobId, JobRecord, record};
use crate::{
    auth::PublicKey,
    circle::{Authority, Pinned, Run, Task},
    json,
    script::Inputs,
};

/// What a caller asks to be run, now or later, whoever is connected by then.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where.
    pub circle: PublicKey,
    /// For whom.
    pub caller: PublicKey,
    /// What, as it is now.
    pub script: Arc<Pinned>,
    /// What the script sees as `ARGS`.
    pub args: Value,
    /// What tells it from all others of the circle, where asking for it twice is to run it once.
    pub identity: Option<[u8; 32]>,
    /// Whether the newest version of that runs by then, instead.
    pub newest: bool,
    /// Not before then.
    pub run_at: Option<Timestamp>,
    /// When it was asked for.
    pub submitted_at: Timestamp,
}

/// A durable job that is about to be kept.
pub(super) struct JobRequest {
    pub(super) job: JobRecord,
    pub(super) input: Input,
    pub(super) identity: Option<[u8; 32]>,
}

/// What a durable job runs on; kept as long as its record is.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Input {
    /// What the script sees as `EVENT`.
    #[serde(
        default,
        deserialize_with = "by_itself",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) event: Option<Value>,
    /// What it sees as `ARGS`.
    #[serde(
        default,
        deserialize_with = "json::value",
        skip_serializing_if = "Value::is_null"
    )]
    pub(super) args: Value,
    /// The script, where it isn't the provider's in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<Arc<Pinned>>,
    /// Whether it is what the circle has under its name when it runs, not this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) newest: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(newest: &bool) -> bool {
    !newest
}

/// How deep JSON may be is counted from where reading it begins. What was sent may be as deep as that, and so is read
/// from its own beginning.
fn by_itself<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let event = Box::<RawValue>::deserialize(deserializer)?;
    let event = json::parse(event.get()).map_err(D::Error::custom)?;
    Ok(Some(event).filter(|event| !event.is_null()))
}

impl JobRequest {
    /// The job of a delivery. `script`: what the circle has for it.
    pub(super) fn of_delivery(delivery: Delivery, script: Option<Arc<Pinned>>) -> Self {
        let identity = delivery.identity;
        let mut request = Self {
            job: JobRecord::of_delivery(JobId::new(), &delivery),
            identity,
            input: Input {
                event: Some(record::event(delivery)),
                ..Input::default()
            },
        };
        request.give(script);
        request
    }

    /// Has a delivery's job run this, or what the settings say.
    pub(super) fn give(&mut self, script: Option<Arc<Pinned>>) {
        let named = script.as_deref();
        self.job.name = named.and_then(|script| script.name.clone());
        self.job.version = named.and_then(|script| script.version.clone());
        self.input.script = script;
    }

    pub(super) fn of_submission(submission: Submission) -> Self {
        let job = JobRecord::of_submission(JobId::new(), &submission);
        Self {
            job,
            identity: submission.identity,
            input: Input {
                event: None,
                args: submission.args,
                script: Some(submission.script),
                newest: submission.newest,
            },
        }
    }
}

impl Input {
    /// Spells a job out for its script: its own, or the provider's. Nothing, where there is neither.
    pub(super) fn run<'a>(
        &'a self,
        job: &'a JobRecord,
        provided: Option<&'a str>,
    ) -> Option<Run<'a>> {
        let task = match (&self.script, job.name.as_deref()) {
            (Some(_), Some(name)) if self.newest => Task::Named {
                name,
                version: None,
            },
            (Some(pinned), _) => Task::Pinned(pinned),
            (None, _) => Task::Source(provided?),
        };
        Some(Run {
            task,
            authority: match (job.provider(), job.submitter()) {
                (Some(provider), _) => Authority::Provider(provider),
                (None, Some(caller)) => Authority::Submitted {
                    caller,
                    name: job.name.as_deref(),
                },
                (None, None) => return None,
            },
            inputs: Inputs {
                caller_id: &job.caller,
                context_id: &job.circle,
                job_id: &job.id,
                args: &self.args,
                event: self.event.as_ref(),
                modules: None,
            },
        })
    }
}

/// What was sent to have a delivery's job run, as it stands in what is kept of its input.
pub(super) fn payload(kept: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Input {
        event: Event,
    }

    #[derive(Deserialize)]
    struct Event {
        payload: Box<RawValue>,
    }

    let input: Input = json::from_slice(kept).ok()?;
    Some(input.event.payload)
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_may_be_as_deep_as_json_is_read() {
        for depth in [0, 1, 100, 126, 127] {
            let text = format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
            let event: Option<Value> = Some(json::parse(&text).unwrap());
            let input = Input {
                event,
                ..Input::default()
            };
            let kept = serde_json::to_vec(&input).unwrap();
            let read: Input = json::from_slice(&kept).unwrap();
            assert_eq!(read.event, input.event, "{depth}");
        }
        let none: Input = json::from_str("{}").unwrap();
        assert!(none.event.is_none() && none.args.is_null() && none.script.is_none());
    }
}
