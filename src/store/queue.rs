//! The queue of commits that wait for the thread that writes.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;

use super::{
    circle::{Circle, Generation},
    commit::CommitCallback,
    hub::Event,
    table::Record,
};

/// One commit on its way to the disk.
pub(super) struct PendingCommit {
    pub(super) key: PublicKey,
    pub(super) circle: Arc<Circle>,
    /// The generation that it belongs to.
    pub(super) generation: Generation,
    /// Its number among all commits of this process.
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
    /// Events that are published once it is on disk.
    pub(super) events: Vec<Arc<Event>>,
    /// Its number among the commits that changed the circle's store, if it does.
    pub(super) commit: Option<u64>,
    pub(super) done: CommitCallback,
    pub(super) reserved: usize,
}

/// Commits in the order in which they were made, bounded by their bytes.
pub(super) struct WriteQueue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    capacity: usize,
}

struct State {
    writes: Vec<PendingCommit>,
    /// Bytes that wait, or are about to.
    reserved: usize,
    closed: bool,
}

/// Room in the queue for one commit. It is given back when this is dropped.
pub(super) struct QueueReservation<'a> {
    queue: &'a WriteQueue,
    bytes: usize,
}

impl QueueReservation<'_> {
    /// Keeps the room until the reservation that [`WriteQueue::reservation_of`] returns is dropped. Returns its bytes.
    pub(super) fn into_bytes(self) -> usize {
        let bytes = self.bytes;
        mem::forget(self);
        bytes
    }
}

impl Drop for QueueReservation<'_> {
    fn drop(&mut self) {
        self.queue.release(self.bytes);
    }
}

impl WriteQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                writes: Vec::new(),
                reserved: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity,
        }
    }

    /// Reserves room for some bytes, and waits for it if `wait` says so. Any free room is enough, so that no commit is
    /// too large. Returns nothing if there is none, or the queue is closed.
    pub(super) fn reserve(&self, bytes: usize, wait: bool) -> Option<QueueReservation<'_>> {
        let mut state = self.lock();
        while state.reserved >= self.capacity && !state.closed {
            if !wait {
                return None;
            }
            state = self
                .drained
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.reserved += bytes;
        Some(QueueReservation { queue: self, bytes })
    }

    /// Returns the reservation of commits that have been taken out of the queue.
    pub(super) fn reservation_of(&self, bytes: usize) -> QueueReservation<'_> {
        QueueReservation { queue: self, bytes }
    }

    /// Returns the bytes that wait, or are about to.
    pub(super) fn reserved(&self) -> usize {
        self.lock().reserved
    }

    /// Gives room back.
    fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.reserved -= bytes;
        if state.closed {
            self.filled.notify_all();
        }
        drop(state);
        self.drained.notify_all();
    }

    /// Adds a commit. Never waits: room has been reserved.
    pub(super) fn push(&self, write: PendingCommit) {
        self.lock().writes.push(write);
        self.filled.notify_one();
    }

    /// Waits for commits, and takes the first ones, up to so many bytes and one more; returns nothing when the queue is
    /// closed and empty, and nobody has room in it any more.
    pub(super) fn take(&self, most: usize) -> Option<Vec<PendingCommit>> {
        let mut state = self.lock();
        while state.writes.is_empty() {
            if state.closed && state.reserved == 0 {
                return None;
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let goes = |write: &PendingCommit| {
            let goes = bytes < most;
            bytes += write.reserved;
            goes
        };
        let count = state
            .writes
            .iter()
            .map(goes)
            .take_while(|goes| *goes)
            .count();
        let left = state.writes.split_off(count);
        Some(mem::replace(&mut state.writes, left))
    }

    /// Closes the queue: it takes no more, and what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
