//! Committing: checked against the newest state, then on its way to the disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    alone::Alone,
    circle::Circle,
    disk::Disk,
    error::{CommitError, Unavailable},
    hub::{Hub, Log},
    log,
    queue::Queue,
    settings::DiskSettings,
    table::{Record, Table, Value},
    transaction::{Transaction, own},
    view::View,
    writer,
};
use crate::auth::PublicKey;

/// Called once, when a commit is on disk, or when it is certain that it isn't going to be.
pub type Done = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// All circles' stores on this machine. A cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Arc<Disk>,
    limits: Arc<Settings>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writing thread shares with everyone.
pub(super) struct Shared {
    pub(super) circles: DashMap<PublicKey, Arc<Circle>>,
    pub(super) queue: Queue,
    pub(super) hub: Hub,
    /// Cancelled once the disk failed to take a write. Only a restart mends that.
    pub(super) failed: CancellationToken,
}

/// Whether to wait for another transaction, or for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Yes: this thread may block.
    Wait,
    /// No: answer [`CommitError::Busy`].
    Hurry,
}

/// What must hold at the very moment of a commit, or nothing of it lands.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Something is kept under this key still.
    pub present: Option<(Table, &'a [u8])>,
    /// Nothing is kept under this key.
    pub absent: Option<(Table, &'a [u8])>,
    /// Asked last of all: after it says yes, the commit lands.
    pub claim: &'a dyn Fn() -> bool,
}

impl<'a> Terms<'a> {
    /// Nothing in particular.
    pub const NONE: Self = Self {
        present: None,
        absent: None,
        claim: &|| true,
    };

    /// That `claim` says so.
    pub fn claimed_by(claim: &'a dyn Fn() -> bool) -> Self {
        Self {
            claim,
            ..Self::NONE
        }
    }
}

/// A commit that was refused, and what was to be called after it.
pub struct Refused {
    /// Why.
    pub why: CommitError,
    /// As it was given.
    pub done: Done,
}

/// Where to go on, see [`Store::scan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// With the next key.
    On,
    /// With the next circle.
    NextCircle,
    /// Nowhere.
    Stop,
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Refused").field(&self.why).finish()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.disk).finish()
    }
}

