//! Ranges of keys.

use super::table::Key;

/// The first byte of the circle's own keys. No script can name one of them: its keys are UTF-8.
pub(super) const OWN: u8 = 0xff;

/// A range of keys, and how it is read: from one end on, up to a number of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key that may be in it.
    pub start: Key,
    /// The key behind the last one that may be in it.
    pub end: Key,
    /// The most keys that are read.
    pub limit: usize,
    /// True if it is read from its end on.
    pub reverse: bool,
}

/// The things that a read of a range is to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The keys.
    Keys,
    /// The keys and their values, of which `max_bytes` together are enough.
    Entries {
        /// Bytes of keys and values: what goes past them ends the read.
        max_bytes: usize,
    },
    /// The number of the keys.
    Count,
}

impl KeyRange {
    /// Returns the range of all keys that begin with `prefix` and don't go on with a byte 0xFF. The circle's own keys
    /// come last, so that a script's list of everything ends before them.
    pub fn of_prefix(prefix: &[u8]) -> Self {
        Self {
            start: Key::new(prefix),
            end: Key::from([prefix, &[OWN]].concat()),
            limit: usize::MAX,
            reverse: false,
        }
    }

    /// Leaves out the circle's own keys, which no script sees.
    pub(super) fn leave_out_own(&mut self) {
        self.end = self.end.clone().min(Key::new(&[OWN]));
    }

    /// Returns whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && *key < self.end[..]
    }

    /// Returns whether a key can be in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Returns whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end || self.limit == 0
    }

    /// Returns whether one key is read before another.
    pub(super) fn is_before(&self, one: &[u8], other: &[u8]) -> bool {
        if self.reverse {
            one > other
        } else {
            one < other
        }
    }

    /// Cuts off what a read hasn't covered that ended with the key `last`.
    pub(super) fn cut_off_after(&mut self, last: &Key) {
        if self.reverse {
            self.start = last.clone();
        } else {
            self.end = Key::from([last, &[0][..]].concat());
        }
    }
}
