//! Jobs and their outcomes.

use std::{borrow::Cow, fmt, time::Duration};

use circled_protocol::{JobId, PublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{
    circle::{Authority, Procedure, Run, Task},
    memory::{MemoryBudget, Reservation},
    script::{Inputs, Outcome, RunError},
};

/// One requested run of a script.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// Its id.
    pub id: JobId,
    /// The circle that it runs in.
    pub circle: PublicKey,
    /// Its caller.
    pub caller: Caller,
    /// True if the caller must be a member, by the circle's own list, when it runs.
    pub only_members: bool,
    /// The script or procedure.
    pub work: Work<'a>,
    /// The script's `ARGS`.
    pub args: Value,
    /// The longest that it may take, waiting for its turn included.
    pub timeout: Duration,
    /// The budget that its outcome counts in, for as long as it is held. Without room there, nothing of the job is
    /// committed.
    pub memory: MemoryBudget,
}

/// A job's outcome, and the memory that is reserved for it.
#[derive(Debug)]
pub struct ReservedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// Room for it as JSON; nothing if it is small, or was sent at once.
    pub reservation: Option<Reservation>,
}

/// The script or procedure that a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work<'a> {
    /// This source.
    #[serde(borrow)]
    Script(Cow<'a, str>),
    /// The script that the circle has under a name.
    Named {
        /// The name.
        name: Cow<'a, str>,
        /// The version; the newest one if none is given.
        version: Option<Cow<'a, str>>,
    },
    /// No script.
    Procedure(Procedure),
}

/// The caller of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a key.
    Key(PublicKey),
    /// Anyone who connected, where no login is needed.
    Anyone,
}

/// An account that the time of a run is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// The circle that it runs in.
    Circle(PublicKey),
    /// Its caller, in all circles.
    Caller(PublicKey),
    /// All who run something in this circle without a key.
    Anonymous(PublicKey),
    /// The deliveries to this circle.
    Deliveries(PublicKey),
}

/// Reserves room for an outcome in what its caller may have. If there is none, the outcome says so instead.
pub(super) fn reserve(outcome: Outcome, memory: &MemoryBudget) -> ReservedOutcome {
    match memory.try_reserve_answer(size(&outcome), AROUND) {
        Ok(reservation) => ReservedOutcome {
            outcome,
            reservation: Some(reservation),
        },
        Err(over) => RunError::from(over).into(),
    }
}

/// Bytes that are around an outcome in a reply, at most.
const AROUND: usize = 512;
/// Bytes that a worker writes around a value that is all of the reply, at most: where it has neither output nor logs.
pub(super) const AROUND_A_VALUE: usize = 64;

/// Bytes of what an outcome says, in JSON: a reply has these, and no more than [`AROUND`] besides.
fn size(outcome: &Outcome) -> usize {
    let text = |text: &String| json_length(text) + 1;
    match outcome {
        Ok(success) => {
            let logs: usize = success.logs.iter().map(text).sum();
            text(&success.output) + success.value.get().len() + logs
        }
        Err(RunError::Failed(failure)) => {
            let logs: usize = failure.logs.iter().map(text).sum();
            text(&failure.message) + logs
        }
        Err(RunError::Invalid { reason }) => text(reason),
        Err(_) => 0,
    }
}

/// Names what an outcome is, for the log.
pub(super) fn name(outcome: &Outcome) -> &'static str {
    outcome.as_ref().map_or_else(RunError::name, |_| "finished")
}

impl From<RunError> for ReservedOutcome {
    fn from(error: RunError) -> Self {
        Self {
            outcome: Err(error),
            reservation: None,
        }
    }
}

/// Returns the length of a text as a string in JSON.
fn json_length(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    2 + escaped.sum::<usize>()
}

impl Job<'_> {
    /// A copy that outlives the message it came in.
    pub fn into_owned(self) -> Job<'static> {
        let Self {
            id,
            circle,
            caller,
            only_members,
            work,
            args,
            timeout,
            memory,
        } = self;
        Job {
            id,
            circle,
            caller,
            only_members,
            work: work.into_owned(),
            args,
            timeout,
            memory,
        }
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

