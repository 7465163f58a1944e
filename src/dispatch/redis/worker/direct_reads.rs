//! Reads from Redis, for a run on a script thread, which may wait.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use circled_protocol::PublicKey;
use fred::types::Value;
use tokio::runtime::Handle;

use crate::{
    dispatch::redis::{
        conn::Connection,
        proto::{
            scripts::Scan,
            values::{bytes, stored},
        },
    },
    script,
    store::{self, Key, KeyRange, RemoteReads, Scanned, Unavailable, Want},
};

/// The reply to a scan that would pass over too much that has expired.
const EXPIRED: &str = "expired";
/// The pause in which some of that is deleted, and how many of them a run waits for.
const SWEPT: Duration = Duration::from_millis(50);
const SWEPT_WITHIN: u32 = 40;

/// The values of keys, all as they were at one moment.
pub(in crate::dispatch::redis) type KnownValues = HashMap<Key, Option<store::Value>>;

/// Reads from Redis each time that a run asks for something that isn't known.
pub(in crate::dispatch::redis) struct DirectReads {
    pub(in crate::dispatch::redis) known: KnownValues,
    pub(in crate::dispatch::redis) moments: Moments,
    pub(in crate::dispatch::redis) redis: Connection,
    pub(in crate::dispatch::redis) handle: Handle,
    pub(in crate::dispatch::redis) circle: PublicKey,
}

/// Counts the moments whose state a run has seen.
#[derive(Debug, Clone, Default)]
pub(in crate::dispatch::redis) struct Moments(Arc<MomentCount>);

#[derive(Debug, Default)]
struct MomentCount {
    asked: AtomicUsize,
    used_known: AtomicBool,
}

impl Moments {
    /// Returns true if all that was read is of one moment.
    pub(in crate::dispatch::redis) fn are_one(&self) -> bool {
        let used_known = self.0.used_known.load(Ordering::Relaxed);
        self.0.asked.load(Ordering::Relaxed) + usize::from(used_known) <= 1
    }
}

impl RemoteReads for DirectReads {
    fn get(&mut self, key: &Key) -> Result<Option<store::Value>, Unavailable> {
        if let Some(value) = self.known.get(key) {
            self.moments.0.used_known.store(true, Ordering::Relaxed);
            return Ok(value.clone());
        }
        self.moments.0.asked.fetch_add(1, Ordering::Relaxed);
        let partition = self.redis.keys().of(&self.circle);
        let args = [partition.store(&self.circle).into(), bytes(key)];
        let sent = self.redis.send("HGET", partition, args);
        let value = script::waiting(|| self.handle.block_on(sent))?;
        Ok(stored(&value))
    }

    fn now(&self) -> i64 {
        self.redis.now()
    }

    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable> {
        self.moments.0.asked.fetch_add(1, Ordering::Relaxed);
        let scan = || Scan {
            circle: self.circle,
            start: range.start.to_vec(),
            stop: range.end.to_vec(),
            limit: u32::try_from(range.limit).unwrap_or(u32::MAX),
            reverse: range.reverse,
            is_count: want == Want::Count,
            has_values: matches!(want, Want::Entries { .. }),
            max_bytes: match want {
                Want::Entries { max_bytes } => max_bytes,
                Want::Keys | Want::Count => usize::MAX,
            },
        };
        let partition = self.redis.keys().of(&self.circle);
        let mut tries = 0;
        let found = loop {
            let sent = self.redis.call(partition, scan());
            let found = script::waiting(|| self.handle.block_on(sent))?;
            if found.as_str().as_deref() != Some(EXPIRED) {
                break found;
            }
            tries += 1;
            if tries == SWEPT_WITHIN || !script::may_go_on() {
                return Err(Unavailable);
            }
            script::waiting(|| std::thread::sleep(SWEPT));
        };
        Ok(match want {
            Want::Count => Scanned::Count(found.as_u64().ok_or(Unavailable)?),
            Want::Keys => {
                let keys = found.into_array();
                Scanned::Keys(keys.iter().filter_map(stored).collect())
            }
            Want::Entries { .. } => {
                let entries = found.into_array();
                let entry = |pair: &[Value]| Some((stored(&pair[0])?, stored(&pair[1])?));
                Scanned::Entries(entries.chunks_exact(2).filter_map(entry).collect())
            }
        })
    }
}
