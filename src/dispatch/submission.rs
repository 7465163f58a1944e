//! Requests for durable jobs: by a webhook, or with a login.

use std::{borrow::Cow, sync::Arc, time::Duration};

use circled_protocol::{DeviceKey, JobId, PublicKey, methods::JobInput};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{Delivery, JobRecord, record};
use crate::{
    auth::Action,
    circle::{Caller, Executor, JobSpec, Pinned, Task},
    script::{DurableTry, Occasion},
    weight,
};

/// The bytes up to which an input is parsed on a thread that others wait for, by what it takes in memory then.
pub(super) const MAX_INLINE_INPUT: usize = 1 << 20;

/// A caller's request to run a script, now or later, whoever is connected by then.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The circle.
    pub circle: PublicKey,
    /// The caller.
    pub caller: PublicKey,
    /// The key of the caller's device that submits it, if one does.
    pub device: Option<DeviceKey>,
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
    /// True if the caller is below member.
    pub by_guest: bool,
    /// The time when it was submitted.
    pub submitted_at: Timestamp,
}

/// A durable job that is about to be stored.
pub(super) struct JobRequest {
    pub(super) job: JobRecord,
    pub(super) input: Input,
    pub(super) identity: Option<[u8; 32]>,
}

/// The input of a durable job; stored as long as its record is. Its values stay text until it runs: once they are
/// parsed, they take many times as much memory.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Input {
    /// The script's `EVENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<Box<RawValue>>,
    /// The script's `ARGS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Box<RawValue>>,
    /// The script, where it isn't the provider's in the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<Arc<Pinned>>,
    /// True if the circle's script of its name, as it is when it runs, replaces this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) newest: bool,
}

/// An input whose values are parsed.
pub(super) struct ParsedInput<'a> {
    event: Option<Value>,
    args: Value,
    input: &'a Input,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(newest: &bool) -> bool {
    !newest
}

impl JobRequest {
    /// Creates the job of a delivery. `script`: the circle's script for it.
    pub(super) fn of_delivery(delivery: Delivery, script: Option<Arc<Pinned>>) -> Self {
        let identity = delivery.identity;
        let mut request = Self {
            job: JobRecord::of_delivery(JobId::new(), &delivery),
            identity,
            input: Input {
                event: record::event(&delivery),
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
                args: to_raw_value(&submission.args)
                    .ok()
                    .filter(|_| !submission.args.is_null()),
                script: Some(submission.script),
                newest: submission.newest,
            },
        }
    }
}

impl Input {
    /// Returns about how many bytes the values take once they are parsed.
    pub(super) fn weight(&self) -> usize {
        let values = [&self.event, &self.args].into_iter().flatten();
        values.map(|text| weight::of_json(text.get())).sum()
    }

    /// Parses the values, each from its own beginning: the depth of JSON is bounded from where parsing begins, and an
    /// event may be as deep as that.
    pub(super) fn parse(&self) -> serde_json::Result<ParsedInput<'_>> {
        let parse = |text: &RawValue| circled_json::parse(text.get());
        let event = self.event.as_deref().map(parse).transpose()?;
        let args = self.args.as_deref().map(parse).transpose()?;
        Ok(ParsedInput {
            event: event.filter(|event| !event.is_null()),
            args: args.unwrap_or_default(),
            input: self,
        })
    }
}

impl ParsedInput<'_> {
    /// Returns what a job runs now, by the rules of `executor`: its own script, or the provider's. Nothing, if there is
    /// neither. `occasion` is that of this try.
    pub(super) fn spec<'a>(
        &'a self,
        job: &'a JobRecord,
        occasion: Occasion,
        provided: Option<&'a str>,
        executor: &Executor,
    ) -> Option<JobSpec<'a>> {
        let Input { script, newest, .. } = self.input;
        let task = match (script, job.name.as_deref()) {
            (Some(_), Some(name)) if *newest => Task::Named {
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
                let caller = match job.device {
                    Some(device) => Caller::Device { key, device },
                    None => Caller::Key(key),
                };
                (caller, requires)
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
            seed: occasion.seed,
            durable: Some(DurableTry {
                time: occasion.time,
                due: job.run_at.unwrap_or(job.received_at).as_millisecond(),
                submitted_at: job.received_at.as_millisecond(),
                tries: job.tries,
            }),
            request: None,
            tells_effects: false,
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

/// Returns what a caller has submitted, from a stored input; nothing for a delivery.
pub(super) fn submitted(kept: &[u8]) -> Option<JobInput<Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Input {
        event: Option<IgnoredAny>,
        args: Option<Box<RawValue>>,
        script: Option<Script>,
    }

    #[derive(Deserialize)]
    struct Script {
        name: Option<IgnoredAny>,
        source: String,
    }

    let input: Input = circled_json::from_slice(kept).ok()?;
    // Who calls a script by its name need not be one who may read it.
    let script = input.script.filter(|script| script.name.is_none());
    input.event.is_none().then(|| JobInput {
        script: script.map(|script| script.source),
        args: input.args,
    })
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
                input.parse().ok()?;
                serde_json::to_string(&input).ok()
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
            args: to_raw_value(&json!({ "n": [1, 2.0, null, "\u{2028}"] })).ok(),
            script: Some(Arc::new(pinned)),
            newest: true,
        };
        check("input_of_submission", &submitted, &["", "/script"]);
        let event = json!({ "provider": "stripe", "id": "evt_1", "type": null, "payload": [1] });
        let delivered = Input {
            event: to_raw_value(&event).ok(),
            ..Input::default()
        };
        check("input_of_delivery", &delivered, &[""]);
        check("input_of_nothing", &Input::default(), &[""]);
    }

    #[test]
    fn what_was_sent_may_be_as_deep_as_json_is_read() {
        for depth in [0, 1, 100, 126, 127] {
            let text = format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
            let event: Value = circled_json::parse(&text).unwrap();
            let input = Input {
                event: to_raw_value(&event).ok(),
                ..Input::default()
            };
            let kept = serde_json::to_vec(&input).unwrap();
            let read: Input = circled_json::from_slice(&kept).unwrap();
            assert_eq!(read.parse().unwrap().event, Some(event), "{depth}");
        }
        let none: Input = circled_json::from_str("{}").unwrap();
        let parsed = none.parse().unwrap();
        assert!(parsed.event.is_none() && parsed.args.is_null() && none.script.is_none());
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
                let read: Input = circled_json::from_str(&kept).unwrap();
                assert_eq!(serde_json::to_string(&read).unwrap(), kept);
            }
        }
    }
}
