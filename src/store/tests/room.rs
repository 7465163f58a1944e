//! Tests that what is written takes no more memory than there is room for.

use super::{circle, commit, number, open, set};
use crate::store::{Preconditions, Record, Store, Table, Unavailable, WriteError};

/// Half of the room of these tests.
const HALF: u64 = 8 << 20;
const MIB: usize = 1 << 20;

/// Writes a value of so many MiB.
fn write(store: &Store, n: u64, mib: usize) {
    let record = Record::put(Table::Inputs, n.to_be_bytes(), vec![b'x'; mib * MIB]);
    store
        .write_and_wait(circle(9), vec![record], Preconditions::NONE)
        .unwrap();
}

/// Returns the bytes that are in memory and not written out yet. What has just been written is there for a moment.
fn unsorted(store: &Store) -> u64 {
    store.disk().tables.database.write_buffer_size()
}

#[test]
fn a_snapshot_ends_when_what_is_written_after_it_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut before = store.begin_latest(circle(1));
    set(&mut before, "one", 1);
    set(&mut before, "other", 2);
    commit(&store, before).unwrap();
    let mut old = store.begin_latest(circle(1));
    assert_eq!(number(old.get("one").unwrap()), 1);
    let mut present = None;
    for n in 0..9 {
        write(&store, n, 1);
        assert!(unsorted(&store) <= HALF);
        present = Some(store.begin_latest(circle(1)));
    }
    assert_eq!(old.get("other"), Err(WriteError::Unavailable(Unavailable)));
    // What it has read is known.
    assert_eq!(number(old.get("one").unwrap()), 1);
    assert_eq!(number(present.unwrap().get("other").unwrap()), 2);
    assert!(
        store
            .read(Table::Inputs, &circle(9), &[0; 8])
            .unwrap()
            .is_some()
    );
}

#[test]
fn as_long_as_there_is_room_a_snapshot_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut old = store.begin_latest(circle(1));
    assert_eq!(old.get("one"), Ok(None));
    for n in 0..7 {
        write(&store, n, 1);
    }
    let mut transaction = store.begin_latest(circle(1));
    set(&mut transaction, "other", 2);
    commit(&store, transaction).unwrap();
    assert_eq!(old.get("other"), Ok(None));
}

#[test]
fn what_is_larger_than_the_room_is_written_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..3 {
        write(&store, n, 40);
    }
    for n in 3..30 {
        write(&store, n, 1);
    }
    assert!(unsorted(&store) <= HALF);
    for n in 0..3_u64 {
        let found = store.read(Table::Inputs, &circle(9), &n.to_be_bytes());
        assert_eq!(found.unwrap().map(|value| value.len()), Some(40 * MIB));
    }
}
