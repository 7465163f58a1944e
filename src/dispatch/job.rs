//! Outcomes, and the accounts that time is charged to.

use circled_protocol::PublicKey;

use crate::{
    memory::{MemoryBudget, Reservation},
    script::{Outcome, RunError},
};

/// A job's outcome, and the memory that is reserved for it.
#[derive(Debug)]
pub struct ReservedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// Room for it as JSON; nothing if it is small, or was sent at once.
    pub reservation: Option<Reservation>,
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

/// Bytes of the name of what a script threw: `,"thrown":`.
const THROWN: usize = 10;

/// Bytes of the name of a run's effects: `,"effects":`.
const EFFECTS: usize = 11;

/// Bytes of what an outcome says, in JSON: a reply has these, and no more than [`AROUND`] besides.
fn size(outcome: &Outcome) -> usize {
    let text = |text: &String| json_length(text) + 1;
    match outcome {
        Ok(success) => {
            let logs: usize = success.logs.iter().map(text).sum();
            let reads = success.queried.as_ref();
            let reads = reads.map_or(0, |queried| queried.reads.size());
            let effects = success.effects.as_ref();
            let effects = effects.map_or(0, |effects| json_size(effects) + EFFECTS);
            text(&success.output) + success.value.get().len() + logs + reads + effects
        }
        Err(RunError::Failed(failure)) => {
            let logs: usize = failure.logs.iter().map(text).sum();
            let thrown = failure
                .thrown
                .as_ref()
                .map_or(0, |thrown| thrown.0.len() + THROWN);
            text(&failure.message) + logs + thrown
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

/// Returns the length of a value as JSON.
fn json_size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |json| json.len())
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
                queried: None,
                replayed: None,
                effects: None,
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
