//! Commits transactions: each is checked against the newest state, and then queued for the disk.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
};

use circled_protocol::PublicKey;
use dashmap::DashMap;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    circle::{Circle, Usage},
    disk::Disk,
    error::{CommitError, Unavailable},
    hub::{Hub, Log},
    locked_circle::LockedCircle,
    log,
    preconditions::Preconditions,
    queue::WriteQueue,
    room,
    settings::DiskSettings,
    snapshot::Snapshot,
    submitted_job::JobQueue,
    sweep::ExpiringCircles,
    table::{Record, Table, Value},
    transaction::{Transaction, own},
    writer,
};

/// Called once, when a commit is on disk, or when it is certain that it isn't going to be.
pub type CommitCallback = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// All circles' stores on this machine. A cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Arc<Disk>,
    limits: Arc<Settings>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    jobs: OnceLock<Box<dyn JobQueue>>,
    expiring_circles: ExpiringCircles,
    /// Held while a circle's entries are counted.
    counting: Arc<AsyncMutex<()>>,
    /// Bytes of one circle's replies to requests.
    max_requests: u64,
}

/// The state that the writing thread shares with everyone.
pub(super) struct Shared {
    pub(super) circles: DashMap<PublicKey, Arc<Circle>>,
    pub(super) queue: WriteQueue,
    pub(super) hub: Hub,
    /// Cancelled once the disk failed to take a write. Only a restart mends that.
    pub(super) failed: CancellationToken,
}

/// Says whether a commit may block, for another transaction or for room in the write queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitPolicy {
    /// It waits: this thread may block.
    Wait,
    /// It fails at once with [`CommitError::Busy`].
    FailFast,
}

/// A commit that was refused, with its callback, which was not called.
pub struct RejectedCommit {
    /// The reason.
    pub why: CommitError,
    /// The callback, as it was given.
    pub done: CommitCallback,
}

/// Says where [`Store::scan`] goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// At the next key.
    Continue,
    /// At the next circle.
    NextCircle,
    /// The scan ends.
    Stop,
}

