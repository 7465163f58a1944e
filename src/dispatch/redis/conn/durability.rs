//! The safety of what Redis has replied to: in its memory, or synced to the append-only files of Redis and its replicas.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::{CustomCommand, Value, config::Server},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use super::{Connection, Disagreement};
use crate::{
    dispatch::redis::{
        proto::{keys::Partition, values::millis},
        settings::{Durability, RedisSettings},
    },
    metrics::metrics,
    store::Unavailable,
};

/// The number of a client's connection: whatever was asked while it was the same, was asked of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionNumber(u64);

/// Counts the connections of a client. The library tells of each before it sends anything there.
pub(super) struct ConnectionCounter(Mutex<(u64, Receiver<Server>)>);

impl ConnectionCounter {
    pub(super) fn of(client: &Client) -> Self {
        Self(Mutex::new((0, client.reconnect_rx())))
    }

    /// Returns the number of the connection that there is now.
    pub(super) fn number(&self) -> ConnectionNumber {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, made) = &mut *counted;
        loop {
            *number += match made.try_recv() {
                Ok(_) => 1,
                Err(TryRecvError::Lagged(missed)) => missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => {
                    return ConnectionNumber(*number);
                }
            }
        }
    }
}

/// The steps that must be done before anything is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    durability: Durability,
    /// Replicas that must have synced it; nothing, if not even Redis must.
    pub(super) synced_replicas: Option<u32>,
}

impl Promise {
    pub(super) fn of(settings: &RedisSettings) -> Self {
        Self {
            durability: settings.durability,
            synced_replicas: settings.synced_replicas(),
        }
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.synced_replicas {
            None => f.write_str("once Redis has it in memory"),
            Some(0) => f.write_str("once Redis has synced it to its append-only file"),
            Some(1) => {
                f.write_str("once Redis and a replica have synced it to their append-only files")
            }
            Some(replicas) => write!(
                f,
                "once Redis and {replicas} replicas have synced it to their append-only files"
            ),
        }
    }
}

impl Connection {
    /// Returns the number of the connection that there is now.
    pub(crate) fn number(&self) -> ConnectionNumber {
        self.0.connections.number()
    }

    /// Returns the number of replicas that must have synced what is acknowledged; nothing, if not even Redis must.
    pub(crate) fn synced_replicas(&self) -> Option<u32> {
        self.0.promise.synced_replicas
    }

    /// Waits until all is synced that was written by this connection since it had this number. What is sent meanwhile
    /// waits, too.
    pub(crate) async fn sync_own(
        &self,
        partition: &Partition,
        since: ConnectionNumber,
    ) -> Result<(), Unavailable> {
        let Some(replicas) = self.synced_replicas() else {
            return Ok(());
        };
        let synced = until_synced(&self.0.client, partition, replicas, self.0.timeout).await;
        synced.map_err(|error| self.failed("WAITAOF", &error))?;
        match self.number() == since {
            true => Ok(()),
            false => Err(Unavailable),
        }
    }

    /// Checks that Redis can do what is promised.
    pub(super) async fn check_durability(&self) -> Result<Result<(), Disagreement>, Error> {
        let Promise { durability, .. } = self.0.promise;
        if self.synced_replicas().is_none() {
            return Ok(Ok(()));
        }
        let unfit = |why| Ok(Err(Disagreement::Durability { durability, why }));
        let hash = || self.0.keys.agreement_hash();
        let args = wait_args(0, Duration::from_millis(1));
        let waited = self.ask("WAITAOF", hash(), args).await;
        match waited {
            Err(error) if error.details().contains("unknown command") => {
                return unfit(NO_WAITAOF);
            }
            Err(error) if error.details().starts_with("NOPERM") => return unfit(NOT_PERMITTED),
            Err(error) if error.details().contains("appendonly") => return unfit(NO_FILE),
            waited => waited?,
        };
        let args = ["GET", "appendfsync"].map(Value::from);
        let found = match self.ask("CONFIG", hash(), args.to_vec()).await {
            Err(error) if error.details().starts_with("NOPERM") => return unfit(MAY_NOT_ASK),
            Err(error) if error.details().contains("unknown command") => return unfit(MAY_NOT_ASK),
            found => found?.into_array(),
        };
        if found.get(1).and_then(Value::as_str).as_deref() != Some("always") {
            return unfit(NOT_ALWAYS);
        }
        Ok(Ok(()))
    }
}

const NO_WAITAOF: &str =
    "needs the command WAITAOF, which this Redis doesn't have: use Redis 7.2 or later, or Valkey";
const NOT_PERMITTED: &str = "needs the command WAITAOF, which the user in dispatch.redis.url may not use: permit it (+waitaof)";
const NO_FILE: &str =
    "needs an append-only file, and Redis has appendonly no: set appendonly yes there";
// With everysec, WAITAOF may answer before the sync (Redis 7.4 and Valkey 9.1; redis/redis#13793).
const NOT_ALWAYS: &str = "needs a file that is synced at each write: set appendfsync always in Redis, and in its replicas";
const MAY_NOT_ASK: &str = "needs appendfsync always, and the user in dispatch.redis.url may not ask Redis for it: permit that (+config|get)";
/// The longest that one `WAITAOF` waits. A replica is asked when it begins, and else tells once a second: its first answer
/// may be of before its sync.
const AT_A_TIME: Duration = Duration::from_millis(20);

/// Waits until Redis and so many replicas have synced what this client has written.
pub(super) async fn until_synced(
    client: &WithOptions<Client>,
    partition: &Partition,
    replicas: u32,
    max_wait: Duration,
) -> Result<(), Error> {
    let begun = Instant::now();
    let until = begun + max_wait;
    loop {
        let wait = CustomCommand::new_static("WAITAOF", partition.hash.clone(), true);
        let answer = client.custom(wait, wait_args(replicas, AT_A_TIME)).await?;
        if is_synced(&answer, replicas) {
            metrics().syncs.observe(begun.elapsed());
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::new(
                ErrorKind::Timeout,
                "Redis, or enough of its replicas, didn't sync within dispatch.redis.timeout",
            ));
        }
    }
}

fn wait_args(replicas: u32, max_wait: Duration) -> Vec<Value> {
    vec![
        Value::Integer(1),
        Value::Integer(replicas.into()),
        millis(max_wait),
    ]
}

/// Returns whether a reply to `WAITAOF` says that Redis and so many replicas have synced it.
fn is_synced(answer: &Value, replicas: u32) -> bool {
    let Value::Array(counts) = answer else {
        return false;
    };
    let count = |n: usize| counts.get(n).and_then(Value::as_i64).unwrap_or(0);
    count(0) >= 1 && count(1) >= replicas.into()
}
