//! Messages between gateways and workers, as JSON. The other end may be another version: unknown fields are skipped,
//! and new ones must have a default.

use std::borrow::Cow;

use circled_protocol::{JobId, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    circle::Run,
    dispatch::{Caller, Job, Work},
    script::Inputs,
};

/// A play, as it waits for a worker. `lua/prelude.lua` reads its name and its caller, so these come before all that others have
/// written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Play<'a> {
    pub(super) id: JobId,
    #[serde(with = "circled_protocol::trusted")]
    pub(super) circle: PublicKey,
    pub(super) caller: Caller,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) only_members: bool,
    #[serde(borrow)]
    pub(super) work: Work<'a>,
    #[serde(deserialize_with = "circled_json::cow_value")]
    pub(super) args: Cow<'a, Value>,
    pub(super) timeout_ms: u64,
    /// The gateway whose inbox the outcome goes to.
    #[serde(borrow)]
    pub(super) gateway: Cow<'a, str>,
    /// True if it couldn't be read, and this is no more than its address.
    #[serde(skip)]
    is_unread: bool,
}

impl<'a> Play<'a> {
    pub(super) fn new(job: &'a Job<'_>, gateway: &'a str) -> Self {
        Self {
            id: job.id,
            circle: job.circle,
            caller: job.caller,
            only_members: job.only_members,
            work: job.work.borrowed(),
            args: Cow::Borrowed(&job.args),
            timeout_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            gateway: Cow::Borrowed(gateway),
            is_unread: false,
        }
    }

    pub(super) fn into_owned(self) -> Play<'static> {
        Play {
            id: self.id,
            circle: self.circle,
            caller: self.caller,
            only_members: self.only_members,
            work: self.work.into_owned(),
            args: Cow::Owned(self.args.into_owned()),
            timeout_ms: self.timeout_ms,
            gateway: Cow::Owned(self.gateway.into_owned()),
            is_unread: self.is_unread,
        }
    }

    /// Returns the caller that it counts for, if that could be read.
    pub(super) fn counts_for(&self) -> Option<Caller> {
        (!self.is_unread).then_some(self.caller)
    }

    /// Returns the run that it asks for.
    pub(super) fn run(&self) -> Run<'_> {
        Run {
            task: self.work.task(),
            authority: self.caller.authority(self.only_members),
            inputs: Inputs {
                caller_id: &self.caller,
                context_id: &self.circle,
                job_id: &self.id,
                args: &self.args,
                event: None,
                modules: None,
            },
        }
    }
}

/// The fields that a worker needs to answer a play, if it can't read the rest.
#[derive(Debug, Deserialize)]
pub(super) struct Address {
    id: JobId,
    #[serde(with = "circled_protocol::trusted")]
    circle: PublicKey,
    gateway: String,
}

impl From<Address> for Play<'static> {
    /// A play that does nothing.
    fn from(address: Address) -> Self {
        Self {
            id: address.id,
            circle: address.circle,
            caller: Caller::Anyone,
            only_members: false,
            work: Work::Script(Cow::Borrowed("")),
            args: Cow::Owned(Value::Null),
            timeout_ms: 0,
            gateway: Cow::Owned(address.gateway),
            is_unread: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use circled_protocol::{FailureKind, JobId, SecretKey};
    use serde_json::json;

    use super::Play;
    use crate::{
        dispatch::{Caller, Job, Work},
        memory::MemoryBudget,
        script::{Failure, Outcome, RunError, Success},
    };

    #[test]
    fn a_play_arrives_as_it_was_sent_whatever_newer_versions_add() {
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let job = Job {
            id: JobId::new(),
            circle: key,
            caller: Caller::Key(key),
            only_members: true,
            work: Work::Script("\"line\\n\" + ARGS".into()),
            args: json!({ "big": u64::MAX, "none": null }),
            timeout: Duration::from_millis(1500),
            memory: MemoryBudget::new("session.max_buffered", 0),
        };
        let text = serde_json::to_string(&Play::new(&job, "gateway")).unwrap();
        // As `lua/prelude.lua` reads it.
        let begins = format!(r#"{{"id":"{}","circle":"{key}","caller":"{key}","#, job.id);
        assert!(text.starts_with(&begins), "{text}");
        let mut sent = serde_json::to_value(Play::new(&job, "gateway")).unwrap();
        sent["since"] = json!("a later version");
        let text = sent.to_string();
        let play: Play<'_> = circled_json::borrowed(&text).unwrap();
        let play = play.into_owned();
        assert_eq!(
            (play.id, play.circle, play.caller, play.timeout_ms),
            (job.id, key, job.caller, 1500)
        );
        assert_eq!(
            (play.work, play.only_members, play.args.into_owned()),
            (job.work, true, job.args)
        );
        assert_eq!(play.gateway, "gateway");
    }

    #[test]
    fn outcomes_arrive_as_they_were_sent() {
        let success = Success {
            output: "1.0".to_owned(),
            value: serde_json::value::to_raw_value(&json!([1.0, 9_007_199_254_740_993_i64]))
                .unwrap(),
            logs: vec!["one".to_owned(), String::new()],
            version: Some("aa".to_owned()),
        };
        let failure = Failure {
            line: Some(3),
            column: Some(1),
            logs: vec!["before".to_owned()],
            ..Failure::new(FailureKind::Runtime, "no")
        };
        for outcome in [
            Ok(success),
            Err(failure.into()),
            Err(RunError::TimedOut {
                after: Duration::from_millis(1234),
                version: None,
            }),
            Err(RunError::limit("script.queue")),
            Err(RunError::Displaced),
            Err(RunError::Unavailable),
        ] {
            let sent = serde_json::to_string(&outcome).unwrap();
            let arrived: Outcome = circled_json::from_str(&sent).unwrap();
            assert_eq!(format!("{outcome:?}"), format!("{arrived:?}"));
            assert!(circled_json::parse(&sent).is_ok());
        }
    }
}
