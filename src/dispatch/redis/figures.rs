//! Looks up the figures of all circles in Redis.

use fred::types::Value;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{Redis, conn::Connection, proto::keys::Partition};
use crate::{
    dispatch::figures::{Figures, JobFigures, RedisFigures},
    store::Unavailable,
};

/// The figures of one partition.
struct OfPartition {
    queue: u64,
    pending: u64,
    /// Milliseconds on Redis' clock when the first entry went into the stream.
    oldest: Option<i64>,
    dead: u64,
}

impl Redis {
    /// Looks up the figures. Those in Redis are the same for all servers.
    pub(in crate::dispatch) async fn figures(&self) -> Figures {
        let runner = match &self.worker {
            Some(worker) => worker.runner(),
            None => &self.compiler,
        };
        let (script_queue, waiting_room) = runner.waiting();
        let is_up = self.redis.is_up();
        let found = match is_up {
            true => self.in_redis().await.ok(),
            false => None,
        };
        let (queue, jobs) = found.unzip();
        Figures {
            script_queue,
            waiting_room,
            jobs,
            disk: None,
            redis: Some(RedisFigures {
                is_up,
                queue,
                workers: self.workers(),
            }),
        }
    }

    async fn in_redis(&self) -> Result<(u64, JobFigures), Unavailable> {
        let redis = &self.jobs_connection;
        let partitions = redis.keys().partitions().iter();
        let found = try_join_all(partitions.map(|partition| look(redis, partition))).await?;
        // The clocks may differ.
        let oldest = found.iter().filter_map(|part| part.oldest).min();
        let since = oldest.map(|at| Timestamp::now().as_millisecond() - (redis.now() - at));
        let jobs = JobFigures {
            pending: found.iter().map(|part| part.pending).sum(),
            oldest: since.and_then(|at| Timestamp::from_millisecond(at).ok()),
            dead: found.iter().map(|part| part.dead).sum(),
        };
        Ok((found.iter().map(|part| part.queue).sum(), jobs))
    }
}

async fn look(redis: &Connection, partition: &Partition) -> Result<OfPartition, Unavailable> {
    let count = async |command, key: String| {
        let count = redis.send(command, partition, [Value::from(key)]).await?;
        Ok(count.as_u64().unwrap_or(0))
    };
    Ok(OfPartition {
        queue: count("XLEN", partition.jobs()).await?,
        pending: count("ZCARD", partition.pending()).await?,
        oldest: first(redis, partition).await?,
        dead: count("ZCARD", partition.dead()).await?,
    })
}

/// Returns the time of the first entry of the stream, with which its id begins.
async fn first(redis: &Connection, partition: &Partition) -> Result<Option<i64>, Unavailable> {
    let args = [&partition.jobs(), "-", "+", "COUNT", "1"].map(Value::from);
    let found = redis.send("XRANGE", partition, args).await?.into_array();
    let entry = found.into_iter().next().map(Value::into_array);
    let id = entry.and_then(|entry| entry.into_iter().next()?.into_string());
    Ok(id.and_then(|id| id.split('-').next()?.parse().ok()))
}
