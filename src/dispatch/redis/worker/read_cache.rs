//! A worker's cache of the circles' stores. Its values may be stale: all that a run has read is checked when it is
//! committed, and if that fails, Redis answers with the values that there are now.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use circled_protocol::PublicKey;
use quick_cache::{Weighter, sync::Cache};

use crate::{
    dispatch::redis::conn::Connection,
    store::{self, Effects, Key, KeyRange, RemoteReads, Scanned, Unavailable, Value, Want, Write},
};

/// The values that were used last, as they are stored, by circle and key.
pub(super) struct ReadCache {
    values: Cache<(PublicKey, Key), Option<Value>, Bytes>,
    /// Redis, whose clock says which of them have expired.
    redis: Connection,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<(PublicKey, Key), Option<Value>> for Bytes {
    fn weight(&self, (_, key): &(PublicKey, Key), value: &Option<Value>) -> u64 {
        (128 + key.len() + value.as_ref().map_or(0, |value| value.len())) as u64
    }
}

impl ReadCache {
    pub(super) fn new(bytes: usize, redis: Connection) -> Self {
        let entries = bytes / 256;
        Self {
            values: Cache::with_weighter(entries, bytes as u64, Bytes),
            redis,
        }
    }

    pub(super) fn insert(&self, circle: PublicKey, key: Key, value: Option<Value>) {
        self.values.insert((circle, key), value);
    }

    /// Inserts a value that was fetched, unless there is one by now: that of a run which is about to commit is newer.
    pub(super) fn insert_fetched(&self, circle: PublicKey, key: Key, value: Option<Value>) {
        let Ok(_) = self
            .values
            .get_or_insert_with(&(circle, key), || Ok::<_, Infallible>(value));
    }

    /// Inserts the writes of a run before its commit, for the runs that come after it.
    pub(super) fn insert_writes(&self, circle: PublicKey, effects: &Effects) {
        // Hardly ever does a request come again.
        let writes = effects.writes.iter();
        for (key, write) in writes.filter(|(key, _)| !store::is_request(key)) {
            let value = match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
                Write::Add(by) => {
                    let cached = self.values.get(&(circle, key.clone()));
                    let Some(Ok(sum)) = cached.map(|value| store::sum(value.as_ref(), *by)) else {
                        self.values.remove(&(circle, key.clone()));
                        continue;
                    };
                    Some(sum)
                }
            };
            self.insert(circle, key.clone(), value);
        }
        if !effects.pushes.is_empty() {
            self.values.remove(&(circle, store::pushed()));
        }
    }

    /// Removes the writes of a run that weren't committed.
    pub(super) fn remove_writes(&self, circle: PublicKey, effects: &Effects) {
        for key in effects.writes.keys() {
            self.values.remove(&(circle, key.clone()));
        }
    }
}

/// Reads for a run that mustn't wait: a value that isn't in the cache ends it, and is noted.
pub(super) struct CachedReads {
    pub(super) cache: Arc<ReadCache>,
    pub(super) circle: PublicKey,
    pub(super) missed: MissedRead,
}

/// The read that a run would have had to wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct MissedRead(Arc<Mutex<Option<Miss>>>);

/// A read that takes time.
#[derive(Debug, Clone)]
pub(super) enum Miss {
    Value(Key),
    Range,
}

impl MissedRead {
    pub(super) fn take(&self) -> Option<Miss> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, miss: Miss) -> Unavailable {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(miss);
        Unavailable
    }
}

impl RemoteReads for CachedReads {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Unavailable> {
        let found = self.cache.values.get(&(self.circle, key.clone()));
        // Nearly always a request is new. The commit finds out.
        if found.is_none() && store::is_request(key) {
            return Ok(None);
        }
        found.ok_or_else(|| self.missed.note(Miss::Value(key.clone())))
    }

    fn now(&self) -> i64 {
        self.cache.redis.now()
    }

    fn scan(&mut self, _: &KeyRange, _: Want) -> Result<Scanned, Unavailable> {
        Err(self.missed.note(Miss::Range))
    }
}
