//! Ranges: what a scan finds, and which changes it collides with. A model of one state and the next says both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU16, atomic::Ordering},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{LIMITS, circle, commit, hand_in, open, own::Sorted, set};
use crate::store::{CommitError, Key, KeyRange, Preconditions, Store, Transaction};

type Keys = BTreeSet<&'static str>;
/// Keys that are set, or deleted.
type Changes = BTreeMap<&'static str, bool>;

const KEYS: [&str; 9] = [
    "a",
    "a/1",
    "a/2",
    "a/20",
    "a/3",
    "b",
    "b/1",
    "b/\u{10ffff}",
    "c",
];
const BOUNDS: [&str; 8] = ["", "a", "a/1", "a/2", "a/20\0", "b", "b/1", "d"];

fn changes() -> impl Strategy<Value = Changes> {
    let change = (prop::sample::select(&KEYS[..]), any::<bool>());
    vec(change, 0..6).prop_map(Changes::from_iter)
}

fn range() -> impl Strategy<Value = KeyRange> {
    let bound = || prop::sample::select(&BOUNDS[..]);
    let limit = prop_oneof![0..5_usize, Just(usize::MAX)];
    (bound(), bound(), limit, any::<bool>()).prop_map(|(start, end, limit, reverse)| KeyRange {
        start: Key::new(start.as_bytes()),
        end: Key::new(end.as_bytes()),
        limit,
        reverse,
    })
}

fn apply(keys: &mut Keys, changes: &Changes) {
    for (key, there) in changes {
        if *there {
            keys.insert(key);
        } else {
            keys.remove(key);
        }
    }
}

/// Returns what a scan finds.
fn scanned(keys: &Keys, range: &KeyRange) -> Vec<&'static str> {
    let is_in = |key: &&str| *range.start <= *key.as_bytes() && *key.as_bytes() < *range.end;
    let mut found: Vec<_> = keys.iter().copied().filter(is_in).collect();
    if range.reverse {
        found.reverse();
    }
    found.truncate(range.limit);
    found
}

/// Returns the keys in the part that a scan has covered which found these.
fn covered(keys: &Keys, range: &KeyRange, found: &[&str]) -> Vec<&'static str> {
    let last = found.last().filter(|_| found.len() == range.limit);
    let is_behind = |key: &str| match last {
        Some(last) if range.reverse => key < *last,
        Some(last) => key > *last,
        None => range.limit == 0,
    };
    let all = KeyRange {
        limit: usize::MAX,
        ..range.clone()
    };
    let mut all = scanned(keys, &all);
    all.retain(|key| !is_behind(key));
    all
}

fn change(transaction: &mut Transaction, changes: &Changes) {
    for (key, there) in changes {
        let value = there.then(|| b"1".as_slice().into());
        transaction.set(key, value).unwrap();
    }
}

fn texts(keys: &[Key]) -> Vec<String> {
    let text = |key: &Key| String::from_utf8(key.to_vec()).unwrap();
    keys.iter().map(text).collect()
}

