//! The inboxes of a gateway: outcomes and events come back in a stream for each partition.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::try_join_all;
use tokio::time::{interval, sleep};
use tokio_util::task::TaskTracker;

use super::Gateway;
use crate::{
    dispatch::{
        Progress,
        redis::{
            conn::{BLOCK, BlockingConnection},
            proto::{
                keys::Partition,
                reply,
                scripts::{Fetched, InboxCount},
                values::millis,
            },
        },
    },
    store::Unavailable,
};

/// The pause before another attempt, after one that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// The pause between two renewals of its expiry.
const RENEW: Duration = Duration::from_secs(1);
/// Entries taken at a time, of each inbox; fewer where they are large, or may be.
const AT_ONCE: i64 = 1000;
/// Bytes that are taken at a time, about.
const BYTES_AT_ONCE: usize = 8 << 20;
/// The time between two reads, blocking included, until much may have come meanwhile.
const STILL: Duration = Duration::from_secs(1);
/// Messages that are read, or bytes of them, before they are removed.
const TRIM: usize = 1000;
const TRIM_BYTES: usize = 1 << 20;

/// The messages that were read and are not removed yet, as counts.
#[derive(Debug, Clone, Default)]
struct ReadProgress {
    entries: usize,
    messages: usize,
    bytes: usize,
    /// The bytes that the entries count as, by circle.
    counted: HashMap<String, usize>,
}

/// Steps that are left to do for an inbox that has been made anew.
#[derive(Debug, Clone, Copy, Default)]
struct InboxRecovery {
    /// True if the messages in the one before are lost.
    is_lost: bool,
    /// True if no events are sent to this one.
    is_unwatched: bool,
}

/// Starts the tasks that read the inboxes, and keep them from expiring.
pub(super) fn start(gateway: &Arc<Gateway>, tasks: &TaskTracker) -> Result<(), fred::error::Error> {
    for partitions in gateway.redis.shared_reads() {
        let reader = gateway.redis.blocking()?;
        tasks.spawn(read(gateway.clone(), reader, partitions));
    }
    tasks.spawn(keep(gateway.clone()));
    Ok(())
}

/// Keeps the inboxes from expiring: an inbox outlives its gateway for a while only.
async fn keep(gateway: Arc<Gateway>) {
    let mut tick = interval(RENEW);
    let redis = &gateway.redis;
    let mut recovery = vec![InboxRecovery::default(); redis.keys().partitions().len()];
    let mut unwatched = Vec::new();
    loop {
        let renewed = redis.is_up() && renew(&gateway, &mut recovery).await.is_ok();
        let had = gateway.has_inboxes.swap(renewed, Ordering::Relaxed);
        if renewed {
            // Whoever is told that nobody knows may ask again at once.
            for (partition, recovery) in redis.keys().partitions().iter().zip(&mut recovery) {
                if mem::take(&mut recovery.is_lost) {
                    gateway.lose(partition);
                }
            }
            if !had {
                gateway.signal_missed();
            }
            gateway.unwatch_idle(&mut unwatched).await;
            gateway.watch_all(&mut unwatched).await;
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = redis.until_up(), if !renewed => sleep(AGAIN / 10).await,
            () = gateway.stop.cancelled() => break,
        }
    }
    for partition in redis.keys().partitions() {
        let inbox = [
            partition.inbox(redis.name()),
            partition.inbox_bytes(redis.name()),
        ];
        let _ = redis.send("DEL", partition, inbox.map(Value::from)).await;
    }
}

async fn renew(gateway: &Gateway, recovery: &mut [InboxRecovery]) -> Result<(), Unavailable> {
    let redis = &gateway.redis;
    let keep_for = millis(gateway.settings.lease.get() * 6);
    let renew = async |(partition, recovery): (&Partition, &mut InboxRecovery)| {
        let inbox = partition.inbox(redis.name());
        let expire = [Value::from(inbox.clone()), keep_for.clone()];
        let renewed = redis.send("PEXPIRE", partition, expire.clone()).await?;
        if renewed.as_i64() == Some(1) {
            let size = [partition.inbox_bytes(redis.name()).into(), keep_for.clone()];
            redis.send("PEXPIRE", partition, size).await?;
        } else {
            // Whatever fails from here on, and wherever it does, is seen to next time.
            *recovery = InboxRecovery {
                is_lost: true,
                is_unwatched: true,
            };
            // No other way makes an empty stream.
            let create = ["CREATE", &inbox, "inbox", "0", "MKSTREAM"].map(Value::from);
            redis.send("XGROUP", partition, create).await?;
            redis.send("PEXPIRE", partition, expire).await?;
        }
        if recovery.is_unwatched {
            gateway.watch_again(partition).await?;
            recovery.is_unwatched = false;
        }
        Ok::<_, Unavailable>(())
    };
    let all = redis.keys().partitions().iter().zip(recovery).map(renew);
    try_join_all(all).await.map(drop)
}

