//! Tests that a moment is read as it was, whatever is committed meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use circled_protocol::PublicKey;

use super::{AtLast, circle, open, set};
use crate::store::{Moment, NoMoment, Preconditions, Record, Store, Table};

/// Keys that commits write, over and over.
const KEYS: u64 = 40;
/// Bytes that a commit writes besides: all of them are more than there is room for in memory.
const MORE: usize = 96 << 10;

type Entries = BTreeMap<String, String>;

/// Makes the commit with a number, which writes some keys and deletes others.
fn commit(store: &Store, circle: PublicKey, n: u64) {
    let mut transaction = store.begin_latest(circle);
    for (key, value) in changes(n) {
        match value {
            Some(value) => set(&mut transaction, &key, value),
            None => transaction.set(&key, None).unwrap(),
        }
    }
    let input = Record::put(Table::Inputs, n.to_be_bytes(), vec![n as u8; MORE]);
    let committed = store.commit_and_wait(transaction, vec![input], Preconditions::NONE);
    committed.unwrap();
}

fn changes(n: u64) -> [(String, Option<u64>); 3] {
    let key = |n: u64| format!("{:02}", n % KEYS);
    [
        (key(n * 3), Some(n)),
        (key(n * 7 + 1), None),
        (key(n * 11 + 2), Some(n)),
    ]
}

/// Returns what a store has after so many commits.
fn after(commits: u64) -> Entries {
    let mut entries = Entries::new();
    for (key, value) in (1..=commits).flat_map(changes) {
        match value {
            Some(value) => entries.insert(key, value.to_string()),
            None => entries.remove(&key),
        };
    }
    entries
}

/// Reads a table in pages of a few entries, and calls `between` between two of them.
fn read(
    moment: &Moment,
    table: Table,
    circle: PublicKey,
    mut between: impl FnMut(),
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut from) = (Vec::new(), Some(Vec::new()));
    while let Some(first) = from.take() {
        let mut left = 6;
        let mut page = |key: &[u8], value: &_| {
            if left == 0 {
                from = Some(key.to_vec());
                return false;
            }
            left -= 1;
            let value: &crate::store::Value = value;
            all.push((key.to_vec(), value.to_vec()));
            true
        };
        moment.walk(table, &circle, &first, &mut page).unwrap();
        between();
    }
    all
}

#[test]
fn a_moment_has_exactly_the_commits_before_it() {
    const COMMITS: u64 = 240;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let made = AtomicUsize::new(0);
    let (circles, all) = ([1, 2].map(circle), 2 * COMMITS as usize);
    thread::scope(|scope| {
        for circle in circles {
            let (store, made) = (&store, &made);
            scope.spawn(move || {
                let _last = AtLast(|| made.store(all, Ordering::SeqCst));
                for n in 1..=COMMITS {
                    commit(store, circle, n);
                    made.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let is_over = || made.load(Ordering::SeqCst) >= all;
        let wait_for_more = || {
            let before = made.load(Ordering::SeqCst);
            while made.load(Ordering::SeqCst) < before + 2 && !is_over() {
                thread::yield_now();
            }
        };
        let mut moments = 0;
        while !is_over() {
            wait_for_more();
            let least = circles.map(|circle| store.last_commit(&circle).unwrap());
            let moment = store.moment().unwrap();
            assert_eq!(store.moment().unwrap_err(), NoMoment::Busy);
            for (circle, least) in circles.into_iter().zip(least) {
                let (commits, events) = moment.last_numbers(&circle).unwrap();
                assert!(commits >= least);
                assert_eq!(events, 0);
                let entries = read(&moment, Table::Store, circle, wait_for_more);
                let text = |bytes| String::from_utf8(bytes).unwrap();
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (text(key), text(value)));
                assert_eq!(entries.collect::<Entries>(), after(commits), "{commits}");
                let inputs = read(&moment, Table::Inputs, circle, || {});
                assert_eq!(inputs.len() as u64, commits);
                let get = |n: u64| {
                    moment
                        .get(Table::Inputs, &circle, &n.to_be_bytes())
                        .unwrap()
                };
                assert!(commits == 0 || get(commits).is_some());
                assert_eq!(get(commits + 1), None);
            }
            moments += 1;
        }
        assert!(moments > 2, "{moments}");
    });
    // What was written is no more than there is room for.
    assert!(store.disk().tables.database.write_buffer_size() <= 8 << 20);
}

#[test]
fn a_circle_that_comes_or_goes_is_there_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, circle(1), 1);
    commit(&store, circle(3), 1);
    let moment = store.moment().unwrap();
    let found = |moment: &Moment| {
        let (mut found, mut last) = (Vec::new(), None);
        while let Some(next) = moment.circle_after(last.as_ref()).unwrap() {
            if !read(moment, Table::Store, next, || {}).is_empty() {
                found.push(next);
            }
            last = Some(next);
        }
        found
    };
    commit(&store, circle(2), 1);
    let gone = [
        Record::remove(Table::Store, "03"),
        Record::remove(Table::Store, "13"),
        Record::remove(Table::Usage, []),
        Record::remove(Table::Inputs, 1_u64.to_be_bytes()),
    ];
    store
        .write_and_wait(circle(3), gone.to_vec(), Preconditions::NONE)
        .unwrap();
    assert_eq!(found(&moment), [circle(1), circle(3)]);
    assert_eq!(moment.last_numbers(&circle(3)).unwrap(), (1, 0));
    drop(moment);
    assert_eq!(found(&store.moment().unwrap()), [circle(1), circle(2)]);
}

#[test]
fn what_is_deleted_at_once_is_noted_in_pieces() {
    const VALUES: u8 = 24;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..VALUES {
        let large = Record::put(Table::Inputs, [n], vec![n; 1 << 20]);
        let written = store.write_and_wait(circle(1), vec![large], Preconditions::NONE);
        written.unwrap();
    }
    let moment = store.moment().unwrap();
    let gone = (0..VALUES).map(|n| Record::remove(Table::Inputs, [n]));
    let database = &store.disk().tables.database;
    let is_over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            loop {
                let is_last = is_over.load(Ordering::SeqCst);
                most = database.write_buffer_size().max(most);
                if is_last {
                    return most;
                }
                thread::yield_now();
            }
        });
        let _last = AtLast(|| is_over.store(true, Ordering::SeqCst));
        store
            .write_and_wait(circle(1), gone.collect(), Preconditions::NONE)
            .unwrap();
        is_over.store(true, Ordering::SeqCst);
        watch.join().unwrap()
    });
    // Half of the room, and what the last piece has more than a quarter of it.
    assert!(most <= 10 << 20, "{most}");
    let inputs = read(&moment, Table::Inputs, circle(1), || {});
    let all = (0..VALUES).map(|n| (vec![n], vec![n; 1 << 20]));
    assert!(inputs.into_iter().eq(all));
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

#[test]
fn a_moment_that_a_dead_process_read_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, circle(1), 1);
    let moment = store.moment().unwrap();
    commit(&store, circle(1), 2);
    // It is never dropped, as if the process had died.
    std::mem::forget(moment);
    store.shutdown();
    let copy = tempfile::tempdir().unwrap();
    copy_all(folder.path(), copy.path());
    let store = open(copy.path());
    assert!(!store.disk().tables.database.keyspace_exists("before"));
    let moment = store.moment().unwrap();
    let entries = read(&moment, Table::Store, circle(1), || {});
    assert_eq!(entries.len(), after(2).len());
}
