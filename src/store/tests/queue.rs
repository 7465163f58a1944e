//! Tests the write queue, and what waits for it.

use std::{
    sync::{
        Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use super::{LIMITS, PATIENCE, circle, commit, hand_in, hold, number, open, set, settings};
use crate::{
    store::{
        CommitError, Disk, DiskSettings, Preconditions, Record, Store, Table, Unavailable,
        WaitPolicy,
    },
    units::Size,
};

/// Less than one commit takes.
fn tiny(folder: &std::path::Path) -> Store {
    let settings = DiskSettings {
        write_queue: Size::new(1).unwrap(),
        ..settings(folder)
    };
    Store::start(Disk::open(&settings).unwrap(), &settings, LIMITS).unwrap()
}

/// Does `work` on a thread of its own; what doesn't end in time fails the test.
fn in_time<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
        Ok(result) => result,
    }
}

/// Time for others to do what they shouldn't. What is right doesn't depend on it.
fn grace() {
    thread::sleep(Duration::from_millis(50));
}

#[test]
fn a_queue_with_room_for_one_serves_them_all() {
    const WRITERS: usize = 16;
    const EACH: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let store = tiny(folder.path());
    let count = store.clone();
    in_time(move || {
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let add = || {
                            let mut transaction = store.begin_latest(circle(1));
                            let n = number(transaction.get("count").unwrap());
                            set(&mut transaction, "count", n + 1);
                            set(&mut transaction, &format!("writer/{writer}"), n);
                            commit(store, transaction)
                        };
                        while let Err(why) = add() {
                            assert_eq!(why, CommitError::Conflict);
                        }
                    }
                });
            }
        });
    });
    let mut transaction = count.begin(circle(1));
    let count = number(transaction.get("count").unwrap());
    assert_eq!(usize::try_from(count), Ok(WRITERS * EACH));
}

#[test]
fn after_a_panic_of_the_thread_that_writes_everybody_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    in_time(move || {
        let held = hold(&store);
        let panics = Box::new(|_| panic!("on purpose"));
        let nothing = store.begin(circle(2));
        let committed = store.commit(
            nothing,
            Vec::new(),
            Preconditions::NONE,
            panics,
            WaitPolicy::Wait,
        );
        committed.unwrap();
        let beside = hand_in(&store, store.begin(circle(3)), Preconditions::NONE).unwrap();
        drop(held);
        // Nothing may be said to be on disk any more, but something is said.
        let _ = beside.recv();
        let mut transaction = store.begin(circle(4));
        set(&mut transaction, "key", 1);
        if let Ok(later) = hand_in(&store, transaction, Preconditions::NONE) {
            assert_ne!(later.recv(), Ok(Ok(())));
        }
        assert!(store.has_failed());
        store.shutdown();
    });
}

#[test]
fn who_wont_wait_is_told_that_the_queue_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let store = tiny(folder.path());
    let held = hold(&store);
    let mut first = store.begin(circle(1));
    set(&mut first, "key", 1);
    let first = hand_in(&store, first, Preconditions::NONE).unwrap();
    let commit = |key| {
        let mut transaction = store.begin_latest(circle(2));
        set(&mut transaction, key, 1);
        let done = Box::new(|_| {});
        let committed = store.commit(
            transaction,
            Vec::new(),
            Preconditions::NONE,
            done,
            WaitPolicy::FailFast,
        );
        committed.map_err(|refused| refused.why)
    };
    assert_eq!(commit("a"), Err(CommitError::Busy));
    // Nor does anyone wait for room while he keeps all others out.
    let locked = store.lock_circle(circle(3), WaitPolicy::Wait, |locked| {
        let record = Record::put(Table::Jobs, b"job", []);
        let committed = locked.commit(None, vec![record], Preconditions::NONE, Box::new(|_| {}));
        committed.map_err(|refused| refused.why)
    });
    assert_eq!(locked, Some(Err(CommitError::Busy)));
    drop(held);
    assert_eq!(first.recv_timeout(PATIENCE), Ok(Ok(())));
    let mut again = commit("a");
    while again == Err(CommitError::Busy) {
        thread::yield_now();
        again = commit("a");
    }
    assert_eq!(again, Ok(()));
}

