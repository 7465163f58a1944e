//! How a worker takes jobs: no more than it has places for.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::types::Value;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{task::yield_now, time::sleep};

use super::{
    commit::{Landing, Told},
    gateway::{millis, number},
    held::{Held, Line, Place, Room, What},
    keys::GROUP,
    link::{BLOCK, Blocking},
    reply::{self, Entry},
    scripts::Lua,
    wire,
    worker::Worker,
};
use crate::{
    auth::PublicKey,
    dispatch::{JobError, JobId, JobRecord, Outcome, Status, record::MAX_CRASHES},
    json,
    store::Unavailable,
};

/// How long to wait before looking again, where that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// Streams that may turn out to have something at once, where fewer had lately.
const FEW: usize = 4;
/// What is taken for the bytes of an input where its entry doesn't say.
const SOME_BYTES: usize = 64 << 10;
/// Bytes of entries that are read before others get their turn.
const AT_ONCE: usize = 64 << 10;
/// What a play is called in its entry that had to wait in the queue.
const WAITED: &str = "waited";
/// When it came, in milliseconds of Redis's clock.
const CAME: &str = "came";

/// An entry, and where another worker has had it, how many runs of it had begun there.
type Taken = (Entry, Option<i64>);
/// The same, with its place.
type Placed = (Entry, Option<i64>, Place);

