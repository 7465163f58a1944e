//! Keys that expire: nobody sees them from then on, and they are swept.

use super::{PATIENCE, circle, commit, hand_in, open, set, usage};
use crate::store::{
    CommitError, CommitSignal, Key, KeyRange, Preconditions, Store, Table, Transaction, Value,
    WaitPolicy,
};

pub(super) const NOW: i64 = 1_000_000;

pub(super) fn value(text: &str) -> Value {
    Value::new(text.as_bytes())
}

/// Commits keys that expire, each with the value 1.
fn write_until(store: &Store, keys: &[(&str, i64)]) {
    let mut transaction = store.begin_latest(circle(1));
    for (key, end) in keys {
        transaction.set_until(key, &value("1"), *end).unwrap();
    }
    commit(store, transaction).unwrap();
}

fn get(store: &Store, key: &str) -> Option<Value> {
    store.begin_latest(circle(1)).get(key).unwrap()
}

/// Returns the entries of the index of expiry times.
fn index(store: &Store) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let walked = store.walk(Table::Expiry, &circle(1), &[], false, &mut |entry, _| {
        let (end, key) = crate::store::expiring::read_entry(entry).unwrap();
        found.push((end, key.to_vec()));
        true
    });
    walked.unwrap();
    found
}

/// Sweeps until nothing is left that has expired, and waits until that is on disk.
pub(super) fn sweep(store: &Store) {
    while store.sweep().unwrap() {}
    commit(store, store.begin(circle(1))).unwrap();
}

#[test]
fn a_key_is_there_before_its_end_and_not_from_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    write_until(&store, &[("a", NOW + 10), ("b", NOW + 20)]);
    let all = || KeyRange::of_prefix(b"");
    for (time, there) in [
        (NOW, &["a", "b"][..]),
        (NOW + 9, &["a", "b"]),
        (NOW + 10, &["b"]),
        (NOW + 19, &["b"]),
        (NOW + 20, &[]),
    ] {
        store.stop_clock(time);
        for latest in [false, true] {
            let begin = || match latest {
                false => store.begin(circle(1)),
                true => store.begin_latest(circle(1)),
            };
            for key in ["a", "b"] {
                let is_there = there.contains(&key);
                assert_eq!(begin().get(key).unwrap().is_some(), is_there, "{time}");
                assert_eq!(
                    begin().expires_at(key).unwrap().is_some(),
                    is_there,
                    "{time}"
                );
            }
            let keys: Vec<_> = there.iter().map(|key| Key::new(key.as_bytes())).collect();
            assert_eq!(begin().keys("", 10).unwrap(), keys);
            for reverse in [false, true] {
                let one = KeyRange {
                    limit: 1,
                    reverse,
                    ..all()
                };
                let found = begin().scan_entries(one, 100).unwrap();
                let end = if reverse { keys.last() } else { keys.first() };
                let expected = end.map(|key| (key.clone(), value("1")));
                assert_eq!(found, Vec::from_iter(expected), "{time}");
            }
            let count = begin().count(all(), &mut |_| true).unwrap();
            assert_eq!(count, Some(there.len() as u64));
        }
    }
    // Nothing was swept.
    assert_eq!(usage(&store, circle(1)), 2 * (1 + 9 + 1));
    store.shutdown();
}

