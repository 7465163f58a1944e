//! A snapshot of the disk at one moment, with a cache of what was read of it.
//!
//! fjall publishes a flush or a compaction as it does a write, and what is being written with it: a snapshot that is
//! taken meanwhile can hold half a write, and more of it later. This one is taken when nothing is being written, and
//! shared by all who look before the next write lands. What they find is kept: looking it up again in a log-structured
//! tree costs several times as much.

use std::sync::{OnceLock, PoisonError, RwLock};

use circled_protocol::PublicKey;
use fjall::{Readable, Snapshot};
use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::{
    disk::{Disk, failed},
    error::Unavailable,
    table::{Key, Table, Value, full},
};

/// Values that are kept, about, and their bytes.
const VALUES: usize = 256;
const BYTES: u64 = 1 << 20;

/// A snapshot of the disk, taken after a write.
pub(super) struct DiskSnapshot {
    /// Nothing once it is over.
    inner: RwLock<Option<Snapshot>>,
    cache: OnceLock<ReadCache>,
}

type ReadCache = Cache<(PublicKey, Key), Option<Value>, BySize>;

#[derive(Clone)]
struct BySize;

impl Weighter<(PublicKey, Key), Option<Value>> for BySize {
    fn weight(&self, (_, key): &(PublicKey, Key), value: &Option<Value>) -> u64 {
        (64 + key.len() + value.as_ref().map_or(0, |value| value.len())) as u64
    }
}

/// The key of a cache entry, borrowed.
#[derive(Hash)]
struct CacheKey<'a>(&'a PublicKey, &'a Key);

impl Equivalent<(PublicKey, Key)> for CacheKey<'_> {
    fn equivalent(&self, (circle, key): &(PublicKey, Key)) -> bool {
        self.0 == circle && self.1 == key
    }
}

impl DiskSnapshot {
    pub(super) fn new(inner: Snapshot) -> Self {
        Self {
            inner: RwLock::new(Some(inner)),
            cache: OnceLock::new(),
        }
    }

    /// Calls `read` with it.
    ///
    /// # Errors
    /// It is over.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Snapshot) -> R) -> Result<R, Unavailable> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map(read).ok_or(Unavailable)
    }

    /// Ends it: what hasn't been read yet can't be read any more, and the disk needs to keep nothing for it.
    pub(super) fn end(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the value of one of a circle's keys.
    pub(super) fn get(
        &self,
        disk: &Disk,
        circle: &PublicKey,
        table: Table,
        key: &Key,
    ) -> Result<Option<Value>, Unavailable> {
        let find = || {
            let get = |inner: &Snapshot| inner.get(disk.keyspace(table), full(circle, key));
            self.read(get)?.map_err(|error| failed(&error))
        };
        // The other tables' entries are looked at once.
        if table != Table::Store {
            return find();
        }
        let cache = self
            .cache
            .get_or_init(|| Cache::with_weighter(VALUES, BYTES, BySize));
        if let Some(value) = cache.get(&CacheKey(circle, key)) {
            return Ok(value);
        }
        let value = find()?;
        cache.insert((*circle, key.clone()), value.clone());
        Ok(value)
    }
}

impl std::fmt::Debug for DiskSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.read(Snapshot::seqno).ok();
        f.debug_tuple("Landed").field(&number).finish()
    }
}