impl std::fmt::Debug for RejectedCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RejectedCommit").field(&self.why).finish()
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
            queue: WriteQueue::new(settings.write_queue.get()),
            hub: Hub::new(&limits),
            failed: CancellationToken::new(),
        });
        let writer = writer::start(disk.clone(), shared.clone(), room::of_one_table(settings))?;
        Ok(Self(Arc::new(Inner {
            disk,
            limits: Arc::new(limits),
            shared,
            writer: Mutex::new(Some(writer)),
            jobs: OnceLock::new(),
            expiring_circles: ExpiringCircles::default(),
            counting: Arc::default(),
            max_requests: settings.max_requests as u64,
        })))
    }

    /// Has a queue take the jobs that commits submit. Without one, they are stored, and run by the next server.
    pub fn hand_jobs_to(&self, queue: Box<dyn JobQueue>) {
        let _ = self.0.jobs.set(queue);
    }

    /// Begins a transaction on what is on disk: a result that is built on it may be sent at once.
    pub fn begin(&self, circle: PublicKey) -> Transaction {
        self.transaction(circle, None)
    }

    /// Begins a transaction on the newest state, commits on their way to the disk included. Blocks while the circle is
    /// locked.
    pub fn begin_latest(&self, circle: PublicKey) -> Transaction {
        let snapshot = self.circle(circle).lock().snapshot(&self.0.disk);
        self.transaction(circle, Some(snapshot))
    }

    /// Begins a transaction on the newest state, if that takes no waiting.
    pub fn try_begin_latest(&self, circle: PublicKey) -> Option<Transaction> {
        let snapshot = self.circle(circle).try_lock()?.snapshot(&self.0.disk);
        Some(self.transaction(circle, Some(snapshot)))
    }

    /// Commits a transaction, with the `records` that go with it, if the `preconditions` hold at that moment. `done` is
    /// called once it is on disk, on the thread that writes.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing has happened then, and the gate was asked last of all, or not at all.
    pub fn commit(
        &self,
        transaction: Transaction,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
        done: CommitCallback,
        wait_policy: WaitPolicy,
    ) -> Result<(), RejectedCommit> {
        let key = transaction.circle();
        let circle = self.circle(key);
        let reservation = transaction.size() + records.iter().map(Record::size).sum::<usize>();
        let wait = wait_policy == WaitPolicy::Wait;
        let Some(reservation) = self.0.shared.queue.reserve(reservation, wait) else {
            let why = if wait {
                CommitError::Unavailable(Unavailable)
            } else {
                CommitError::Busy
            };
            return Err(RejectedCommit { why, done });
        };
        let latest = if wait {
            Some(circle.lock())
        } else {
            circle.try_lock()
        };
        let Some(latest) = latest else {
            let why = CommitError::Busy;
            return Err(RejectedCommit { why, done });
        };
        LockedCircle::new(self, key, &circle, latest).write(
            Some(transaction),
            records,
            preconditions,
            done,
            reservation,
            None,
        )
    }

    /// Calls `work` with the circle locked: what it begins and commits can't conflict with others.
    pub fn lock_circle<R>(
        &self,
        circle: PublicKey,
        wait_policy: WaitPolicy,
        work: impl FnOnce(&mut LockedCircle<'_>) -> R,
    ) -> Option<R> {
        let shared = self.circle(circle);
        let latest = match wait_policy {
            WaitPolicy::Wait => shared.lock(),
            WaitPolicy::FailFast => shared.try_lock()?,
        };
        Some(work(&mut LockedCircle::new(self, circle, &shared, latest)))
    }

    /// Returns the value that is on disk under a key.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<Value>, Unavailable> {
        self.0.disk.deletions().check(circle)?;
        self.0.disk.get(table, circle, key)
    }

    /// Returns the length of the value that is on disk under a key.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn size_of(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<usize>, Unavailable> {
        self.0.disk.deletions().check(circle)?;
        self.0.disk.size_of(table, circle, key)
    }

    /// Returns the value that is on disk under one of the circle's own keys, outside any transaction.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read_own(&self, circle: &PublicKey, key: &[u8]) -> Result<Option<Value>, Unavailable> {
        self.read(Table::Store, circle, &own(key))
    }

    /// Writes records if the `preconditions` hold, and waits until they are on disk. Blocks.
    ///
    /// # Errors
    /// As [`Store::commit`]; a disk that doesn't take them.
    pub fn write_and_wait(
        &self,
        circle: PublicKey,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
    ) -> Result<(), CommitError> {
        self.commit_and_wait(self.begin(circle), records, preconditions)
    }

    /// Commits as [`Store::commit`] does, and waits until it is on disk. Blocks.
    ///
    /// # Errors
    /// As [`Store::commit`]; a disk that doesn't take it.
    pub fn commit_and_wait(
        &self,
        transaction: Transaction,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
    ) -> Result<(), CommitError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let done: CommitCallback = Box::new(move |result| {
            let _ = sender.send(result);
        });
        self.commit(transaction, records, preconditions, done, WaitPolicy::Wait)
            .map_err(|refused| refused.why)?;
        Ok(receiver.recv().unwrap_or(Err(Unavailable))?)
    }

    /// Returns the number of a circle's last commit on disk that changed its store; 0 where there is none.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn last_commit(&self, circle: &PublicKey) -> Result<u64, Unavailable> {
        self.0.disk.deletions().check(circle)?;
        Ok(Usage::read(&self.0.disk, circle)?.commit)
    }

    /// Returns whether the size of a circle's store is known.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn has_usage(&self, circle: &PublicKey) -> Result<bool, Unavailable> {
        Ok(self.size_of(Table::Usage, circle, &[])?.is_some())
    }

    /// Goes through what is on disk in a table, circle by circle, in the order of the keys, from `from` on: a circle's
    /// bytes and then some of its key, or nothing. Leaves out circles that are being deleted.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn scan(
        &self,
        table: Table,
        from: &[u8],
        found: &mut dyn FnMut(PublicKey, &[u8], &Value) -> Scan,
    ) -> Result<(), Unavailable> {
        let deletions = self.0.disk.deletions();
        self.0.disk.scan(
            table,
            from,
            &mut |circle, key, value| match deletions.check(&circle) {
                Ok(()) => found(circle, key, value),
                Err(Unavailable) => Scan::NextCircle,
            },
        )
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
        self.0.disk.deletions().check(circle)?;
        self.0.disk.walk(table, circle, from, newest, found)
    }

    /// Has the clock of keys that expire stand still at a time, or with 0 go on.
    #[cfg(test)]
    pub(crate) fn stop_clock(&self, at: i64) {
        let stopped = &self.0.disk.clock().stopped;
        stopped.store(at, std::sync::atomic::Ordering::SeqCst);
    }

    /// Returns the hub, which publishes events.
    pub fn hub(&self) -> &Hub {
        &self.0.shared.hub
    }

    /// Returns up to `most` events of a circle, from the number `from` on. Reads the disk.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn log(&self, circle: &PublicKey, from: u64, most: usize) -> Result<Log, Unavailable> {
        self.0.disk.deletions().check(circle)?;
        log::read(&self.0.disk, circle, from, most)
    }

    /// Returns the disk.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Returns the bytes of commits that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.0.shared.queue.reserved()
    }

    /// Returns whether it takes commits: there is room on the disk, and it has not failed.
    pub fn works(&self) -> bool {
        !self.has_failed() && self.0.disk.has_room()
    }

    /// Returns whether the disk has failed: it takes no more commits for as long as this process lives.
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

    /// Returns the limits of one circle's store.
    pub fn limits(&self) -> &Settings {
        &self.0.limits
    }

    pub(super) fn job_queue(&self) -> Option<&dyn JobQueue> {
        self.0.jobs.get().map(|queue| &**queue)
    }

    pub(super) fn max_requests(&self) -> u64 {
        self.0.max_requests
    }

    pub(super) fn expiring_circles(&self) -> &ExpiringCircles {
        &self.0.expiring_circles
    }

    pub(super) fn queue(&self) -> &WriteQueue {
        &self.0.shared.queue
    }

    pub(super) fn transaction(
        &self,
        circle: PublicKey,
        mut snapshot: Option<Snapshot>,
    ) -> Transaction {
        if self.disk().deletions().check(&circle).is_err() {
            snapshot = Some(Snapshot::of_deletion(self.disk().snapshot()));
        }
        Transaction::new(self.0.disk.clone(), self.0.limits.clone(), circle, snapshot)
    }

    /// Held while a circle's entries are counted.
    pub(super) fn count_lock(&self) -> &Arc<AsyncMutex<()>> {
        &self.0.counting
    }

    /// Forgets what has become of circles that nobody needs any more.
    pub(super) fn forget_idle(&self) {
        let now = self.disk().clock().now();
        let circles = &self.0.shared.circles;
        circles.retain(|_, circle| Arc::strong_count(circle) > 1 || !circle.is_idle(now));
    }

    pub(super) fn circle(&self, key: PublicKey) -> Arc<Circle> {
        if let Some(circle) = self.0.shared.circles.get(&key) {
            return circle.clone();
        }
        self.0.shared.circles.entry(key).or_default().clone()
    }
}
