//! The newest state of one circle: what is committed, on disk or on its way there.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use circled_protocol::PublicKey;

use super::{
    counts::{Tally, is_counted},
    disk::Disk,
    error::{CommitError, Unavailable},
    expiring::{expiry_of, reindex},
    log,
    replies::Account,
    reply_bytes::ReplyBytes,
    snapshot::{PendingWrites, Snapshot},
    table::{Key, Record, Table, Value},
};

/// Tries to take a lock before the caller's [`WaitPolicy`](super::WaitPolicy) is asked: some microseconds.
const SPINS: usize = 200;

/// The state of one circle, which its commits change one after another.
#[derive(Debug, Default)]
pub(super) struct Circle {
    latest: Mutex<Latest>,
    /// The durable watermark: the number of its last commit that is on disk.
    durable: AtomicU64,
}

/// A generation of commits that build on one another. Where the disk fails, those that are on their way are lost, and
/// so is every transaction that saw them.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation(Arc<AtomicBool>);

impl Generation {
    pub(super) fn is_lost(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn lose(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug, Default)]
pub(super) struct Latest {
    pending: Arc<PendingWrites>,
    generation: Generation,
    /// The number of its last commit.
    number: u64,
    /// Commits up to this one have been taken out of `pending`.
    pruned: u64,
    /// The size of its store, once it has been looked up.
    usage: Option<Usage>,
    /// The bytes of the replies to requests in its store, once they have been looked up.
    replies: Option<ReplyBytes>,
    /// Its events, once they have been looked up.
    events: Option<EventNumbers>,
    /// The numbers of its entries, once they have been asked for.
    tally: Option<Tally>,
}

/// The size of a circle's store, as the last commit that changed it left it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    /// The number of that commit.
    pub(super) commit: u64,
}

impl Usage {
    /// Reads what is on disk.
    pub(super) fn read(disk: &Disk, circle: &PublicKey) -> Result<Self, Unavailable> {
        Ok(Self::of(disk.get(Table::Usage, circle, &[])?.as_ref()))
    }

    /// Returns what is stored.
    pub(super) fn of(stored: Option<&Value>) -> Self {
        let usage = stored.and_then(|stored| Self::decode(stored));
        usage.unwrap_or_default()
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (bytes, commit) = stored.split_first_chunk()?;
        Some(Self {
            bytes: u64::from_be_bytes(*bytes),
            // An earlier version had no number.
            commit: commit.try_into().map_or(0, u64::from_be_bytes),
        })
    }

    pub(super) fn record(self) -> Record {
        let Self { bytes, commit } = self;
        let stored = [bytes.to_be_bytes(), commit.to_be_bytes()].concat();
        Record::put(Table::Usage, [], stored)
    }
}

/// The result of a commit that changes the store.
pub(super) struct StoreChange {
    /// The size of the store afterwards.
    pub(super) usage: Usage,
    /// By how many the keys that count become more.
    pub(super) keys: i64,
    /// The changes of the index of expiry times.
    pub(super) index: Vec<Record>,
    /// The first expiry time of the keys that it writes, if any expires.
    pub(super) first_expiry: Option<i64>,
}

/// The numbers of the first event that is kept, and of the next one that is going to be; and by how many bytes those
/// from one number on exceed their shares of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventNumbers {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) counted_from: u64,
    pub(super) excess: u64,
}

impl Circle {
    pub(super) fn lock(&self) -> MutexGuard<'_, Latest> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.prune(self.durable.load(Ordering::Acquire));
        latest
    }

    /// Takes the lock, if that takes no longer than a commit usually does.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Latest>> {
        for _ in 0..SPINS {
            let mut latest = match self.latest.try_lock() {
                Ok(latest) => latest,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    continue;
                }
            };
            latest.prune(self.durable.load(Ordering::Acquire));
            return Some(latest);
        }
        None
    }

    /// Notes that commits up to this one are on disk, and visible there.
    pub(super) fn mark_durable(&self, number: u64) {
        self.durable.store(number, Ordering::Release);
    }

    /// Undoes the commits that the disk didn't take: the one that failed, and those after it, which may build on it.
    pub(super) fn start_over(&self) {
        let mut latest = self.lock();
        latest.pending = Arc::default();
        latest.usage = None;
        latest.replies = None;
        latest.events = None;
        latest.tally = None;
        mem::take(&mut latest.generation).lose();
    }

    /// Returns whether nothing of it is on its way to the disk, and nothing is known of it at this time that would have to
    /// be counted again.
    pub(super) fn is_idle(&self, now: i64) -> bool {
        let is_needed = |tally: &Tally| !tally.is_forgotten(now);
        self.try_lock().is_some_and(|latest| {
            latest.pending.is_empty() && !latest.tally.as_ref().is_some_and(is_needed)
        })
    }
}

impl Latest {
    /// Returns a snapshot of the newest state.
    pub(super) fn snapshot(&self, disk: &Disk) -> Snapshot {
        // What has landed since is in both.
        let pending =
            (!self.pending.is_empty()).then(|| (self.pending.clone(), self.generation.clone()));
        Snapshot::new(disk.snapshot(), pending)
    }

