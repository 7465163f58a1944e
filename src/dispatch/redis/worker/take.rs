//! Takes jobs: no more than the worker has slots for.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{task::yield_now, time::sleep};

use super::{
    Worker,
    claimed_job::{ClaimedJob, JobKind},
    commit::{CommitRequest, RunResult},
    direct_reads::KnownValues,
    input_budget::{InputReservation, QueuePosition},
    slots::SlotGuard,
};
use crate::{
    dispatch::{
        JobRecord, Status,
        record::unreadable,
        redis::{
            conn::{BLOCK, BlockingConnection},
            proto::{
                keys::GROUP,
                reply::{self, StreamEntry},
                scripts::{Forget, Settle},
                values::millis,
                wire,
            },
        },
        submission::Input,
    },
    script::RunError,
    store::Unavailable,
    weight,
};

/// The pause before another attempt, after one that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// Streams that may turn out to have something at once, where fewer had lately.
const FEW: usize = 4;
/// The bytes that an input counts as if its entry doesn't say.
const SOME_BYTES: usize = 64 << 10;
/// Bytes of entries that are read before others get their turn.
const AT_ONCE: usize = 64 << 10;
/// The field of a play that had to wait in the queue.
const WAITED: &str = "waited";
/// The field with the time when it came, in milliseconds of Redis' clock.
const CAME: &str = "came";

/// An entry, and how many runs of it had begun, if another worker has had it.
type TakenEntry = (StreamEntry, Option<i64>);
/// A [`TakenEntry`], and its slot.
type SlottedEntry = (StreamEntry, Option<i64>, SlotGuard);

