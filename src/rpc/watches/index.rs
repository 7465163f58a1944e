//! Finds who watches the keys that a commit wrote: a commit costs by what it touches, not by how many watch.

use std::collections::{BTreeSet, HashMap};

use super::intervals::Intervals;
use crate::{script::Reads, store::Key};

/// The keys and ranges that are watched, by owner.
#[derive(Debug)]
pub(super) struct Index<T> {
    keys: HashMap<Key, BTreeSet<T>>,
    ranges: Intervals<T>,
}

impl<T: Copy + Ord> Index<T> {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            ranges: Intervals::new(),
        }
    }

    /// Adds all that was read. An owner has each key and each range once.
    pub(super) fn insert(&mut self, reads: &Reads, owner: T) {
        for key in &reads.keys {
            self.insert_key(key.clone(), owner);
        }
        for (start, end) in &reads.ranges {
            self.ranges.insert(start.clone(), end.clone(), owner);
        }
    }

    /// Removes all that was read.
    pub(super) fn remove(&mut self, reads: &Reads, owner: T) {
        for key in &reads.keys {
            self.remove_key(key, owner);
        }
        for (start, end) in &reads.ranges {
            self.ranges.remove(start, end, owner);
        }
    }

    pub(super) fn insert_key(&mut self, key: Key, owner: T) {
        self.keys.entry(key).or_default().insert(owner);
    }

    pub(super) fn remove_key(&mut self, key: &Key, owner: T) {
        if let Some(owners) = self.keys.get_mut(key) {
            owners.remove(&owner);
            if owners.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// Returns the owners of what contains any of the keys, each once.
    pub(super) fn watching(&self, keys: &[Key]) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        for key in keys {
            if let Some(owners) = self.keys.get(key) {
                found.extend(owners);
            }
            let mut add = |owner| {
                found.insert(owner);
            };
            self.ranges.containing(key, &mut add);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn key(number: u8) -> Key {
        Key::new(&[number])
    }

    proptest! {
        #[test]
        fn whoever_has_read_a_key_is_found(
            reads in vec((vec(0..16_u8, 0..4), vec((0..16_u8, 0..16_u8), 0..3)), 1..12),
            gone in vec(any::<prop::sample::Index>(), 0..6),
            written in vec(0..16_u8, 0..4),
        ) {
            let reads: Vec<Reads> = reads
                .into_iter()
                .map(|(keys, ranges)| Reads {
                    keys: keys.into_iter().map(key).collect(),
                    ranges: ranges
                        .into_iter()
                        .map(|(start, end)| (key(start), key(end)))
                        .collect(),
                })
                .collect();
            let mut index = Index::new();
            for (owner, reads) in reads.iter().enumerate() {
                index.insert(reads, owner);
            }
            let gone: BTreeSet<usize> = gone.iter().map(|one| one.index(reads.len())).collect();
            for owner in &gone {
                index.remove(&reads[*owner], *owner);
            }
            let written: Vec<Key> = written.into_iter().map(key).collect();
            let reads = reads.iter().enumerate();
            let expected: BTreeSet<usize> = reads
                .filter(|(owner, reads)| {
                    !gone.contains(owner) && written.iter().any(|key| reads.contain(key))
                })
                .map(|(owner, _)| owner)
                .collect();
            prop_assert_eq!(index.watching(&written), expected);
        }
    }
}
