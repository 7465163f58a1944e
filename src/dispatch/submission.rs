//! Requests for durable jobs: by a webhook, or with a login.

use std::{borrow::Cow, sync::Arc, time::Duration};

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, value::RawValue};

use super::{Delivery, JobRecord, record};
use crate::{
    auth::Action,
    circle::{Caller, Executor, JobSpec, Pinned, Task},
};

/// A caller's request to run a script, now or later, whoever is connected by then.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The circle.
    pub circle: PublicKey,
    /// The caller.
    pub caller: PublicKey,
    /// The script, as it is now.
    pub script: Arc<Pinned>,
    /// The script's `ARGS`.
    pub args: Value,
    /// The identity of the request, if a second request with it is to run nothing.
    pub identity: Option<[u8; 32]>,
    /// True if the newest version at that time runs instead.
    pub newest: bool,
    /// The time before which it doesn't run.
    pub run_at: Option<Timestamp>,
    /// The time when it was submitted.
    pub submitted_at: Timestamp,
}

/// A durable job that is about to be stored.
pub(super) struct JobRequest {
    pub(super) job: JobRecord,
    pub(super) input: Input,
    pub(super) identity: Option<[u8; 32]>,
}

/// The input of a durable job; stored as long as its record is.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Input {
    /// The script's `EVENT`.
    #[serde(
        default,
        deserialize_with = "by_itself",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) event: Option<Value>,
    /// The script's `ARGS`.
    #[serde(
        default,
        deserialize_with = "circled_json::value",
        skip_serializing_if = "Value::is_null"
    )]
    pub(super) args: Value,
    /// The script, where it isn't the provider's in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<Arc<Pinned>>,
    /// True if the circle's script of its name, as it is when it runs, replaces this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) newest: bool,
}

/// A stored input whose values stay text: once they are parsed, they take many times as much memory.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct UnreadInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Box<RawValue>>,
    /// See [`Input::script`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<Arc<Pinned>>,
    /// See [`Input::newest`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) newest: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(newest: &bool) -> bool {
    !newest
}

/// Reads the event from its own beginning: the depth of JSON is bounded from where reading begins, and an event may be
/// as deep as that.
fn by_itself<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let event = Box::<RawValue>::deserialize(deserializer)?;
    let event = circled_json::parse(event.get()).map_err(D::Error::custom)?;
    Ok(Some(event).filter(|event| !event.is_null()))
}

impl JobRequest {
    /// Creates the job of a delivery. `script`: the circle's script for it.
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

    /// Sets the script of a delivery's job, or has it run the settings' one.
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

impl UnreadInput {
    /// Parses the values.
    pub(super) fn read(&self) -> serde_json::Result<Input> {
        let parse = |text: &RawValue| circled_json::parse(text.get());
        let event = self.event.as_deref().map(parse).transpose()?;
        let args = self.args.as_deref().map(parse).transpose()?;
        Ok(Input {
            event: event.filter(|event| !event.is_null()),
            args: args.unwrap_or_default(),
            script: self.script.clone(),
            newest: self.newest,
        })
    }
}

impl Input {
    /// Returns what a job runs now, by the rules of `executor`: its own script, or the provider's. Nothing, if there is
    /// neither.
    pub(super) fn spec<'a>(
        &'a self,
        job: &'a JobRecord,
        provided: Option<&'a str>,
        executor: &Executor,
    ) -> Option<JobSpec<'a>> {
        let task = match (&self.script, job.name.as_deref()) {
            (Some(_), Some(name)) if self.newest => Task::Named {
                name: name.into(),
                version: None,
            },
            (Some(pinned), _) => Task::Pinned(pinned.clone()),
            (None, _) => Task::Source(provided?.into()),
        };
        let (caller, requires) = match (job.provider(), job.submitter()) {
            (Some(provider), _) => (Caller::Provider(provider.into()), None),
            (None, Some(key)) => {
                let action = job.name.as_ref().map_or(Action::Play, |_| Action::Call);
                let requires = executor.requires(&job.circle, &key, action);
                (Caller::Key(key), requires)
            }
            (None, None) => return None,
        };
        Some(JobSpec {
            id: job.id,
            circle: job.circle,
            caller,
            requires,
            task,
            args: Cow::Borrowed(&self.args),
            event: self.event.as_ref().map(Cow::Borrowed),
            timeout: Duration::MAX,
        })
    }
}

/// Returns the payload in a stored input.
pub(super) fn payload(kept: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Input {
        event: Event,
    }

    #[derive(Deserialize)]
    struct Event {
        payload: Box<RawValue>,
    }

    let input: Input = circled_json::from_slice(kept).ok()?;
    Some(input.event.payload)
}

impl std::fmt::Debug for UnreadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_struct("UnreadInput").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{golden, script::PinnedModules};

    #[test]
    fn inputs_are_stored_as_before() {
        let check = |name, input: &Input, objects: &[&str]| {
            let written = serde_json::to_string(input).unwrap();
            golden::check_json(name, &written, objects, |text| {
                let input: Input = circled_json::from_str(text).ok()?;
                let unread: UnreadInput = circled_json::from_str(text).ok()?;
                let again = serde_json::to_string(&unread.read().ok()?).ok()?;
                assert_eq!(serde_json::to_string(&input).ok()?, again);
                Some(again)
            });
        };
        let modules = [("lib/a".to_owned(), "fn a() { 1 }".into())];
        let pinned = Pinned {
            name: Some("greet".to_owned()),
            version: Some("a".repeat(64)),
            source: "import \"lib/a\" as a; a::a()".into(),
            modules: Arc::new(PinnedModules(modules.into_iter().collect())),
        };
        let submitted = Input {
            event: None,
            args: json!({ "n": [1, 2.0, null, "\u{2028}"] }),
            script: Some(Arc::new(pinned)),
            newest: true,
        };
        check("input_of_submission", &submitted, &["", "/script"]);
        let event = json!({ "provider": "stripe", "id": "evt_1", "type": null, "payload": [1] });
        let delivered = Input {
            event: Some(event),
            ..Input::default()
        };
        check("input_of_delivery", &delivered, &[""]);
        check("input_of_nothing", &Input::default(), &[""]);
    }

    #[test]
    fn what_was_sent_may_be_as_deep_as_json_is_read() {
        for depth in [0, 1, 100, 126, 127] {
            let text = format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
            let event: Option<Value> = Some(circled_json::parse(&text).unwrap());
            let input = Input {
                event,
                ..Input::default()
            };
            let kept = serde_json::to_vec(&input).unwrap();
            let read: Input = circled_json::from_slice(&kept).unwrap();
            assert_eq!(read.event, input.event, "{depth}");
        }
        let none: Input = circled_json::from_str("{}").unwrap();
        assert!(none.event.is_none() && none.args.is_null() && none.script.is_none());
    }

    #[test]
    fn what_a_job_runs_on_stays_as_it_is_written_when_its_script_changes() {
        for values in [
            r#""event":{"payload":{"a":1.0,"a":[{}]}},"args":[1e400,"\u2028"]"#,
            r#""args":[1,null]"#,
            r#""event":[]"#,
        ] {
            for rest in ["", ",\"newest\":true"] {
                let kept = format!("{{{values}{rest}}}");
                let read: UnreadInput = circled_json::from_str(&kept).unwrap();
                assert_eq!(serde_json::to_string(&read).unwrap(), kept);
            }
        }
    }
}
