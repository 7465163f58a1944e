//! The durable jobs in Redis, to be read, retried and cancelled.

pub(super) mod index;
mod pages;

use std::sync::Arc;

use circled_protocol::{
    JobId, PublicKey,
    methods::{CircleUsage, JobCounts},
};
use fred::types::Value;
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use jiff::Timestamp;

use crate::{
    circle::Caller,
    dispatch::{
        Cursor, JobRecord, Listing, ReservedRead, Status,
        jobs::{JobPart, List, ListedJobs},
        redis::{
            conn::{Connection, ConnectionNumber},
            gateway::Gateway,
            proto::{
                event_record,
                keys::{GROUP, Partition},
                scripts::{CountAll, Stop},
            },
            worker::Committer,
        },
        retry::Rerun,
        submission::Input,
    },
    store::{CommitError, Effects, Unavailable},
};

/// About how many jobs are read for one page.
const MAX_READS: usize = 2000;
/// Records that are read at a time, as far as a page has room for them: each may be large.
const AT_A_TIME: usize = 16;
/// Attempts to change a record.
const CHANGES: usize = 8;

/// The jobs that were read for a page so far.
#[derive(Default)]
struct ListProgress {
    jobs: Vec<(JobRecord, bool)>,
    count: usize,
    bytes: usize,
    last: Option<Cursor>,
}

/// The durable jobs of a namespace.
#[derive(Clone)]
pub struct RedisJobs {
    pub(super) committer: Committer,
    /// The gateway, by whose inbox it learns what is safe. A worker has none, and waits on its connection.
    pub(super) gateway: Option<Arc<Gateway>>,
}

impl RedisJobs {
    /// Returns what comes of a call about a circle, once that is as safe as the settings say: what it has written, and at a
    /// gateway, what others had written that it has read.
    pub(in crate::dispatch) fn confirmed<'a, T: Send>(
        &'a self,
        circle: PublicKey,
        call: impl Future<Output = Result<T, Unavailable>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Unavailable>> {
        let confirmed = async move {
            let since = self.number();
            let result = call.await?;
            self.confirm(circle, since).await?;
            Ok(result)
        };
        confirmed.boxed()
    }

    /// Returns the number of the connection that it reads by.
    pub(in crate::dispatch) fn number(&self) -> ConnectionNumber {
        self.redis().number()
    }

    /// Waits until all is as safe as the settings say that was read of a circle since the connection had this number. Others
    /// may read meanwhile: it may take long.
    pub(in crate::dispatch) async fn confirm_read<T>(
        &self,
        circle: PublicKey,
        since: ConnectionNumber,
        read: &mut ReservedRead<T>,
    ) -> Result<(), Unavailable> {
        if self.redis().synced_replicas().is_none() {
            return Ok(());
        }
        read.end_turn();
        Box::pin(self.confirm(circle, since)).await
    }

    async fn confirm(&self, circle: PublicKey, since: ConnectionNumber) -> Result<(), Unavailable> {
        let redis = self.redis();
        match &self.gateway {
            Some(gateway) => gateway.confirm(redis, circle, since).await,
            None => redis.sync_own(redis.keys().of(&circle), since).await,
        }
    }

    /// Returns some of the jobs that are wanted, the oldest of them first, each with whether a worker has it right now;
    /// and where to go on, if there may be more. Goes through one partition after another, and reads a bounded number
    /// of jobs.
    pub(in crate::dispatch) async fn list(
        &self,
        listing: &Listing,
    ) -> Result<ListedJobs, Unavailable> {
        let keys = self.redis().keys();
        let mut progress = ListProgress::default();
        let mut after = listing.after.clone();
        for (number, partition) in keys.partitions().iter().enumerate() {
            let is_elsewhere = |circle| keys.number_of(circle) != number;
            if listing.circle.as_ref().is_some_and(is_elsewhere)
                || after.as_ref().is_some_and(|after| after.partition > number)
            {
                continue;
            }
            for list in listing.lists() {
                if after
                    .as_ref()
                    .is_some_and(|after| after.partition == number && after.list != list)
                {
                    continue;
                }
                let from = after.take().filter(|after| after.partition == number);
                let at = (number, list);
                if self
                    .list_in(partition, at, from, listing, &mut progress)
                    .await?
                {
                    return Ok(progress.sorted(true));
                }
            }
        }
        Ok(progress.sorted(false))
    }

