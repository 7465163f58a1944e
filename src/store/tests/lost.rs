//! Tests what becomes of commits that the disk doesn't take, and of transactions that saw them.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Instant,
};

use circled_protocol::JobId;

use super::{AtLast, PATIENCE, circle, commit, hand_in, hold, number, open, set, usage};
use crate::store::{CommitError, Preconditions, Record, Store, Table, Unavailable, WaitPolicy};

/// Without its folder, nobody knows how much room there is: it counts as full.
fn while_full<R>(folder: &Path, work: impl FnOnce() -> R) -> R {
    let away = folder.with_extension("away");
    fs::rename(folder, &away).unwrap();
    let result = work();
    fs::rename(&away, folder).unwrap();
    result
}

fn answer(done: &Receiver<Result<(), Unavailable>>) -> Result<(), Unavailable> {
    done.recv_timeout(PATIENCE).unwrap()
}

fn value(store: &Store, key: &str) -> i64 {
    number(store.begin_latest(circle(1)).get(key).unwrap())
}

fn write(store: &Store, key: &str, n: i64) -> Result<(), CommitError> {
    let mut transaction = store.begin_latest(circle(1));
    set(&mut transaction, key, n);
    commit(store, transaction)
}

#[test]
fn what_a_full_disk_refuses_is_as_if_it_had_never_been() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let store = open(&folder);
    write(&store, "key", 1).unwrap();
    while_full(&folder, || {
        let refused = Err(CommitError::Unavailable(Unavailable));
        assert_eq!(write(&store, "key", 2), refused);
        assert_eq!(write(&store, "other", 2), refused);
        assert!(!store.works());
        assert_eq!(value(&store, "key"), 1);
    });
    assert!(store.works());
    assert_eq!(value(&store, "key"), 1);
    write(&store, "third", 3).unwrap();
    store.shutdown();
    drop(store);
    let store = open(&folder);
    assert_eq!(
        ["key", "other", "third"].map(|key| value(&store, key)),
        [1, 0, 3]
    );
    // "key" and "third", a byte each.
    assert_eq!(usage(&store, circle(1)), 10);
}

#[test]
fn what_builds_on_a_lost_commit_is_lost_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let store = open(&folder);
    write(&store, "key", 1).unwrap();
    let held = hold(&store);
    let add = || {
        let mut transaction = store.begin_latest(circle(1));
        let n = number(transaction.get("key").unwrap());
        set(&mut transaction, "key", n + 1);
        transaction
    };
    let first = hand_in(&store, add(), Preconditions::NONE).unwrap();
    let second = hand_in(&store, add(), Preconditions::NONE).unwrap();
    let third = add();
    while_full(&folder, || {
        drop(held);
        assert_eq!(answer(&first), Err(Unavailable));
        assert_eq!(answer(&second), Err(Unavailable));
    });
    let third = hand_in(&store, third, Preconditions::NONE).map(drop);
    assert_eq!(third, Err(CommitError::Conflict));
    assert_eq!(value(&store, "key"), 1);
    let fourth = hand_in(&store, add(), Preconditions::NONE).unwrap();
    assert_eq!(answer(&fourth), Ok(()));
    assert_eq!(value(&store, "key"), 2);
}

