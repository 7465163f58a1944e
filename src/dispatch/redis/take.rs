//! How a worker takes jobs: no more than it has places for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fred::types::Value;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    commit::{Landing, Told},
    gateway::{millis, number},
    held::{Held, Place, What},
    keys::GROUP,
    link::Blocking,
    reply::{self, Entry},
    scripts::Lua,
    wire,
    worker::Worker,
};
use crate::{
    auth::PublicKey,
    dispatch::{JobId, JobRecord, Outcome, Status, record::MAX_CRASHES},
    store::{Effects, Unavailable},
};

/// How long one look for jobs lasts.
const BLOCK: Duration = Duration::from_secs(1);
/// How long to wait before looking again, where that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// Jobs that run one after another where they are taken; those beyond it run beside them.
const CHUNK: usize = 64;

impl Worker {
    /// Takes jobs out of these partitions until the worker stops.
    pub(super) async fn take(
        self: Arc<Self>,
        reader: Blocking,
        partitions: Vec<usize>,
        hold: usize,
    ) {
        let all = self.link.keys().partitions();
        let streams: Vec<_> = partitions.iter().map(|n| all[*n].jobs()).collect();
        // Redis counts for each stream; how many of them have something is as it was last time.
        let mut busy = streams.len();
        loop {
            let free = tokio::select! {
                free = self.places.free(hold) => free,
                () = self.stopping.cancelled() => break,
            };
            let each = (free / busy.max(1)).max(1);
            let mut args = vec![
                Value::from("GROUP"),
                GROUP.into(),
                self.link.name().into(),
                "COUNT".into(),
                Value::Integer(i64::try_from(each).unwrap_or(1)),
                "BLOCK".into(),
                millis(BLOCK),
                "STREAMS".into(),
            ];
            args.extend(streams.iter().map(Value::from));
            args.extend(streams.iter().map(|_| Value::from(">")));
            let taken = reader.send("XREADGROUP", &all[partitions[0]], args, BLOCK);
            let answer = tokio::select! {
                answer = taken => answer,
                // What it still takes is another worker's, once this one has left.
                () = self.stopping.cancelled() => break,
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.link.notice(&error);
                    sleep(AGAIN).await;
                    continue;
                }
            };
            let taken = reply::streams(answer);
            busy = taken.len();
            let mut plays = Vec::new();
            for (stream, entries) in taken {
                if let Some(n) = streams.iter().position(|other| *other == stream) {
                    plays.extend(self.hold(partitions[n], entries, false));
                }
            }
            while plays.len() > CHUNK {
                let rest = plays.split_off(CHUNK);
                let (this, chunk) = (self.clone(), std::mem::replace(&mut plays, rest));
                self.tasks.spawn(async move { this.process(chunk) });
            }
            self.process(plays);
        }
        reader.close().await;
    }

    /// Makes plays of entries that are this worker's now, and sees to those that take more than that.
    fn hold(
        self: &Arc<Self>,
        partition: usize,
        entries: Vec<Entry>,
        was_anothers: bool,
    ) -> Vec<Held> {
        let mut plays = Vec::new();
        for entry in entries {
            let place = self.places.take();
            if let Some(play) = entry.bytes("play") {
                let Some(play) = self.read_play(play) else {
                    continue;
                };
                plays.push(Held {
                    deadline: Some(self.deadline(&entry, &play)),
                    entry: entry.id,
                    partition,
                    what: What::Play(play),
                    was_anothers,
                    collisions: 0,
                    misses: 0,
                    cancelled: Arc::default(),
                    _place: place,
                });
            } else {
                let this = self.clone();
                self.tasks
                    .spawn(async move { this.see_to(partition, entry, was_anothers, place).await });
            }
        }
        plays
    }

    /// Runs a durable job, or hears that another worker has gone.
    async fn see_to(
        self: Arc<Self>,
        partition: usize,
        entry: Entry,
        was_anothers: bool,
        place: Place,
    ) {
        if let Some(gone) = entry.text("gone") {
            self.take_over(partition, gone).await;
            self.settle(partition, &entry).await;
        } else if let Some(what) = self.durable(partition, &entry).await {
            self.process(vec![Held {
                entry: entry.id,
                partition,
                what,
                was_anothers,
                deadline: None,
                collisions: 0,
                misses: 0,
                cancelled: Arc::default(),
                _place: place,
            }]);
        }
    }

    fn read_play(&self, json: &[u8]) -> Option<Box<wire::Play<'static>>> {
        match serde_json::from_slice::<wire::Play<'_>>(json) {
            Ok(play) => Some(Box::new(play.into_owned())),
            Err(error) => {
                // Its caller is told that it took too long. A newer worker may know better.
                tracing::error!(%error, "failed to read a play; is this worker older than its gateway?");
                None
            }
        }
    }

    /// When its caller stops waiting, by this machine's clock.
    fn deadline(&self, entry: &Entry, play: &wire::Play<'_>) -> Instant {
        let age = self.link.now() - entry.millis();
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let timeout = Duration::from_millis(play.timeout_ms);
        Instant::now() + timeout.saturating_sub(age)
    }

    /// Reads a durable job. There is nothing to run if it is over.
    async fn durable(&self, partition: usize, entry: &Entry) -> Option<What> {
        let id = entry.text("job")?.parse::<JobId>().ok()?;
        let names = &self.link.keys().partitions()[partition];
        let args = [
            names.job(id).into(),
            "record".into(),
            "input".into(),
            "gateway".into(),
        ];
        let found = loop {
            match self.link.send("HMGET", names, args.clone()).await {
                Ok(found) => break found.into_array(),
                Err(Unavailable) if self.stopping.is_cancelled() => return None,
                Err(Unavailable) => sleep(AGAIN).await,
            }
        };
        let job = found.first().and_then(Value::as_bytes);
        let job = job.and_then(|json| serde_json::from_slice::<JobRecord>(json).ok());
        let event = found.get(1).and_then(Value::as_bytes);
        let event = event.and_then(|json| serde_json::from_slice(json).ok());
        let gateway = found.get(2).and_then(Value::as_string);
        match (job, event) {
            (Some(job), Some(event)) if job.status == Status::Pending => Some(What::Durable {
                job: Box::new(job),
                event: Box::new(event),
                gateway: gateway.unwrap_or_default(),
            }),
            _ => {
                tracing::error!(job = %id, "a durable job is not there to be run");
                let circle = entry.text("circle")?.parse::<PublicKey>().ok()?;
                let keys = [names.jobs(), names.lane(&circle), names.backlog(&circle)];
                let args = [
                    Value::from(entry.id.as_str()),
                    circle.to_string().into(),
                    number(self.committer.durable.per_circle),
                ];
                let _ = self.link.call(Lua::Forget, names, keys, args).await;
                None
            }
        }
    }

    /// An entry has done its service.
    async fn settle(&self, partition: usize, entry: &Entry) {
        let names = &self.link.keys().partitions()[partition];
        let (jobs, id) = (Value::from(names.jobs()), Value::from(entry.id.as_str()));
        let ack = [jobs.clone(), GROUP.into(), id.clone()];
        let _ = self.link.send("XACK", names, ack).await;
        let _ = self.link.send("XDEL", names, [jobs, id]).await;
    }

    /// Takes the jobs of a worker that is silent, unless it isn't.
    pub(super) async fn take_over(self: &Arc<Self>, partition: usize, silent: &str) {
        let names = &self.link.keys().partitions()[partition];
        loop {
            let keys = [names.jobs(), names.alive(silent)];
            let args = [self.link.name(), silent, "64"].map(Value::from);
            let Ok(taken) = self.link.call(Lua::TakeOver, names, keys, args).await else {
                return;
            };
            let taken = taken.into_array();
            if taken.is_empty() {
                return;
            }
            tracing::info!(
                worker = silent,
                jobs = taken.len(),
                "taking over what a silent worker held"
            );
            let (mut entries, mut fatal) = (Vec::new(), Vec::new());
            for job in taken {
                let mut parts = job.into_array().into_iter();
                let id = parts.next().and_then(Value::into_string);
                let begun = parts.next().as_ref().and_then(Value::as_u64);
                let (Some(id), Some(begun), Some(fields)) = (id, begun, parts.next()) else {
                    continue;
                };
                let entry = Entry::new(id, fields);
                if begun >= u64::from(MAX_CRASHES) {
                    fatal.push(entry);
                } else {
                    entries.push(entry);
                }
            }
            let plays = self.hold(partition, entries, true);
            self.process(plays);
            for entry in fatal {
                self.give_up(partition, entry).await;
            }
        }
    }

    /// A job that workers died of is run by none of them any more.
    async fn give_up(self: &Arc<Self>, partition: usize, entry: Entry) {
        let (what, told) = if let Some(play) = entry.bytes("play") {
            let Some(play) = self.read_play(play) else {
                return;
            };
            (What::Play(play), Told::Play(Outcome::Unavailable))
        } else {
            let Some(what) = self.durable(partition, &entry).await else {
                return;
            };
            let What::Durable { job, .. } = &what else {
                return;
            };
            let mut job = job.clone();
            let progress = job.died_of(Timestamp::now());
            (what, Told::Durable(job, progress))
        };
        let held = Held {
            entry: entry.id,
            partition,
            what,
            was_anothers: true,
            deadline: None,
            collisions: 0,
            misses: 0,
            cancelled: Arc::default(),
            _place: self.places.take(),
        };
        let (job, circle) = (held.id(), held.circle());
        tracing::error!(%job, %circle, "a job is given up: workers died while they ran it");
        let landing = Landing {
            effects: Effects::default(),
            told,
            may_be_superseded: false,
        };
        self.tasks
            .spawn(self.clone().land(circle, vec![(held, landing)]));
    }
}