impl Worker {
    /// Takes jobs out of these partitions until the worker stops.
    pub(super) async fn take(
        self: Arc<Self>,
        reader: Blocking,
        partitions: Vec<usize>,
        (hold, hold_bytes): (usize, usize),
        lease: Duration,
    ) {
        let all = self.link.keys().partitions();
        let streams: Vec<_> = partitions.iter().map(|n| all[*n].jobs()).collect();
        // Redis counts for each stream; how many of them have something is as it was last time.
        let mut busy = streams.len();
        loop {
            let may_take = async {
                self.is_shown(lease).await;
                self.places.free(hold, hold_bytes).await
            };
            let free = tokio::select! {
                free = may_take => free,
                () = self.stopping.cancelled() => break,
            };
            let each = (free / busy.max(FEW)).max(1);
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
            let taken = reader.send("XREADGROUP", &all[partitions[0]], args);
            let answer = tokio::select! {
                answer = taken => answer,
                // What it still takes is another worker's, once this one has left.
                () = self.stopping.cancelled() => break,
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.link.failed("XREADGROUP", &error);
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
                    jobs.extend(self.hold(partitions[n], some));
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

    /// Makes jobs of entries that are this worker's now, and sees to those that take more than that.
    fn hold(self: &Arc<Self>, partition: usize, entries: Vec<Taken>) -> Vec<Held> {
        let mut jobs = Vec::new();
        let mut others: Vec<(Option<PublicKey>, VecDeque<_>)> = Vec::new();
        for (entry, begun) in entries {
            // One that it holds already it has been given again.
            let Some(place) = self.places.take(partition, &entry) else {
                continue;
            };
            match taken_along(&entry) {
                Some(what) => jobs.push(self.held(&entry, what, begun, place, None)),
                None => {
                    let (circle, other) = (circle_of(&entry), (entry, begun, place));
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
            let line = circle.map(|circle| self.inputs.line(circle));
            self.tasks
                .spawn(async move { this.see_to(partition, line, others).await });
        }
        jobs
    }

    fn held(
        &self,
        entry: &Entry,
        what: What,
        begun: Option<i64>,
        place: Place,
        room: Option<Room>,
    ) -> Held {
        let deadline = match &what {
            What::Play(play) => Some(self.deadline(entry, play)),
            What::Durable { .. } => None,
        };
        Held {
            what,
            begun,
            since: Instant::now(),
            deadline,
            collisions: 0,
            misses: 0,
            has_waited: entry.bytes(WAITED).is_some(),
            cancelled: Arc::default(),
            place,
            _room: room,
        }
    }

    /// Sees to entries of one circle that don't say all of it: runs durable jobs that are to be read first, as many at a time
    /// as there is room for what they were given, hears that another worker has gone, and ends what can't be run.
    async fn see_to(
        self: Arc<Self>,
        partition: usize,
        line: Option<Line>,
        mut entries: VecDeque<Placed>,
    ) {
        let size = |entry: &Entry| {
            let size = entry.text("size").and_then(|size| size.parse().ok());
            size.unwrap_or(SOME_BYTES)
        };
        let Some(line) = line else {
            let all = entries.into_iter().map(|entry| (entry, None));
            self.see_to_some(partition, all.collect()).await;
            return;
        };
        while let Some(first) = entries.pop_front() {
            let room = tokio::select! {
                room = line.room(size(&first.0)) => room,
                // It is another worker's, once this one has left.
                () = self.stopping.cancelled() => return,
            };
            let mut some = vec![(first, Some(room))];
            while let Some((entry, ..)) = entries.front()
                && let Some(room) = line.try_room(size(entry))
                && let Some(next) = entries.pop_front()
            {
                some.push((next, Some(room)));
            }
            if entries.is_empty() {
                // Whoever comes next needn't wait until these have been read.
                drop(line);
                self.see_to_some(partition, some).await;
                return;
            }
            self.see_to_some(partition, some).await;
        }
    }

    async fn see_to_some(self: &Arc<Self>, partition: usize, entries: Vec<(Placed, Option<Room>)>) {
        let reads = entries.iter().map(async |((entry, _, _), _)| {
            if let Some(gone) = entry.text("gone") {
                let stays = !self.stopping.is_cancelled();
                if stays && self.take_over(partition, gone).await.is_ok() {
                    self.settle(partition, entry).await;
                }
                return None;
            }
            self.find(partition, entry).await
        });
        let read = join_all(reads).await;
        let mut jobs = Vec::new();
        for (found, ((entry, begun, place), room)) in read.into_iter().zip(entries) {
            match found {
                None => {}
                Some((what, None)) => jobs.push(self.held(&entry, what, begun, place, room)),
                Some((what, Some(told))) => {
                    let held = self.held(&entry, what, begun, place, room);
                    self.land(held.circle(), vec![(held, Landing::bare(told))]);
                }
            }
        }
        self.process(jobs);
    }

    /// Finds out what an entry is about, and where that can't be run, what is committed instead. Nothing, where it is about
    /// nothing any more; then the entry is gone, too.
    async fn find(&self, partition: usize, entry: &Entry) -> Option<(What, Option<Told>)> {
        if let Some(play) = play_of(entry) {
            return match unreadable_play(play) {
                Some(play) => Some((What::Play(play), Some(Told::Play(Outcome::Unavailable)))),
                None => self.drop(partition, entry).await,
            };
        }
        let Some(id) = entry.text("job").and_then(|id| id.parse::<JobId>().ok()) else {
            return self.drop(partition, entry).await;
        };
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
        let found = |n: usize| found.get(n).and_then(Value::as_bytes);
        let job = found(0).and_then(|record| JobRecord::read(id, circle_of(entry), record));
        let Some(mut job) = job.filter(|job| job.status == Status::Pending) else {
            return self.drop(partition, entry).await;
        };
        let input = found(1).filter(|_| job.unread.is_none());
        let input = input.and_then(|input| json::from_slice(input).ok());
        let gateway = String::from_utf8_lossy(found(2).unwrap_or_default()).into_owned();
        let told = input.is_none().then(|| {
            job.log_unreadable();
            let (error, settings) = (JobError::unreadable(), &self.committer.durable);
            let progress = job.fail(error, Timestamp::now(), settings);
            Told::Durable(Box::new(job.clone()), progress)
        });
        let what = What::Durable {
            job: Box::new(job),
            input: Box::new(input.unwrap_or_default()),
            gateway,
        };
        Some((what, told))
    }

    /// Takes an entry out that is about nothing that could be run, or told.
    async fn drop<T>(&self, partition: usize, entry: &Entry) -> Option<T> {
        let (job, circle) = (entry.text("job"), circle_of(entry));
        tracing::error!(
            entry = entry.id,
            job,
            circle = circle.as_ref().map(tracing::field::display),
            "dropped an entry of the stream of jobs: there is nothing that could be run"
        );
        let (Some(job), Some(circle)) = (job, circle) else {
            self.settle(partition, entry).await;
            return None;
        };
        let names = &self.link.keys().partitions()[partition];
        let keys = [
            names.jobs(),
            names.lane(&circle),
            names.backlog(&circle),
            names.pending(),
        ];
        let args = [
            Value::from(entry.id.as_str()),
            circle.to_string().into(),
            number(self.committer.per_circle),
            job.into(),
        ];
        let _ = self.link.call(Lua::Forget, names, keys, args).await;
        None
    }

    /// When its caller stops waiting, by this machine's clock.
    fn deadline(&self, entry: &Entry, play: &wire::Play<'_>) -> Instant {
        // One that has waited says when it came.
        let came = entry.text(CAME).and_then(|came| came.parse().ok());
        let came = came.filter(|came| *came > 0).unwrap_or(entry.millis());
        let age = self.link.now() - came;
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let timeout = Duration::from_millis(play.timeout_ms);
        Instant::now() + timeout.saturating_sub(age)
    }

    /// An entry has done its service.
    async fn settle(&self, partition: usize, entry: &Entry) {
        let names = &self.link.keys().partitions()[partition];
        let (keys, args) = ([names.jobs()], [Value::from(entry.id.as_str())]);
        let _ = self.link.call(Lua::Settle, names, keys, args).await;
    }

    /// Takes what Redis has given this worker and it hasn't got: the answer was lost on its way, or Redis has
    /// forgotten that it is done.
    pub(super) async fn recall(self: &Arc<Self>, partition: usize, idle: Duration) {
        let names = &self.link.keys().partitions()[partition];
        let (jobs, me) = (names.jobs(), self.link.name());
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
        let Ok(pending) = self.link.send("XPENDING", names, args).await else {
            return;
        };
        let missing = pending.into_array().into_iter().filter_map(|pending| {
            // Its entry, its consumer, how long that has been idle, and how often it was delivered.
            let mut parts = pending.into_array().into_iter();
            let entry = parts.next()?.into_string()?;
            let begun = parts.nth(2)?.as_i64()?;
            (!self.places.has(partition, &entry)).then_some((entry, begun))
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
            if let Ok(claimed) = self.link.send("XCLAIM", names, claim).await {
                let claimed = reply::entries(claimed).into_iter();
                entries.extend(claimed.map(|entry| {
                    let is_others = self.others().contains_key(&(partition, entry.id.clone()));
                    (entry, is_others.then_some(begun))
                }));
            }
        }
        let jobs = self.hold(partition, entries);
        self.process(jobs);
    }

    /// Takes the jobs of a worker that is silent, unless it isn't.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        partition: usize,
        silent: &str,
    ) -> Result<(), Unavailable> {
        let names = &self.link.keys().partitions()[partition];
        loop {
            let keys = [names.jobs(), names.alive(silent)];
            let args = [self.link.name(), silent, "64"].map(Value::from);
            let taken = self.link.call(Lua::TakeOver, names, keys, args).await?;
            let taken = taken.into_array();
            if taken.is_empty() {
                return Ok(());
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
                let begun = parts.next().as_ref().and_then(Value::as_i64);
                let (Some(id), Some(begun), Some(fields)) = (id, begun, parts.next()) else {
                    continue;
                };
                let entry = Entry::new(id, fields);
                if begun >= i64::from(MAX_CRASHES) {
                    fatal.push(entry);
                } else {
                    let name = (partition, entry.id.clone());
                    self.others().insert(name, false);
                    entries.push((entry, Some(begun)));
                }
            }
            let plays = self.hold(partition, entries);
            self.process(plays);
            for entry in fatal {
                self.give_up(partition, entry).await;
            }
        }
    }

    /// A job that workers died of is run by none of them any more.
    async fn give_up(self: &Arc<Self>, partition: usize, entry: Entry) {
        let found = match taken_along(&entry) {
            Some(what) => Some((what, None)),
            None => self.find(partition, &entry).await,
        };
        let Some((what, unreadable)) = found else {
            return;
        };
        let told = unreadable.unwrap_or_else(|| match &what {
            What::Play(_) => Told::Play(Outcome::Unavailable),
            What::Durable { job, .. } => {
                let mut job = job.clone();
                let progress = job.died_of(Timestamp::now());
                Told::Durable(job, progress)
            }
        });
        let Some(place) = self.places.take(partition, &entry) else {
            return;
        };
        let held = self.held(&entry, what, Some(0), place, None);
        let (job, circle) = (held.id(), held.circle());
        tracing::error!(%job, %circle, "a job is given up: workers died while they ran it");
        let landing = Landing::bare(told);
        self.land(circle, vec![(held, landing)]);
    }
}

/// The play that an entry is about, whether it had to wait in the queue or not.
fn play_of(entry: &Entry) -> Option<&[u8]> {
    entry.bytes("play").or_else(|| entry.bytes(WAITED))
}

/// What an entry says all of: a play, or a durable job that was there at once.
fn taken_along(entry: &Entry) -> Option<What> {
    if let Some(play) = play_of(entry) {
        let play = json::borrowed_slice::<wire::Play<'_>>(play).ok()?;
        return Some(What::Play(Box::new(play.into_owned())));
    }
    let (record, input) = (entry.bytes("record")?, entry.bytes("input")?);
    let gateway = entry.bytes("gateway").unwrap_or_default();
    Some(What::Durable {
        job: Box::new(json::from_slice(record).ok()?),
        input: Box::new(json::from_slice(input).ok()?),
        gateway: String::from_utf8_lossy(gateway).into_owned(),
    })
}

/// Of a play that can't be read, what it takes to answer it.
fn unreadable_play(play: &[u8]) -> Option<Box<wire::Play<'static>>> {
    let address = json::from_slice::<wire::Address>(play);
    let play = wire::Play::from(address.ok()?);
    tracing::error!(
        job = %play.id,
        circle = %play.circle,
        "failed to read a play: is its gateway of a newer version?"
    );
    Some(Box::new(play))
}

/// Where a durable job runs, as its entry says.
fn circle_of(entry: &Entry) -> Option<PublicKey> {
    entry.text("circle")?.parse().ok()
}
