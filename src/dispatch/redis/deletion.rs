//! Deletes circles in Redis, and finds the largest ones.
//!
//! A mark says for a while that no gateway serves the circle: each looks for such marks every second. Once their sessions
//! have ended, all that is the circle's own is deleted in one step, and from then on nothing of it is committed or
//! accepted. Then its jobs are deleted, and the marks of its deliveries, some at a time. The first mark goes last.

use std::{collections::BTreeSet, time::Duration};

use circled_protocol::PublicKey;
use fred::types::Value;
use tokio::time::sleep;

use super::{
    Redis,
    activity::PACE,
    conn::Connection,
    proto::{
        keys::Partition,
        scripts::{DeleteCircle, DeleteEntries, DeleteJobs},
    },
};
use crate::{
    dispatch::{circles::Largest, deletion::Deleting},
    store::Unavailable,
};

/// The longest that a circle isn't served of which nothing has been deleted yet, if the server that deletes it has died.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// The time in which all gateways look for marks.
const NOTICED: Duration = Duration::from_millis(2 * PACE.as_millis() as u64 + 500);
/// Jobs, or entries of the stream, that are looked at in one step: Redis does nothing else meanwhile.
const AT_ONCE: usize = 500;
/// Keys that Redis looks at in one step of a search.
const AT_A_TIME: i64 = 1000;

impl Redis {
    pub(in crate::dispatch) fn deleting(&self) -> &Deleting {
        &self.deleting
    }

    pub(in crate::dispatch) async fn delete_circle(
        &self,
        circle: PublicKey,
        sessions_ended: impl Future<Output = ()>,
    ) -> Result<(), Unavailable> {
        let redis = &self.jobs_connection;
        let until = redis.now() + i64::try_from(BEGIN_WITHIN.as_millis()).unwrap_or(i64::MAX);
        mark(redis, &circle, &until.to_string()).await?;
        self.deleting.add(circle);
        tokio::join!(sessions_ended, sleep(NOTICED));
        self.jobs().confirmed(circle, delete(redis, circle)).await?;
        self.deleting.remove(&circle);
        Ok(())
    }

    pub(in crate::dispatch) async fn largest_circles(
        &self,
        most: usize,
    ) -> Result<Largest, Unavailable> {
        let (redis, mut largest) = (&self.jobs_connection, Largest::new(most));
        let partitions = redis.keys().partitions();
        for group in redis.shared_reads() {
            let pattern = match &group[..] {
                [one] => partitions[*one].usage_pattern(),
                _ => redis.keys().usage_pattern(),
            };
            let Some(first) = group.first().map(|number| &partitions[*number]) else {
                continue;
            };
            let mut usages = Search::new(redis, first, pattern);
            while let Some(keys) = usages.next().await? {
                if keys.is_empty() {
                    continue;
                }
                let sizes = redis.send("MGET", first, keys.clone()).await?.into_array();
                for (key, size) in keys.into_iter().zip(sizes) {
                    let (key, size) = (key.into_string(), size.into_string());
                    let circle = key.as_deref().and_then(|key| key.rsplit(':').next());
                    let circle = circle.and_then(PublicKey::from_stored_hex);
                    let bytes = size.as_deref().and_then(|size| size.split(' ').next());
                    if let Some(circle) = circle {
                        let bytes = bytes.and_then(|bytes| bytes.parse().ok());
                        largest.add(circle, bytes.unwrap_or(0));
                    }
                }
            }
        }
        for partition in partitions {
            self.add_those_with_jobs(partition, &mut largest).await?;
        }
        Ok(largest)
    }

    /// Adds the circles of a partition that have jobs and no store.
    async fn add_those_with_jobs(
        &self,
        partition: &Partition,
        largest: &mut Largest,
    ) -> Result<(), Unavailable> {
        let redis = &self.jobs_connection;
        let mut from = "-".to_owned();
        loop {
            let range = [partition.index().into(), from.into(), "+".into()];
            let one = ["LIMIT".into(), Value::Integer(0), Value::Integer(1)];
            let args: Vec<Value> = range.into_iter().chain(one).collect();
            let found = redis.send("ZRANGEBYLEX", partition, args).await?;
            let name = found.into_array().into_iter().next();
            let name = name.and_then(Value::into_string);
            let circle = name.as_deref().and_then(|name| name.get(..HEX));
            let Some(circle) = circle.and_then(PublicKey::from_stored_hex) else {
                return Ok(());
            };
            let usage = [partition.usage(&circle).into()];
            if redis.send("EXISTS", partition, usage).await?.as_i64() == Some(0) {
                largest.add(circle, 0);
            }
            // Names are of hex digits and hyphens.
            from = format!("({circle}g");
        }
    }
}

