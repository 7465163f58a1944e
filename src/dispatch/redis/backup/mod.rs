//! Archives of what circles have in Redis: reads them while servers run, and writes them where nothing is yet.
//!
//! These always hold:
//!
//! - **A circle is read as it is at one moment.** One script copies it beneath other keys, which are then read in pages. It
//!   copies what may change: the store, the log, the jobs that aren't over. See `reader.rs`.
//! - **What is written is there as a whole or not at all.** No server starts in a namespace before all of it is there. See
//!   `writer.rs`.

mod circle;
mod commands;
mod error;
mod finder;
mod lease;
mod marks;
mod namespace;
mod reader;
mod writer;

use std::{sync::Arc, time::Duration};

use fred::types::{ClusterHash, Value};
use tokio::time::{Instant, sleep};

pub(in crate::dispatch) use self::error::RedisBackupError;
use self::lease::Lease;
use super::{
    conn::{Connection, Disagreement, error_text},
    proto::{
        keys::{Keys, Partition, RESTORING},
        script::Script,
    },
};
use crate::{dispatch::Settings, store, units::PositiveDuration};

/// The longest that Redis may take to copy a circle.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two attempts to reach it.
const AGAIN: Duration = Duration::from_millis(20);

/// The namespace of some settings in Redis, to be archived or restored.
#[derive(Clone)]
pub(in crate::dispatch) struct RedisBackup {
    redis: Connection,
    settings: Settings,
    limits: store::Settings,
}

impl RedisBackup {
    /// Connects.
    pub(in crate::dispatch) async fn connect(
        settings: &Settings,
        limits: &store::Settings,
    ) -> Result<Self, RedisBackupError> {
        let mut own = settings.redis.clone();
        let until = Instant::now() + own.timeout.get() * 2;
        own.timeout = PositiveDuration::new(PATIENCE).unwrap_or(own.timeout);
        let keys = Arc::new(Keys::new(&own.namespace, own.partitions.get()));
        let redis = Connection::start(&own, keys, "circled-backup");
        let redis = redis.map_err(|error| RedisBackupError::of(&error))?;
        loop {
            let asked = redis.ask("PING", redis.keys().agreement_hash(), Vec::new());
            match asked.await {
                Ok(_) => break,
                Err(error) if Instant::now() >= until => {
                    let error = redis.last_error().unwrap_or(error);
                    return Err(RedisBackupError::Unreachable(error_text(&error)));
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
        Ok(Self {
            redis,
            settings: settings.clone(),
            limits: limits.clone(),
        })
    }

    /// Checks that the namespace is one of circled's, with the partitions of these settings, and restored to the end.
    ///
    /// # Errors
    /// It isn't; Redis can't be reached.
    async fn check_agreement(&self) -> Result<(), RedisBackupError> {
        let namespace = self.keys().namespace().to_owned();
        match self.partitions().await? {
            None => Err(RedisBackupError::Nothing(namespace)),
            Some(found) if found == RESTORING => Err(Disagreement::Restoring { namespace }.into()),
            Some(found) if found != self.keys().partitions().len().to_string() => {
                Err(RedisBackupError::Partitions {
                    namespace,
                    found,
                    own: self.keys().partitions().len(),
                })
            }
            Some(_) => Ok(()),
        }
    }

    /// Returns the number of partitions that the namespace has, if it has one.
    async fn partitions(&self) -> Result<Option<String>, RedisBackupError> {
        let args = [self.keys().agreement(), "partitions".to_owned()];
        let found = self.ask_slot("HGET", self.keys().agreement_hash(), args.map(Value::from));
        Ok(found.await?.into_string())
    }

    fn keys(&self) -> &Keys {
        self.redis.keys()
    }

    async fn ask(
        &self,
        command: &'static str,
        partition: &Partition,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Value, RedisBackupError> {
        self.ask_slot(command, partition.hash.clone(), args).await
    }

    async fn ask_slot(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Value, RedisBackupError> {
        let answer = self.redis.ask(command, hash, args.into_iter().collect());
        answer.await.map_err(|error| RedisBackupError::of(&error))
    }

    async fn call<S: Script>(
        &self,
        partition: &Partition,
        script: S,
    ) -> Result<Value, RedisBackupError> {
        let answer = self.redis.ask_script(partition, script).await;
        answer.map_err(|error| RedisBackupError::of(&error))
    }
}

impl std::fmt::Debug for RedisBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisBackup")
            .field(&self.keys().namespace())
            .finish_non_exhaustive()
    }
}
