//! Reads from Redis, for a run on a script thread, which may wait.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use circled_protocol::PublicKey;
use fred::types::Value;
use tokio::runtime::Handle;

use crate::{
    dispatch::redis::{
        conn::Connection,
        proto::{
            scripts::Scan,
            values::{bytes, number, stored},
        },
    },
    script,
    store::{self, Key, KeyRange, RemoteReads, Scanned, Unavailable, Want},
};

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

    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable> {
        self.moments.0.asked.fetch_add(1, Ordering::Relaxed);
        let found = match want {
            Want::Keys => {
                let keys = self.keys(range)?.into_array();
                Scanned::Keys(keys.iter().filter_map(stored).collect())
            }
            Want::Count => Scanned::Count(self.count(range)?.as_u64().ok_or(Unavailable)?),
            Want::Entries { max_bytes } => {
                let entries = self.entries(range, max_bytes)?.into_array();
                let entry = |pair: &[Value]| Some((stored(&pair[0])?, stored(&pair[1])?));
                Scanned::Entries(entries.chunks_exact(2).filter_map(entry).collect())
            }
        };
        Ok(found)
    }
}

impl DirectReads {
    fn keys(&self, range: &KeyRange) -> Result<Value, Unavailable> {
        let [start, end] = bounds(range);
        let (command, one, other) = if range.reverse {
            ("ZREVRANGEBYLEX", end, start)
        } else {
            ("ZRANGEBYLEX", start, end)
        };
        let limit = ["LIMIT".into(), Value::Integer(0), number(range.limit)];
        self.ask_keys(command, [one, other].into_iter().chain(limit))
    }

    fn count(&self, range: &KeyRange) -> Result<Value, Unavailable> {
        self.ask_keys("ZLEXCOUNT", bounds(range))
    }

    /// Sends a command about the keys of the store.
    fn ask_keys(
        &self,
        command: &'static str,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Value, Unavailable> {
        let partition = self.redis.keys().of(&self.circle);
        let keys = Value::from(partition.store_keys(&self.circle));
        let args = std::iter::once(keys).chain(args);
        let sent = self.redis.send(command, partition, args);
        script::waiting(|| self.handle.block_on(sent))
    }

    fn entries(&self, range: &KeyRange, max_bytes: usize) -> Result<Value, Unavailable> {
        let scan = Scan {
            circle: self.circle,
            start: range.start.to_vec(),
            stop: range.end.to_vec(),
            limit: u32::try_from(range.limit).unwrap_or(u32::MAX),
            reverse: range.reverse,
            max_bytes,
        };
        let sent = self.redis.call(self.redis.keys().of(&self.circle), scan);
        script::waiting(|| self.handle.block_on(sent))
    }
}

/// Returns the bounds of a range, as the commands take them.
fn bounds(range: &KeyRange) -> [Value; 2] {
    [(b"[", &range.start), (b"(", &range.end)].map(|(kind, key)| bytes(&[kind, &key[..]].concat()))
}
