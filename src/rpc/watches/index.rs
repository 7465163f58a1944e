//! Finds who watches the keys that a commit wrote: a commit costs by what it touches, not by how many watch.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::intervals::Intervals;
use crate::{
    script::Reads,
    store::{Key, WantedKeys},
};

/// The keys and ranges that are watched, by owner. Whoever tells of commits looks here, too.
#[derive(Debug)]
pub(super) struct Index<T>(Mutex<Watched<T>>);

#[derive(Debug)]
struct Watched<T> {
    keys: HashMap<Key, BTreeSet<T>>,
    ranges: Intervals<T>,
}

impl<T: Copy + Ord> Index<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Watched {
            keys: HashMap::new(),
            ranges: Intervals::new(),
        }))
    }

    /// Adds all that was read. An owner has each key and each range once.
    pub(super) fn insert(&self, reads: &Reads, owner: T) {
        let mut watched = self.watched();
        for key in &reads.keys {
            watched.insert_key(key.clone(), owner);
        }
        for (start, end) in &reads.ranges {
            watched.ranges.insert(start.clone(), end.clone(), owner);
        }
    }

    /// Removes all that was read.
    pub(super) fn remove(&self, reads: &Reads, owner: T) {
        let mut watched = self.watched();
        for key in &reads.keys {
            watched.remove_key(key, owner);
        }
        for (start, end) in &reads.ranges {
            watched.ranges.remove(start, end, owner);
        }
    }

    pub(super) fn insert_key(&self, key: Key, owner: T) {
        self.watched().insert_key(key, owner);
    }

    pub(super) fn remove_key(&self, key: &Key, owner: T) {
        self.watched().remove_key(key, owner);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let watched = self.watched();
        watched.keys.is_empty() && watched.ranges.is_empty()
    }

    /// Returns the owners of what contains any of the keys, each once.
    pub(super) fn watching(&self, keys: &[Key]) -> BTreeSet<T> {
        let watched = self.watched();
        let mut found = BTreeSet::new();
        for key in keys {
            if let Some(owners) = watched.keys.get(key) {
                found.extend(owners);
            }
            let mut add = |owner| {
                found.insert(owner);
            };
            watched.ranges.containing(key, &mut add);
        }
        found
    }

    fn watched(&self) -> MutexGuard<'_, Watched<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Copy + Ord + Debug + Send> WantedKeys for Index<T> {
    fn contain_any(&self, keys: &[Key]) -> bool {
        let watched = self.watched();
        keys.iter().any(|key| {
            let mut is_found = watched.keys.contains_key(key);
            if !is_found {
                watched.ranges.containing(key, &mut |_| is_found = true);
            }
            is_found
        })
    }
}

impl<T: Copy + Ord> Watched<T> {
    fn insert_key(&mut self, key: Key, owner: T) {
        self.keys.entry(key).or_default().insert(owner);
    }

    fn remove_key(&mut self, key: &Key, owner: T) {
        if let Some(owners) = self.keys.get_mut(key) {
            owners.remove(&owner);
            if owners.is_empty() {
                self.keys.remove(key);
            }
        }
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
            let index = Index::new();
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
            prop_assert_eq!(index.contain_any(&written), !expected.is_empty());
            prop_assert_eq!(index.watching(&written), expected);
        }
    }
}
