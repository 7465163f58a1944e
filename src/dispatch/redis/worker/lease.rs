//! The lease of a worker: how others see that it is alive.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fred::types::Value;
use futures_util::future::try_join_all;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::next_tick;
use crate::{
    circle::Executor,
    dispatch::redis::{
        conn::Connection,
        proto::{keys::Partition, values::millis},
    },
    store::Unavailable,
};

/// The pause before another attempt, when Redis couldn't be reached.
const AGAIN: Duration = Duration::from_millis(100);

/// The lease of a worker. It takes jobs only while it has one.
pub(super) struct Lease {
    redis: Connection,
    time: Duration,
    renewed_at: watch::Sender<Option<Instant>>,
    /// Cancelled when it isn't renewed any more.
    ending: CancellationToken,
}

impl Lease {
    pub(super) fn new(redis: Connection, time: Duration, ending: CancellationToken) -> Self {
        Self {
            redis,
            time,
            renewed_at: watch::Sender::new(None),
            ending,
        }
    }

    /// Renews the lease until the worker ends.
    pub(super) async fn keep(self: Arc<Self>, executor: Executor) {
        let mut tick = interval(self.time / 4);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        while next_tick(&mut tick, &self.ending).await {
            let rules = executor.rules();
            let is_known = known.as_ref() == Some(&rules);
            let all = self.redis.keys().partitions().iter();
            let shown = all.map(|partition| self.renew(partition, &rules, is_known));
            match try_join_all(shown).await {
                Ok(told) => {
                    known = told.into_iter().all(|told| told).then_some(rules);
                    self.renewed_at.send_replace(Some(Instant::now()));
                }
                Err(Unavailable) => tick.reset_after(AGAIN),
            }
        }
    }

    /// Renews the lease in a partition, with the worker's rules of who may do what. Returns whether the rules are there
    /// now.
    async fn renew(
        &self,
        partition: &Partition,
        rules: &str,
        is_known: bool,
    ) -> Result<bool, Unavailable> {
        let alive = partition.alive(self.redis.name());
        let show = || {
            let args = [alive.as_str(), rules, "PX"].map(Value::from);
            let args = args.into_iter().chain([millis(self.time)]);
            self.redis.send("SET", partition, args)
        };
        // Possible even where Redis takes no more: those who are there mustn't seem to be gone.
        let renew = [Value::from(alive.as_str()), millis(self.time)];
        let renewed = self.redis.send("PEXPIRE", partition, renew).await?;
        if renewed.as_i64() == Some(0) {
            show().await?;
            let args = [partition.workers(), self.redis.name().to_owned()].map(Value::from);
            self.redis.send("SADD", partition, args).await?;
            return Ok(true);
        }
        Ok(is_known || show().await.is_ok())
    }

    /// Waits until the worker has a lease.
    pub(super) async fn until_held(&self) {
        let recent =
            |renewed_at: &Option<Instant>| renewed_at.is_some_and(|at| at.elapsed() < self.time);
        // It lives as long as this worker does.
        let _ = self.renewed_at.subscribe().wait_for(recent).await;
    }
}
