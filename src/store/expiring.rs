//! Keys that expire: how their values are stored, the index of their expiry times, and the time at which a transaction
//! reads them.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{
    range::{KeyRange, OWN},
    replies::{self, is_request},
    table::{Key, Record, Table, Value},
};

/// The first byte of a value that expires. Its expiry time follows, and then its JSON, which never begins so.
/// `lua/prelude.lua` has it, too.
const MARK: u8 = 1;
/// Bytes of the mark and of the expiry time, which is in milliseconds since 1970.
pub(super) const HEADER: usize = 1 + size_of::<i64>();
/// The first byte of an entry in [`Table::Expiry`] for a script's key.
const OF_KEY: u8 = b'k';
/// The first bytes of the entries by time, in their order: those of scripts' keys, and of replies to requests. An entry of
/// a job begins with a time, whose first byte is smaller.
const LETTERS: [u8; 4] = [
    OF_KEY,
    replies::OF_MEMBER,
    replies::LETTERS[0],
    replies::LETTERS[1],
];

/// The clock of keys that expire, in milliseconds since 1970. It never goes back while the server runs.
#[derive(Debug, Default)]
pub(super) struct Clock {
    latest: AtomicI64,
    /// The time where it stands still, unless that is 0.
    #[cfg(test)]
    pub(super) stopped: AtomicI64,
}

