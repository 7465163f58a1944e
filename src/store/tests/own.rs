//! The circle's own entries, and events.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use super::{LIMITS, circle, commit, open, set, usage};
use crate::store::{
    CommitError, Key, KeyRange, NewEvent, RemoteReads, Scanned, Settings, Transaction, Unavailable,
    Value, Want, WriteError,
};

fn value(text: &str) -> Option<Value> {
    Some(Value::new(text.as_bytes()))
}

fn texts(keys: &[Key]) -> Vec<&str> {
    keys.iter()
        .map(|key| str::from_utf8(key).unwrap())
        .collect()
}

#[test]
fn no_script_sees_what_is_the_circles_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut transaction = store.begin(circle(1));
    for key in ["a", "\u{10ffff}"] {
        set(&mut transaction, key, 1);
    }
    for key in ["a", "m/1", "m/2"] {
        transaction.own_set(key.as_bytes(), value("2"));
    }
    let look = |transaction: &mut Transaction| {
        assert_eq!(
            texts(&transaction.keys("", 2).unwrap()),
            ["a", "\u{10ffff}"]
        );
        assert_eq!(texts(&transaction.keys("a", 2).unwrap()), ["a"]);
        assert_eq!(transaction.own_get(b"a").unwrap(), value("2"));
        assert_eq!(transaction.own_peek(b"m/1").unwrap(), value("2"));
        assert_eq!(
            texts(&transaction.own_keys(b"m/", 2).unwrap()),
            ["m/1", "m/2"]
        );
        assert_eq!(
            texts(&transaction.own_keys(b"", 9).unwrap()),
            ["a", "m/1", "m/2"]
        );
        let error = WriteError::Keys { max: 1 };
        assert_eq!(transaction.own_keys(b"m/", 1), Err(error));
    };
    look(&mut transaction);
    commit(&store, transaction).unwrap();
    let mut transaction = store.begin(circle(1));
    look(&mut transaction);
    transaction.own_set(b"m/1", None);
    assert_eq!(texts(&transaction.own_keys(b"m/", 2).unwrap()), ["m/2"]);
    assert_eq!(transaction.own_get(b"m/1").unwrap(), None);
    // They are in the quota: 33 bytes and one each.
    assert_eq!(usage(&store, circle(1)), 2 + 5 + 3 + 5 + 5);
}

#[test]
fn own_entries_collide_and_scripts_lists_dont_see_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let begin = || store.begin_latest(circle(1));
    let put = |key: &[u8]| {
        let mut transaction = begin();
        transaction.own_set(key, value("1"));
        commit(&store, transaction).unwrap();
    };
    let writing = |mut transaction: Transaction| {
        set(&mut transaction, "x", 1);
        commit(&store, transaction)
    };
    let (mut listed, mut read, mut peeked, mut own) = (begin(), begin(), begin(), begin());
    assert_eq!(listed.keys("", 9).unwrap().len(), 0);
    read.own_get(b"a").unwrap();
    peeked.own_peek(b"a").unwrap();
    own.own_keys(b"a", 9).unwrap();
    put(b"a");
    writing(listed).unwrap();
    assert_eq!(writing(read), Err(CommitError::Conflict));
    writing(peeked).unwrap();
    assert_eq!(writing(own), Err(CommitError::Conflict));
    let mut listed = begin();
    assert_eq!(listed.keys("", 9).unwrap().len(), 1);
    let mut transaction = begin();
    set(&mut transaction, "y", 1);
    commit(&store, transaction).unwrap();
    assert_eq!(writing(listed), Err(CommitError::Conflict));
}

#[test]
fn a_jobs_limits_hold_for_scripts_keys_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut transaction = store.begin(circle(1));
    for n in 0..LIMITS.max_writes {
        transaction.own_set(format!("{n}").as_bytes(), value("1"));
    }
    transaction.own_set(
        &[b'k'; 1000],
        Some(Value::from(vec![b'1'; LIMITS.max_value.get() + 1])),
    );
    for n in 0..LIMITS.max_writes {
        set(&mut transaction, &n.to_string(), 1);
    }
    let error = WriteError::Writes {
        max: LIMITS.max_writes,
    };
    assert_eq!(transaction.set("more", None), Err(error));
    transaction.discard_writes();
    assert!(!transaction.writes());
    set(&mut transaction, "more", 1);
}

/// A store that is somewhere else.
pub(super) struct Sorted(pub(super) BTreeMap<Vec<u8>, Value>);