impl Worker {
    /// Takes jobs out of these partitions until the worker stops.
    pub(super) async fn take(
        self: Arc<Self>,
        reader: BlockingConnection,
        partitions: Vec<usize>,
        (hold, hold_bytes): (usize, usize),
    ) {
        let all = self.redis.keys().partitions();
        let streams: Vec<_> = partitions.iter().map(|n| all[*n].jobs()).collect();
        // Redis counts for each stream; how many of them have something is as it was last time.
        let mut busy = streams.len();
        loop {
            let may_take = async {
                self.lease.until_held().await;
                self.slots.free(hold, hold_bytes).await
            };
            let free = tokio::select! {
                free = may_take => free,
                () = self.stopping.cancelled() => break,
            };
            let each = (free / busy.max(FEW)).max(1);
            let mut args = vec![
                Value::from("GROUP"),
                GROUP.into(),
                self.redis.name().into(),
                "COUNT".into(),
                Value::Integer(i64::try_from(each).unwrap_or(1)),
                "BLOCK".into(),
                millis(BLOCK),
                "STREAMS".into(),
            ];
            args.extend(streams.iter().map(Value::from));
            args.extend(streams.iter().map(|_| Value::from(">")));
            let taken = reader.send("XREADGROUP", &all[partitions[0]], args);
            let answer = tokio::select! {
                answer = taken => answer,
                // What it still takes is another worker's, once this one has left.
                () = self.stopping.cancelled() => break,
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.redis.failed("XREADGROUP", &error);
                    sleep(AGAIN).await;
                    continue;
                }
            };
            let taken = reply::streams(answer);
            busy = taken.len();
            let (mut jobs, mut bytes) = (Vec::new(), 0);
            for (stream, entries) in taken {
                let Some(n) = streams.iter().position(|other| *other == stream) else {
                    continue;
                };
                let mut entries = entries.into_iter();
                loop {
                    let mut some = Vec::new();
                    while bytes < AT_ONCE
                        && let Some(entry) = entries.next()
                    {
                        bytes += entry.len();
                        some.push((entry, None));
                    }
                    jobs.extend(self.claim(partitions[n], some));
                    if bytes < AT_ONCE {
                        break;
                    }
                    self.process(std::mem::take(&mut jobs));
                    yield_now().await;
                    bytes = 0;
                }
            }
            self.process(jobs);
        }
        reader.close(BLOCK).await;
    }

    /// Claims entries that are this worker's now: returns the jobs that they hold as a whole, and starts to read the
    /// others.
    pub(super) fn claim(
        self: &Arc<Self>,
        partition: usize,
        entries: Vec<TakenEntry>,
    ) -> Vec<ClaimedJob> {
        let mut jobs = Vec::new();
        let mut others: Vec<(Option<PublicKey>, VecDeque<_>)> = Vec::new();
        for (entry, begun) in entries {
            // One that it holds already it has been given again.
            let Some(slot) = self.slots.take(partition, &entry) else {
                continue;
            };
            match inline_job(&entry) {
                Some(kind) => jobs.push(self.claim_job(&entry, kind, begun, slot, None)),
                None => {
                    let (circle, other) = (circle_of(&entry), (entry, begun, slot));
                    match others.iter_mut().find(|(of, _)| *of == circle) {
                        Some((_, others)) => others.push_back(other),
                        None => others.push((circle, [other].into())),
                    }
                }
            }
        }
        for (circle, others) in others {
            let this = self.clone();
            // Whoever comes first has room first.
            let position = circle.map(|circle| self.input_budget.join_queue(circle));
            self.tasks
                .spawn(async move { this.process_unread(partition, position, others).await });
        }
        jobs
    }

    pub(super) fn claim_job(
        &self,
        entry: &StreamEntry,
        kind: JobKind,
        begun: Option<i64>,
        slot: SlotGuard,
        reservation: Option<InputReservation>,
    ) -> ClaimedJob {
        let deadline = match &kind {
            JobKind::Play(play) => Some(self.deadline(entry, play)),
            JobKind::Durable { .. } => None,
        };
        ClaimedJob {
            begun,
            claimed_at: Instant::now(),
            deadline,
            waited: self.waited(entry, &kind),
            kind,
            ran: Duration::ZERO,
            collisions: 0,
            has_lock: false,
            known: KnownValues::default(),
            misses: 0,
            has_waited: entry.bytes(WAITED).is_some(),
            occasion: OnceLock::new(),
            cancelled: Arc::default(),
            slot,
            _input: reservation,
        }
    }

    /// Processes entries of one circle that hold no whole job: it reads and runs durable jobs, as many at a time as
    /// there is room for their inputs, takes over from workers that have left, and ends jobs that can't be run.
    async fn process_unread(
        self: Arc<Self>,
        partition: usize,
        position: Option<QueuePosition>,
        mut entries: VecDeque<SlottedEntry>,
    ) {
        let size = |entry: &StreamEntry| {
            let size = entry.text("size").and_then(|size| size.parse().ok());
            size.unwrap_or(SOME_BYTES)
        };
        let Some(position) = position else {
            let all = entries.into_iter().map(|entry| (entry, None));
            self.read_and_process(partition, all.collect()).await;
            return;
        };
        while let Some(first) = entries.pop_front() {
            let reservation = tokio::select! {
                reservation = position.reserve(size(&first.0)) => reservation,
                // It is another worker's, once this one has left.
                () = self.stopping.cancelled() => return,
            };
            let mut some = vec![(first, Some(reservation))];
            while let Some((entry, ..)) = entries.front()
                && let Some(reservation) = position.try_reserve(size(entry))
                && let Some(next) = entries.pop_front()
            {
                some.push((next, Some(reservation)));
            }
            if entries.is_empty() {
                // Whoever comes next needn't wait until these have been read.
                drop(position);
                self.read_and_process(partition, some).await;
                return;
            }
            self.read_and_process(partition, some).await;
        }
    }

    async fn read_and_process(
        self: &Arc<Self>,
        partition: usize,
        entries: Vec<(SlottedEntry, Option<InputReservation>)>,
    ) {
        let reads = entries.iter().map(async |((entry, _, _), _)| {
            if let Some(gone) = entry.text("gone") {
                let stays = !self.stopping.is_cancelled();
                if stays && self.take_over(partition, gone).await.is_ok() {
                    self.ack(partition, entry).await;
                }
                return None;
            }
            self.read_job(partition, entry).await
        });
        let read = join_all(reads).await;
        let mut jobs = Vec::new();
        for (found, ((entry, begun, slot), reservation)) in read.into_iter().zip(entries) {
            match found {
                None => {}
                Some((kind, None)) => {
                    jobs.push(self.claim_job(&entry, kind, begun, slot, reservation))
                }
                Some((kind, Some(result))) => {
                    let claimed = self.claim_job(&entry, kind, begun, slot, reservation);
                    self.enqueue(
                        claimed.circle(),
                        vec![(claimed, CommitRequest::without_effects(result))],
                    );
                }
            }
        }
        self.process(jobs);
    }

    /// Reads the job of an entry, and if it can't be run, what is committed instead. Returns nothing if there is no job
    /// any more; then the entry is gone, too.
    pub(super) async fn read_job(
        &self,
        partition: usize,
        entry: &StreamEntry,
    ) -> Option<(JobKind, Option<RunResult>)> {
        if let Some(play) = play_of(entry) {
            return match unreadable_play(play) {
                Some(play) => Some((
                    JobKind::Play(play),
                    Some(RunResult::Play(Err(RunError::Unavailable))),
                )),
                None => self.drop_entry(partition, entry).await,
            };
        }
        let Some(id) = entry.text("job").and_then(|id| id.parse::<JobId>().ok()) else {
            return self.drop_entry(partition, entry).await;
        };
        let names = &self.redis.keys().partitions()[partition];
        let args = [
            names.job(id).into(),
            "record".into(),
            "input".into(),
            "gateway".into(),
        ];
        let found = loop {
            match self.redis.send("HMGET", names, args.clone()).await {
                Ok(found) => break found.into_array(),
                Err(Unavailable) if self.stopping.is_cancelled() => return None,
                Err(Unavailable) => sleep(AGAIN).await,
            }
        };
        let found = |n: usize| found.get(n).and_then(Value::as_bytes);
        let job = found(0).and_then(|record| JobRecord::read(id, circle_of(entry), record));
        let Some(mut job) = job.filter(|job| job.status == Status::Pending) else {
            return self.drop_entry(partition, entry).await;
        };
        let input = found(1).filter(|_| job.unread.is_none());
        let size = input.map_or(0, weight::of_json);
        let input: Option<Input> = input.and_then(|input| circled_json::from_slice(input).ok());
        let gateway = String::from_utf8_lossy(found(2).unwrap_or_default()).into_owned();
        let result = input.is_none().then(|| {
            job.log_unreadable();
            let (error, settings) = (unreadable(), &self.committer.durable);
            let progress = job.fail(error, Timestamp::now(), settings);
            RunResult::Durable(Box::new(job.clone()), progress)
        });
        let kind = JobKind::Durable {
            job: Box::new(job),
            input: Box::new(input.unwrap_or_default()),
            size,
            gateway,
        };
        Some((kind, result))
    }

    /// Removes an entry for which there is nothing to run.
    async fn drop_entry<T>(&self, partition: usize, entry: &StreamEntry) -> Option<T> {
        let (job, circle) = (entry.text("job"), circle_of(entry));
        tracing::error!(
            entry = entry.id,
            job,
            circle = circle.as_ref().map(tracing::field::display),
            "dropped an entry of the job stream: it names nothing to run"
        );
        let (Some(job), Some(circle)) = (job, circle) else {
            self.ack(partition, entry).await;
            return None;
        };
        let names = &self.redis.keys().partitions()[partition];
        let forget = Forget {
            entry: entry.id.clone(),
            circle,
            id: job.to_owned(),
            most: self.committer.per_circle,
        };
        let _ = self.redis.call(names, forget).await;
        None
    }

    /// Returns when its caller stops waiting, by this machine's clock.
    fn deadline(&self, entry: &StreamEntry, play: &wire::Play<'_>) -> Instant {
        let age = self.redis.now() - self.came(entry);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        Instant::now() + play.job.timeout.saturating_sub(age)
    }

    /// Returns when a play came, in milliseconds on Redis' clock. One that has waited says so.
    fn came(&self, entry: &StreamEntry) -> i64 {
        let came = entry.text(CAME).and_then(|came| came.parse().ok());
        came.filter(|came| *came > 0).unwrap_or(entry.millis())
    }

    /// Returns how long a job has waited since it could run, by this machine's clock.
    fn waited(&self, entry: &StreamEntry, kind: &JobKind) -> Duration {
        let could_run = match kind {
            JobKind::Play(_) => self.came(entry),
            JobKind::Durable { job, .. } => {
                let could_run = job
                    .due
                    .map_or(job.received_at, |due| due.max(job.received_at));
                could_run.as_millisecond()
            }
        };
        Duration::from_millis(u64::try_from(self.redis.now() - could_run).unwrap_or(0))
    }

    /// Acknowledges and removes an entry.
    pub(super) async fn ack(&self, partition: usize, entry: &StreamEntry) {
        let names = &self.redis.keys().partitions()[partition];
        let entry = entry.id.clone();
        let _ = self.redis.call(names, Settle { entry }).await;
    }
}