#[cfg(test)]
thread_local! {
    /// The last time that this thread was told.
    pub(super) static LAST: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

impl Clock {
    pub(super) fn now(&self) -> i64 {
        #[cfg(test)]
        if let stopped @ 1.. = self.stopped.load(Ordering::SeqCst) {
            LAST.set(stopped);
            return stopped;
        }
        let now = Timestamp::now().as_millisecond();
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// The time at which a transaction reads keys that expire: when it comes to the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTime {
    time: Option<i64>,
    /// The first expiry time of those that it has come to.
    first_expiry: i64,
    /// The first time up to which one of its own writes was there.
    own_expiry: i64,
}

impl Default for ReadTime {
    fn default() -> Self {
        Self {
            time: None,
            first_expiry: i64::MAX,
            own_expiry: i64::MAX,
        }
    }
}

impl ReadTime {
    pub(super) fn at(time: i64) -> Self {
        Self {
            time: Some(time),
            ..Self::default()
        }
    }

    /// Returns the time. It is `now` where it hasn't mattered before.
    pub(super) fn time(&mut self, now: impl FnOnce() -> i64) -> i64 {
        *self.time.get_or_insert_with(now)
    }

    /// Returns the time, if it has mattered.
    pub(super) fn read_at(&self) -> Option<i64> {
        self.time
    }

    /// Returns whether a time has passed. That it has may be so only since others have committed.
    pub(super) fn is_past(&mut self, end: i64, now: impl FnOnce() -> i64) -> bool {
        self.first_expiry = self.first_expiry.min(end);
        self.time(now) >= end
    }

    /// Notes a write that is there until a time. Returns false if that has passed.
    pub(super) fn writes_until(&mut self, end: i64, now: impl FnOnce() -> i64) -> bool {
        let is_past = self.is_past(end, now);
        if !is_past {
            self.own_expiry = self.own_expiry.min(end);
        }
        !is_past
    }

    /// Returns whether a write of its own is over by a time, though it has seen it.
    pub(super) fn is_over(&self, at: i64) -> bool {
        self.own_expiry <= at
    }

    /// Returns whether a stored value is there still.
    #[inline]
    pub(super) fn sees(&mut self, key: &[u8], stored: &[u8], now: impl FnOnce() -> i64) -> bool {
        let Some(expiry) = expiry_of(key, stored) else {
            return true;
        };
        !self.is_past(expiry, now)
    }

    /// Returns whether a key that it has come to expires within some milliseconds after it, or has expired.
    pub(super) fn is_near_expiry(&self, within: i64) -> bool {
        let is_near = |time: i64| self.first_expiry <= time.saturating_add(within);
        self.time.is_some_and(is_near)
    }
}

/// Returns the expiry time of a key by its stored value, if it expires.
#[inline]
pub(super) fn expiry_of(key: &[u8], stored: &[u8]) -> Option<i64> {
    if stored.first() != Some(&MARK) {
        return None;
    }
    let (expiry, _) = stored[1..].split_first_chunk()?;
    // The values of the circle's other own keys may be anything.
    (key.first() != Some(&OWN) || is_request(key)).then(|| i64::from_be_bytes(*expiry))
}

/// Returns whether a key with this stored value has expired at a time, in milliseconds since 1970.
pub fn has_expired(key: &[u8], stored: &[u8], at: i64) -> bool {
    expiry_of(key, stored).is_some_and(|expiry| expiry <= at)
}

/// Returns when a key expires by its stored value, if it does, in milliseconds since 1970.
pub fn stored_expiry(key: &[u8], stored: &[u8]) -> Option<i64> {
    expiry_of(key, stored)
}

/// Returns a value as it is stored if it expires.
pub(super) fn with_expiry(json: &[u8], expiry: i64) -> Value {
    Value::from([&[MARK], &expiry.to_be_bytes()[..], json].concat())
}

/// Returns the header of the stored value of a script's key, which is empty if it doesn't expire, and its JSON.
pub(super) fn split(stored: &[u8]) -> (&[u8], &[u8]) {
    match stored {
        [MARK, ..] => stored.split_at(HEADER.min(stored.len())),
        _ => (&[], stored),
    }
}

/// Returns the JSON of the stored value of a key.
#[inline]
pub(super) fn json(key: &[u8], stored: Value) -> Value {
    match expiry_of(key, &stored) {
        Some(_) => Value::new(split(&stored).1),
        None => stored,
    }
}

/// Returns the key of the entry in [`Table::Expiry`] for a script's key.
fn entry(expiry: i64, key: &[u8]) -> Key {
    Key::from([&[OF_KEY], &expiry.to_be_bytes()[..], key].concat())
}

/// Returns whether these bytes can be the stored value of a key. The values of the circle's other own keys may be anything.
pub fn is_stored_value(key: &[u8], stored: &[u8]) -> bool {
    if key.first() == Some(&OWN) && !is_request(key) {
        return true;
    }
    let (header, json) = split(stored);
    let is_whole = header.is_empty() || header.len() == HEADER;
    is_whole && circled_json::borrowed_slice::<&RawValue>(json).is_ok()
}

/// Returns the expiry time that an entry by time is for, and the key.
pub(super) fn read_entry(entry: &[u8]) -> Option<(i64, &[u8])> {
    let (letter, rest) = entry.split_first()?;
    LETTERS.contains(letter).then_some(())?;
    let (expiry, key) = rest.split_first_chunk()?;
    Some((i64::from_be_bytes(*expiry), key))
}

/// Returns the ranges of all entries by time, in their order, of each of which at most `limit` are read.
pub(super) fn entries(limit: usize) -> [KeyRange; LETTERS.len()] {
    LETTERS.map(|letter| KeyRange {
        start: Key::new(&[letter]),
        end: Key::new(&[letter + 1]),
        limit,
        reverse: false,
    })
}

/// Returns whether an entry in [`Table::Expiry`] is for a key of the store. Those come last.
pub fn is_of_store(entry: &[u8]) -> bool {
    let is_by_time = |letter: &u8| LETTERS.contains(letter);
    entry.first().is_some_and(is_by_time) || replies::is_by_account(entry)
}

/// Returns the changes of the index when the stored value of a key changes.
pub(super) fn reindex(key: &Key, old: Option<&Value>, new: Option<&Value>) -> Vec<Record> {
    let entries_of = |stored: &Value| match is_request(key) {
        true => replies::entries(key, stored),
        false => expiry_of(key, stored)
            .map(|end| entry(end, key))
            .into_iter()
            .collect(),
    };
    let [old, new] = [old, new].map(|stored| stored.map_or_else(Vec::new, entries_of));
    let gone = old.iter().filter(|entry| !new.contains(entry));
    let added = new.iter().filter(|entry| !old.contains(entry));
    let gone = gone.map(|entry| Record::remove(Table::Expiry, entry));
    let added = added.map(|entry| Record::put(Table::Expiry, entry, []));
    gone.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const END: i64 = 1_700_000_000_123;

    #[test]
    fn bytes_are_stored_as_before() {
        let written = hex::encode(with_expiry(b"[7]", END));
        golden::check("expiring_value", &written, |text| {
            let stored = hex::decode(text).ok()?;
            let expiry = expiry_of(b"key", &stored)?;
            Some(hex::encode(with_expiry(split(&stored).1, expiry)))
        });
        let written = hex::encode(entry(END, b"key"));
        golden::check("expiry_of_key", &written, |text| {
            let stored = hex::decode(text).ok()?;
            let (expiry, key) = read_entry(&stored)?;
            Some(hex::encode(entry(expiry, key)))
        });
    }

    #[test]
    fn a_key_is_there_until_its_end() {
        let stored = with_expiry(b"7", END);
        for (time, is_there) in [(END - 1, true), (END, false), (END + 1, false)] {
            let mut read_time = ReadTime::default();
            assert!(read_time.sees(b"other", b"7", || panic!("it doesn't matter")));
            assert_eq!(read_time.sees(b"key", &stored, || time), is_there, "{time}");
            // It stays where it is.
            assert_eq!(read_time.sees(b"key", &stored, || 0), is_there);
            assert_eq!(read_time.is_near_expiry(0), !is_there);
            assert!(read_time.is_near_expiry(1));
        }
        assert_eq!(json(b"key", stored.clone())[..], *b"7");
        // Nothing of the circle's own expires but replies.
        assert!(!ReadTime::at(END).sees(b"\xffrkey", &stored, || END));
        assert!(ReadTime::at(END).sees(b"\xffkey", &stored, || END));
        assert_eq!(json(b"\xffkey", stored.clone()), stored);
    }

    #[test]
    fn the_index_follows_the_value() {
        let key = Key::new(b"key");
        let [plain, first, second] = [Value::new(b"7"), with_expiry(b"7", 1), with_expiry(b"8", 2)];
        let entries = |old, new| {
            let changes = reindex(&key, old, new).into_iter();
            let change = |record: Record| (record.key, record.value.is_some());
            changes.map(change).collect::<Vec<_>>()
        };
        let [one, two] = [entry(1, &key), entry(2, &key)];
        assert_eq!(entries(None, Some(&plain)), []);
        assert_eq!(entries(None, Some(&first)), [(one.clone(), true)]);
        assert_eq!(entries(Some(&first), Some(&first)), []);
        let moved = [(one, false), (two.clone(), true)];
        assert_eq!(entries(Some(&first), Some(&second)), moved);
        assert_eq!(entries(Some(&second), Some(&plain)), [(two.clone(), false)]);
        assert_eq!(entries(Some(&second), None), [(two, false)]);
    }
}
