//! Commits have numbers, and tell those who watch which keys they wrote.

use std::{
    future::Future as _,
    pin::pin,
    sync::{Arc, mpsc::channel},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{runtime::Runtime, time::timeout};

use super::{LIMITS, PATIENCE, circle, commit, hand_in, hold, open, set, usage};
use crate::store::{
    CommitError, CommitFeed, CommitSignal, Hub, Key, NewEvent, Preconditions, Record, Settings,
    Store, Table, Value, WantedKeys,
};
use crate::units::Size;

/// Returns the next commit: its number and its keys. Nothing, if there were some that weren't told.
fn next(feed: &mut CommitFeed) -> Option<(u64, Vec<String>)> {
    let next = async { timeout(PATIENCE, feed.next()).await };
    match Runtime::new().unwrap().block_on(next).unwrap() {
        CommitSignal::Commit(commit) => {
            let keys = commit.keys.iter();
            let keys = keys.map(|key| String::from_utf8_lossy(key).into_owned());
            Some((commit.number, keys.collect()))
        }
        CommitSignal::Unwanted { .. } => panic!("all are wanted"),
        CommitSignal::Missed => None,
    }
}

fn is_silent(feed: &mut CommitFeed) -> bool {
    let next = async { timeout(Duration::ZERO, feed.next()).await };
    Runtime::new().unwrap().block_on(next).is_err()
}

fn write(store: &Store, keys: &[&str]) {
    let mut transaction = store.begin_latest(circle(1));
    for key in keys {
        set(&mut transaction, key, 1);
    }
    commit(store, transaction).unwrap();
}

#[test]
fn who_watches_is_told_of_each_commit_that_changes_the_store_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    write(&store, &["before"]);
    let mut feed = store.hub().commits().watch(circle(1));
    let mut other = store.hub().commits().watch(circle(2));
    write(&store, &["b", "a"]);
    // These change nothing in the store.
    let mut emits = store.begin_latest(circle(1));
    emits.emit_unchecked(NewEvent {
        topic: "t".into(),
        data: Value::new(b"1"),
        to: None,
    });
    commit(&store, emits).unwrap();
    let record = Record::put(Table::Jobs, b"job", *b"ended");
    store
        .write_and_wait(circle(1), vec![record], Preconditions::NONE)
        .unwrap();
    let mut conflicts = store.begin_latest(circle(1));
    conflicts.get("a").unwrap();
    set(&mut conflicts, "c", 1);
    let mut deletes = store.begin_latest(circle(1));
    deletes.set("a", None).unwrap();
    deletes.own_set(b"m", Some(Value::new(b"1")));
    commit(&store, deletes).unwrap();
    assert_eq!(commit(&store, conflicts), Err(CommitError::Conflict));
    write(&store, &["last"]);
    let told = |number: u64, keys: &[&str]| {
        let keys = keys.iter().map(|&key| key.to_owned());
        Some((number, keys.collect::<Vec<_>>()))
    };
    assert_eq!(next(&mut feed), told(2, &["a", "b"]));
    assert_eq!(next(&mut feed), told(3, &["a", "\u{fffd}m"]));
    assert_eq!(next(&mut feed), told(4, &["last"]));
    assert!(is_silent(&mut feed) && is_silent(&mut other));
}

#[test]
fn commits_are_told_once_they_are_on_disk_and_their_numbers_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut feed = store.hub().commits().watch(circle(1));
    let held = hold(&store);
    let mut transaction = store.begin_latest(circle(1));
    set(&mut transaction, "key", 1);
    let done = hand_in(&store, transaction, Preconditions::NONE).unwrap();
    assert!(is_silent(&mut feed));
    assert_eq!(store.last_commit(&circle(1)), Ok(0));
    drop(held);
    done.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(next(&mut feed).unwrap().0, 1);
    assert_eq!(store.last_commit(&circle(1)), Ok(1));
    store.shutdown();
    drop((store, feed));
    let store = open(folder.path());
    assert_eq!(store.last_commit(&circle(1)), Ok(1));
    let mut feed = store.hub().commits().watch(circle(1));
    write(&store, &["key"]);
    assert_eq!(next(&mut feed).unwrap().0, 2);
}

#[test]
fn a_store_of_a_version_without_numbers_goes_on_with_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let old = Record::put(Table::Usage, [], 100_u64.to_be_bytes());
    store
        .write_and_wait(circle(1), vec![old], Preconditions::NONE)
        .unwrap();
    assert_eq!(store.last_commit(&circle(1)), Ok(0));
    write(&store, &["key"]);
    assert_eq!(usage(&store, circle(1)), 104);
    assert_eq!(store.last_commit(&circle(1)), Ok(1));
}

#[test]
fn what_nobody_watches_is_not_built_and_who_has_no_room_is_told_so() {
    let limits = Settings {
        events_waiting: Size::new(1000).unwrap(),
        ..LIMITS
    };
    let hub = Hub::new(&limits);
    let hub = hub.commits();
    let here = circle(1);
    hub.publish(&here, 1, || panic!("nobody asked for it"));
    let mut feed = hub.watch(here);
    hub.publish(&circle(2), 1, || panic!("nobody asked for it"));
    assert_eq!(hub.circles(), [here]);
    let (sender, receiver) = channel();
    for (number, length) in [(2, 100), (3, 1000), (4, 100)] {
        let keys = || {
            sender.send(number).unwrap();
            vec![Key::new(&vec![b'k'; length])]
        };
        hub.publish(&here, number, keys);
    }
    // Those before what is missing are of no use.
    assert_eq!(next(&mut feed), None);
    assert_eq!(next(&mut feed).unwrap().0, 4);
    assert_eq!(receiver.try_iter().count(), 3);
    for number in 5..1000 {
        hub.publish(&here, number, Vec::new);
    }
    assert_eq!(next(&mut feed), None);
    drop(feed);
    assert!(!hub.has_watchers(&here) && hub.circles().is_empty());
}

#[test]
fn of_what_is_not_wanted_the_numbers_are_told_and_nobody_is_woken_for_them() {
    #[derive(Debug)]
    struct Only(&'static [u8]);
    impl WantedKeys for Only {
        fn contain_any(&self, keys: &[Key]) -> bool {
            keys.iter().any(|key| *key == self.0)
        }
    }
    let hub = Hub::new(&LIMITS);
    let hub = hub.commits();
    let here = circle(1);
    let mut feed = hub.watch(here);
    let publish = |number, key: &[u8]| hub.publish(&here, number, || vec![Key::new(key)]);
    publish(1, b"other");
    assert!(!feed.narrow(Some(Arc::new(Only(b"key")))));
    assert_eq!(next(&mut feed).unwrap().0, 1);
    assert!(feed.narrow(Some(Arc::new(Only(b"key")))));
    {
        let mut waits = pin!(feed.next());
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        for number in 2..10_000 {
            publish(number, b"other");
        }
        assert!(waits.as_mut().poll(&mut context).is_pending());
        publish(10_000, b"key");
        let woken = waits.as_mut().poll(&mut context);
        let numbers = (2, 9999);
        assert!(
            matches!(woken, Poll::Ready(CommitSignal::Unwanted { first, last }) if (first, last) == numbers)
        );
    }
    assert_eq!(next(&mut feed).unwrap().0, 10_000);
    // All of it again.
    assert!(feed.narrow(None));
    publish(10_001, b"other");
    assert_eq!(next(&mut feed).unwrap().0, 10_001);
}