/// The length of a circle's key in the names of its jobs.
const HEX: usize = 2 * PublicKey::LENGTH;

/// Returns the circles that no gateway serves because they are being deleted.
///
/// # Errors
/// Redis can't be reached.
pub(super) async fn marked(redis: &Connection) -> Result<BTreeSet<PublicKey>, Unavailable> {
    let Some(partition) = redis.keys().partitions().first() else {
        return Ok(BTreeSet::new());
    };
    let now = redis.now().to_string();
    let args = [partition.deleting().into(), now.into(), "+inf".into()];
    let circles = redis.send("ZRANGEBYSCORE", partition, args).await?;
    let circles = circles.into_array().into_iter();
    let circles = circles.filter_map(Value::into_string);
    Ok(circles
        .filter_map(|circle| PublicKey::from_stored_hex(&circle))
        .collect())
}

/// Marks a circle as being deleted, until a time.
async fn mark(redis: &Connection, circle: &PublicKey, until: &str) -> Result<(), Unavailable> {
    let partition = redis.keys().partitions().first().ok_or(Unavailable)?;
    let key = partition.deleting().into();
    let args = [key, until.into(), circle.to_string().into()];
    redis.send("ZADD", partition, args).await.map(drop)
}

/// Deletes a circle that no gateway serves.
async fn delete(redis: &Connection, circle: PublicKey) -> Result<(), Unavailable> {
    let partition = redis.keys().of(&circle);
    let marks = || Search::new(redis, partition, partition.marks_pattern(&circle));
    // It needs a right that nothing else needs: without it, nothing is deleted.
    marks().next().await?;
    mark(redis, &circle, "+inf").await?;
    redis.call(partition, DeleteCircle { circle }).await?;
    loop {
        let jobs = DeleteJobs {
            circle,
            most: AT_ONCE,
        };
        let deleted = redis.call(partition, jobs).await?.as_usize();
        if deleted.ok_or(Unavailable)? < AT_ONCE {
            break;
        }
    }
    let mut from = Some("-".to_owned());
    while let Some(next) = from {
        let entries = DeleteEntries {
            circle,
            from: next,
            most: AT_ONCE,
        };
        let next = redis.call(partition, entries).await?.into_string();
        from = next.filter(|next| !next.is_empty());
    }
    let mut marks = marks();
    while let Some(keys) = marks.next().await? {
        if !keys.is_empty() {
            redis.send("UNLINK", partition, keys).await?;
        }
    }
    // A job may have been woken meanwhile, which counted then.
    redis.call(partition, DeleteCircle { circle }).await?;
    let lock = [partition.circle_lock(&circle).into()];
    redis.send("DEL", partition, lock).await?;
    let registry = redis.keys().partitions().first().ok_or(Unavailable)?;
    let mark = [registry.deleting().into(), circle.to_string().into()];
    redis.send("ZREM", registry, mark).await.map(drop)
}

/// A search for keys: of those on the server that has a partition. A key may be found twice.
struct Search<'a> {
    redis: &'a Connection,
    partition: &'a Partition,
    pattern: String,
    /// The place where the next step goes on; nothing at the end.
    cursor: Option<String>,
}

impl<'a> Search<'a> {
    fn new(redis: &'a Connection, partition: &'a Partition, pattern: String) -> Self {
        Self {
            redis,
            partition,
            pattern,
            cursor: Some("0".to_owned()),
        }
    }

    /// Takes one step, and returns the keys that it has found; nothing once the search is over.
    async fn next(&mut self) -> Result<Option<Vec<Value>>, Unavailable> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let args = [&*cursor, "MATCH", &self.pattern, "COUNT"].map(Value::from);
        let args: Vec<_> = args
            .into_iter()
            .chain([Value::Integer(AT_A_TIME)])
            .collect();
        let found = self.redis.send("SCAN", self.partition, args).await?;
        let mut found = found.into_array().into_iter();
        let cursor = found.next().and_then(Value::into_string);
        self.cursor = Some(cursor.ok_or(Unavailable)?).filter(|cursor| cursor != "0");
        Ok(found.next().map(Value::into_array))
    }
}
