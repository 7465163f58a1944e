//! What waits for the thread that writes.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{circle::Circle, commit::Done, table::Record};
use crate::auth::PublicKey;

/// One commit on its way to the disk.
pub(super) struct Write {
    pub(super) key: PublicKey,
    pub(super) circle: Arc<Circle>,
    /// The state of the circle that it builds on, see [`Circle::start_over`].
    pub(super) era: u64,
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
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

    /// Takes room for so many bytes, and waits for it where `wait` says so. Answers whether there was room:
    /// more than nothing is enough, so that no commit is too large.
    pub(super) fn reserve(&self, bytes: usize, wait: bool) -> bool {
        let mut state = self.lock();
        while state.taken >= self.capacity && !state.closed {
            if !wait {
                return false;
            }
            state = self
                .drained
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += bytes;
        !state.closed
    }

    /// Gives room back.
    pub(super) fn release(&self, bytes: usize) {
        self.lock().taken -= bytes;
        self.drained.notify_all();
    }

    /// Takes a place in the order. Never waits: room has been reserved.
    pub(super) fn push(&self, write: Write) {
        self.lock().writes.push(write);
        self.filled.notify_one();
    }

    /// All that waits, as soon as there is something; nothing when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Write>> {
        let mut state = self.lock();
        while state.writes.is_empty() {
            if state.closed {
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
