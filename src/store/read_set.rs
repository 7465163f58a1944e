//! What a transaction has read, as data: whoever commits it compares that with what there is by then.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use super::{
    range::KeyRange,
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
    /// The part that was covered; its limit is one key more than there were, so that comparing it ends with the first
    /// key too many.
    pub range: KeyRange,
    /// The digest of the keys in it.
    pub found: [u8; 20],
}

/// A digest of the keys that a read has found: SHA-1 over them, each after its length in decimal and a colon. No other
/// hash can be had inside Redis; who makes up keys that collide fools nobody but the scripts of their own circle.
#[derive(Debug, Default)]
pub(super) struct KeysDigest {
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
        let ranges = ranges.map(|RangeRead { range, found }| {
            64 + range.start.len() + range.end.len() + found.len()
        });
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

    /// Adds a read of a range that has found so many keys.
    pub(super) fn insert_range(&mut self, mut range: KeyRange, found: KeysDigest) {
        range.limit = found.count.saturating_add(1);
        let found = found.finish();
        self.ranges.insert(RangeRead { range, found });
    }
}

impl KeysDigest {
    pub(super) fn push(&mut self, key: &[u8]) {
        // The length first, so that no two lists look the same.
        self.hash.update(format!("{}:", key.len()));
        self.hash.update(key);
        self.count += 1;
    }

    pub(super) fn finish(self) -> [u8; 20] {
        self.hash.finalize().into()
    }
}
