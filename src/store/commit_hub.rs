//! Tells those who watch a circle which keys its commits wrote, once they are safe. Where nobody watches, nothing is built.
//!
//! A watcher may want only some keys. Of commits that touch none of them, it gets the numbers, whenever it looks: it isn't
//! woken for them, and any number of them takes the room of one.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use circled_protocol::PublicKey;
use dashmap::{DashMap, Entry};
use tokio::sync::Notify;

use super::table::Key;
use crate::memory::{MemoryBudget, Reservation};

/// A commit that has changed a circle's store.
#[derive(Debug)]
pub struct Commit {
    /// Its number among those of the circle, from 1.
    pub number: u64,
    /// The keys that it wrote or deleted.
    pub keys: Vec<Key>,
    _reservation: Reservation,
}

/// A message to watchers.
#[derive(Debug, Clone)]
pub enum CommitSignal {
    /// A commit has changed the store.
    Commit(Arc<Commit>),
    /// So have these, one after another, but nothing that is wanted.
    Unwanted {
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
    },
    /// There were commits of which nothing is told: any key may have changed.
    Missed,
}

/// The keys that a watcher wants to know of.
pub trait WantedKeys: Debug + Send + Sync {
    /// Returns whether any of these is wanted.
    fn contain_any(&self, keys: &[Key]) -> bool;
}

/// The circles whose commits somebody watches. A cheap handle.
#[derive(Debug, Clone)]
pub struct CommitHub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    circles: DashMap<PublicKey, Circle>,
    /// The number of feeds, so that a commit looks for watchers only where there are any.
    feeds: AtomicUsize,
    /// The memory of what waits in all circles.
    memory: MemoryBudget,
    per_circle: usize,
}

#[derive(Debug)]
struct Circle {
    feeds: Vec<Arc<Waiting>>,
    memory: MemoryBudget,
}

/// The signals that wait for one watcher. They are bounded by the memory of its circle.
#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    signals: VecDeque<CommitSignal>,
    /// The keys that are wanted; `None`: all.
    wanted: Option<Arc<dyn WantedKeys>>,
    /// True if the watcher was woken for what is here.
    is_woken: bool,
}

impl Waiting {
    fn push(&self, signal: CommitSignal) {
        let mut queue = self.queue();
        if let CommitSignal::Missed = signal {
            // Whoever missed some learns nothing from those before.
            queue.signals.clear();
        }
        queue.signals.push_back(signal);
        if !std::mem::replace(&mut queue.is_woken, true) {
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// Returns true if the commit isn't wanted. If so, its number is all that is told.
    fn passes_over(&self, number: u64, keys: &[Key]) -> bool {
        let mut queue = self.queue();
        let wanted = queue.wanted.as_ref();
        if wanted.is_none_or(|wanted| wanted.contain_any(keys)) {
            return false;
        }
        match queue.signals.back_mut() {
            Some(CommitSignal::Unwanted { last, .. }) if *last + 1 == number => *last = number,
            _ => queue.signals.push_back(CommitSignal::Unwanted {
                first: number,
                last: number,
            }),
        }
        true
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commits of one circle from the moment on that this was made.
#[derive(Debug)]
pub struct CommitFeed {
    hub: CommitHub,
    circle: PublicKey,
    waiting: Arc<Waiting>,
}

impl CommitHub {
    pub(super) fn new(memory: MemoryBudget, per_circle: usize) -> Self {
        Self(Arc::new(Inner {
            circles: DashMap::new(),
            feeds: AtomicUsize::new(0),
            memory,
            per_circle,
        }))
    }

    /// Watches a circle: from then on, no commit is missed unless the feed says so.
    pub fn watch(&self, circle: PublicKey) -> CommitFeed {
        let inner = &*self.0;
        inner.feeds.fetch_add(1, Ordering::SeqCst);
        let mut here = inner.circles.entry(circle).or_insert_with(|| Circle {
            feeds: Vec::new(),
            memory: inner
                .memory
                .part("store.events_waiting", inner.per_circle, 0),
        });
        let waiting = Arc::<Waiting>::default();
        here.feeds.push(waiting.clone());
        CommitFeed {
            waiting,
            hub: self.clone(),
            circle,
        }
    }

    /// Returns whether anybody watches a circle.
    pub fn has_watchers(&self, circle: &PublicKey) -> bool {
        self.0.feeds.load(Ordering::SeqCst) > 0 && self.0.circles.contains_key(circle)
    }

    /// Returns the circles that somebody watches.
    pub fn circles(&self) -> Vec<PublicKey> {
        self.0.circles.iter().map(|here| *here.key()).collect()
    }

    /// Tells the watchers of a circle of a commit; `keys` returns the keys that it wrote. The commits of one circle must
    /// come in their order, from one thread at a time.
    pub fn publish(&self, circle: &PublicKey, number: u64, keys: impl FnOnce() -> Vec<Key>) {
        if self.0.feeds.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(here) = self.0.circles.get(circle) else {
            return;
        };
        let keys = keys();
        let feeds = here.feeds.iter();
        let feeds = feeds.filter(|feed| !feed.passes_over(number, &keys));
        let feeds: Vec<_> = feeds.collect();
        if feeds.is_empty() {
            return;
        }
        let size = 256 + keys.iter().map(|key| 64 + key.len()).sum::<usize>();
        let signal = match here.memory.try_reserve(size) {
            Ok(reservation) => CommitSignal::Commit(Arc::new(Commit {
                number,
                keys,
                _reservation: reservation,
            })),
            Err(_) => CommitSignal::Missed,
        };
        for feed in feeds {
            feed.push(signal.clone());
        }
    }

    /// Tells the watchers of a circle that there may have been commits of which nothing is told.
    pub fn signal_missed(&self, circle: &PublicKey) {
        if let Some(here) = self.0.circles.get(circle) {
            for feed in &here.feeds {
                feed.push(CommitSignal::Missed);
            }
        }
    }
}

impl CommitFeed {
    /// Has the feed tell only of commits that touch these keys; with `None`, of all, as at its beginning. Returns true if
    /// all has been taken that came before.
    pub fn narrow(&mut self, wanted: Option<Arc<dyn WantedKeys>>) -> bool {
        let mut queue = self.waiting.queue();
        queue.wanted = wanted;
        queue.signals.is_empty()
    }

    /// Waits for the next one. Loses nothing when it is dropped.
    pub async fn next(&mut self) -> CommitSignal {
        loop {
            if let Some(signal) = self.try_next() {
                return signal;
            }
            self.waiting.changed.notified().await;
        }
    }

    /// Returns the next one, if it is there.
    pub fn try_next(&mut self) -> Option<CommitSignal> {
        let mut queue = self.waiting.queue();
        let next = queue.signals.pop_front();
        queue.is_woken &= next.is_some();
        next
    }
}

impl Drop for CommitFeed {
    fn drop(&mut self) {
        let inner = &*self.hub.0;
        inner.feeds.fetch_sub(1, Ordering::SeqCst);
        if let Entry::Occupied(mut here) = inner.circles.entry(self.circle) {
            let feeds = &mut here.get_mut().feeds;
            feeds.retain(|waiting| !Arc::ptr_eq(waiting, &self.waiting));
            if feeds.is_empty() {
                here.remove();
            }
        }
    }
}
