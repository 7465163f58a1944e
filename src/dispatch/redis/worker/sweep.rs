//! The work that is done from time to time in all partitions: jobs whose time has come are woken, and keys of stores and entries of
//! jobs that have expired are deleted.

use std::{sync::Arc, time::Duration};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::next_tick;
use crate::{
    dispatch::{
        redis::{
            conn::Connection,
            jobs::index,
            proto::{
                keys::Partition,
                scripts::{Expire, Wake},
                values::number,
            },
        },
        settings,
    },
    store::Unavailable,
};

/// The pause between two checks for jobs whose time has come.
const WAKE: Duration = Duration::from_millis(250);
/// The pause between two looks for keys of stores that have expired.
const EXPIRE: Duration = Duration::from_secs(1);
/// Keys that are deleted in one step: Redis does nothing else meanwhile.
const EXPIRED_AT_ONCE: usize = 500;
/// Circles that are swept at a time.
const CIRCLES: usize = 64;
/// The pause between two deletions of expired entries.
const FORGET: Duration = Duration::from_secs(60);
/// Deletions until an index has been read as a whole.
const SHARES: usize = 60;
/// Jobs woken at a time.
const AT_ONCE: i64 = 256;

/// Wakes and deletes.
pub(super) struct Sweep {
    pub(super) redis: Connection,
    pub(super) durable: settings::Durable,
    pub(super) per_circle: usize,
    pub(super) inbox: usize,
    pub(super) inbox_bytes: usize,
    /// Cancelled when it ends.
    pub(super) ending: CancellationToken,
}