/// Returns the play of an entry, whether it had to wait in the queue or not.
fn play_of(entry: &StreamEntry) -> Option<&[u8]> {
    entry.bytes("play").or_else(|| entry.bytes(WAITED))
}

/// Returns the job that an entry holds as a whole: a play, or a durable job that could run at once.
pub(super) fn inline_job(entry: &StreamEntry) -> Option<JobKind> {
    if let Some(play) = play_of(entry) {
        let play = circled_json::borrowed_slice::<wire::Play<'_>>(play).ok()?;
        return Some(JobKind::Play(Box::new(play.into_owned())));
    }
    let (record, input) = (entry.bytes("record")?, entry.bytes("input")?);
    let gateway = entry.bytes("gateway").unwrap_or_default();
    Some(JobKind::Durable {
        job: Box::new(circled_json::from_slice(record).ok()?),
        input: Box::new(circled_json::from_slice(input).ok()?),
        size: weight::of_json(input),
        gateway: String::from_utf8_lossy(gateway).into_owned(),
    })
}

/// Returns what it takes to answer a play that can't be read.
fn unreadable_play(play: &[u8]) -> Option<Box<wire::Play<'static>>> {
    let address = circled_json::from_slice::<wire::Address>(play);
    let play = wire::Play::from(address.ok()?);
    tracing::error!(
        job = %play.job.id,
        circle = %play.job.circle,
        "failed to read a play: is its gateway of a newer version?"
    );
    Some(Box::new(play))
}

/// Returns the circle of a durable job, as its entry says.
fn circle_of(entry: &StreamEntry) -> Option<PublicKey> {
    entry.text("circle")?.parse().ok()
}