impl Work<'_> {
    /// A copy that outlives the message it came in.
    pub fn into_owned(self) -> Work<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Script(source) => Work::Script(owned(source)),
            Self::Named { name, version } => Work::Named {
                name: owned(name),
                version: version.map(owned),
            },
            Self::Procedure(procedure) => Work::Procedure(procedure),
        }
    }

    /// Borrows it.
    pub(super) fn borrowed(&self) -> Work<'_> {
        match self {
            Self::Script(source) => Work::Script(Cow::Borrowed(source)),
            Self::Named { name, version } => Work::Named {
                name: Cow::Borrowed(name),
                version: version.as_deref().map(Cow::Borrowed),
            },
            Self::Procedure(procedure) => Work::Procedure(procedure.clone()),
        }
    }

    /// Returns the name that the script has in its circle, for the log.
    pub(super) fn script(&self) -> Option<&str> {
        match self {
            Self::Named { name, .. } => Some(name),
            Self::Script(_) | Self::Procedure(_) => None,
        }
    }

    pub(super) fn task(&self) -> Task<'_> {
        match self {
            Self::Script(source) => Task::Source(source),
            Self::Named { name, version } => Task::Named {
                name,
                version: version.as_deref(),
            },
            Self::Procedure(procedure) => Task::Procedure(procedure),
        }
    }
}

impl Account {
    /// Returns the accounts of a run that a caller waits for.
    pub(super) fn of_caller(circle: PublicKey, caller: Option<&PublicKey>) -> [Self; 2] {
        let own = caller.map_or(Self::Anonymous(circle), |key| Self::Caller(*key));
        [Self::Circle(circle), own]
    }

    /// Returns the accounts of a durable job: of its submitter, or of the circle's deliveries.
    pub(super) fn of_job(circle: PublicKey, submitter: Option<PublicKey>) -> [Self; 2] {
        let own = submitter.map_or(Self::Deliveries(circle), Self::Caller);
        [Self::Circle(circle), own]
    }
}

impl Caller {
    /// Returns the authority by which it runs something now.
    pub(super) fn authority(&self, only_members: bool) -> Authority<'_> {
        match self {
            Self::Key(key) if only_members => Authority::Member(key),
            Self::Key(_) | Self::Anyone => Authority::Granted,
        }
    }

    /// Returns its key, if it has proved one.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Anyone => None,
        }
    }
}

impl Serialize for Caller {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(key) => key.serialize(serializer),
            Self::Anyone => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Caller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Trusted(#[serde(with = "circled_protocol::trusted")] PublicKey);

        let key = Option::<Trusted>::deserialize(deserializer)?;
        Ok(key.map_or(Self::Anyone, |Trusted(key)| Self::Key(key)))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Anyone => f.write_str("anonymous"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory::SMALL, script::Success};

    #[test]
    fn what_a_small_reply_says_is_never_refused() {
        let reserved = |output: usize, logs: usize| {
            let full = MemoryBudget::new("full", 0);
            let success = Success {
                output: "x".repeat(output),
                value: serde_json::value::to_raw_value("").unwrap(),
                logs: vec!["x".repeat(logs); 2],
                version: None,
            };
            reserve(Ok(success), &full)
        };
        for (output, logs) in [(0, 0), (600, 0), (500, 200)] {
            let reserved = reserved(output, logs);
            assert!(reserved.outcome.is_ok(), "{output}");
            assert_eq!(reserved.reservation.map(|room| room.bytes()), Some(0));
        }
        for (output, logs) in [(SMALL, 0), (0, 512)] {
            let reserved = reserved(output, logs);
            assert!(
                matches!(reserved.outcome, Err(RunError::Limit { .. })),
                "{output}"
            );
        }
    }

    #[test]
    fn the_length_of_a_text_in_json_is_known_beforehand() {
        let all: String = (0..0x300_u32).filter_map(char::from_u32).collect();
        for text in ["", "plain", &all, "\u{1f600} \u{2028}"] {
            let written = serde_json::to_string(text).unwrap();
            assert_eq!(json_length(text), written.len(), "{text:?}");
        }
    }
}
