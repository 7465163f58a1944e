//! The queue of commits: one call for each circle is under way at a time, and takes along all that has gathered
//! meanwhile.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;

use super::{claimed_job::ClaimedJob, commit::CommitRequest};

/// Bytes that one call commits, about.
const AT_ONCE: usize = 1 << 20;
/// Circles that run in order share this many locks.
const LOCKS: usize = 64;

type CommitRequests = Vec<(ClaimedJob, CommitRequest)>;

/// Runs that wait to be committed, by circle. A circle is here as long as somebody commits for it.
#[derive(Debug)]
pub(super) struct CommitQueue {
    waiting: Mutex<HashMap<PublicKey, CommitRequests>>,
    order: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl CommitQueue {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            order: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Locks the order of a circle: runs that are added under this lock are committed in the order in which they ran.
    pub(super) fn lock_order(&self, circle: &PublicKey) -> MutexGuard<'_, ()> {
        let number = self.hasher.hash_one(circle) as usize % LOCKS;
        self.order[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds runs. Returns whether the caller has to begin to commit for the circle.
    pub(super) fn add(&self, circle: PublicKey, requests: CommitRequests) -> bool {
        if requests.is_empty() {
            return false;
        }
        let mut waiting = self.waiting();
        if let Some(before) = waiting.get_mut(&circle) {
            before.extend(requests);
            return false;
        }
        waiting.insert(circle, requests);
        true
    }

    /// Takes out what is committed next; nothing, once nothing waits.
    pub(super) fn next(&self, circle: &PublicKey) -> Option<CommitRequests> {
        let mut waiting = self.waiting();
        let requests = waiting.get_mut(circle)?;
        if requests.is_empty() {
            waiting.remove(circle);
            return None;
        }
        let mut bytes = 0;
        let fits = requests.iter().take_while(|(_, request)| {
            let fits = bytes < AT_ONCE;
            bytes += request.size();
            fits
        });
        let count = fits.count();
        let rest = requests.split_off(count);
        Some(mem::replace(requests, rest))
    }

    /// Takes back those that have read something.
    pub(super) fn take_readers(&self, circle: &PublicKey) -> CommitRequests {
        let mut waiting = self.waiting();
        let Some(requests) = waiting.get_mut(circle) else {
            return Vec::new();
        };
        let (readers, rest) = mem::take(requests)
            .into_iter()
            .partition(|(_, request)| request.has_read());
        *requests = rest;
        readers
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<PublicKey, CommitRequests>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