impl Store {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Where the operating system refuses the thread.
    pub fn start(disk: Disk, settings: &DiskSettings, limits: Settings) -> std::io::Result<Self> {
        let disk = Arc::new(disk);
        let shared = Arc::new(Shared {
            circles: DashMap::new(),
            queue: Queue::new(settings.write_queue),
            hub: Hub::new(&limits),
            failed: CancellationToken::new(),
        });
        let writer = writer::start(disk.clone(), shared.clone())?;
        Ok(Self(Arc::new(Inner {
            disk,
            limits: Arc::new(limits),
            shared,
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Begins with what is on disk: what it reads may be told at once.
    pub fn begin(&self, circle: PublicKey) -> Transaction {
        self.transaction(circle, None)
    }

    /// Begins with the newest state, commits on their way to the disk included. Blocks while one
    /// transaction is alone in the circle.
    pub fn begin_latest(&self, circle: PublicKey) -> Transaction {
        let view = self.circle(circle).lock().view(&self.0.disk);
        self.transaction(circle, Some(view))
    }

    /// Begins with the newest state, if that takes no waiting.
    pub fn try_begin_latest(&self, circle: PublicKey) -> Option<Transaction> {
        let view = self.circle(circle).try_lock()?.view(&self.0.disk);
        Some(self.transaction(circle, Some(view)))
    }

    /// Commits a transaction, with the `records` that go with it, if the `terms` hold at the very moment.
    /// `done` is called when it is on disk, on the thread that writes.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing has happened then, and a claim was asked last of all, or not at all.
    pub fn commit(
        &self,
        transaction: Transaction,
        records: Vec<Record>,
        terms: Terms<'_>,
        done: Done,
        patience: Patience,
    ) -> Result<(), Refused> {
        let key = transaction.circle();
        let circle = self.circle(key);
        let room = transaction.size() + records.iter().map(Record::size).sum::<usize>();
        let wait = patience == Patience::Wait;
        let Some(room) = self.0.shared.queue.reserve(room, wait) else {
            let why = if wait {
                CommitError::Unavailable(Unavailable)
            } else {
                CommitError::Busy
            };
            return Err(Refused { why, done });
        };
        let latest = if wait {
            Some(circle.lock())
        } else {
            circle.try_lock()
        };
        let Some(latest) = latest else {
            let why = CommitError::Busy;
            return Err(Refused { why, done });
        };
        Alone::new(self, key, &circle, latest).write(Some(transaction), records, terms, done, room)
    }

    /// Does `work` while no other commit of the circle lands: what it begins and commits can't collide.
    pub fn alone<R>(
        &self,
        circle: PublicKey,
        patience: Patience,
        work: impl FnOnce(&mut Alone<'_>) -> R,
    ) -> Option<R> {
        let shared = self.circle(circle);
        let latest = match patience {
            Patience::Wait => shared.lock(),
            Patience::Hurry => shared.try_lock()?,
        };
        Some(work(&mut Alone::new(self, circle, &shared, latest)))
    }

    /// What is on disk under a key.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<Value>, Unavailable> {
        self.0.disk.get(table, circle, key)
    }

    /// How long what is on disk under a key is.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn size_of(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<usize>, Unavailable> {
        self.0.disk.size_of(table, circle, key)
    }

    /// What is on disk under a key of the circle's own, for one look that nothing else comes of.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read_own(&self, circle: &PublicKey, key: &[u8]) -> Result<Option<Value>, Unavailable> {
        self.read(Table::Store, circle, &own(key))
    }

    /// Writes records if the `terms` hold, and waits until they are on disk. Blocks.
    ///
    /// # Errors
    /// As [`Store::commit`]; a disk that doesn't take them.
    pub fn write_and_wait(
        &self,
        circle: PublicKey,
        records: Vec<Record>,
        terms: Terms<'_>,
    ) -> Result<(), CommitError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let done: Done = Box::new(move |result| {
            let _ = sender.send(result);
        });
        let transaction = self.begin(circle);
        self.commit(transaction, records, terms, done, Patience::Wait)
            .map_err(|refused| refused.why)?;
        Ok(receiver.recv().unwrap_or(Err(Unavailable))?)
    }

    /// Goes through what is on disk in a table, circle by circle, in the order of the keys, from `from` on: a circle's
    /// bytes and then some of its key, or nothing.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn scan(
        &self,
        table: Table,
        from: &[u8],
        found: &mut dyn FnMut(PublicKey, &[u8], &Value) -> Scan,
    ) -> Result<(), Unavailable> {
        self.0.disk.scan(table, from, found)
    }

    /// Goes through one circle's entries of a table that are on disk, from the key `from` on or, where `newest` says
    /// so, from it backwards, until `found` says to stop.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn walk(
        &self,
        table: Table,
        circle: &PublicKey,
        from: &[u8],
        newest: bool,
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        self.0.disk.walk(table, circle, from, newest, found)
    }

    /// Who is told of events.
    pub fn hub(&self) -> &Hub {
        &self.0.shared.hub
    }

    /// The events of a circle from one on, so many at most. Reads the disk.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn log(&self, circle: &PublicKey, from: u64, most: usize) -> Result<Log, Unavailable> {
        log::read(&self.0.disk, circle, from, most)
    }

    /// The disk below.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Whether it takes commits: there is room on the disk, and it has not failed.
    pub fn works(&self) -> bool {
        !self.has_failed() && self.0.disk.has_room()
    }

    /// Whether it takes no more commits for as long as this process lives.
    pub fn has_failed(&self) -> bool {
        self.0.shared.failed.is_cancelled()
    }

    /// Waits until it has failed, for as long as it hasn't.
    pub async fn failed(&self) {
        self.0.shared.failed.cancelled().await;
    }

    /// Writes what waits, and takes no more. Blocks until that is done.
    pub fn shutdown(&self) {
        self.0.shared.queue.close();
        let writer = self
            .0
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    pub(super) fn limits(&self) -> &Settings {
        &self.0.limits
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.shared.queue
    }

    pub(super) fn transaction(&self, circle: PublicKey, view: Option<View>) -> Transaction {
        Transaction::new(self.0.disk.clone(), self.0.limits.clone(), circle, view)
    }

    fn circle(&self, key: PublicKey) -> Arc<Circle> {
        if let Some(circle) = self.0.shared.circles.get(&key) {
            return circle.clone();
        }
        self.0.shared.circles.entry(key).or_default().clone()
    }
}