async fn read(gateway: Arc<Gateway>, reader: BlockingConnection, partitions: Vec<usize>) {
    let all = gateway.redis.keys().partitions();
    let name = gateway.redis.name();
    let inboxes: Vec<_> = partitions.iter().map(|n| all[*n].inbox(name)).collect();
    let numbers: HashMap<_, _> = inboxes.iter().cloned().zip(0..).collect();
    let mut last = vec!["0-0".to_owned(); inboxes.len()];
    let mut read = vec![ReadProgress::default(); inboxes.len()];
    // Circles that are to be watched again.
    let mut unwatched = Vec::new();
    let mut at_once = 1;
    let mut was_cut_off = false;
    let mut since = Instant::now();
    loop {
        if since.elapsed() >= BLOCK + STILL {
            at_once = 1;
        }
        since = Instant::now();
        let mut args = vec![
            Value::from("COUNT"),
            Value::Integer(at_once),
            Value::from("BLOCK"),
            millis(BLOCK),
            Value::from("STREAMS"),
        ];
        args.extend(inboxes.iter().map(Value::from));
        args.extend(last.iter().map(Value::from));
        let answer = tokio::select! {
            answer = reader.send("XREAD", &all[partitions[0]], args) => answer,
            () = gateway.stop.cancelled() => break,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                gateway.redis.failed("XREAD", &error);
                (was_cut_off, at_once) = (true, 1);
                sleep(AGAIN).await;
                continue;
            }
        };
        if mem::take(&mut was_cut_off) {
            // Redis may be another one, which hasn't got all that the first one had told.
            gateway.signal_missed();
        }
        let streams = reply::streams(answer);
        let idle = streams.is_empty();
        let mut taken = 0;
        for (stream, entries) in streams {
            let Some(number) = numbers.get(&stream) else {
                continue;
            };
            let read = &mut read[*number];
            for entry in entries {
                taken += handle(&gateway, &entry, read, &mut unwatched);
                last[*number] = entry.id;
            }
        }
        at_once = if taken > BYTES_AT_ONCE {
            (at_once / 4).max(1)
        } else {
            (at_once * 2).min(AT_ONCE)
        };
        for (number, read) in read.iter_mut().enumerate() {
            let is_much = read.messages >= TRIM || read.bytes >= TRIM_BYTES;
            if is_much || idle && read.entries > 0 {
                // They have done their service.
                let partition = &all[partitions[number]];
                let fetched = read.fetched(name, &last[number]);
                if gateway.redis.call(partition, fetched).await.is_ok() {
                    *read = ReadProgress::default();
                }
            }
        }
        gateway.watch_all(&mut unwatched).await;
    }
    reader.close(BLOCK).await;
}

/// Returns the least id of an entry that comes after this one.
fn after(id: &str) -> String {
    let next = id.split_once('-').and_then(|(millis, number)| {
        let number = number.parse::<u64>().ok()?.checked_add(1)?;
        Some(format!("{millis}-{number}"))
    });
    next.unwrap_or_else(|| id.to_owned())
}

impl ReadProgress {
    /// Returns the call that says that it was read up to the entry `last`.
    fn fetched(&self, gateway: &str, last: &str) -> Fetched {
        let counts = self.counted.iter().map(|(circle, bytes)| InboxCount {
            circle: circle.clone(),
            bytes: *bytes,
        });
        Fetched {
            gateway: gateway.to_owned(),
            before: after(last),
            read: self.entries,
            counts: counts.collect(),
        }
    }

    fn count(&mut self, circle: &str, counts: &[u8]) {
        let counts = std::str::from_utf8(counts).ok();
        let counts = counts.and_then(|counts| counts.parse().ok()).unwrap_or(0);
        if let Some(counted) = self.counted.get_mut(circle) {
            *counted += counts;
        } else {
            self.counted.insert(circle.to_owned(), counts);
        }
    }
}

/// Handles an entry: first what it counts as, and then outcomes of jobs, or events. Counts it as read, and returns how
/// many bytes it has. Circles whose events don't come any more are added to `unwatched`.
fn handle(
    gateway: &Gateway,
    entry: &reply::StreamEntry,
    read: &mut ReadProgress,
    unwatched: &mut Vec<PublicKey>,
) -> usize {
    let mut messages = entry.pairs();
    read.entries += 1;
    if let Some((circle, counts)) = messages.next() {
        read.count(circle, counts);
    }
    let mut all = 0;
    for (id, outcome) in messages {
        let bytes = id.len() + outcome.len();
        all += bytes;
        read.messages += 1;
        read.bytes += bytes;
        let Ok(id) = id.parse::<JobId>() else {
            unwatched.extend(gateway.publish(id, outcome));
            continue;
        };
        if let Some((_, waiter)) = gateway.deliveries.remove(&id) {
            if let Ok(progress) = circled_json::from_slice::<Progress>(outcome) {
                // Whoever waited may have left.
                let _ = waiter.send(progress);
            }
        } else {
            gateway.deliver_json(id, outcome);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn an_entry_that_was_read_is_before_the_next() {
        assert_eq!(after("1700000000000-0"), "1700000000000-1");
        assert_eq!(after("0-0"), "0-1");
    }
}
