//! Tests what is kept of a circle's events.

use super::{LIMITS, circle, commit, open};
use crate::store::{Preconditions, Record, Scan, Store, Table, event::NewEvent};

/// Emits so many events with so many bytes of data each, in one commit.
fn emit(store: &Store, count: usize, bytes: usize) {
    let mut transaction = store.begin_latest(circle(1));
    for _ in 0..count {
        transaction.emit_unchecked(NewEvent {
            topic: "n".into(),
            data: format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes().into(),
            to: None,
        });
    }
    commit(store, transaction).unwrap();
}

/// Returns the number and the bytes of the events on disk.
fn stored(store: &Store) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    let mut found = |_, _: &[u8], value: &_| {
        let value: &crate::store::Value = value;
        (count, bytes) = (count + 1, bytes + value.len());
        Scan::Continue
    };
    store
        .scan(Table::Events, circle(1).as_bytes(), &mut found)
        .unwrap();
    (count, bytes)
}

#[test]
fn no_more_bytes_are_stored_than_the_log_may_have() {
    const LARGE: usize = 60_000;
    let most = LIMITS.event_log_bytes.get();
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    emit(&store, 150, 100);
    assert_eq!(stored(&store).0, 100);
    for _ in 0..30 {
        emit(&store, 3, LARGE);
    }
    let (count, bytes) = stored(&store);
    assert_eq!(count, most / LARGE);
    assert!(bytes <= most);
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    emit(&store, 40, LARGE);
    assert_eq!(stored(&store).0, most / LARGE);
    for _ in 0..2 {
        emit(&store, 100, 100);
    }
    assert_eq!(stored(&store).0, 100);
}

/// It knows nothing of bytes.
#[test]
fn what_an_earlier_version_has_added_goes_by_number() {
    const LARGE: usize = 60_000;
    let most = LIMITS.event_log_bytes.get() / LARGE;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    emit(&store, 10, LARGE);
    let add =
        (11..=60_u64).map(|id| Record::put(Table::Events, id.to_be_bytes(), vec![b'x'; LARGE]));
    let numbers = [1_u64.to_be_bytes(), 61_u64.to_be_bytes()].concat();
    let numbers = Record::put(Table::Usage, b"events", numbers);
    store
        .write_and_wait(
            circle(1),
            add.chain([numbers]).collect(),
            Preconditions::NONE,
        )
        .unwrap();
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    for _ in 0..70 {
        emit(&store, 1, LARGE);
    }
    assert_eq!(stored(&store).0, most);
    for _ in 0..2 {
        emit(&store, 100, 100);
    }
    assert_eq!(stored(&store).0, 100);
}
