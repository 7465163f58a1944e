//! The durable jobs in Redis, to be looked at and retried.

use fred::types::Value;
use futures_util::future::try_join_all;

use super::{commit::bytes, gateway::number, index, keys::Partition, link::Link, scripts::Lua};
use crate::{
    dispatch::{JobId, JobRecord, Status},
    store::Unavailable,
};

/// Records asked for at a time.
const AT_ONCE: usize = 256;

/// The durable jobs of a namespace.
#[derive(Clone)]
pub struct RedisJobs {
    pub(super) link: Link,
    pub(super) per_circle: usize,
}

impl RedisJobs {
    /// Jobs in this state, the oldest first, `limit` at most.
    pub(crate) async fn list(
        &self,
        status: Status,
        limit: usize,
    ) -> Result<Vec<JobRecord>, Unavailable> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let last = Value::Integer(i64::try_from(last).unwrap_or(i64::MAX));
        let names = async |partition: &Partition| {
            let list = match status {
                Status::Pending => partition.pending(),
                Status::Dead => partition.dead(),
                Status::Finished => return self.all(partition).await,
            };
            let args = [list.into(), Value::Integer(0), last.clone()];
            let names = self.link.send("ZRANGE", partition, args).await?;
            let parse = |name: Value| name.into_string()?.parse::<JobId>().ok();
            let names = names.into_array().into_iter().filter_map(parse);
            Ok::<Vec<JobId>, Unavailable>(names.collect())
        };
        let partitions = self.link.keys().partitions();
        let found = try_join_all(partitions.iter().map(names)).await?;
        let found = found.into_iter().zip(partitions);
        let mut found: Vec<_> = found
            .flat_map(|(names, partition)| names.into_iter().map(move |id| (id, partition)))
            .collect();
        found.sort_by_key(|(id, _)| *id);
        let mut jobs = Vec::new();
        for some in found.chunks(AT_ONCE) {
            let reads = some.iter().map(|(id, partition)| self.read(partition, *id));
            let read = try_join_all(reads).await?;
            let wanted = |job: &JobRecord| job.status == status;
            jobs.extend(read.into_iter().flatten().filter(wanted));
            if jobs.len() >= limit {
                jobs.truncate(limit);
                break;
            }
        }
        Ok(jobs)
    }

    /// All jobs of a partition, whatever their state.
    async fn all(&self, partition: &Partition) -> Result<Vec<JobId>, Unavailable> {
        let mut all = Vec::new();
        let mut next = Some(index::START.to_owned());
        while let Some(from) = next {
            let (some, more) = index::read(&self.link, partition, from).await?;
            all.extend(some.into_iter().map(|(_, id)| id));
            next = more;
        }
        Ok(all)
    }

    /// One job.
    pub(crate) async fn find(&self, id: JobId) -> Result<Option<JobRecord>, Unavailable> {
        let partitions = self.link.keys().partitions().iter();
        let read = try_join_all(partitions.map(|partition| self.read(partition, id))).await?;
        Ok(read.into_iter().flatten().next())
    }

    async fn read(
        &self,
        partition: &Partition,
        id: JobId,
    ) -> Result<Option<JobRecord>, Unavailable> {
        let args = [partition.job(id).into(), "record".into()];
        let record = self.link.send("HGET", partition, args).await?;
        let record = record.as_bytes().map(serde_json::from_slice::<JobRecord>);
        Ok(record.and_then(|record| {
            record
                .inspect_err(
                    |error| tracing::error!(job = %id, %error, "failed to read a job's record"),
                )
                .ok()
        }))
    }

    /// Has a dead job run again, from the first try. Answers whether there is such a job.
    pub(crate) async fn retry(&self, id: JobId) -> Result<bool, Unavailable> {
        let Some(mut job) = self
            .find(id)
            .await?
            .filter(|job| job.status == Status::Dead)
        else {
            return Ok(false);
        };
        job.retry();
        let circle = job.circle;
        let partition = self.link.keys().of(&circle);
        let keys = [
            partition.dead(),
            partition.job(id),
            partition.pending(),
            partition.jobs(),
            partition.lane(&circle),
            partition.backlog(&circle),
        ];
        let record = serde_json::to_vec(&job).map_err(|_| Unavailable)?;
        let args = [
            Value::from(id.to_string()),
            bytes(&record),
            circle.to_string().into(),
            number(self.per_circle),
        ];
        let answer = self.link.call(Lua::Retry, partition, keys, args).await?;
        Ok(answer.as_i64() == Some(1))
    }
}

impl std::fmt::Debug for RedisJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisJobs").finish_non_exhaustive()
    }
}