    /// Reads jobs of one of a partition's lists. Returns whether there may be more, and the page is full.
    async fn list_in(
        &self,
        partition: &Partition,
        at: (usize, List),
        mut from: Option<Cursor>,
        listing: &Listing,
        progress: &mut ListProgress,
    ) -> Result<bool, Unavailable> {
        loop {
            let names = index::listed(self.redis(), partition, at, listing.circle, from.as_ref());
            let names = names.await?;
            let mut rest = &names[..];
            while !rest.is_empty() {
                let max_bytes = self.committer.durable.max_page.get();
                let is_full = progress.jobs.len() >= listing.limit
                    || progress.count >= MAX_READS
                    || progress.bytes >= max_bytes;
                if is_full {
                    return Ok(true);
                }
                let room = listing.limit - progress.jobs.len();
                let next = &rest[..room.min(AT_A_TIME).min(rest.len())];
                let next = next.iter().map(|name| name.id);
                let fitting = self.fitting(partition, next, progress.bytes).await?;
                let some;
                (some, rest) = rest.split_at(fitting);
                let reads = some.iter().map(|name| self.read(partition, name.id));
                for (name, found) in some.iter().zip(try_join_all(reads).await?) {
                    // Some may have ended meanwhile, and be larger than they were.
                    if progress.bytes >= max_bytes {
                        return Ok(true);
                    }
                    progress.count += 1;
                    progress.last = Some(name.clone());
                    progress.bytes += found.as_ref().map_or(0, |(job, _)| job.size());
                    let found = found.filter(|(job, running)| listing.wants(job, *running));
                    progress.jobs.extend(found);
                }
            }
            if names.len() < index::SOME {
                return Ok(false);
            }
            from = names.last().cloned();
        }
    }

    /// Returns how many of these jobs fit a page that has so many bytes already: one that doesn't fit is the last.
    async fn fitting(
        &self,
        partition: &Partition,
        ids: impl Iterator<Item = JobId>,
        mut bytes: usize,
    ) -> Result<usize, Unavailable> {
        let sizes = ids.map(|id| self.size(JobPart::Record, partition, id));
        let sizes = try_join_all(sizes).await?.into_iter();
        let fitting = sizes.take_while(|size| {
            let fits = bytes < self.committer.durable.max_page.get();
            bytes += size;
            fits
        });
        Ok(fitting.count())
    }

