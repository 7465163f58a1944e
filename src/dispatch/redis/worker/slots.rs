//! A worker's slots: it takes no more jobs than it has slots for.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use crate::dispatch::redis::proto::reply::StreamEntry;

/// The time without a free slot after which more are given out: the jobs in them run for long, and what comes next may
/// be short, and somebody else's.
const STUCK: Duration = Duration::from_millis(50);

/// A worker's slots, by partition and entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes of each entry, and of what else is held for it.
    bytes: HashMap<(usize, Arc<str>), usize>,
    all_bytes: usize,
}

/// A slot that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct SlotGuard {
    slots: Slots,
    job: (usize, Arc<str>),
    /// The bytes that it holds beside its entry.
    held: usize,
}

impl Slots {
    /// Takes a slot; returns nothing if the job has one already.
    pub(super) fn take(&self, partition: usize, entry: &StreamEntry) -> Option<SlotGuard> {
        let job = (partition, Arc::from(entry.id.as_str()));
        let mut state = self.lock();
        if state.bytes.contains_key(&job) {
            return None;
        }
        state.bytes.insert(job.clone(), entry.len());
        state.all_bytes += entry.len();
        Some(SlotGuard {
            slots: self.clone(),
            job,
            held: 0,
        })
    }

    pub(super) fn has(&self, partition: usize, entry: &str) -> bool {
        let job = (partition, Arc::from(entry));
        self.lock().bytes.contains_key(&job)
    }

    /// Waits until fewer than `most` slots are taken; or for a while, if their entries have fewer than `most_bytes`
    /// bytes. Returns how many more may be taken.
    pub(super) async fn free(&self, most: usize, most_bytes: usize) -> usize {
        let since = Instant::now();
        loop {
            let notified = self.0.freed.notified();
            let (taken, bytes) = {
                let state = self.lock();
                (state.bytes.len(), state.all_bytes)
            };
            if taken < most {
                return most - taken;
            }
            let left = STUCK.saturating_sub(since.elapsed());
            if left.is_zero() && bytes < most_bytes {
                return most.div_ceil(4);
            }
            let wait = if left.is_zero() { STUCK } else { left };
            let _ = timeout(wait, notified).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotGuard {
    pub(super) fn entry(&self) -> &str {
        &self.job.1
    }

    /// Counts so many bytes beside those of its entry, instead of those that it counted before.
    pub(super) fn hold(&mut self, bytes: usize) {
        let before = mem::replace(&mut self.held, bytes);
        let mut state = self.slots.lock();
        if let Some(counted) = state.bytes.get_mut(&self.job) {
            *counted = *counted - before + bytes;
            state.all_bytes = state.all_bytes - before + bytes;
        }
    }

    /// Returns the partition and the entry.
    pub(super) fn name(&self) -> (usize, String) {
        (self.job.0, self.job.1.to_string())
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        {
            let mut state = self.slots.lock();
            let bytes = state.bytes.remove(&self.job).unwrap_or(0);
            state.all_bytes -= bytes;
        }
        self.slots.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use fred::types::Value;

    use super::{Slots, StreamEntry};

    fn entry(id: usize) -> StreamEntry {
        let fields = ["play", "0123456789"].map(Value::from);
        StreamEntry::new(id.to_string(), Value::Array(fields.to_vec()))
    }

    #[test]
    fn what_is_held_beside_an_entry_counts_until_the_slot_is_free() {
        let slots = Slots::default();
        let mut slot = slots.take(0, &entry(0)).unwrap();
        let bytes = || slots.lock().all_bytes;
        assert_eq!(bytes(), 14);
        slot.hold(1000);
        slot.hold(10);
        assert_eq!(bytes(), 24);
        drop(slot);
        assert_eq!(bytes(), 0);
    }

    #[tokio::test]
    async fn more_is_taken_where_what_is_held_runs_for_long() {
        let slots = Slots::default();
        let held: Vec<_> = (0..8).filter_map(|n| slots.take(0, &entry(n))).collect();
        assert_eq!(held.len(), 8);
        assert!(slots.take(0, &entry(0)).is_none(), "it is held");
        assert_eq!(slots.free(10, 0).await, 2);
        assert_eq!(slots.free(8, 1000).await, 2, "after a while");
        let bytes = 8 * 14;
        let (free, ()) = tokio::join!(slots.free(8, bytes), async move {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert_eq!(
            free, 8,
            "one that has room in bytes no more waits for a place"
        );
    }
}
