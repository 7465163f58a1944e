//! What waits for the thread that writes.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    circle::{Circle, Era},
    commit::Done,
    hub::Event,
    table::Record,
};
use crate::auth::PublicKey;

/// One commit on its way to the disk.
pub(super) struct Write {
    pub(super) key: PublicKey,
    pub(super) circle: Arc<Circle>,
    /// What it builds on.
    pub(super) era: Era,
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
    /// To be told once it is on disk.
    pub(super) events: Vec<Arc<Event>>,
    pub(super) done: Done,
    pub(super) room: usize,
}

/// Commits in the order in which they were made, bounded by their bytes.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    capacity: usize,
}

struct State {
    writes: Vec<Write>,
    /// Bytes that wait, or are about to.
    taken: usize,
    closed: bool,
}

/// Room for one commit. Given back when it is dropped.
pub(super) struct Room<'a> {
    queue: &'a Queue,
    bytes: usize,
}

impl Room<'_> {
    /// Keeps it until what [`Queue::taken`] returns is dropped.
    pub(super) fn keep(self) -> usize {
        let bytes = self.bytes;
        mem::forget(self);
        bytes
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.queue.release(self.bytes);
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                writes: Vec::new(),
                taken: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity,
        }
    }

    /// Takes room for so many bytes, and waits for it where `wait` says so. More than nothing is enough, so
    /// that no commit is too large. Nothing where there is none, or the queue is closed.
    pub(super) fn reserve(&self, bytes: usize, wait: bool) -> Option<Room<'_>> {
        let mut state = self.lock();
        while state.taken >= self.capacity && !state.closed {
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
        state.taken += bytes;
        Some(Room { queue: self, bytes })
    }

    /// The room that was kept for writes that have been taken.
    pub(super) fn taken(&self, bytes: usize) -> Room<'_> {
        Room { queue: self, bytes }
    }

    /// Gives room back.
    fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.taken -= bytes;
        if state.closed {
            self.filled.notify_all();
        }
        drop(state);
        self.drained.notify_all();
    }

    /// Takes a place in the order. Never waits: room has been reserved.
    pub(super) fn push(&self, write: Write) {
        self.lock().writes.push(write);
        self.filled.notify_one();
    }

    /// All that waits, as soon as there is something; nothing when the queue is closed and empty, and nobody
    /// has room in it any more.
    pub(super) fn take(&self) -> Option<Vec<Write>> {
        let mut state = self.lock();
        while state.writes.is_empty() {
            if state.closed && state.taken == 0 {
                return None;
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(mem::take(&mut state.writes))
    }

    /// Takes no more; what waits is still written.
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
