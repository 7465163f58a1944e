//! The ways in which two transactions at once are known to go wrong, one by one.

use circled_protocol::PublicKey;

use super::{circle, commit, hand_in, number, open, set};
use crate::store::{CommitError, Preconditions, Store, Transaction};

/// Two transactions that begin with the same state: what comes of the second commit.
fn second_of(
    store: &Store,
    begin: impl Fn(PublicKey) -> Transaction,
    one: impl FnOnce(&mut Transaction),
    other: impl FnOnce(&mut Transaction),
) -> Result<(), CommitError> {
    let (mut first, mut second) = (begin(circle(1)), begin(circle(1)));
    one(&mut first);
    other(&mut second);
    hand_in(store, first, Preconditions::NONE).unwrap();
    hand_in(store, second, Preconditions::NONE).map(drop)
}

fn with_both_views(test: impl Fn(&Store, &dyn Fn(PublicKey) -> Transaction)) {
    for latest in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        if latest {
            test(&store, &|circle| store.begin_latest(circle));
        } else {
            test(&store, &|circle| store.begin(circle));
        }
    }
}

fn kept(store: &Store, keys: &[&str]) {
    let mut transaction = store.begin_latest(circle(1));
    for key in keys {
        set(&mut transaction, key, 1);
    }
    commit(store, transaction).unwrap();
}

#[test]
fn two_that_read_both_and_write_one_each_dont_both_commit() {
    with_both_views(|store, begin| {
        kept(store, &["on call/ann", "on call/ben"]);
        let leave = |who: &'static str| {
            move |transaction: &mut Transaction| {
                let mut at_work = |key| number(transaction.get(key).unwrap());
                if at_work("on call/ann") + at_work("on call/ben") > 1 {
                    transaction.set(who, None).unwrap();
                }
            }
        };
        let result = second_of(store, begin, leave("on call/ann"), leave("on call/ben"));
        assert_eq!(result, Err(CommitError::Conflict));
    });
}

#[test]
fn two_that_count_and_add_one_dont_both_commit() {
    with_both_views(|store, begin| {
        kept(store, &["seat/1", "seat/9"]);
        let sit = |who: &'static str| {
            move |transaction: &mut Transaction| {
                if transaction.keys("seat/", 100).unwrap().len() < 3 {
                    set(transaction, who, 1);
                }
            }
        };
        // In front, in between, and behind.
        for (one, other) in [
            ("seat/0", "seat/5"),
            ("seat/5", "seat/0"),
            ("seat/99", "seat/5"),
        ] {
            let result = second_of(store, begin, sit(one), sit(other));
            assert_eq!(result, Err(CommitError::Conflict));
            kept(store, &[]);
            let mut transaction = begin(circle(1));
            transaction.set(one, None).unwrap();
            commit(store, transaction).unwrap();
        }
    });
}

#[test]
fn nothing_found_is_remembered_too() {
    with_both_views(|store, begin| {
        let first = |key: &'static str| {
            move |transaction: &mut Transaction| {
                assert_eq!(transaction.get("first").unwrap(), None);
                set(transaction, "first", 1);
                set(transaction, key, 1);
            }
        };
        let result = second_of(store, begin, first("a"), first("b"));
        assert_eq!(result, Err(CommitError::Conflict));
    });
}

#[test]
fn a_list_that_was_cut_off_depends_on_what_it_showed() {
    with_both_views(|store, begin| {
        kept(store, &["k/1", "k/3", "k/5", "k/7"]);
        let cut = |transaction: &mut Transaction| {
            transaction.keys("k/", 2).unwrap_err();
            set(transaction, "result", 1);
        };
        let add = |key: &'static str| move |transaction: &mut Transaction| set(transaction, key, 1);
        let behind = second_of(store, begin, add("k/6"), cut);
        assert_eq!(behind, Ok(()));
        let before = second_of(store, begin, add("k/2"), cut);
        assert_eq!(before, Err(CommitError::Conflict));
        let remove = |transaction: &mut Transaction| {
            for key in ["k/1", "k/2", "k/3", "k/5"] {
                transaction.set(key, None).unwrap();
            }
        };
        let fewer = second_of(store, begin, remove, cut);
        assert_eq!(fewer, Err(CommitError::Conflict));
    });
}

#[test]
fn a_whole_list_after_one_that_was_cut_off_depends_on_what_is_behind() {
    with_both_views(|store, begin| {
        kept(store, &["k/1", "k/2"]);
        let list = |transaction: &mut Transaction| {
            transaction.keys("k/", 1).unwrap_err();
            assert_eq!(transaction.keys("k/", 2).unwrap().len(), 2);
            set(transaction, "result", 2);
        };
        let add = |transaction: &mut Transaction| set(transaction, "k/3", 1);
        let result = second_of(store, begin, add, list);
        assert_eq!(result, Err(CommitError::Conflict));
    });
}

#[test]
fn what_only_writes_never_collides() {
    with_both_views(|store, begin| {
        let write = |n: i64| move |transaction: &mut Transaction| set(transaction, "key", n);
        assert_eq!(second_of(store, begin, write(1), write(2)), Ok(()));
        let mut transaction = store.begin_latest(circle(1));
        assert_eq!(number(transaction.get("key").unwrap()), 2);
    });
}
