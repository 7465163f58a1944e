//! Tests the limits of a key, a value, a job and a circle.

use std::num::NonZeroUsize;

use super::{circle, commit, open, set, settings, usage};
use crate::{
    store::{CommitError, Disk, Settings, Store, WriteError},
    units::Size,
};

fn small(folder: &std::path::Path) -> Store {
    let settings = settings(folder);
    let limits = Settings {
        max_key: Size::new(8).unwrap(),
        max_value: Size::new(20).unwrap(),
        max_writes: 3,
        max_range_delete: 100,
        max_events: NonZeroUsize::new(2).unwrap(),
        max_event: 5,
        event_log: NonZeroUsize::new(100).unwrap(),
        event_log_bytes: Size::new(1 << 20).unwrap(),
        events_waiting: Size::new(1 << 20).unwrap(),
        events_waiting_in_all: Size::new(1 << 20).unwrap(),
        quota: 50,
    };
    Store::start(Disk::open(&settings).unwrap(), &settings, limits).unwrap()
}

fn text(length: usize) -> String {
    "9".repeat(length)
}

#[test]
fn keys_have_from_one_byte_to_as_many_as_the_setting_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    let mut transaction = store.begin(circle(1));
    for key in ["a", "12345678", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
        set(&mut transaction, key, 1);
        assert!(transaction.get(key).unwrap().is_some());
    }
    for key in ["", "123456789", "\u{e9}\u{e9}\u{e9}\u{e9}1"] {
        let error = WriteError::Key {
            length: key.len(),
            max: 8,
        };
        assert_eq!(transaction.get(key), Err(error.clone()));
        assert_eq!(transaction.set(key, None), Err(error));
    }
}

#[test]
fn values_have_as_many_bytes_as_the_setting_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    let mut transaction = store.begin(circle(1));
    set(&mut transaction, "key", text(20));
    let error = WriteError::Value {
        length: 21,
        max: 20,
    };
    let value = Some(text(21).into_bytes().into());
    assert_eq!(transaction.set("key", value), Err(error));
    // What stands is what was taken.
    assert_eq!(transaction.get("key").unwrap().unwrap().len(), 20);
}

#[test]
fn a_job_writes_as_many_keys_as_the_setting_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    let mut transaction = store.begin(circle(1));
    set(&mut transaction, "a", 1);
    transaction.set("b", None).unwrap();
    set(&mut transaction, "c", 1);
    // The same ones as often as it likes.
    for n in 0..10 {
        set(&mut transaction, "a", n);
        transaction.set("c", None).unwrap();
    }
    let error = WriteError::Writes { max: 3 };
    assert_eq!(
        transaction.set("d", Some(b"1"[..].into())),
        Err(error.clone())
    );
    assert_eq!(transaction.set("d", None), Err(error));
    commit(&store, transaction).unwrap();
    assert_eq!(usage(&store, circle(1)), 2);
}

#[test]
fn a_circle_takes_no_more_than_its_quota() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    let put = |store: &Store, circle, key: &str, length| {
        let mut transaction = store.begin_latest(circle);
        let value = (length > 0).then(|| text(length).into_bytes().into());
        transaction.set(key, value).unwrap();
        commit(store, transaction)
    };
    let over = Err(CommitError::Quota { quota: 50 });
    put(&store, circle(1), "a", 19).unwrap();
    put(&store, circle(1), "b", 19).unwrap();
    assert_eq!(put(&store, circle(1), "c", 10), over);
    put(&store, circle(1), "c", 9).unwrap();
    assert_eq!(usage(&store, circle(1)), 50);
    // Full to the last byte: no more, but less.
    assert_eq!(put(&store, circle(1), "a", 20), over);
    put(&store, circle(1), "a", 19).unwrap();
    put(&store, circle(1), "a", 1).unwrap();
    assert_eq!(usage(&store, circle(1)), 32);
    put(&store, circle(1), "b", 0).unwrap();
    put(&store, circle(1), "b", 0).unwrap();
    put(&store, circle(1), "nothing", 0).unwrap();
    assert_eq!(usage(&store, circle(1)), 12);
    // Another circle has its own.
    put(&store, circle(2), "a", 20).unwrap();
    assert_eq!(usage(&store, circle(2)), 21);
    store.shutdown();
    drop(store);
    let store = small(folder.path());
    assert_eq!(usage(&store, circle(1)), 12);
    put(&store, circle(1), "b", 20).unwrap();
    put(&store, circle(1), "d", 15).unwrap();
    assert_eq!(put(&store, circle(1), "e", 1), over);
    assert_eq!(usage(&store, circle(1)), 49);
}

#[test]
fn a_circle_past_a_quota_that_was_lowered_can_still_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut transaction = store.begin(circle(1));
    for key in ["a", "b", "c"] {
        set(&mut transaction, key, text(19));
    }
    set(&mut transaction, "long", text(100));
    commit(&store, transaction).unwrap();
    store.shutdown();
    drop(store);
    let store = small(folder.path());
    assert_eq!(usage(&store, circle(1)), 164);
    let delete = |key| {
        let mut transaction = store.begin_latest(circle(1));
        transaction.set(key, None).unwrap();
        commit(&store, transaction)
    };
    delete("a").unwrap();
    delete("long").unwrap();
    assert_eq!(usage(&store, circle(1)), 40);
}