#[test]
fn what_is_written_says_whether_a_key_still_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    let end = NOW + 10;
    write_until(
        &store,
        &[("set", end), ("incr", end), ("add", end), ("delete", end)],
    );
    let mut transaction = store.begin(circle(1));
    set(&mut transaction, "set", 2);
    transaction.set_keeping_expiry("incr", value("2")).unwrap();
    transaction.add("add", 1).unwrap();
    transaction.set("delete", None).unwrap();
    transaction.set_keeping_expiry("new", value("2")).unwrap();
    commit(&store, transaction).unwrap();
    let mut transaction = store.begin(circle(1));
    for (key, stored, ends) in [
        ("set", Some("2"), None),
        ("incr", Some("2"), Some(end)),
        ("add", Some("2"), Some(end)),
        ("delete", None, None),
        ("new", Some("2"), None),
    ] {
        assert_eq!(transaction.get(key).unwrap(), stored.map(value), "{key}");
        assert_eq!(transaction.expires_at(key).unwrap(), ends, "{key}");
    }
    let left = [(end, b"add".to_vec()), (end, b"incr".to_vec())];
    assert_eq!(index(&store), left);
    // From that time on, it is as if it had never been.
    store.stop_clock(end);
    let mut transaction = store.begin(circle(1));
    transaction.add("add", 5).unwrap();
    assert_eq!(transaction.get("add").unwrap(), Some(value("5")));
    commit(&store, transaction).unwrap();
    assert_eq!(store.begin(circle(1)).expires_at("add").unwrap(), None);
    // A write that is over when it is made deletes.
    write_until(&store, &[("set", end)]);
    assert_eq!(get(&store, "set"), None);
    assert_eq!(index(&store), left[1..]);
    store.shutdown();
}

#[test]
fn what_was_read_must_not_have_expired_at_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let reads: [fn(&mut Transaction); 6] = [
        |transaction| drop(transaction.get("k").unwrap()),
        |transaction| {
            transaction.expires_at("k").unwrap();
        },
        |transaction| drop(transaction.keys("k", 10).unwrap()),
        |transaction| {
            let all = KeyRange::of_prefix(b"");
            drop(transaction.scan_entries(all, 100).unwrap());
        },
        |transaction| {
            let all = KeyRange::of_prefix(b"");
            transaction.count(all, &mut |_| true).unwrap();
        },
        // A write of its own.
        |transaction| {
            let end = transaction.expires_at("k").unwrap().unwrap();
            transaction.set_until("k", &value("2"), end).unwrap();
        },
    ];
    for (n, read) in (0..).zip(reads) {
        let (begins, end) = (NOW + 100 * n, NOW + 100 * n + 10);
        let try_at = |time: i64| {
            store.stop_clock(begins);
            write_until(&store, &[("k", end)]);
            let mut transaction = store.begin(circle(1));
            read(&mut transaction);
            set(&mut transaction, "other", n);
            store.stop_clock(time);
            commit(&store, transaction)
        };
        assert_eq!(try_at(end - 1), Ok(()), "{n}");
        assert_eq!(try_at(end), Err(CommitError::Conflict), "{n}");
        // One that has seen it ended doesn't mind if it is swept.
        let mut transaction = store.begin(circle(1));
        assert_eq!(transaction.get("k").unwrap(), None);
        assert_eq!(transaction.keys("k", 10).unwrap(), [] as [Key; 0]);
        set(&mut transaction, "other", n);
        sweep(&store);
        commit(&store, transaction).unwrap();
    }
    store.shutdown();
}

#[test]
fn a_run_that_only_reads_sees_no_expiry_before_a_commit_that_came_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    write_until(&store, &[("lease", NOW + 10)]);
    let mut late = store.begin(circle(1));
    // It sees what is on disk now.
    assert_eq!(late.get("other").unwrap(), None);
    let mut holder = store.begin_latest(circle(1));
    assert!(holder.get("lease").unwrap().is_some());
    set(&mut holder, "written", 1);
    hand_in(&store, holder, Preconditions::NONE).unwrap();
    // It doesn't see the write, and must not see that the lease has expired either.
    assert_eq!(late.get("written").unwrap(), None);
    store.stop_clock(NOW + 10);
    assert_eq!(late.get("lease").unwrap(), None);
    assert!(!late.read_only_durable());
    assert_eq!(commit(&store, late), Err(CommitError::Conflict));
    let mut reader = store.begin_latest(circle(1));
    assert_eq!(reader.get("lease").unwrap(), None);
    assert!(reader.get("written").unwrap().is_some());
    commit(&store, reader).unwrap();
    store.shutdown();
}

