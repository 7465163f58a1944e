//! The store from inside: what its callers rely on, whatever happens at the same time or to the disk.

mod anomalies;
mod commits;
mod counts;
mod event_log;
mod folder;
mod history;
mod jobs;
mod journal;
mod limits;
mod lost;
mod moment;
mod own;
mod queue;
mod ranges;
mod remote;
mod replies;
mod room;
mod snapshots;
mod ttl;

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use circled_protocol::PublicKey;

use super::{
    CommitError, Disk, DiskSettings, OpenError, Preconditions, Settings, Store, Transaction,
    Unavailable, WaitPolicy,
};
use crate::units::Size;

/// The longest that anything takes which isn't expected to take long.
const PATIENCE: Duration = Duration::from_secs(10);

const LIMITS: Settings = Settings {
    max_key: Size::new(512).unwrap(),
    max_value: Size::new(1 << 16).unwrap(),
    max_writes: 1000,
    max_range_delete: 100,
    max_events: NonZeroUsize::new(100).unwrap(),
    max_event: 1 << 14,
    event_log: NonZeroUsize::new(100).unwrap(),
    event_log_bytes: Size::new(1 << 20).unwrap(),
    events_waiting: Size::new(1 << 20).unwrap(),
    events_waiting_in_all: Size::new(1 << 20).unwrap(),
    quota: 1 << 28,
};

/// Done at the end, also of a test that fails: what others wait for.
struct AtLast<F: Fn()>(F);

impl<F: Fn()> Drop for AtLast<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn settings(folder: &Path) -> DiskSettings {
    DiskSettings {
        data_dir: folder.to_owned(),
        min_free: 0,
        write_queue: Size::new(1 << 20).unwrap(),
        memtables: Size::new(16 << 20).unwrap(),
        cache: 1 << 20,
        open_files: 64,
        max_requests: 1 << 20,
    }
}

fn try_open(folder: &Path) -> Result<Store, OpenError> {
    let settings = settings(folder);
    Ok(Store::start(Disk::open(&settings)?, &settings, LIMITS).unwrap())
}

fn open(folder: &Path) -> Store {
    try_open(folder).unwrap()
}

fn open_with(folder: &Path, change: impl FnOnce(&mut DiskSettings)) -> Store {
    let mut settings = settings(folder);
    change(&mut settings);
    Store::start(Disk::open(&settings).unwrap(), &settings, LIMITS).unwrap()
}

fn circle(number: u16) -> PublicKey {
    let mut bytes = [2; PublicKey::LENGTH];
    bytes[1..3].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_stored(bytes)
}

/// Returns the bytes in a circle's store on disk.
fn usage(store: &Store, circle: PublicKey) -> u64 {
    super::circle::Usage::read(store.disk(), &circle)
        .unwrap()
        .bytes
}

fn number(value: Option<super::Value>) -> i64 {
    value.map_or(0, |value| str::from_utf8(&value).unwrap().parse().unwrap())
}

fn set(transaction: &mut Transaction, key: &str, value: impl ToString) {
    let value = value.to_string().into_bytes();
    transaction.set(key, Some(value.into())).unwrap();
}

/// Hands the transaction in. What comes is what its `done` is called with.
fn hand_in(
    store: &Store,
    transaction: Transaction,
    preconditions: Preconditions<'_>,
) -> Result<Receiver<Result<(), Unavailable>>, CommitError> {
    let (sender, receiver) = channel();
    let done = Box::new(move |result| {
        let _ = sender.send(result);
    });
    store
        .commit(
            transaction,
            Vec::new(),
            preconditions,
            done,
            WaitPolicy::Wait,
        )
        .map_err(|refused| refused.why)?;
    Ok(receiver)
}

/// Keeps the writing thread from going on after this, until what it returns is dropped.
fn hold(store: &Store) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    let (held, holds) = channel();
    let done = Box::new(move |_| {
        let _ = held.send(());
        let _ = receiver.recv_timeout(PATIENCE);
    });
    let nothing = store.begin(circle(u16::MAX));
    let committed = store.commit(
        nothing,
        Vec::new(),
        Preconditions::NONE,
        done,
        WaitPolicy::Wait,
    );
    committed.unwrap();
    holds.recv_timeout(PATIENCE).unwrap();
    sender
}

/// Commits the transaction, and waits until it is on disk.
fn commit(store: &Store, transaction: Transaction) -> Result<(), CommitError> {
    let done = hand_in(store, transaction, Preconditions::NONE)?;
    Ok(done.recv_timeout(PATIENCE).unwrap()?)
}