#[test]
fn who_wont_wait_is_told_that_the_circle_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.lock_circle(circle(1), WaitPolicy::Wait, |_| {
        let hurried = |number| {
            let mut transaction = store.begin(circle(number));
            set(&mut transaction, "key", 1);
            let done = Box::new(|_| {});
            let committed = store.commit(
                transaction,
                Vec::new(),
                Preconditions::NONE,
                done,
                WaitPolicy::FailFast,
            );
            committed.map_err(|refused| refused.why)
        };
        assert_eq!(hurried(1), Err(CommitError::Busy));
        assert!(
            store
                .lock_circle(circle(1), WaitPolicy::FailFast, |_| ())
                .is_none()
        );
        // Circles are apart, and who reads what is on disk waits for nobody.
        assert_eq!(hurried(2), Ok(()));
        assert_eq!(store.begin(circle(1)).get("key"), Ok(None));
    });
}

#[test]
fn who_waits_for_room_at_the_end_is_told_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = tiny(folder.path());
    let held = hold(&store);
    let mut taken = store.begin(circle(1));
    set(&mut taken, "key", 1);
    let taken = hand_in(&store, taken, Preconditions::NONE).unwrap();
    let waiting: Vec<_> = (2..10)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || {
                let mut transaction = store.begin(circle(number));
                set(&mut transaction, "key", 1);
                commit(&store, transaction)
            })
        })
        .collect();
    grace();
    let closing = store.clone();
    let closing = thread::spawn(move || closing.shutdown());
    in_time(move || {
        for thread in waiting {
            let result = thread.join().unwrap();
            assert_eq!(result, Err(CommitError::Unavailable(Unavailable)));
        }
    });
    // What was taken before that is still written.
    assert!(taken.recv_timeout(Duration::ZERO).is_err());
    drop(held);
    assert_eq!(taken.recv_timeout(PATIENCE), Ok(Ok(())));
    in_time(move || closing.join().unwrap());
    let refused = store.write_and_wait(circle(1), Vec::new(), Preconditions::NONE);
    assert_eq!(refused, Err(CommitError::Unavailable(Unavailable)));
}

#[test]
fn a_commit_that_is_under_way_at_the_end_is_still_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (begun, has_begun) = channel();
    let (go_on, wait) = channel::<()>();
    let committing = store.clone();
    let thread = thread::spawn(move || {
        let mut transaction = committing.begin(circle(1));
        set(&mut transaction, "key", 1);
        let wait = Mutex::new(wait);
        let claim = || {
            begun.send(()).unwrap();
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            true
        };
        hand_in(&committing, transaction, Preconditions::gated_by(&claim))
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    let closing = store.clone();
    let closing = thread::spawn(move || closing.shutdown());
    while store
        .write_and_wait(circle(2), Vec::new(), Preconditions::NONE)
        .is_ok()
    {}
    // There is nothing to write now, but there will be.
    grace();
    assert!(!closing.is_finished());
    go_on.send(()).unwrap();
    let done = in_time(move || thread.join().unwrap().unwrap());
    assert_eq!(done.recv_timeout(PATIENCE), Ok(Ok(())));
    in_time(move || closing.join().unwrap());
    assert_eq!(number(store.begin(circle(1)).get("key").unwrap()), 1);
}

#[test]
fn all_that_was_handed_in_is_answered_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (sender, answers) = channel();
    for n in 0..200_u16 {
        let mut transaction = store.begin_latest(circle(n % 3));
        set(&mut transaction, "key", n);
        let sender = sender.clone();
        let done = Box::new(move |result| sender.send((n, result)).unwrap());
        store
            .commit(
                transaction,
                Vec::new(),
                Preconditions::NONE,
                done,
                WaitPolicy::Wait,
            )
            .unwrap();
    }
    drop(sender);
    store.shutdown();
    let expected: Vec<_> = (0..200).map(|n| (n, Ok(()))).collect();
    assert_eq!(answers.iter().collect::<Vec<_>>(), expected);
}