impl RemoteReads for Sorted {
    fn now(&self) -> i64 {
        0
    }

    fn get(&mut self, key: &Key) -> Result<Option<Value>, Unavailable> {
        Ok(self.0.get(&key[..]).cloned())
    }

    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable> {
        let entries = self.0.iter();
        let entries = entries.map(|(key, value)| (Key::new(key), value.clone()));
        let mut entries: Vec<_> = entries.filter(|(key, _)| range.contains(key)).collect();
        if range.reverse {
            entries.reverse();
        }
        entries.truncate(range.limit);
        Ok(match want {
            Want::Keys => Scanned::Keys(entries.into_iter().map(|(key, _)| key).collect()),
            Want::Entries { .. } => Scanned::Entries(entries),
            Want::Count => Scanned::Count(entries.len() as u64),
        })
    }
}

#[test]
fn it_is_the_same_elsewhere() {
    let kept: BTreeMap<_, _> = [&b"a"[..], b"b", b"\xffm1", b"\xffm2"]
        .map(|key| (key.to_vec(), Value::new(b"1")))
        .into();
    let reads = Box::new(Sorted(kept));
    let mut transaction = Transaction::remote(reads, Arc::new(LIMITS), circle(1));
    assert_eq!(texts(&transaction.keys("", 9).unwrap()), ["a", "b"]);
    assert_eq!(texts(&transaction.own_keys(b"", 9).unwrap()), ["m1", "m2"]);
    assert_eq!(transaction.own_get(b"m1").unwrap(), value("1"));
    assert_eq!(transaction.own_peek(b"m2").unwrap(), value("1"));
    transaction.own_set(b"m3", value("1"));
    transaction.emit("t", Value::new(b"1"), None).unwrap();
    let effects = transaction.into_effects();
    assert_eq!(
        effects.reads.keys().collect::<Vec<_>>(),
        [(&Key::new(b"\xffm1"), &value("1"))]
    );
    assert_eq!(
        effects.writes.keys().collect::<Vec<_>>(),
        [&Key::new(b"\xffm3")]
    );
    let ranges = effects.reads.ranges().map(|read| &read.range);
    let whole = |prefix: &[u8]| KeyRange {
        limit: 3,
        ..KeyRange::of_prefix(prefix)
    };
    assert_eq!(
        ranges.cloned().collect::<Vec<_>>(),
        [whole(b""), whole(b"\xff")]
    );
    assert_eq!(effects.events.len(), 1);
}

#[test]
fn events_are_bounded_and_go_with_the_writes() {
    let limits = Settings {
        max_events: NonZeroUsize::new(2).unwrap(),
        max_event: 5,
        ..LIMITS
    };
    let reads = Box::new(Sorted(BTreeMap::new()));
    let mut transaction = Transaction::remote(reads, Arc::new(limits), circle(1));
    let mut emit =
        |topic: &str, data: &str| transaction.emit(topic, Value::new(data.as_bytes()), None);
    for topic in ["", &"t".repeat(257)] {
        let length = topic.len();
        assert_eq!(
            emit(topic, "1"),
            Err(WriteError::Topic { length, max: 256 })
        );
    }
    assert_eq!(
        emit("t", "123456"),
        Err(WriteError::Event { length: 6, max: 5 })
    );
    emit(&"t".repeat(256), "12345").unwrap();
    emit("t", "1").unwrap();
    assert_eq!(emit("t", "1"), Err(WriteError::Events { max: 2 }));
    assert_eq!(emit("job.1", "1"), Err(WriteError::Reserved));
    // The server's own events are no script's, and no limit of scripts holds for them.
    transaction.emit_unchecked(NewEvent {
        topic: "job.1".into(),
        data: Value::new(b"1234567"),
        to: None,
    });
    transaction.emit_unchecked(NewEvent {
        topic: "circle.member_added".into(),
        data: Value::new(b"1"),
        to: Some(circle(2)),
    });
    assert!(transaction.writes());
    assert_eq!(transaction.events().len(), 4);
    let last = NewEvent {
        topic: "circle.member_added".into(),
        data: Value::new(b"1"),
        to: Some(circle(2)),
    };
    assert_eq!(transaction.events().last(), Some(&last));
    assert_eq!(transaction.take_events().len(), 4);
    assert!(!transaction.writes());
    transaction.emit("t", Value::new(b"1"), None).unwrap();
    transaction.discard_writes();
    assert!(transaction.events().is_empty() && !transaction.writes());
}
