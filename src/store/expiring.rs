//! Keys that expire: how their values are stored, the index of their expiry times, and the time at which a transaction
//! reads them.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use super::{
    range::{KeyRange, OWN},
    table::{Key, Record, Table, Value},
};

/// The first byte of a value that expires. Its expiry time follows, and then its JSON, which never begins so.
/// `lua/prelude.lua` has it, too.
const MARK: u8 = 1;
/// Bytes of the mark and of the expiry time, which is in milliseconds since 1970.
const HEADER: usize = 1 + size_of::<i64>();
/// The first byte of an entry in [`Table::Expiry`] for a script's key, for a reply to a request, and for a reply that was
/// shortened. All others begin with a time, whose first byte is smaller.
const LETTERS: [u8; 3] = [b'k', b'r', b's'];

/// The prefix of those of the circle's own keys that have the replies to requests. Of its own keys, these alone expire. They don't
/// count in the quota. `lua/prelude.lua` has it, too.
const REQUEST: [u8; 2] = [OWN, b'r'];

/// Bytes of a reply's JSON, an object, that say which request it is for: its first fields. The others are left out where many
/// replies are kept. `lua/commit.lua` has it, too.
pub const REPLY_HEAD: usize = 92;

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

/// Returns the circle's own key that has the reply to a request.
pub fn request_key(id: &[u8]) -> Vec<u8> {
    [&REQUEST[1..], id].concat()
}

/// Returns whether a key has the reply to a request.
pub fn is_request(key: &[u8]) -> bool {
    key.starts_with(&REQUEST)
}

/// Returns a reply with its first fields alone, as it is stored; nothing if it has no others.
pub(super) fn shortened(reply: &[u8]) -> Option<Value> {
    let head = reply.get(..HEADER + REPLY_HEAD)?;
    (reply.len() > head.len() + 1).then(|| Value::from([head, b"}"].concat()))
}

/// Returns the key of the entry in [`Table::Expiry`] for a key that has a value which expires.
pub(super) fn entry(expiry: i64, key: &[u8], stored: &[u8]) -> Key {
    let letter = match is_request(key) {
        false => LETTERS[0],
        true if stored.len() != HEADER + REPLY_HEAD + 1 => LETTERS[1],
        true => LETTERS[2],
    };
    Key::from([&[letter], &expiry.to_be_bytes()[..], key].concat())
}

/// Returns the expiry time that an entry in [`Table::Expiry`] is for, and the key.
pub(super) fn read_entry(entry: &[u8]) -> Option<(i64, &[u8])> {
    let (_, rest) = entry.split_first().filter(|_| is_of_store(entry))?;
    let (expiry, key) = rest.split_first_chunk()?;
    Some((i64::from_be_bytes(*expiry), key))
}

/// Returns the ranges of all entries, those of scripts' keys, of replies, and of shortened ones, of which at most `limit` are
/// read.
pub(super) fn entries(limit: usize) -> [KeyRange; 3] {
    LETTERS.map(|letter| KeyRange {
        start: Key::new(&[letter]),
        end: Key::new(&[letter + 1]),
        limit,
        reverse: false,
    })
}

/// Returns whether an entry in [`Table::Expiry`] is for a key of the store. Those come last.
pub fn is_of_store(entry: &[u8]) -> bool {
    entry.first().is_some_and(|letter| LETTERS.contains(letter))
}

/// Returns the changes of the index when the stored value of a key changes.
pub(super) fn reindex(
    key: &Key,
    old: Option<&Value>,
    new: Option<&Value>,
) -> impl Iterator<Item = Record> {
    let entry_of = |value: &Value| Some(entry(expiry_of(key, value)?, key, value));
    let [old, new] = [old, new].map(|value| value.and_then(entry_of));
    let (old, new) = if old == new { (None, None) } else { (old, new) };
    let old = old.map(|entry| Record::remove(Table::Expiry, entry));
    let new = new.map(|entry| Record::put(Table::Expiry, entry, []));
    old.into_iter().chain(new)
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
        let short = vec![b'7'; HEADER + REPLY_HEAD + 1];
        for (name, key, value) in [
            ("expiry_of_key", &b"key"[..], &b"7"[..]),
            ("expiry_of_request", b"\xffrid", b"7"),
            ("expiry_of_short_reply", b"\xffrid", &short),
        ] {
            let written = hex::encode(entry(END, key, value));
            golden::check(name, &written, |text| {
                let stored = hex::decode(text).ok()?;
                let (expiry, key) = read_entry(&stored)?;
                Some(hex::encode(entry(expiry, key, value)))
            });
        }
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
            let changes = reindex(&key, old, new);
            let change = |record: Record| (record.key, record.value.is_some());
            changes.map(change).collect::<Vec<_>>()
        };
        let [one, two] = [entry(1, &key, &first), entry(2, &key, &second)];
        assert_eq!(entries(None, Some(&plain)), []);
        assert_eq!(entries(None, Some(&first)), [(one.clone(), true)]);
        assert_eq!(entries(Some(&first), Some(&first)), []);
        let moved = [(one, false), (two.clone(), true)];
        assert_eq!(entries(Some(&first), Some(&second)), moved);
        assert_eq!(entries(Some(&second), Some(&plain)), [(two.clone(), false)]);
        assert_eq!(entries(Some(&second), None), [(two, false)]);
        // Shortened replies have an index of their own.
        let reply = with_expiry(&[b'7'; REPLY_HEAD + 2], 1);
        let short = shortened(&reply).unwrap();
        assert_eq!(shortened(&short), None);
        let key = Key::new(b"\xffrkey");
        let changes: Vec<_> = reindex(&key, Some(&reply), Some(&short)).collect();
        assert_eq!(
            changes[0].key[..],
            [&b"r"[..], &1_i64.to_be_bytes(), &key].concat()
        );
        assert_eq!(
            changes[1].key[..],
            [&b"s"[..], &1_i64.to_be_bytes(), &key].concat()
        );
    }
}