    /// Returns the generation that its next commit belongs to.
    pub(super) fn generation(&self) -> Generation {
        self.generation.clone()
    }

    /// Applies the records to the newest state. Returns the commit's number.
    pub(super) fn apply(&mut self, records: &[Record]) -> u64 {
        self.number += 1;
        let pending = Arc::make_mut(&mut self.pending);
        for record in records {
            let entry = (record.table, record.key.clone());
            pending.insert(entry, (self.number, record.value.clone()));
        }
        self.number
    }

    /// Returns the size of the circle's store.
    pub(super) fn usage(&mut self, disk: &Disk, circle: &PublicKey) -> Result<Usage, Unavailable> {
        Ok(match self.usage {
            Some(usage) => usage,
            None => *self.usage.insert(Usage::read(disk, circle)?),
        })
    }

    /// Returns the bytes of the replies to requests.
    pub(super) fn replies(
        &mut self,
        disk: &Disk,
        circle: &PublicKey,
    ) -> Result<&ReplyBytes, Unavailable> {
        if self.replies.is_none() {
            self.replies = Some(ReplyBytes::read(disk, circle)?);
        }
        Ok(self.replies.get_or_insert_default())
    }

    /// Sets those of some accounts.
    pub(super) fn set_replies(&mut self, changed: BTreeMap<Account, u64>) {
        let replies = self.replies.get_or_insert_default();
        for (account, bytes) in changed {
            replies.set(account, bytes);
        }
    }

    /// Returns what comes of a commit of these records, none of which is a reply, and of others that free so many bytes, if
    /// the store is within the quota then. Making it smaller is always permitted.
    pub(super) fn change(
        &mut self,
        records: &[Record],
        freed: u64,
        disk: &Disk,
        circle: &PublicKey,
        quota: usize,
    ) -> Result<StoreChange, CommitError> {
        let before = self.usage(disk, circle)?;
        let mut bytes = before.bytes.saturating_sub(freed);
        let (mut index, mut first_expiry) = (Vec::new(), None);
        let mut keys = 0;
        for Record { table, key, value } in records {
            let old = match self.pending.get(&(*table, key.clone())) {
                Some((_, value)) => value.clone(),
                None => disk.get(*table, circle, key)?,
            };
            let (old, new) = (old.as_ref(), value.as_ref());
            let size = |value: Option<&Value>| value.map_or(0, |value| key.len() + value.len());
            let (old_size, new_size) = (size(old) as u64, size(new) as u64);
            if is_counted(*table, key) {
                keys += i64::from(new.is_some()) - i64::from(old.is_some());
            }
            bytes = (bytes + new_size).saturating_sub(old_size);
            index.extend(reindex(key, old, new));
            if let Some(end) = new.and_then(|value| expiry_of(key, value)) {
                first_expiry = Some(first_expiry.map_or(end, |first: i64| first.min(end)));
            }
        }
        if bytes > quota as u64 && bytes > before.bytes {
            return Err(CommitError::Quota { quota });
        }
        let commit = before.commit + 1;
        Ok(StoreChange {
            usage: Usage { bytes, commit },
            keys,
            index,
            first_expiry,
        })
    }

    /// Returns the numbers of its events.
    pub(super) fn events(
        &self,
        disk: &Disk,
        circle: &PublicKey,
    ) -> Result<EventNumbers, Unavailable> {
        match self.events {
            Some(events) => Ok(events),
            // None are on their way: whoever sends some knows the numbers from then on.
            None => log::numbers(disk, &disk.snapshot(), circle),
        }
    }

    pub(super) fn tally(&self) -> Option<Tally> {
        self.tally
    }

    pub(super) fn set_tally(&mut self, tally: Option<Tally>) {
        self.tally = tally;
    }

    /// Returns whether a key has a value, if a commit on its way to the disk says so.
    pub(super) fn pending(&self, table: Table, key: &Key) -> Option<bool> {
        let pending = self.pending.get(&(table, key.clone()));
        pending.map(|(_, value)| value.is_some())
    }

    pub(super) fn set_events(&mut self, events: EventNumbers) {
        self.events = Some(events);
    }

    pub(super) fn set_usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    fn prune(&mut self, durable: u64) {
        if durable > self.pruned {
            self.pruned = durable;
            Arc::make_mut(&mut self.pending).retain(|_, (number, _)| *number > durable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;
    use crate::golden;

    #[test]
    fn sizes_are_stored_as_before() {
        let usage = Usage {
            bytes: 0x0102,
            commit: 0x0304,
        };
        let record = usage.record();
        let written = hex::encode(record.value.unwrap());
        golden::check("usage", &written, |text| {
            let usage = Usage::decode(&hex::decode(text).ok()?)?;
            usage.record().value.map(hex::encode)
        });
        // Without the number of a commit, as an earlier version has written it.
        let usage = Usage::decode(&0x0102_u64.to_be_bytes()).unwrap();
        assert_eq!((usage.bytes, usage.commit), (0x0102, 0));
    }
}