impl Sweep {
    /// Queues durable jobs whose next try is due.
    pub(super) async fn wake_delayed(self: Arc<Self>) {
        let mut tick = interval(WAKE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next_tick(&mut tick, &self.ending).await {
            if !self.redis.is_up() {
                continue;
            }
            for partition in self.redis.keys().partitions() {
                let _ = self.wake(partition).await;
            }
        }
    }

    async fn wake(&self, partition: &Partition) -> Result<(), Unavailable> {
        let now = Value::Integer(Timestamp::now().as_millisecond());
        let args = [
            partition.delayed().into(),
            "-inf".into(),
            now,
            "LIMIT".into(),
            Value::Integer(0),
            Value::Integer(AT_ONCE),
        ];
        let due = self.redis.send("ZRANGEBYSCORE", partition, args).await?;
        for member in due.into_array() {
            let member = member.into_string().unwrap_or_default();
            let parsed = member.split_once(' ').and_then(|(id, circle)| {
                Some((id.parse::<JobId>().ok()?, circle.parse::<PublicKey>().ok()?))
            });
            let Some((id, circle)) = parsed else {
                tracing::error!(
                    member,
                    "failed to read which delayed job is due: its entry is dropped"
                );
                let drop = [partition.delayed().into(), Value::from(member)];
                self.redis.send("ZREM", partition, drop).await?;
                continue;
            };
            let wake = Wake {
                id,
                circle,
                most: self.per_circle,
            };
            self.redis.call(partition, wake).await?;
        }
        Ok(())
    }

    /// Deletes keys of stores that have expired: nobody sees them, but they count in the quota.
    pub(super) async fn expire_keys(self: Arc<Self>) {
        let mut tick = interval(EXPIRE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next_tick(&mut tick, &self.ending).await {
            for partition in self.redis.keys().partitions() {
                while self.redis.is_up()
                    && !self.ending.is_cancelled()
                    && self.expire(partition).await.unwrap_or(false)
                {}
            }
        }
    }

    /// Deletes some of them. Returns whether there may be more.
    async fn expire(&self, partition: &Partition) -> Result<bool, Unavailable> {
        let args = [
            partition.expiring_circles().into(),
            "-inf".into(),
            Value::Integer(self.redis.now()),
            "LIMIT".into(),
            Value::Integer(0),
            number(CIRCLES),
        ];
        let due = self.redis.send("ZRANGEBYSCORE", partition, args).await?;
        let due = due.into_array();
        let (are_all, mut more) = (due.len() < CIRCLES, false);
        for member in due {
            let member = member.into_string().unwrap_or_default();
            let Ok(circle) = member.parse::<PublicKey>() else {
                tracing::error!(
                    member,
                    "failed to read which circle's keys expire: its entry is dropped"
                );
                let drop = [partition.expiring_circles().into(), Value::from(member)];
                self.redis.send("ZREM", partition, drop).await?;
                continue;
            };
            let expire = Expire {
                circle,
                most: EXPIRED_AT_ONCE,
                inbox_length: self.inbox,
                inbox_bytes: self.inbox_bytes,
            };
            let expired = self.redis.call(partition, expire).await?.as_u64();
            let expired = expired.unwrap_or(0);
            more |= expired == EXPIRED_AT_ONCE as u64 || expired > 0 && !are_all;
        }
        Ok(more)
    }

    /// Deletes jobs from the lists of those that are over, once their records have expired.
    pub(super) async fn forget_old(self: Arc<Self>) {
        tokio::select! {
            () = self.redis.until_up() => {}
            () = self.ending.cancelled() => return,
        }
        let mut tick = interval(FORGET);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let partitions = self.redis.keys().partitions();
        let mut next = vec![(None, None); partitions.len()];
        let mut shares = (0..SHARES).cycle();
        while next_tick(&mut tick, &self.ending).await {
            let is_first = shares.next() == Some(0);
            for (partition, (all, own)) in partitions.iter().zip(&mut next) {
                let _ = self.forget_dead(partition, is_first).await;
                let _ = self.forget_gone(partition, partition.index(), all).await;
                let _ = self
                    .forget_gone(partition, partition.submitted(), own)
                    .await;
            }
        }
    }

    /// Deletes old dead letters. Makes their index by circle right if `checks`: its length doesn't tell that it is wrong
    /// where an earlier version has added one letter and deleted another one.
    async fn forget_dead(&self, partition: &Partition, checks: bool) -> Result<(), Unavailable> {
        let keep_for = self.durable.keep_dead_for.as_millis();
        let keep_for = i64::try_from(keep_for).unwrap_or(i64::MAX);
        let before = Timestamp::now().as_millisecond().saturating_sub(keep_for);
        let args = [
            partition.dead().into(),
            "-inf".into(),
            Value::Integer(before),
        ];
        let forgotten = self.redis.send("ZREMRANGEBYSCORE", partition, args).await?;
        if checks {
            index::index_dead(&self.redis, partition, false).await?;
        }
        if checks || forgotten.as_i64() != Some(0) {
            index::index_dead(&self.redis, partition, true).await?;
        }
        Ok(())
    }

    /// Checks a share of an index, so that all of it is checked in an hour.
    async fn forget_gone(
        &self,
        partition: &Partition,
        index: String,
        next: &mut Option<String>,
    ) -> Result<(), Unavailable> {
        let card = [Value::from(&index)];
        let count = self.redis.send("ZCARD", partition, card).await?;
        let count = usize::try_from(count.as_i64().unwrap_or(0)).unwrap_or(0);
        let durable = &self.durable;
        let keep_for = durable.keep_for.min(durable.keep_dead_for).as_millis();
        let keep_for = i64::try_from(keep_for).unwrap_or(i64::MAX);
        let before = Timestamp::now().as_millisecond().saturating_sub(keep_for);
        let is_old = |id: JobId| id.made_at().as_millisecond() < before;
        for _ in 0..=count / (SHARES * index::PAGE) {
            let from = next.take().unwrap_or_else(|| index::START.to_owned());
            let (jobs, more) = index::read(&self.redis, partition, index.clone(), from).await?;
            let old = jobs.into_iter().filter(|(_, id)| is_old(*id));
            let gone = old.map(async |(member, id)| {
                let job = [Value::from(partition.job(id))];
                let exists = self.redis.send("EXISTS", partition, job).await?;
                Ok::<_, Unavailable>((exists.as_i64() == Some(0)).then(|| Value::from(member)))
            });
            let gone = try_join_all(gone).await?;
            let mut drop = vec![Value::from(&index)];
            drop.extend(gone.into_iter().flatten());
            if drop.len() > 1 {
                self.redis.send("ZREM", partition, drop).await?;
            }
            *next = more;
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }
}
