//! A worker's background tasks: it shows that it is alive, takes over the jobs of workers that aren't, wakes jobs whose
//! time has come, and deletes what has expired.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    gateway::{millis, number},
    index,
    keys::{GROUP, Partition},
    scripts::Lua,
    worker::Worker,
};
use crate::store::Unavailable;

/// The pause before another attempt, when Redis couldn't be reached.
const AGAIN: Duration = Duration::from_millis(100);
/// The pause between two checks for jobs whose time has come.
const WAKE: Duration = Duration::from_millis(250);
/// The pause between two checks that a run is still wanted, and the time after which a run is checked.
const LOST: Duration = Duration::from_millis(100);
/// The pause between two deletions of expired entries.
const FORGET: Duration = Duration::from_secs(60);
/// Deletions until an index has been read as a whole.
const SHARES: usize = 60;
/// Jobs woken at a time.
const AT_ONCE: i64 = 256;

impl Worker {
    /// Renews the worker's lease until it ends. It takes jobs only while it has one.
    pub(super) async fn stay_alive(self: Arc<Self>, lease: Duration) {
        let mut tick = interval(lease / 4);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        while self.goes_on(&mut tick).await {
            let rules = self.executor.rules();
            let is_known = known.as_ref() == Some(&rules);
            let all = self.redis.keys().partitions().iter();
            let shown = all.map(|partition| self.show_itself(partition, lease, &rules, is_known));
            match try_join_all(shown).await {
                Ok(told) => {
                    known = told.into_iter().all(|told| told).then_some(rules);
                    self.shown.send_replace(Some(Instant::now()));
                }
                Err(Unavailable) => tick.reset_after(AGAIN),
            }
        }
    }

