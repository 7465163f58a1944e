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
            conn::{BLOCK, BlockingConnection, ConnectionNumber, error_text},
            proto::{
                keys::Partition,
                reply::{self, StreamEntry},
                scripts::{Fetched, InboxCount},
                values::millis,
            },
        },
    },
    script::RunError,
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
        tasks.spawn(Reader::new(gateway.clone(), reader, partitions).run());
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

/// Returns the time for which an inbox is kept that isn't renewed.
fn keep_for(gateway: &Gateway) -> Duration {
    gateway.settings.lease.get() * 6
}

async fn renew(gateway: &Gateway, recovery: &mut [InboxRecovery]) -> Result<(), Unavailable> {
    let redis = &gateway.redis;
    let keep_for = millis(keep_for(gateway));
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

/// Reads the inboxes of some partitions, and hands over what has come once it is as safe as the settings say.
struct Reader {
    gateway: Arc<Gateway>,
    connection: BlockingConnection,
    inboxes: Vec<Inbox>,
    /// The place of each inbox among them, by its key.
    places: HashMap<String, usize>,
    /// Circles that are to be watched again.
    unwatched: Vec<PublicKey>,
    /// Entries that are read at a time, of each inbox.
    at_once: i64,
    is_synced: bool,
}

/// An inbox, and how far it was read.
struct Inbox {
    key: String,
    partition: usize,
    /// The last entry that was handed over.
    last: String,
    progress: ReadProgress,
}

/// An entry, and the place of its inbox.
type InboxEntry = (usize, StreamEntry);

impl Reader {
    fn new(gateway: Arc<Gateway>, connection: BlockingConnection, partitions: Vec<usize>) -> Self {
        let name = gateway.redis.name();
        let inbox = |partition: usize| Inbox {
            key: gateway.redis.keys().partitions()[partition].inbox(name),
            partition,
            last: "0-0".to_owned(),
            progress: ReadProgress::default(),
        };
        let inboxes: Vec<_> = partitions.into_iter().map(inbox).collect();
        let keys = inboxes.iter().map(|inbox| inbox.key.clone());
        Self {
            places: keys.zip(0..).collect(),
            inboxes,
            gateway,
            connection,
            unwatched: Vec::new(),
            at_once: 1,
            is_synced: true,
        }
    }

    async fn run(mut self) {
        let gateway = self.gateway.clone();
        let mut was_cut_off = false;
        let mut since = Instant::now();
        loop {
            if since.elapsed() >= BLOCK + STILL {
                self.at_once = 1;
            }
            since = Instant::now();
            let entries = tokio::select! {
                entries = self.fetch() => entries,
                () = gateway.stop.cancelled() => break,
            };
            let Ok(entries) = entries else {
                (was_cut_off, self.at_once) = (true, 1);
                sleep(AGAIN).await;
                continue;
            };
            if mem::take(&mut was_cut_off) {
                // Redis may be another one, which hasn't got all that the first one had told.
                gateway.signal_missed();
            }
            let is_idle = entries.is_empty();
            for (place, entry) in entries {
                let inbox = &mut self.inboxes[place];
                handle(&gateway, &entry, &mut inbox.progress, &mut self.unwatched);
                inbox.last = entry.id;
            }
            self.trim(is_idle).await;
            gateway.watch_all(&mut self.unwatched).await;
        }
        self.connection.close(BLOCK).await;
    }

    /// Reads what has come, or waits a while for it. With a sync, it reads all of it first: each sync may take long.
    async fn fetch(&mut self) -> Result<Vec<InboxEntry>, Unavailable> {
        let since = self.connection.number();
        let is_synced = self.gateway.redis.synced_replicas().is_some();
        let mut last: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| inbox.last.clone())
            .collect();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let waits = entries.is_empty() && self.is_synced;
            let (read, may_be_more) = self.read(&last, waits).await?;
            let mut taken = 0;
            for (place, entry) in &read {
                taken += entry.len();
                last[*place].clone_from(&entry.id);
            }
            self.at_once = if taken > BYTES_AT_ONCE {
                (self.at_once / 4).max(1)
            } else {
                (self.at_once * 2).min(AT_ONCE)
            };
            entries.extend(read);
            bytes += taken;
            if !is_synced || !may_be_more || bytes > BYTES_AT_ONCE {
                break;
            }
        }
        if is_synced && (!entries.is_empty() || !self.is_synced) {
            self.sync(&entries, since).await?;
        }
        Ok(entries)
    }

    /// Reads entries after the last ones. Returns true if there may be more.
    async fn read(
        &self,
        last: &[String],
        waits: bool,
    ) -> Result<(Vec<InboxEntry>, bool), Unavailable> {
        let mut args = vec![Value::from("COUNT"), Value::Integer(self.at_once)];
        if waits {
            args.extend([Value::from("BLOCK"), millis(BLOCK)]);
        }
        args.push(Value::from("STREAMS"));
        args.extend(self.inboxes.iter().map(|inbox| Value::from(&inbox.key)));
        args.extend(last.iter().map(Value::from));
        let answer = self.connection.send("XREAD", self.partition(), args).await;
        let answer = answer.map_err(|error| self.gateway.redis.failed("XREAD", &error))?;
        let (mut entries, mut may_be_more) = (Vec::new(), false);
        for (key, read) in reply::streams(answer) {
            let Some(place) = self.places.get(&key) else {
                continue;
            };
            may_be_more |= i64::try_from(read.len()).is_ok_and(|read| read >= self.at_once);
            entries.extend(read.into_iter().map(|entry| (*place, entry)));
        }
        Ok((entries, may_be_more))
    }

    /// Waits until all is synced that was read by the connection of this number. If that fails, those who wait for it are
    /// told that nobody knows; the entries stay in their inboxes, and are read again.
    async fn sync(
        &mut self,
        entries: &[InboxEntry],
        since: ConnectionNumber,
    ) -> Result<(), Unavailable> {
        let replicas = self.gateway.redis.synced_replicas().unwrap_or(0);
        let (key, keep_for) = (&self.inboxes[0].key, keep_for(&self.gateway));
        let sync = self
            .connection
            .sync(self.partition(), key, keep_for, replicas, since);
        let synced = sync.await;
        let gateway = &self.gateway;
        if synced.is_ok() != self.is_synced {
            self.is_synced = synced.is_ok();
            match &synced {
                Ok(()) => gateway.unsynced.fetch_sub(1, Ordering::Relaxed),
                Err(_) => gateway.unsynced.fetch_add(1, Ordering::Relaxed),
            };
            match &synced {
                Ok(()) => tracing::info!("work is synced again"),
                Err(error) => tracing::warn!(
                    error = error_text(error),
                    "nothing is acknowledged or accepted, because Redis doesn't sync it (dispatch.redis.durability)"
                ),
            }
        }
        synced.map_err(|_| {
            for (_, entry) in entries {
                give_up(gateway, entry);
            }
            Unavailable
        })
    }

    /// Returns the partition whose server it asks.
    fn partition(&self) -> &Partition {
        &self.gateway.redis.keys().partitions()[self.inboxes[0].partition]
    }

    /// Removes messages that were handed over, if they are many or there is time.
    async fn trim(&mut self, is_idle: bool) {
        let redis = &self.gateway.redis;
        for inbox in &mut self.inboxes {
            let progress = &mut inbox.progress;
            let is_much = progress.messages >= TRIM || progress.bytes >= TRIM_BYTES;
            if is_much || is_idle && progress.entries > 0 {
                // They have done their service.
                let partition = &redis.keys().partitions()[inbox.partition];
                let fetched = progress.fetched(redis.name(), &inbox.last);
                if redis.call(partition, fetched).await.is_ok() {
                    *progress = ReadProgress::default();
                }
            }
        }
    }
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

