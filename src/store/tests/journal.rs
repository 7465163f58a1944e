//! Tests what is left of a folder whose last write was cut short, or whose journal is damaged: the commits up to some
//! point, each whole, or a refusal; and a refusal wherever one is missing that was reported.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tempfile::TempDir;

use super::{circle, commit, number, open, set, try_open};
use crate::store::{OpenError, Store};

const COMMITS: usize = 11;
/// fjall ends each write with these.
const TRAILER: &[u8] = b"FJL\x03";
/// fjall begins each write with a tag, the count of its items, and its number in the order.
const COUNT: usize = 1 + 4;
const HEAD: usize = COUNT + 8;
const PAGE: usize = 4096;
/// The journal is made longer than this ahead of what is written to it.
const WRITTEN: u64 = 1 << 20;

/// A closed folder with [`COMMITS`] commits in it, each in a write of its own.
struct Closed {
    folder: TempDir,
    journal: PathBuf,
    /// The part of the journal that was written to.
    bytes: Vec<u8>,
    /// The position where each commit ends; at first, what was there before.
    ends: Vec<usize>,
}

/// Damage to a journal.
#[derive(Debug, Clone)]
enum Damage {
    /// The file ends here.
    Truncated(usize),
    /// The bytes from here on were never written.
    Zeroed(usize),
    /// The page at this position of the last write never reached the disk.
    PageLost(usize),
    /// Something else is written here.
    Overwritten(usize, Vec<u8>),
    /// One bit has turned.
    Flipped(usize, u8),
}

/// The keys of one commit: from a few bytes in all to several pages.
fn keys(n: usize) -> impl Iterator<Item = (String, String)> {
    let value = move |part| format!("{n}").repeat(1 + part * part * 1000 * (n % 3));
    (0..2 + n % 3).map(move |part| (format!("commit/{n}/{part}"), value(part)))
}

impl Closed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for n in 1..=COMMITS {
            let mut transaction = store.begin(circle(1));
            for (key, value) in keys(n) {
                set(&mut transaction, &key, value);
            }
            set(&mut transaction, "last", n);
            commit(&store, transaction).unwrap();
        }
        store.shutdown();
        drop(store);
        let journals = fs::read_dir(folder.path().join("database")).unwrap();
        let mut journals = journals.map(|entry| entry.unwrap().path());
        let journal = journals.find(|path| path.extension().is_some_and(|name| name == "jnl"));
        let journal = journal.unwrap();
        let mut bytes = Vec::new();
        let file = File::open(&journal).unwrap();
        file.take(WRITTEN).read_to_end(&mut bytes).unwrap();
        let ends = bytes.windows(TRAILER.len()).enumerate();
        let ends = ends.filter(|(_, window)| *window == TRAILER);
        let ends: Vec<_> = ends.map(|(at, _)| at + TRAILER.len()).collect();
        bytes.truncate(*ends.last().unwrap());
        let (before, commits) = ends.split_at(ends.len() - COMMITS);
        let begin = before.last().copied().unwrap_or(0);
        Self {
            folder,
            journal: journal
                .strip_prefix(journal.ancestors().nth(2).unwrap())
                .unwrap()
                .to_owned(),
            bytes,
            ends: [&[begin], commits].concat(),
        }
    }

    /// A copy of it that came to harm, `reported` or not that all of it was safe.
    fn damaged(&self, damage: &Damage, reported: bool) -> TempDir {
        let to = tempfile::tempdir().unwrap();
        copy(self.folder.path(), to.path());
        if !reported {
            fs::remove_file(to.path().join("written")).unwrap();
        }
        let mut bytes = self.bytes.clone();
        let mut ahead = 1 << 20;
        match damage {
            Damage::Truncated(at) => {
                bytes.truncate(*at);
                ahead = 0;
            }
            Damage::Zeroed(at) => bytes.truncate(*at),
            Damage::PageLost(at) => {
                let page = at / PAGE * PAGE;
                let from = page.max(self.ends[COMMITS - 1]);
                let to = (page + PAGE).min(bytes.len());
                bytes[from..to].fill(0);
            }
            Damage::Overwritten(at, with) => {
                let to = (at + with.len()).min(bytes.len());
                bytes[*at..to].copy_from_slice(&with[..to - at]);
            }
            Damage::Flipped(at, bit) => bytes[*at] ^= 1 << bit,
        }
        let mut file = File::create(to.path().join(&self.journal)).unwrap();
        file.write_all(&bytes).unwrap();
        let end = file.seek(SeekFrom::End(0)).unwrap();
        file.set_len(end + ahead).unwrap();
        to
    }

    /// Returns how many commits end at or before this place.
    fn whole_at(&self, at: usize) -> usize {
        self.ends[1..].iter().filter(|end| **end <= at).count()
    }

    /// Returns whether this place is a write's number, which its checksum leaves out.
    fn is_unchecked(&self, at: usize) -> bool {
        let begin = self.ends.iter().rfind(|end| **end <= at).copied();
        begin.is_some_and(|begin| (begin + COUNT..begin + HEAD).contains(&at))
    }
}

