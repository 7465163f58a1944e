//! Pages of a circle's jobs, read from Redis.

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::{try_join, try_join_all};

use super::{
    RedisJobs,
    index::{self, id_of},
};
use crate::{
    dispatch::{
        DeadJobs,
        job_pages::{JobList, ListedJob, PageProgress},
        jobs::JobPart,
        redis::proto::{
            keys::Partition,
            scripts::{FindOpen, Submitters},
            values::number,
        },
    },
    store::Unavailable,
};

/// Jobs that are found in a list at a time.
const SOME: usize = 100;
/// Records that are read at a time, as far as a page has room for them: each may be large. Also lists of callers.
const AT_A_TIME: usize = 50;
/// Jobs of all circles among which those of one are looked for at a time.
const OF_ALL: usize = 1000;
/// The number of callers from which on their jobs are looked for among all: one list is shorter then than so many.
const CALLERS: usize = 500;

/// Some jobs of a list, the newest first.
struct Found {
    ids: Vec<JobId>,
    /// The last one that was looked at, of whichever circle.
    last: Option<JobId>,
    is_at_end: bool,
    /// The cost of finding them, in looks at jobs.
    looks: usize,
}

impl Found {
    /// Makes it of ids of which there are [`SOME`] if there may be more.
    fn new(ids: Vec<JobId>) -> Self {
        Self {
            last: ids.last().copied(),
            is_at_end: ids.len() < SOME,
            looks: 0,
            ids,
        }
    }
}

impl RedisJobs {
    /// Reads on in a page, a bounded number of jobs.
    pub(in crate::dispatch) async fn read_page(
        &self,
        progress: &mut PageProgress,
    ) -> Result<(), Unavailable> {
        let circle = progress.page.circle;
        let partition = self.redis().keys().of(&circle);
        let list = progress.page.list();
        if matches!(list, JobList::Dead) {
            self.complete_dead(partition).await?;
        }
        loop {
            let found = self.find_some(&circle, list, progress.page.before).await?;
            let mut rest = &found.ids[..];
            while !rest.is_empty() {
                if !progress.goes_on() {
                    return Ok(());
                }
                let next = rest.iter().take(AT_A_TIME).copied();
                let some;
                let fitting = self.fitting(partition, next, progress.bytes_read());
                (some, rest) = rest.split_at(fitting.await?);
                if !self.look_at(partition, some, progress).await? {
                    return Ok(());
                }
            }
            progress.is_at_end = found.is_at_end;
            let Some(last) = found.last.filter(|_| !found.is_at_end) else {
                return Ok(());
            };
            progress.pass(last, found.looks, 0);
            if found.ids.is_empty() && !progress.goes_on() {
                return Ok(());
            }
        }
    }

    /// Adds those jobs to a page that are wanted. Returns false if it has no room for all.
    async fn look_at(
        &self,
        partition: &Partition,
        ids: &[JobId],
        progress: &mut PageProgress,
    ) -> Result<bool, Unavailable> {
        let circle = progress.page.circle;
        let found = try_join_all(ids.iter().map(|id| self.find_in(circle, *id))).await?;
        let page = &progress.page;
        let wanted = found.into_iter().map(|found| {
            let bytes = found.as_ref().map_or(0, |(job, _)| job.size());
            (
                bytes,
                found.filter(|(job, running)| page.wants(job, *running)),
            )
        });
        let wanted: Vec<_> = wanted.collect();
        let sizes = wanted.iter().map(async |(_, found)| match found {
            Some((job, _)) => self.size(JobPart::Input, partition, job.id).await,
            None => Ok(0),
        });
        let sizes = try_join_all(sizes).await?;
        for ((id, (bytes, found)), input_bytes) in ids.iter().zip(wanted).zip(sizes) {
            // Some may have ended meanwhile, and be larger than they were.
            if !progress.goes_on() {
                return Ok(false);
            }
            progress.pass(*id, 1, bytes);
            if let Some((job, running)) = found {
                progress.add(ListedJob {
                    job,
                    running,
                    input_bytes,
                });
            }
        }
        Ok(true)
    }

    /// Returns some jobs of a list: those before this one.
    async fn find_some(
        &self,
        circle: &PublicKey,
        list: JobList,
        before: Option<JobId>,
    ) -> Result<Found, Unavailable> {
        let partition = self.redis().keys().of(circle);
        let whose = match list {
            JobList::All => (partition.index(), circle.to_string()),
            JobList::Dead => (partition.dead_by_circle(), circle.to_string()),
            JobList::Own(caller) => (partition.submitted(), format!("{circle}{caller}")),
            JobList::Open => return self.open(partition, circle, before).await,
            JobList::Submitted => return self.submitted(partition, circle, before).await,
        };
        let ids = self.newest(partition, whose, None, before).await?;
        Ok(Found::new(ids))
    }