    /// Returns one job, and whether a worker has it right now.
    pub(crate) async fn find(&self, id: JobId) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let partitions = self.redis().keys().partitions().iter();
        let read = try_join_all(partitions.map(|partition| self.read(partition, id))).await?;
        Ok(read.into_iter().flatten().next())
    }

    /// Runs a dead or cancelled job again, from the first try. Returns true if there is such a job.
    pub(in crate::dispatch) async fn retry_in(
        &self,
        circle: PublicKey,
        id: JobId,
        rerun: &Rerun,
        input: Option<Input>,
        by: Option<&Caller<'_>>,
    ) -> Result<bool, Unavailable> {
        for _ in 0..CHANGES {
            let Some((job, stored)) = self.stored_in(circle, id).await? else {
                return Ok(false);
            };
            let stored = stored.as_bytes().unwrap_or_default();
            let Some((job, event)) = rerun.submitted(job, stored, input.clone(), by) else {
                return Ok(false);
            };
            let effects = Effects {
                jobs: vec![job],
                events: vec![event],
                ..Effects::default()
            };
            let answer = self.committer.commit_effects(circle, &effects).await?;
            match answer.into_result(&self.committer.limits) {
                Ok(()) => return Ok(true),
                Err(CommitError::Conflict) => {}
                Err(_) => return Err(Unavailable),
            }
        }
        Err(Unavailable)
    }

    /// Returns the record of a circle's job, parsed and as it is stored.
    async fn stored_in(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<(JobRecord, Value)>, Unavailable> {
        let partition = self.redis().keys().of(&circle);
        let args = [partition.job(id).into(), "record".into()];
        let stored = self.redis().send("HGET", partition, args).await?;
        let job = parse(id, &stored).filter(|job| job.circle == circle);
        Ok(job.map(|job| (job, stored)))
    }

    /// Cancels a job that isn't over. Returns true if there is such a job.
    pub(crate) async fn stop_in(&self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        let partition = self.redis().keys().of(&circle);
        for _ in 0..CHANGES {
            let Some((mut job, stored)) = self.stored_in(circle, id).await? else {
                return Ok(false);
            };
            if job.status != Status::Pending {
                return Ok(false);
            }
            job.cancel(Timestamp::now());
            let record = serde_json::to_vec(&job).map_err(|_| Unavailable)?;
            let keep_for = job.keep_for(&self.committer.durable).unwrap_or_default();
            let stop = Stop {
                id,
                circle,
                submitter: job.submitted_by().to_owned(),
                before: stored,
                record,
                event: event_record::encode(&job.change_event()),
                keep_for,
                most: self.committer.per_circle,
                inbox_length: self.committer.inbox,
                inbox_bytes: self.committer.inbox_bytes,
                log_length: self.committer.limits.event_log.get(),
                log_bytes: self.committer.limits.event_log_bytes.get(),
            };
            let answer = self.redis().call(partition, stop).await?;
            match answer.as_i64() {
                Some(1) => return Ok(true),
                Some(0) => {}
                _ => return Err(Unavailable),
            }
        }
        Err(Unavailable)
    }

    /// Returns how much a circle has, but for its events.
    pub(in crate::dispatch) async fn usage(
        &self,
        circle: PublicKey,
    ) -> Result<CircleUsage, Unavailable> {
        let partition = self.redis().keys().of(&circle);
        self.complete_dead(partition).await?;
        let counted = self.redis().call(partition, CountAll { circle }).await?;
        let counted = counted.into_array().into_iter().map(|count| count.as_u64());
        let counted: Option<Vec<_>> = counted.collect();
        let Some([keys, bytes, all, open, dead]) = counted.as_deref() else {
            return Err(Unavailable);
        };
        Ok(CircleUsage {
            keys: *keys,
            bytes: *bytes,
            quota: self.committer.limits.quota as u64,
            jobs: JobCounts {
                open: *open,
                dead: *dead,
                ended: all.saturating_sub(open + dead),
            },
            ..CircleUsage::default()
        })
    }

    fn redis(&self) -> &Connection {
        &self.committer.redis
    }

    /// Returns one job of a circle, and whether a worker has it right now.
    pub(crate) async fn find_in(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let found = self.read(self.redis().keys().of(&circle), id).await?;
        Ok(found.filter(|(job, _)| job.circle == circle))
    }

    async fn read(
        &self,
        partition: &Partition,
        id: JobId,
    ) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let args = [partition.job(id).into(), "record".into(), "entry".into()];
        let found = self.redis().send("HMGET", partition, args).await?;
        let mut found = found.into_array().into_iter();
        let Some(job) = found.next().and_then(|record| parse(id, &record)) else {
            return Ok(None);
        };
        let entry = found.next().filter(|entry| !entry.is_null());
        let running = match entry {
            Some(entry) if job.status == Status::Pending => {
                let args = [
                    partition.jobs().into(),
                    GROUP.into(),
                    entry.clone(),
                    entry,
                    Value::Integer(1),
                ];
                let claimed = self.redis().send("XPENDING", partition, args).await?;
                !claimed.into_array().is_empty()
            }
            Some(_) | None => false,
        };
        Ok(Some((job, running)))
    }

    /// Returns the length of a part of a job; 0 if there is none.
    pub(in crate::dispatch) async fn size_in(
        &self,
        part: JobPart,
        circle: PublicKey,
        id: JobId,
    ) -> Result<usize, Unavailable> {
        self.size(part, self.redis().keys().of(&circle), id).await
    }

    async fn size(
        &self,
        part: JobPart,
        partition: &Partition,
        id: JobId,
    ) -> Result<usize, Unavailable> {
        let field = match part {
            JobPart::Record => "record",
            JobPart::Input => "input",
        };
        let args = [partition.job(id).into(), field.into()];
        let size = self.redis().send("HSTRLEN", partition, args).await?;
        Ok(size.as_usize().unwrap_or(0))
    }

    /// Returns about how many bytes a page may have.
    pub(in crate::dispatch) fn max_page(&self) -> usize {
        self.committer.durable.max_page.get()
    }

    /// Returns what `read` finds in the stored input of a circle's job.
    pub(in crate::dispatch) async fn kept_input_in<T>(
        &self,
        circle: PublicKey,
        id: JobId,
        read: fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Unavailable> {
        let stored = self.stored_input_in(circle, id).await?;
        let stored = stored.as_ref().and_then(Value::as_bytes);
        Ok(stored.and_then(read))
    }

    /// Returns the input of a circle's job, if it can be read.
    pub(in crate::dispatch) async fn input_in(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<Input>, Unavailable> {
        let stored = self.stored_input_in(circle, id).await?;
        let stored = stored.as_ref().and_then(Value::as_bytes);
        Ok(stored.and_then(|stored| circled_json::from_slice(stored).ok()))
    }

    async fn stored_input_in(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<Option<Value>, Unavailable> {
        let partition = self.redis().keys().of(&circle);
        let args = [partition.job(id).into(), "record".into(), "input".into()];
        let found = self.redis().send("HMGET", partition, args).await?;
        let mut found = found.into_array().into_iter();
        let job = found.next().and_then(|record| parse(id, &record));
        if job.is_none_or(|job| job.circle != circle) {
            return Ok(None);
        }
        Ok(found.next())
    }
}

impl ListProgress {
    fn sorted(mut self, may_be_more: bool) -> ListedJobs {
        self.jobs.sort_by_key(|(job, _)| job.id);
        (self.jobs, self.last.filter(|_| may_be_more))
    }
}

fn parse(id: JobId, record: &Value) -> Option<JobRecord> {
    JobRecord::read(id, None, record.as_bytes()?)
}

impl std::fmt::Debug for RedisJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisJobs").finish_non_exhaustive()
    }
}
