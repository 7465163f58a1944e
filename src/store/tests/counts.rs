//! The counts of a circle's entries: kept up while somebody asks for them.

use futures_util::FutureExt;

use super::{circle, commit, open, set};
use crate::store::{Counts, Store};

const NOW: i64 = 1_800_000_000_000;
const MINUTE: i64 = 60 * 1000;

fn put(store: &Store, number: u16, keys: &[&str]) {
    let mut transaction = store.begin_latest(circle(number));
    for key in keys {
        set(&mut transaction, key, 1);
    }
    commit(store, transaction).unwrap();
}

async fn counts(store: &Store, number: u16) -> Counts {
    let counting = store.counting(circle(number)).await;
    store.counts(circle(number), counting).unwrap()
}

fn are_kept(store: &Store, number: u16) -> bool {
    store.circle(circle(number)).lock().tally().is_some()
}

#[tokio::test]
async fn counts_are_kept_up_until_nobody_has_asked_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    put(&store, 1, &["a", "b"]);
    assert!(!are_kept(&store, 1));
    assert_eq!(counts(&store, 1).await.keys, 2);
    store.stop_clock(NOW + 9 * MINUTE);
    put(&store, 1, &["b", "c"]);
    assert!(are_kept(&store, 1));
    assert_eq!(counts(&store, 1).await.keys, 3);
    store.stop_clock(NOW + 18 * MINUTE);
    let mut transaction = store.begin_latest(circle(1));
    transaction.set("a", None).unwrap();
    transaction.set("none", None).unwrap();
    set(&mut transaction, "d", 1);
    commit(&store, transaction).unwrap();
    assert!(are_kept(&store, 1), "somebody has asked meanwhile");
    store.stop_clock(NOW + 19 * MINUTE);
    put(&store, 1, &["e"]);
    assert!(!are_kept(&store, 1));
    assert_eq!(counts(&store, 1).await.keys, 4);
}

#[tokio::test]
async fn nothing_is_kept_of_circles_that_nobody_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.stop_clock(NOW);
    for number in [1, 2] {
        put(&store, number, &["a"]);
        counts(&store, number).await;
    }
    store.stop_clock(NOW + 9 * MINUTE);
    counts(&store, 2).await;
    store.stop_clock(NOW + 10 * MINUTE);
    counts(&store, 3).await;
    assert_eq!(
        [1, 2, 3].map(|number| are_kept(&store, number)),
        [false, true, true]
    );
    assert_eq!(counts(&store, 1).await.keys, 1);
}

#[tokio::test]
async fn what_is_counted_waits_for_no_other_count() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, 1, &["a"]);
    counts(&store, 1).await;
    let _others = store.counting(circle(2)).await;
    let counting = store.counting(circle(1)).now_or_never().unwrap();
    assert_eq!(store.counts(circle(1), counting).unwrap().keys, 1);
}
