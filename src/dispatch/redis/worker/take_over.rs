//! Jobs of workers that are gone: this worker takes them over, and hands over its own when it leaves.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fred::types::Value;
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Worker,
    claimed_job::JobKind,
    commit::{CommitRequest, RunResult},
    next_tick,
    take::inline_job,
};
use crate::{
    dispatch::{
        record::MAX_CRASHES,
        redis::proto::{
            keys::{GROUP, Partition},
            reply::{self, StreamEntry},
            scripts::{Entry, Leave, Lost, TakeOver},
            values::millis,
        },
    },
    script::RunError,
    store::Unavailable,
};

/// The pause between two checks that a run is still wanted, and the time after which a run is checked.
const LOST: Duration = Duration::from_millis(100);
/// Jobs taken over at a time.
const AT_ONCE: u32 = 64;

impl Worker {
    /// Takes over the jobs of silent workers, and reclaims those that got lost on their way here. After an outage of
    /// Redis, all workers are silent at first.
    pub(super) async fn take_over_silent(self: Arc<Self>, lease: Duration) {
        let mut tick = interval(lease / 4);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut up_since: Option<Instant> = None;
        while next_tick(&mut tick, &self.ending).await {
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

    /// Reclaims jobs that Redis has given to this worker and that it hasn't got: the reply was lost on its way, or
    /// Redis has forgotten that they are done.
    pub(super) async fn reclaim(self: &Arc<Self>, partition: usize, idle: Duration) {
        let names = &self.redis.keys().partitions()[partition];
        let (jobs, me) = (names.jobs(), self.redis.name());
        let args = [
            jobs.as_str().into(),
            GROUP.into(),
            "IDLE".into(),
            millis(idle),
            "-".into(),
            "+".into(),
            Value::Integer(1000),
            me.into(),
        ];
        let Ok(pending) = self.redis.send("XPENDING", names, args).await else {
            return;
        };
        let missing = pending.into_array().into_iter().filter_map(|pending| {
            // Its entry, its consumer, how long that has been idle, and how often it was delivered.
            let mut parts = pending.into_array().into_iter();
            let entry = parts.next()?.into_string()?;
            let begun = parts.nth(2)?.as_i64()?;
            (!self.slots.has(partition, &entry)).then_some((entry, begun))
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return;
        }
        tracing::info!(jobs = missing.len(), "running jobs whose delivery was lost");
        let mut entries = Vec::new();
        for (entry, begun) in missing {
            let claim = [
                Value::from(jobs.as_str()),
                GROUP.into(),
                me.into(),
                Value::Integer(0),
                entry.into(),
                "RETRYCOUNT".into(),
                Value::Integer(begun),
            ];
            if let Ok(claimed) = self.redis.send("XCLAIM", names, claim).await {
                let claimed = reply::entries(claimed).into_iter();
                entries.extend(claimed.map(|entry| {
                    let is_others = self
                        .taken_over()
                        .contains_key(&(partition, entry.id.clone()));
                    (entry, is_others.then_some(begun))
                }));
            }
        }
        let jobs = self.claim(partition, entries);
        self.process(jobs);
    }

    /// Takes over the jobs of a worker, if it is silent.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        partition: usize,
        silent: &str,
    ) -> Result<(), Unavailable> {
        let names = &self.redis.keys().partitions()[partition];
        loop {
            let take_over = TakeOver {
                me: self.redis.name().to_owned(),
                silent: silent.to_owned(),
                most: AT_ONCE,
            };
            let taken = self.redis.call(names, take_over).await?;
            let taken = taken.into_array();
            if taken.is_empty() {
                return Ok(());
            }
            tracing::info!(
                worker = silent,
                jobs = taken.len(),
                "taking over the jobs of a silent worker"
            );
            let (mut entries, mut fatal) = (Vec::new(), Vec::new());
            for job in taken {
                let mut parts = job.into_array().into_iter();
                let id = parts.next().and_then(Value::into_string);
                let begun = parts.next().as_ref().and_then(Value::as_i64);
                let (Some(id), Some(begun), Some(fields)) = (id, begun, parts.next()) else {
                    continue;
                };
                let entry = StreamEntry::new(id, fields);
                if begun >= i64::from(MAX_CRASHES) {
                    fatal.push(entry);
                } else {
                    let name = (partition, entry.id.clone());
                    self.taken_over().insert(name, false);
                    entries.push((entry, Some(begun)));
                }
            }
            let plays = self.claim(partition, entries);
            self.process(plays);
            for entry in fatal {
                self.give_up(partition, entry).await;
            }
        }
    }

    /// Ends a job that workers died of.
    async fn give_up(self: &Arc<Self>, partition: usize, entry: StreamEntry) {
        let found = match inline_job(&entry) {
            Some(kind) => Some((kind, None)),
            None => self.read_job(partition, &entry).await,
        };
        let Some((kind, unreadable)) = found else {
            return;
        };
        let result = unreadable.unwrap_or_else(|| match &kind {
            JobKind::Play(_) => RunResult::Play(Err(RunError::Unavailable)),
            JobKind::Durable { job, .. } => {
                let mut job = job.clone();
                let progress = job.died_of(Timestamp::now());
                RunResult::Durable(job, progress)
            }
        });
        let Some(slot) = self.slots.take(partition, &entry) else {
            return;
        };
        let claimed = self.claim_job(&entry, kind, Some(0), slot, None);
        let (job, circle) = (claimed.id(), claimed.circle());
        tracing::error!(%job, %circle, "a job is given up: workers died while they ran it");
        let request = CommitRequest::without_effects(result);
        self.enqueue(circle, vec![(claimed, request)]);
    }

    /// Cancels runs on script threads that aren't wanted any more: the caller has left, or another worker has the job.
    pub(super) async fn cancel_lost(self: Arc<Self>) {
        let mut tick = interval(LOST);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while next_tick(&mut tick, &self.ending).await {
            let mut long: HashMap<usize, Vec<String>> = HashMap::new();
            for ((partition, entry), running) in self.running().iter() {
                if running.since.elapsed() >= LOST {
                    long.entry(*partition).or_default().push(entry.clone());
                }
            }
            for (number, entries) in long {
                let partition = &self.redis.keys().partitions()[number];
                let lost = Lost {
                    me: self.redis.name().to_owned(),
                    entries: entries.into_iter().map(|entry| Entry { entry }).collect(),
                };
                let Ok(lost) = self.redis.call(partition, lost).await else {
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

    /// Hands over all jobs that it still has.
    pub(super) async fn leave(&self) {
        for (number, partition) in self.redis.keys().partitions().iter().enumerate() {
            let not_begun = self.taken_over().clone().into_iter();
            let not_begun = not_begun.filter(|((of, _), begun)| *of == number && !begun);
            let leave = Leave {
                me: self.redis.name().to_owned(),
                not_begun: not_begun.map(|((_, entry), _)| Entry { entry }).collect(),
            };
            let _ = self.redis.call(partition, leave).await;
            let args = [partition.workers(), self.redis.name().to_owned()].map(Value::from);
            let _ = self.redis.send("SREM", partition, args).await;
        }
    }
}
