//! The parts that sources send and targets take: the same for both backends.

use circled_protocol::{JobId, PublicKey};

use crate::store::{Key, Value};

/// A part of what is sent from a source to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A circle begins. Its key is higher than that of the one before.
    Circle(Head),
    /// Some of its records, in order.
    Records(Vec<Record>),
    /// The circle ends.
    End,
    /// All circles have been sent.
    Done,
}

/// The beginning of a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its key.
    pub circle: PublicKey,
    /// The number of the last commit that changed its store; 0 if there is none.
    pub commits: u64,
    /// The number of its last event; 0 if there is none.
    pub events: u64,
}

/// A record of a circle. These are in the order in which they come; those of a kind are sorted by their keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry of its store, the circle's own keys included. Those that have expired are left out.
    Entry {
        /// The key.
        key: Key,
        /// The value as it is stored: before its JSON stands the expiry time, if it expires.
        value: Value,
    },
    /// An event of its log.
    Event {
        /// Its number.
        number: u64,
        /// The event as it is stored: JSON.
        json: Value,
    },
    /// A durable job.
    Job {
        /// Its id.
        id: JobId,
        /// True if it is not over.
        is_open: bool,
        /// True if it is a dead letter.
        is_dead: bool,
        /// The record as it is stored: JSON.
        record: Value,
        /// The input as it is stored: JSON.
        input: Option<Value>,
    },
    /// A mark that tells duplicates of a delivery or a submission. Those that have expired are left out.
    Seen {
        /// The hash by which it is known.
        identity: [u8; 32],
        /// The job of the first one.
        job: JobId,
        /// When it expires, in milliseconds since 1970; nothing if it never does.
        until: Option<i64>,
    },
}

impl Record {
    /// Returns about how many bytes it takes.
    pub fn size(&self) -> usize {
        64 + match self {
            Self::Entry { key, value } => key.len() + value.len(),
            Self::Event { json, .. } => json.len(),
            Self::Job { record, input, .. } => {
                record.len() + input.as_ref().map_or(0, |input| input.len())
            }
            Self::Seen { .. } => 0,
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what people store.
        match self {
            Self::Entry { key, value } => f
                .debug_tuple("Entry")
                .field(&String::from_utf8_lossy(key))
                .field(&value.len())
                .finish(),
            Self::Event { number, .. } => f.debug_tuple("Event").field(number).finish(),
            Self::Job { id, .. } => f.debug_tuple("Job").field(id).finish(),
            Self::Seen { job, .. } => f.debug_tuple("Seen").field(job).finish(),
        }
    }
}
