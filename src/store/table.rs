//! What is kept, and under which keys.

use fjall::Slice;

use crate::auth::PublicKey;

/// Bytes of a key, without the circle.
pub type Key = Slice;

/// Bytes of a value: JSON in [`Table::Store`].
pub type Value = Slice;

/// The kinds of things that are kept for a circle. Every key begins with the circle's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What scripts keep.
    Store,
    /// How many bytes that is, without a key; and the numbers of the events, under one.
    Usage,
    /// Records of durable jobs, by job.
    Jobs,
    /// What those jobs were given, by job: large, and never changed.
    Inputs,
    /// Jobs that are not over yet, by job.
    Open,
    /// Jobs that were given up, by job.
    Dead,
    /// Deliveries that were accepted, by what tells them apart.
    Seen,
    /// What is to be forgotten, by time.
    Expiry,
    /// Events that have landed, by number.
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

/// A thing to be kept, or with no value, to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What kind of thing.
    pub table: Table,
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Option<Value>,
}

impl Record {
    /// Keeps `value` under `key`.
    pub fn put(table: Table, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Self {
        Self {
            table,
            key: Key::new(key.as_ref()),
            value: Some(value.into()),
        }
    }

    /// Forgets what is under `key`.
    pub fn remove(table: Table, key: impl AsRef<[u8]>) -> Self {
        Self {
            table,
            key: Key::new(key.as_ref()),
            value: None,
        }
    }

    /// What it takes to write it, about.
    pub fn size(&self) -> usize {
        64 + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The key as it is on disk: the circle's, then its own.
pub(super) fn full(circle: &PublicKey, key: &[u8]) -> Slice {
    Slice::from([circle.as_bytes().as_slice(), key].concat())
}