    /// Renews the lease in a partition, with the worker's rules of who may do what. Returns whether the rules are there
    /// now.
    async fn show_itself(
        &self,
        partition: &Partition,
        lease: Duration,
        rules: &str,
        is_known: bool,
    ) -> Result<bool, Unavailable> {
        let alive = partition.alive(self.redis.name());
        let show = || {
            let args = [alive.as_str(), rules, "PX"].map(Value::from);
            let args = args.into_iter().chain([millis(lease)]);
            self.redis.send("SET", partition, args)
        };
        // Possible even where Redis takes no more: those who are there mustn't seem to be gone.
        let renew = [Value::from(alive.as_str()), millis(lease)];
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
    pub(super) async fn is_shown(&self, lease: Duration) {
        let recent = |shown: &Option<Instant>| shown.is_some_and(|at| at.elapsed() < lease);
        // It lives as long as this worker does.
        let _ = self.shown.subscribe().wait_for(recent).await;
    }

    /// Takes over the jobs of silent workers, and reclaims those that got lost on their way here. After an outage of
    /// Redis, all workers are silent at first.
    pub(super) async fn take_over_silent(self: Arc<Self>, lease: Duration) {
        let mut tick = interval(lease / 4);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut up_since: Option<Instant> = None;
        while self.goes_on(&mut tick).await {
            if self.stopping.is_cancelled() {
                return;
            }
            if !self.redis.is_up() {
                up_since = None;
                continue;
            }
            if up_since.get_or_insert_with(Instant::now).elapsed() < lease / 2 {
                continue;
            }
            for (number, partition) in self.redis.keys().partitions().iter().enumerate() {
                self.reclaim(number, lease / 2).await;
                for silent in self.other_workers(partition).await {
                    let _ = self.take_over(number, &silent).await;
                }
            }
        }
    }

    /// Returns the other workers that a partition knows.
    async fn other_workers(&self, partition: &Partition) -> Vec<String> {
        let args = ["CONSUMERS", &partition.jobs(), GROUP].map(Value::from);
        let Ok(consumers) = self.redis.send("XINFO", partition, args).await else {
            return Vec::new();
        };
        let name = |consumer: Value| {
            // Pairs of a name and a value; or a map.
            let fields = consumer.into_array();
            let mut pairs = fields.chunks_exact(2);
            let name = pairs.find(|pair| pair[0].as_bytes() == Some(b"name"))?;
            name[1].as_string()
        };
        let names = consumers.into_array().into_iter().filter_map(name);
        names.filter(|name| name != self.redis.name()).collect()
    }

    /// Cancels runs on script threads that aren't wanted any more: the caller has left, or another worker has the job.
    pub(super) async fn cancel_lost(self: Arc<Self>) {
        let mut tick = interval(LOST);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.goes_on(&mut tick).await {
            let mut long: HashMap<usize, Vec<String>> = HashMap::new();
            for ((partition, entry), running) in self.running().iter() {
                if running.since.elapsed() >= LOST {
                    long.entry(*partition).or_default().push(entry.clone());
                }
            }
            for (number, entries) in long {
                let partition = &self.redis.keys().partitions()[number];
                let me = Value::from(self.redis.name());
                let args = std::iter::once(me).chain(entries.into_iter().map(Value::from));
                let keys = [partition.jobs()];
                let Ok(lost) = self.redis.call(Lua::Lost, partition, keys, args).await else {
                    continue;
                };
                let running = self.running();
                for entry in lost.into_array() {
                    let entry = entry.into_string().unwrap_or_default();
                    if let Some(running) = running.get(&(number, entry)) {
                        running.cancelled.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    /// Queues durable jobs whose next try is due.
    pub(super) async fn wake_delayed(self: Arc<Self>) {
        let mut tick = interval(WAKE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.goes_on(&mut tick).await {
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
            let keys = [
                partition.delayed(),
                partition.jobs(),
                partition.job_counts(&circle),
                partition.backlog(&circle),
            ];
            let args = [
                Value::from(id.to_string()),
                circle.to_string().into(),
                number(self.committer.per_circle),
            ];
            self.redis.call(Lua::Wake, partition, keys, args).await?;
        }
        Ok(())
    }

    /// Deletes jobs from the lists of those that are over, once their records have expired.
    pub(super) async fn forget_old(self: Arc<Self>) {
        let mut tick = interval(FORGET);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let partitions = self.redis.keys().partitions();
        let mut next = vec![(None, None); partitions.len()];
        while self.goes_on(&mut tick).await {
            for (partition, (all, own)) in partitions.iter().zip(&mut next) {
                let _ = self.forget_dead(partition).await;
                let _ = self.forget_gone(partition, partition.index(), all).await;
                let _ = self
                    .forget_gone(partition, partition.submitted(), own)
                    .await;
            }
        }
    }

    async fn forget_dead(&self, partition: &Partition) -> Result<(), Unavailable> {
        let keep_for = self.committer.durable.keep_dead_for.as_millis();
        let keep_for = i64::try_from(keep_for).unwrap_or(i64::MAX);
        let before = Timestamp::now().as_millisecond().saturating_sub(keep_for);
        let args = [
            partition.dead().into(),
            "-inf".into(),
            Value::Integer(before),
        ];
        let forgotten = self.redis.send("ZREMRANGEBYSCORE", partition, args);
        forgotten.await.map(drop)
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
        let durable = &self.committer.durable;
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

    /// Hands over all jobs that it still has.
    pub(super) async fn leave(&self) {
        for (number, partition) in self.redis.keys().partitions().iter().enumerate() {
            let keys = [partition.jobs(), partition.alive(self.redis.name())];
            let me = Value::from(self.redis.name());
            let not_begun = self.taken_over().clone().into_iter();
            let not_begun = not_begun.filter(|((of, _), begun)| *of == number && !begun);
            let not_begun = not_begun.map(|((_, entry), _)| Value::from(entry));
            let args = std::iter::once(me).chain(not_begun);
            let _ = self.redis.call(Lua::Leave, partition, keys, args).await;
            let args = [partition.workers(), self.redis.name().to_owned()].map(Value::from);
            let _ = self.redis.send("SREM", partition, args).await;
        }
    }

    async fn goes_on(&self, tick: &mut tokio::time::Interval) -> bool {
        tokio::select! {
            _ = tick.tick() => true,
            () = self.ending.cancelled() => false,
        }
    }
}