#[test]
fn a_disk_that_is_full_now_and_then_keeps_what_was_reported_and_nothing_else() {
    const WRITERS: usize = 4;
    const SPELLS: usize = 20;
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let store = open(&folder);
    let (kept, lost, over) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    // Without waiting for one before the next, so that they build on one another.
    let add = || {
        let mut answers = VecDeque::new();
        while !over.load(Ordering::Relaxed) || !answers.is_empty() {
            if answers.len() < 8 && !over.load(Ordering::Relaxed) {
                let mut transaction = store.begin_latest(circle(1));
                let n = number(transaction.get("count").unwrap());
                set(&mut transaction, "count", n + 1);
                answers.extend(hand_in(&store, transaction, Preconditions::NONE));
            } else if let Some(done) = answers.pop_front() {
                let count = if answer(&done).is_ok() { &kept } else { &lost };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let more_than = |count: &AtomicI64, before| {
        let begun = Instant::now();
        while count.load(Ordering::Relaxed) <= before {
            assert!(begun.elapsed() < PATIENCE);
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let _last = AtLast(|| over.store(true, Ordering::Relaxed));
        for _ in 0..WRITERS {
            scope.spawn(add);
        }
        for _ in 0..SPELLS {
            more_than(&kept, kept.load(Ordering::Relaxed));
            while_full(&folder, || more_than(&lost, lost.load(Ordering::Relaxed)));
        }
    });
    store.shutdown();
    drop(store);
    let store = open(&folder);
    assert_eq!(value(&store, "count"), kept.into_inner());
}

#[test]
fn nobody_is_told_of_what_was_lost() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("data");
    let store = open(&folder);
    write(&store, "key", 1).unwrap();
    let held = hold(&store);
    let mut lost = store.begin_latest(circle(1));
    set(&mut lost, "key", 2);
    let lost = hand_in(&store, lost, Preconditions::NONE).unwrap();
    // One that only reads, and one that failed at what it saw.
    let mut reader = store.begin_latest(circle(1));
    assert_eq!(number(reader.get("key").unwrap()), 2);
    let mut failed = store.begin_latest(circle(1));
    assert_eq!(number(failed.get("key").unwrap()), 2);
    set(&mut failed, "other", 1);
    failed.discard_writes();
    while_full(&folder, || {
        drop(held);
        assert_eq!(answer(&lost), Err(Unavailable));
    });
    // Its circle is forgotten meanwhile, and made anew.
    write(&store, "third", 1).unwrap();
    for transaction in [reader, failed] {
        assert!(!transaction.read_only_durable());
        let told = hand_in(&store, transaction, Preconditions::NONE).map(drop);
        assert_eq!(told, Err(CommitError::Conflict));
    }
}

#[test]
fn what_was_seen_is_told_when_it_is_safe() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let held = hold(&store);
    let mut writer = store.begin_latest(circle(1));
    set(&mut writer, "key", 2);
    let written = hand_in(&store, writer, Preconditions::NONE).unwrap();
    let mut reader = store.begin_latest(circle(1));
    assert_eq!(number(reader.get("key").unwrap()), 2);
    assert!(!reader.read_only_durable());
    let told = hand_in(&store, reader, Preconditions::NONE).unwrap();
    // Without the disk, the older state, at once.
    let mut hasty = store.begin(circle(1));
    assert_eq!(number(hasty.get("key").unwrap()), 0);
    assert!(hasty.read_only_durable());
    assert!(told.try_recv().is_err());
    drop(held);
    assert_eq!(answer(&told), Ok(()));
    assert_eq!(written.try_recv(), Ok(Ok(())));
}

#[test]
fn what_comes_with_a_commit_lands_with_it_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let (id, series) = (JobId::new(), [7; 32]);
    let job = || Record::put(Table::Jobs, b"job", *b"ended");
    let attempt = |preconditions: Preconditions<'_>| {
        let mut transaction = store.begin_latest(circle(1));
        set(&mut transaction, "key", 1);
        let (sender, receiver) = channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        store
            .commit(
                transaction,
                vec![job()],
                preconditions,
                done,
                WaitPolicy::Wait,
            )
            .map_err(|refused| refused.why)?;
        Ok(answer(&receiver)?)
    };
    let is_there = || {
        store
            .read(Table::Jobs, &circle(1), b"job")
            .unwrap()
            .is_some()
    };
    let gone = attempt(Preconditions {
        open: Some(id),
        ..Preconditions::NONE
    });
    assert_eq!(gone, Err(CommitError::Gone));
    let unclaimed = attempt(Preconditions::gated_by(&|| false));
    assert_eq!(unclaimed, Err(CommitError::Gone));
    assert!(!is_there());
    assert_eq!(value(&store, "key"), 0);
    store
        .write_and_wait(
            circle(1),
            vec![
                Record::put(Table::Open, id.as_bytes(), []),
                Record::put(Table::Seen, series, *b"final"),
            ],
            Preconditions::NONE,
        )
        .unwrap();
    let superseded = attempt(Preconditions {
        open: Some(id),
        no_final_of: Some(series),
        ..Preconditions::NONE
    });
    assert_eq!(superseded, Err(CommitError::Superseded));
    assert!(!is_there());
    attempt(Preconditions {
        open: Some(id),
        no_final_of: Some([8; 32]),
        ..Preconditions::NONE
    })
    .unwrap();
    assert!(is_there());
    assert_eq!(value(&store, "key"), 1);
}