/// Handles an entry: first what it counts as, and then outcomes of jobs, barriers, or events. Counts it as read. Circles
/// whose events don't come any more are added to `unwatched`.
fn handle(
    gateway: &Gateway,
    entry: &StreamEntry,
    progress: &mut ReadProgress,
    unwatched: &mut Vec<PublicKey>,
) {
    let mut messages = entry.pairs();
    progress.entries += 1;
    if let Some((circle, counts)) = messages.next() {
        progress.count(circle, counts);
    }
    for (id, outcome) in messages {
        progress.messages += 1;
        progress.bytes += id.len() + outcome.len();
        let Ok(id) = id.parse::<JobId>() else {
            unwatched.extend(gateway.publish(id, outcome));
            continue;
        };
        if let Some((_, waiter)) = gateway.deliveries.remove(&id) {
            if let Ok(progress) = circled_json::from_slice::<Progress>(outcome) {
                // Whoever waited may have left.
                let _ = waiter.send(progress);
            }
        } else if let Some((_, barrier)) = gateway.barriers.remove(&id) {
            barrier.send_replace(true);
        } else {
            gateway.deliver_json(id, outcome);
        }
    }
}

/// Tells all who wait for an entry that nobody knows what comes of it. Its events are handled later.
fn give_up(gateway: &Gateway, entry: &StreamEntry) {
    let ids = entry.pairs().filter_map(|(id, _)| id.parse().ok());
    for id in ids {
        gateway.deliveries.remove(&id);
        gateway.barriers.remove(&id);
        gateway.refuse(id, RunError::Unavailable);
    }
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
