//! The counts of circles that somebody looks at, over all servers: each adds its own to those in Redis every second.

use std::{collections::HashSet, time::Duration};

use circled_protocol::{PublicKey, methods::ActivityCounts};
use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{conn::Connection, deletion, proto::keys::Partition};
use crate::{
    dispatch::{
        activity::{self, Counters, Happening},
        deletion::Deleting,
    },
    store::Unavailable,
};

/// The pause between two additions.
pub(super) const PACE: Duration = Duration::from_secs(1);
/// The milliseconds for which a circle is counted after the last look at it, and its counts are kept.
const KEEP_FOR: i64 = 30_000;

/// Counts in the circles that somebody looks at, anywhere, and notes those that somebody deletes, until the server stops.
pub(super) async fn run(redis: Connection, deleting: Deleting, stop: CancellationToken) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            () = stop.cancelled() => return,
        }
        if !redis.is_up() {
            continue;
        }
        // Where Redis can't be asked, nothing changes.
        if let Ok(circles) = deletion::marked(&redis).await {
            deleting.replace(circles);
        }
        if let Ok(circles) = looked_at(&redis).await {
            let all = activity::all();
            join_all(all.iter().map(|(circle, own)| add(&redis, circle, own))).await;
            activity::count_in(circles.iter());
        }
    }
}

/// Returns the circles that somebody has looked at lately.
async fn looked_at(redis: &Connection) -> Result<HashSet<PublicKey>, Unavailable> {
    let Some(partition) = registry(redis) else {
        return Ok(HashSet::new());
    };
    let now = redis.now().to_string();
    let args = [partition.looked_at().into(), now.into(), "+inf".into()];
    let circles = redis.send("ZRANGEBYSCORE", partition, args).await?;
    let circles = circles.into_array().into_iter();
    let circles = circles.filter_map(Value::into_string);
    Ok(circles
        .filter_map(|circle| PublicKey::from_stored_hex(&circle))
        .collect())
}

/// Returns the partition that has the list of the circles that are looked at.
fn registry(redis: &Connection) -> Option<&Partition> {
    redis.keys().partitions().first()
}

/// Adds what was counted here to the counts of a circle. What can't be added now is added next time.
async fn add(redis: &Connection, circle: &PublicKey, own: &Counters) {
    let partition = redis.keys().of(circle);
    let key = partition.activity(circle);
    for (what, number) in own.take() {
        let by = Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let args = [key.as_str().into(), what.name().into(), by];
        if redis.send("HINCRBY", partition, args).await.is_err() {
            own.add(what, number);
        }
    }
}

/// Looks at a circle: it is counted for a while. Returns its counts so far.
///
/// # Errors
/// Redis can't be reached.
pub(super) async fn look(
    redis: &Connection,
    circle: &PublicKey,
) -> Result<ActivityCounts, Unavailable> {
    let Some(registry) = registry(redis) else {
        return Err(Unavailable);
    };
    let now = redis.now();
    let (list, until) = (registry.looked_at(), (now + KEEP_FOR).to_string());
    let look = [
        list.as_str().into(),
        until.into(),
        circle.to_string().into(),
    ];
    redis.send("ZADD", registry, look).await?;
    let gone = [list.into(), "-inf".into(), now.to_string().into()];
    redis.send("ZREMRANGEBYSCORE", registry, gone).await?;

    let partition = redis.keys().of(circle);
    let key = partition.activity(circle);
    let args = std::iter::once(key.as_str().into());
    let args = args.chain(Happening::ALL.map(|what| what.name().into()));
    let found = redis
        .send("HMGET", partition, args.collect::<Vec<_>>())
        .await?;
    redis
        .send("PEXPIRE", partition, [key.into(), Value::Integer(KEEP_FOR)])
        .await?;
    let mut counts = ActivityCounts::default();
    for (what, number) in Happening::ALL.into_iter().zip(found.into_array()) {
        *what.field(&mut counts) = number.as_u64().unwrap_or_default();
    }
    Ok(counts)
}
