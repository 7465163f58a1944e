//! Tests that what one transaction sees stays as it is.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{AtLast, circle, commit, number, open, set};
use crate::store::Table;

#[test]
fn what_is_seen_doesnt_change_while_a_table_is_written_out() {
    const COMMITS: usize = 150;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let count = AtomicUsize::new(0);
    let durable = || count.load(Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _last = AtLast(|| count.store(COMMITS, Ordering::SeqCst));
            for n in 0..COMMITS {
                let mut transaction = store.begin_latest(circle(1));
                set(&mut transaction, "one", n);
                set(&mut transaction, "other", n);
                commit(&store, transaction).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while durable() < COMMITS {
                let table = store.disk().keyspace(Table::Store);
                table.rotate_memtable_and_wait().unwrap();
            }
        });
        while durable() < COMMITS {
            let mut transaction = store.begin(circle(1));
            let one = number(transaction.get("one").unwrap());
            let before = durable();
            while durable() == before && before < COMMITS {
                thread::yield_now();
            }
            let other = number(transaction.get("other").unwrap());
            assert_eq!(one, other);
        }
    });
}