#[test]
fn a_scan_finds_what_is_there_and_collides_with_changes_in_the_part_that_it_covered_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let circles = AtomicU16::new(1);
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let one = (any::<bool>(), changes(), vec(range(), 1..3));
    let case = (changes(), changes(), one, changes());
    let result = TestRunner::new(config).run(&case, |(begun, later, one, other)| {
        let circle = circle(circles.fetch_add(1, Ordering::Relaxed));
        let write = |changes: &Changes| {
            let mut transaction = store.begin_latest(circle);
            change(&mut transaction, changes);
            transaction
        };
        commit(&store, write(&begun)).unwrap();
        let (latest, own, ranges) = one;
        // Some of it may be on its way to the disk still.
        let done = hand_in(&store, write(&later), Preconditions::NONE).unwrap();
        let mut transaction = if latest {
            store.begin_latest(circle)
        } else {
            done.recv().unwrap().unwrap();
            store.begin(circle)
        };
        let mut keys = Keys::new();
        apply(&mut keys, &begun);
        apply(&mut keys, &later);
        let mut after = keys.clone();
        apply(&mut after, &other);
        let mut own_keys = keys.clone();
        apply(&mut own_keys, &own);
        change(&mut transaction, &own);
        let mut collides = false;
        for range in &ranges {
            let found = scanned(&own_keys, range);
            let seen = transaction.scan(range.clone()).unwrap();
            prop_assert_eq!(&texts(&seen), &found);
            let of = |keys| covered(keys, range, &found);
            collides |= of(&keys) != of(&after);
        }
        set(&mut transaction, "result", 1);
        let reads = transaction.reads().clone();
        hand_in(&store, write(&other), Preconditions::NONE).unwrap();
        let result = hand_in(&store, transaction, Preconditions::NONE).map(drop);
        let expected = if collides {
            Err(CommitError::Conflict)
        } else {
            Ok(())
        };
        prop_assert_eq!(result, expected);
        // Whoever watches what was read is told of every change of it.
        let overlaps = |key: &&&str| reads.overlaps(&Key::new(key.as_bytes()));
        prop_assert!(!collides || other.keys().any(|key| overlaps(&key)));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn the_last_of_many_dont_collide_with_those_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut transaction = store.begin(circle(1));
    for n in 10..60 {
        set(&mut transaction, &format!("message/{n}"), n);
    }
    commit(&store, transaction).unwrap();
    let attempt = |key: &str, value: Option<i64>| {
        let last = KeyRange {
            limit: 5,
            reverse: true,
            ..KeyRange::of_prefix(b"message/")
        };
        let mut reader = store.begin_latest(circle(1));
        let seen = reader.scan(last).unwrap();
        set(&mut reader, "seen", seen.len());
        let mut writer = store.begin_latest(circle(1));
        let value = value.map(|value| value.to_string().into_bytes().into());
        writer.set(key, value).unwrap();
        hand_in(&store, writer, Preconditions::NONE).unwrap();
        let result = hand_in(&store, reader, Preconditions::NONE).map(drop);
        (texts(&seen)[4].clone(), result)
    };
    let collides = || Err(CommitError::Conflict);
    assert_eq!(
        attempt("message/12", None),
        ("message/55".to_owned(), Ok(()))
    );
    assert_eq!(
        attempt("message/1", Some(1)),
        ("message/55".to_owned(), Ok(()))
    );
    assert_eq!(
        attempt("message/54", None),
        ("message/55".to_owned(), Ok(()))
    );
    // A scan sees keys, and no values.
    assert_eq!(
        attempt("message/58", Some(1)),
        ("message/55".to_owned(), Ok(()))
    );
    assert_eq!(
        attempt("message/560", Some(1)),
        ("message/55".to_owned(), collides())
    );
    assert_eq!(
        attempt("message/60", Some(1)),
        ("message/56".to_owned(), collides())
    );
    assert_eq!(
        attempt("message/59", None),
        ("message/560".to_owned(), collides())
    );
}

#[test]
fn a_scan_is_the_same_elsewhere() {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let case = (changes(), changes(), range());
    let result = TestRunner::new(config).run(&case, |(begun, own, range)| {
        let mut keys = Keys::new();
        apply(&mut keys, &begun);
        let stored = keys
            .iter()
            .map(|key| (key.as_bytes().to_vec(), b"1".as_slice().into()));
        let reads = Box::new(Sorted(stored.collect()));
        let mut transaction = Transaction::remote(reads, Arc::new(LIMITS), circle(1));
        change(&mut transaction, &own);
        apply(&mut keys, &own);
        let seen = transaction.scan(range.clone()).unwrap();
        prop_assert_eq!(texts(&seen), scanned(&keys, &range));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn no_scan_of_a_script_finds_what_is_the_circles_own() {
    let folder = tempfile::tempdir().unwrap();
    let store: Store = open(folder.path());
    let mut transaction = store.begin(circle(1));
    set(&mut transaction, "a", 1);
    transaction.own_set(b"m", Some(b"1".as_slice().into()));
    commit(&store, transaction).unwrap();
    for reverse in [false, true] {
        let all = KeyRange {
            start: Key::new(b""),
            end: Key::new(b"\xff\xff"),
            limit: 9,
            reverse,
        };
        let mut transaction = store.begin(circle(1));
        transaction.own_set(b"n", Some(b"1".as_slice().into()));
        assert_eq!(texts(&transaction.scan(all).unwrap()), ["a"]);
    }
}
