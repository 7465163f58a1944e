//! The tables, and the records in them.

use circled_protocol::PublicKey;
use fjall::Slice;

/// Bytes of a key, without the circle.
pub type Key = Slice;

/// Bytes of a value: JSON in [`Table::Store`].
pub type Value = Slice;

/// The tables: each holds one kind of record of all circles. Every key begins with the circle's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The stores of scripts.
    Store,
    /// The size of each store in bytes and the number of its last commit, without a key; and the numbers of the events,
    /// under one.
    Usage,
    /// Records of durable jobs, by job.
    Jobs,
    /// The inputs of those jobs, by job: large, and never changed.
    Inputs,
    /// Jobs that are not over yet, by job.
    Open,
    /// Dead jobs, by job.
    Dead,
    /// Deliveries that were accepted, by their identity.
    Seen,
    /// Records that expire, by time.
    Expiry,
    /// Events that were committed, by number.
    Events,
    /// Jobs that keys have submitted, by key and job.
    Own,
}

impl Table {
    pub(super) const ALL: [Self; 10] = [
        Self::Store,
        Self::Usage,
        Self::Jobs,
        Self::Inputs,
        Self::Open,
        Self::Dead,
        Self::Seen,
        Self::Expiry,
        Self::Events,
        Self::Own,
    ];

    /// Its name on disk.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Usage => "usage",
            Self::Jobs => "jobs",
            Self::Inputs => "inputs",
            Self::Open => "open",
            Self::Dead => "dead",
            Self::Seen => "seen",
            Self::Expiry => "expiry",
            Self::Events => "events",
            Self::Own => "own",
        }
    }
}

/// A record to be written, or with no value, to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The table.
    pub table: Table,
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Option<Value>,
}

impl Record {
    /// Writes `value` under `key`.
    pub fn put(table: Table, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Self {
        Self {
            table,
            key: Key::new(key.as_ref()),
            value: Some(value.into()),
        }
    }

    /// Deletes what is under `key`.
    pub fn remove(table: Table, key: impl AsRef<[u8]>) -> Self {
        Self {
            table,
            key: Key::new(key.as_ref()),
            value: None,
        }
    }

    /// Returns about how many bytes it takes to write it.
    pub fn size(&self) -> usize {
        64 + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// Returns the key as it is on disk: the circle's, then the record's.
pub(super) fn full(circle: &PublicKey, key: &[u8]) -> Slice {
    Slice::from([circle.as_bytes().as_slice(), key].concat())
}
