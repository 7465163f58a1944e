//! Reads from Redis, for a run on a script thread, which may wait.

use circled_protocol::PublicKey;
use fred::types::Value;
use tokio::runtime::Handle;

use super::{
    commit::{bytes, stored},
    connection::Connection,
};
use crate::store::{self, Key, RemoteReads, Unavailable};

/// Reads from Redis each time that a run asks.
pub(super) struct DirectReads {
    pub(super) redis: Connection,
    pub(super) handle: Handle,
    pub(super) circle: PublicKey,
}

impl RemoteReads for DirectReads {
    fn get(&mut self, key: &Key) -> Result<Option<store::Value>, Unavailable> {
        let partition = self.redis.keys().of(&self.circle);
        let args = [partition.store(&self.circle).into(), bytes(key)];
        let value = self
            .handle
            .block_on(self.redis.send("HGET", partition, args))?;
        Ok(stored(&value))
    }

    fn keys(&mut self, prefix: &Key, max: usize) -> Result<Vec<Key>, Unavailable> {
        let partition = self.redis.keys().of(&self.circle);
        let args = [
            partition.store_keys(&self.circle).into(),
            bytes(&[b"[", &prefix[..]].concat()),
            bytes(&[b"(", &prefix[..], b"\xff"].concat()),
            "LIMIT".into(),
            Value::Integer(0),
            Value::Integer(i64::try_from(max).unwrap_or(i64::MAX)),
        ];
        let sent = self.redis.send("ZRANGEBYLEX", partition, args);
        let names = self.handle.block_on(sent)?.into_array();
        Ok(names.iter().filter_map(stored).collect())
    }
}