/// All but the journal.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&path, &to);
        } else if path.extension().is_none_or(|name| name != "jnl") {
            fs::copy(path, to).unwrap();
        }
    }
}

/// Returns how many commits are stored; each is whole, or not there at all.
fn kept(store: &Store) -> usize {
    let mut transaction = store.begin(circle(1));
    let last = usize::try_from(number(transaction.get("last").unwrap())).unwrap();
    for n in 1..=COMMITS {
        for (key, value) in keys(n) {
            let found = transaction.get(&key).unwrap();
            let expected = (n <= last).then(|| value.into_bytes().into());
            assert_eq!(found, expected, "{key} of {last} commits");
        }
    }
    last
}

/// Commits once more, and finds all of it after another restart.
fn goes_on(folder: &Path, store: Store, last: usize) {
    let mut transaction = store.begin(circle(2));
    set(&mut transaction, "key", 1);
    commit(&store, transaction).unwrap();
    store.shutdown();
    drop(store);
    let store = open(folder);
    assert_eq!(kept(&store), last);
    assert_eq!(number(store.begin(circle(2)).get("key").unwrap()), 1);
}

#[test]
fn what_was_reported_is_there_after_a_restart() {
    let closed = Closed::new();
    assert_eq!(kept(&open(closed.folder.path())), COMMITS);
}

#[test]
fn a_torn_last_write_is_gone_and_nothing_else_is() {
    let closed = Closed::new();
    let [begin, end] = [closed.ends[COMMITS - 1], closed.ends[COMMITS]];
    // Each place in the head of an item, and some others.
    let item = begin + HEAD..begin + HEAD + 24;
    for at in item.chain([begin, begin + PAGE, end - 1, end]) {
        assert!(at <= end);
        for damage in [Damage::Truncated(at), Damage::Zeroed(at)] {
            let folder = closed.damaged(&damage, false);
            let store = open(folder.path());
            let last = kept(&store);
            assert_eq!(last, closed.whole_at(at), "{damage:?} of {begin} to {end}");
            goes_on(folder.path(), store, last);
        }
    }
}

#[test]
fn whatever_befalls_the_journal_no_commit_is_kept_in_part() {
    let closed = Closed::new();
    let (first, last, end) = (
        closed.ends[0],
        closed.ends[COMMITS - 1],
        closed.ends[COMMITS],
    );
    let damage = prop_oneof![
        (first..end).prop_map(Damage::Truncated),
        (first..end).prop_map(Damage::Zeroed),
        (last..end).prop_map(Damage::PageLost),
        (first..end, prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(at, with)| Damage::Overwritten(at, with)),
        // Higher bits would have lengths of gigabytes tried out.
        (first..end, 0..5_u8).prop_map(|(at, bit)| Damage::Flipped(at, bit)),
        (last..end, 0..5_u8).prop_map(|(at, bit)| Damage::Flipped(at, bit)),
    ];
    let config = Config {
        cases: 30,
        failure_persistence: None,
        max_shrink_iters: 20,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&damage, |damage| {
        let (at, length) = match &damage {
            Damage::Truncated(at) | Damage::Zeroed(at) | Damage::PageLost(at) => (*at, 0),
            Damage::Overwritten(at, with) => (*at, with.len()),
            Damage::Flipped(at, _) => (*at, 1),
        };
        prop_assume!(!(at..at + length).any(|at| closed.is_unchecked(at)));
        let folder = closed.damaged(&damage, true);
        match try_open(folder.path()) {
            Ok(store) => prop_assert_eq!(kept(&store), COMMITS),
            Err(OpenError::Lost { missing, .. }) => {
                prop_assert!((1..=COMMITS as u64).contains(&missing), "{missing}");
            }
            Err(OpenError::Damaged { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        let folder = closed.damaged(&damage, false);
        match try_open(folder.path()) {
            Ok(store) => {
                let kept = kept(&store);
                match damage {
                    Damage::Truncated(at) | Damage::Zeroed(at) => {
                        prop_assert_eq!(kept, closed.whole_at(at));
                    }
                    Damage::PageLost(_) => prop_assert!(kept >= COMMITS - 1),
                    Damage::Overwritten(..) | Damage::Flipped(..) => {
                        prop_assert!(kept >= closed.whole_at(at));
                    }
                }
                goes_on(folder.path(), store, kept);
            }
            Err(OpenError::Damaged { path, reason }) => {
                prop_assert!(!matches!(damage, Damage::Truncated(_) | Damage::Zeroed(_)));
                let message = OpenError::Damaged { path, reason }.to_string();
                prop_assert!(message.contains("is damaged"), "{message}");
                prop_assert!(
                    message.contains("restore the folder from a backup"),
                    "{message}"
                );
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(())
    });
    result.unwrap();
}