    /// Returns some entries of an index that begin with this text, the newest first: from `oldest` on, and before this one.
    async fn newest(
        &self,
        partition: &Partition,
        (index, whose): (String, String),
        oldest: Option<JobId>,
        before: Option<JobId>,
    ) -> Result<Vec<JobId>, Unavailable> {
        let oldest = match oldest {
            Some(oldest) => format!("[{whose}{oldest}"),
            None => format!("[{whose}"),
        };
        let newest = match before {
            Some(before) => format!("({whose}{before}"),
            // Names are of hex digits and hyphens.
            None => format!("({whose}g"),
        };
        let args = [
            index.into(),
            newest.into(),
            oldest.into(),
            "LIMIT".into(),
            Value::Integer(0),
            number(SOME),
        ];
        let members = self.redis().send("ZREVRANGEBYLEX", partition, args).await?;
        let members = members.into_array().into_iter();
        Ok(members
            .filter_map(|member| id_of(&member.into_string()?))
            .collect())
    }

    /// Returns some of the jobs that are not over: they are in one list with those of other circles.
    async fn open(
        &self,
        partition: &Partition,
        circle: &PublicKey,
        before: Option<JobId>,
    ) -> Result<Found, Unavailable> {
        let find = FindOpen {
            circle: *circle,
            before: before.map_or_else(|| "+".to_owned(), |before| format!("({before}")),
            most: OF_ALL,
        };
        let mut found = self
            .redis()
            .call(partition, find)
            .await?
            .into_array()
            .into_iter();
        let looked_at = found.next().and_then(|count| count.as_usize());
        let mut ids = found.map(|id| id.into_string()?.parse().ok());
        Ok(Found {
            last: ids.next().flatten(),
            ids: ids.flatten().collect(),
            is_at_end: looked_at.is_none_or(|count| count < OF_ALL),
            looks: SOME,
        })
    }

    /// Returns some of the jobs that callers have submitted: each caller's are a list of their own. If the callers are many,
    /// it returns some of all jobs.
    async fn submitted(
        &self,
        partition: &Partition,
        circle: &PublicKey,
        before: Option<JobId>,
    ) -> Result<Found, Unavailable> {
        let find = Submitters {
            circle: *circle,
            most: CALLERS,
        };
        let callers = self.redis().call(partition, find).await?.into_array();
        if callers.len() == CALLERS {
            let whose = (partition.index(), circle.to_string());
            let ids = self.newest(partition, whose, None, before).await?;
            return Ok(Found::new(ids));
        }
        let callers = callers.into_iter().filter_map(Value::into_string);
        let callers: Vec<_> = callers.collect();
        let mut newest = Vec::new();
        for some in callers.chunks(AT_A_TIME) {
            // What is older than so many others comes later.
            let oldest = newest.get(SOME - 1).copied();
            let lists = some.iter().map(async |caller| {
                let whose = (partition.submitted(), format!("{circle}{caller}"));
                self.newest(partition, whose, oldest, before).await
            });
            newest.extend(try_join_all(lists).await?.into_iter().flatten());
            newest.sort_unstable_by(|a, b| b.cmp(a));
            newest.truncate(SOME);
        }
        Ok(Found {
            looks: callers.len(),
            ..Found::new(newest)
        })
    }

    /// Returns those of some dead jobs that are wanted, the oldest first, and the one to go on after, if there may be more.
    pub(in crate::dispatch) async fn dead(
        &self,
        wanted: &DeadJobs,
    ) -> Result<(Vec<JobId>, Option<JobId>), Unavailable> {
        let circle = wanted.circle;
        let partition = self.redis().keys().of(&circle);
        let after = match wanted.after {
            Some(after) => format!("({circle}{after}"),
            None => {
                self.complete_dead(partition).await?;
                format!("[{circle}")
            }
        };
        let args = [
            partition.dead_by_circle().into(),
            after.into(),
            format!("({circle}g").into(),
            "LIMIT".into(),
            Value::Integer(0),
            number(DeadJobs::AT_A_TIME),
        ];
        let members = self.redis().send("ZRANGEBYLEX", partition, args).await?;
        let members = members.into_array().into_iter();
        let some = members.filter_map(|member| id_of(&member.into_string()?));
        let some: Vec<_> = some.collect();
        let (mut ids, mut rest) = (Vec::new(), &some[..]);
        while !rest.is_empty() {
            let fitting = self.fitting(partition, rest.iter().copied(), 0).await?;
            let next;
            (next, rest) = rest.split_at(fitting);
            let found = try_join_all(next.iter().map(|id| self.find_in(circle, *id))).await?;
            let jobs = found.into_iter().flatten().map(|(job, _)| job);
            ids.extend(jobs.filter(|job| wanted.wants(job)).map(|job| job.id));
        }
        let more = some.len() == DeadJobs::AT_A_TIME;
        Ok((ids, some.last().copied().filter(|_| more)))
    }

    /// Makes the index of dead letters by circle again, if it is not complete: an earlier version has changed the other
    /// one alone.
    pub(super) async fn complete_dead(&self, partition: &Partition) -> Result<(), Unavailable> {
        let count = async |index: String| {
            let count = self.redis().send("ZCARD", partition, [Value::from(index)]);
            Ok(count.await?.as_i64())
        };
        let counts = try_join(count(partition.dead()), count(partition.dead_by_circle()));
        let (all, by_circle) = counts.await?;
        if all == by_circle {
            return Ok(());
        }
        for are_extra in [false, true] {
            index::index_dead(self.redis(), partition, are_extra).await?;
        }
        Ok(())
    }
}