#[test]
fn a_sweep_is_a_commit_and_gives_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    let mut transaction = store.begin(circle(1));
    for n in 0..10 {
        let key = format!("k/{n}");
        transaction.set_until(&key, &value("1"), NOW + 10).unwrap();
    }
    set(&mut transaction, "stays", 1);
    transaction
        .set_until("later", &value("1"), NOW + 20)
        .unwrap();
    commit(&store, transaction).unwrap();
    let mut feed = store.hub().commits().watch(circle(1));
    let mut told = || {
        let next = async { tokio::time::timeout(PATIENCE, feed.next()).await };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time();
        match runtime.build().unwrap().block_on(next).unwrap() {
            CommitSignal::Commit(commit) => (commit.number, commit.keys.len()),
            CommitSignal::Unwanted { .. } => panic!("all are wanted"),
            CommitSignal::Missed => panic!("nothing was missed"),
        }
    };
    let sweep = |most| {
        let swept = store.lock_circle(circle(1), WaitPolicy::Wait, |locked| locked.sweep(most));
        let swept = swept.unwrap().unwrap();
        (swept.keys, swept.more)
    };
    assert_eq!(sweep(4), (0, false), "none has expired");
    store.stop_clock(NOW + 10);
    assert_eq!(sweep(4), (4, true));
    assert_eq!(told(), (2, 4));
    assert_eq!(sweep(4), (4, true));
    assert_eq!(told(), (3, 4));
    assert_eq!(sweep(4), (2, false));
    assert_eq!(told(), (4, 2));
    assert_eq!(sweep(4), (0, false));
    assert_eq!(store.last_commit(&circle(1)), Ok(4));
    let left = "stays".len() + 1 + "later".len() + 9 + 1;
    assert_eq!(usage(&store, circle(1)), left as u64);
    assert_eq!(index(&store), [(NOW + 20, b"later".to_vec())]);
    // A later process finds what expires.
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    store.stop_clock(NOW + 20);
    self::sweep(&store);
    assert_eq!(usage(&store, circle(1)), "stays".len() as u64 + 1);
    assert_eq!(index(&store), []);
    store.shutdown();
}

#[test]
fn what_has_expired_makes_room_for_who_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = super::LIMITS;
    limits.quota = 1000;
    let settings = super::settings(folder.path());
    let disk = crate::store::Disk::open(&settings).unwrap();
    let store = Store::start(disk, &settings, limits).unwrap();
    store.stop_clock(NOW);
    let long = value(&"9".repeat(800));
    let write = |key: &str, end: Option<i64>| {
        let mut transaction = store.begin(circle(1));
        match end {
            Some(end) => transaction.set_until(key, &long, end).unwrap(),
            None => transaction.set(key, Some(long.clone())).unwrap(),
        }
        commit(&store, transaction)
    };
    write("a", Some(NOW + 10)).unwrap();
    assert_eq!(write("b", None), Err(CommitError::Quota { quota: 1000 }));
    store.stop_clock(NOW + 10);
    write("b", Some(NOW + 20)).unwrap();
    assert_eq!(usage(&store, circle(1)), 1 + 9 + 800);
    assert_eq!(store.last_commit(&circle(1)), Ok(3), "one of them swept");
    // Over one that has expired itself.
    store.stop_clock(NOW + 20);
    write("b", None).unwrap();
    assert_eq!(usage(&store, circle(1)), 1 + 800);
    assert_eq!(index(&store), []);
    store.shutdown();
}

#[test]
fn an_earlier_version_may_have_changed_a_key_that_expired() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    write_until(&store, &[("k", NOW + 10), ("gone", NOW + 10)]);
    let stays = crate::store::Record::put(Table::Store, b"k", value("2"));
    let gone = crate::store::Record::remove(Table::Store, b"gone");
    let written = store.write_and_wait(circle(1), vec![stays, gone], Preconditions::NONE);
    written.unwrap();
    store.stop_clock(NOW + 10);
    sweep(&store);
    assert_eq!(get(&store, "k"), Some(value("2")));
    assert_eq!(index(&store), []);
    store.shutdown();
}
