//! The reads of a transaction, as data: its commit compares them with what there is by then.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use super::{
    range::{KeyRange, Want},
    table::{Key, Value},
};

/// The keys and the ranges that were read, each with what was found.
#[derive(Debug, Clone, Default)]
pub struct ReadSet {
    /// Ranges of one key are most of them by far, so they are kept apart.
    keys: BTreeMap<Key, Option<Value>>,
    ranges: BTreeSet<RangeRead>,
}

/// The part of a range that was read, and what was found there. A store that is somewhere else may change between two
/// reads of it: each counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeRead {
    /// The part that was covered. Unless it was counted, its limit is one key more than there were, so that comparing it
    /// ends with the first key too many.
    pub range: KeyRange,
    /// The result of the read.
    pub found: Found,
}

/// The result of a read of a range. A digest is a SHA-1: no other hash can be had inside Redis. Somebody who makes up keys or
/// values that collide fools nobody but the scripts of their own circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// The digest of the keys, each after its length in decimal and a colon.
    Keys([u8; 20]),
    /// The digest of the keys and their values: each key as above, and then the value in the same way. A value of more
    /// than [`Found::INLINE`] bytes goes in as its SHA-1 in hex, so that no more than some values are in memory at once.
    Entries([u8; 20]),
    /// The number of keys.
    Count(u64),
}

impl Found {
    /// The bytes of the longest value that goes into the digest itself. `lua/commit.lua` has it, too.
    pub const INLINE: usize = 64;
}

/// The digest of what a read of a range finds, while it is made.
#[derive(Debug)]
pub(super) struct RangeDigest {
    want: Want,
    hash: Sha1,
    count: usize,
}

impl ReadSet {
    /// Returns what was found under a key that was read: its value, or that it had none.
    pub fn get(&self, key: &Key) -> Option<&Option<Value>> {
        self.keys.get(key)
    }

    /// Returns the keys that were read one by one, each with its value or that it had none.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (&Key, &Option<Value>)> {
        self.keys.iter()
    }

    /// Returns the ranges that were read.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = &RangeRead> {
        self.ranges.iter()
    }

    /// Returns the number of keys and ranges.
    pub fn len(&self) -> usize {
        self.keys.len() + self.ranges.len()
    }

    /// Returns about how many bytes it has.
    pub fn size(&self) -> usize {
        let keys = self.keys.iter();
        let keys =
            keys.map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()));
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|read| 84 + read.range.start.len() + read.range.end.len());
        keys.sum::<usize>() + ranges.sum::<usize>()
    }

    /// Returns whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// Returns whether a write of this key may change what was read.
    pub fn overlaps(&self, key: &Key) -> bool {
        let mut ranges = self.ranges.iter();
        self.keys.contains_key(key) || ranges.any(|read| read.range.contains(key))
    }

    pub(super) fn insert(&mut self, key: Key, value: Option<Value>) {
        self.keys.insert(key, value);
    }

    /// Adds a read of a range.
    pub(super) fn insert_range(&mut self, mut range: KeyRange, found: RangeDigest) {
        if found.want != Want::Count {
            range.limit = found.count.saturating_add(1);
        }
        let found = found.finish();
        self.ranges.insert(RangeRead { range, found });
    }

    /// Adds a range in which so many keys were counted.
    pub(super) fn insert_count(&mut self, range: KeyRange, count: u64) {
        let found = Found::Count(count);
        self.ranges.insert(RangeRead { range, found });
    }
}

impl RangeDigest {
    pub(super) fn new(want: Want) -> Self {
        Self {
            want,
            hash: Sha1::new(),
            count: 0,
        }
    }

    /// Begins the digest that compares with what was found.
    pub(super) fn to_compare(found: Found) -> Self {
        Self::new(match found {
            Found::Keys(_) => Want::Keys,
            Found::Entries(_) => Want::Entries {
                max_bytes: usize::MAX,
            },
            Found::Count(_) => Want::Count,
        })
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        if self.want == Want::Count {
            return;
        }
        self.update(key.len(), key);
        if let Want::Entries { .. } = self.want {
            if value.len() > Found::INLINE {
                let hash = hex::encode(Sha1::digest(value));
                self.update(value.len(), hash.as_bytes());
            } else {
                self.update(value.len(), value);
            }
        }
    }

    /// The length comes first, so that no two lists look the same.
    fn update(&mut self, length: usize, bytes: &[u8]) {
        self.hash.update(format!("{length}:"));
        self.hash.update(bytes);
    }

    pub(super) fn finish(self) -> Found {
        match self.want {
            Want::Keys => Found::Keys(self.hash.finalize().into()),
            Want::Entries { .. } => Found::Entries(self.hash.finalize().into()),
            Want::Count => Found::Count(self.count as u64),
        }
    }
}
