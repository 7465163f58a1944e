//! Events: how they reach the listeners here.
//!
//! A gateway is in the set of a circle's watchers as long as somebody listens to the circle here; every event that is
//! committed there comes to its inbox, in order. If that may have been missed, the listeners read the log.

use circled_protocol::PublicKey;
use fred::types::Value;
use futures_util::future::try_join_all;
use serde::de::{
    IntoDeserializer,
    value::{Error, StrDeserializer},
};

use super::Gateway;
use crate::{
    dispatch::redis::proto::{event_record, keys::Partition, reply, scripts},
    store::{CommitFeed, Feed, Hub, Key, Log, Unavailable},
};

/// The word in place of an event's number if it and those after it are in the log alone, as `lua/prelude.lua` has it.
const READ_LOG: &str = "look";
/// The word before the number of a commit, as `lua/commit.lua` has it.
const COMMIT: &str = "commit ";

/// The parts of a circle that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Watched {
    Events,
    /// The keys that commits write.
    Commits,
}

impl Watched {
    const ALL: [Self; 2] = [Self::Events, Self::Commits];

    /// Returns the key of the set of gateways where somebody watches it.
    fn watchers(self, partition: &Partition, circle: &PublicKey) -> String {
        match self {
            Self::Events => partition.watchers(circle),
            Self::Commits => partition.commit_watchers(circle),
        }
    }

    /// Returns whether somebody watches it here.
    fn is_wanted(self, hub: &Hub, circle: &PublicKey) -> bool {
        match self {
            Self::Events => hub.has_listeners(circle),
            Self::Commits => hub.commits().has_watchers(circle),
        }
    }

    /// Returns the circles where somebody watches it here.
    fn circles(self, hub: &Hub) -> Vec<PublicKey> {
        match self {
            Self::Events => hub.circles(),
            Self::Commits => hub.commits().circles(),
        }
    }

    /// Tells those who watch it that they may have missed some.
    fn signal_missed(self, hub: &Hub, circle: &PublicKey) {
        match self {
            Self::Events => hub.signal_read_log(circle),
            Self::Commits => hub.commits().signal_missed(circle),
        }
    }
}

impl Gateway {
    /// Listens to a circle's events. From then on, none is missed.
    pub(in crate::dispatch::redis) async fn listen(
        &self,
        circle: PublicKey,
    ) -> Result<Feed, Unavailable> {
        let feed = self.hub.listen(circle);
        self.watch(circle, Watched::Events).await?;
        Ok(feed)
    }

    /// Watches a circle's commits. From then on, none is missed unless the feed says so.
    pub(in crate::dispatch::redis) async fn watch_commits(
        &self,
        circle: PublicKey,
    ) -> Result<CommitFeed, Unavailable> {
        let feed = self.hub.commits().watch(circle);
        self.watch(circle, Watched::Commits).await?;
        Ok(feed)
    }

    async fn watch(&self, circle: PublicKey, what: Watched) -> Result<(), Unavailable> {
        self.watched.insert((circle, what));
        self.send_watching("SADD", &circle, what).await
    }

    async fn send_watching(
        &self,
        command: &'static str,
        circle: &PublicKey,
        what: Watched,
    ) -> Result<(), Unavailable> {
        let partition = self.redis.keys().of(circle);
        let watchers = what.watchers(partition, circle);
        let args = [watchers.as_str(), self.redis.name()].map(Value::from);
        self.redis.send(command, partition, args).await.map(drop)
    }

    /// Watches a partition's circles again, after its inbox was lost.
    pub(super) async fn watch_again(&self, partition: &Partition) -> Result<(), Unavailable> {
        for what in Watched::ALL {
            let circles = what.circles(&self.hub).into_iter();
            let ours = |circle: &PublicKey| std::ptr::eq(self.redis.keys().of(circle), partition);
            let circles: Vec<_> = circles.filter(ours).collect();
            try_join_all(circles.iter().map(|circle| self.watch(*circle, what))).await?;
            for circle in &circles {
                what.signal_missed(&self.hub, circle);
            }
        }
        Ok(())
    }

    /// Tells all who watch anything that they may have missed some.
    pub(super) fn signal_missed(&self) {
        for what in Watched::ALL {
            for circle in what.circles(&self.hub) {
                what.signal_missed(&self.hub, &circle);
            }
        }
    }

    /// Stops watching circles that nobody watches here. Those where somebody does again are added to `unwatched` if that
    /// failed.
    pub(super) async fn unwatch_idle(&self, unwatched: &mut Vec<PublicKey>) {
        let watched: Vec<_> = self.watched.iter().map(|watched| *watched).collect();
        for (circle, what) in watched {
            if what.is_wanted(&self.hub, &circle) {
                continue;
            }
            if self.send_watching("SREM", &circle, what).await.is_err() {
                return;
            }
            self.watched.remove(&(circle, what));
            if what.is_wanted(&self.hub, &circle) {
                // Somebody has come meanwhile.
                unwatched.push(circle);
                self.watch_all(unwatched).await;
            }
        }
    }

    /// Publishes an event or a commit that came to the inbox. Returns the circle, if no more of them come.
    pub(super) fn publish(&self, name: &str, message: &[u8]) -> Option<PublicKey> {
        let (circle, number) = name.split_once(' ')?;
        let circle: StrDeserializer<'_, Error> = circle.into_deserializer();
        let circle = circled_protocol::trusted::deserialize(circle).ok()?;
        if number == READ_LOG {
            for what in Watched::ALL {
                what.signal_missed(&self.hub, &circle);
            }
            return Some(circle);
        }
        if let Some(number) = number.strip_prefix(COMMIT) {
            let number = number.parse().ok()?;
            let keys = || written_keys(message);
            self.hub.commits().publish(&circle, number, keys);
        } else if self.hub.has_listeners(&circle) {
            let event = event_record::decode(&circle, number.parse().ok()?, message);
            self.hub.publish(&circle, event);
        }
        None
    }

    /// Watches circles again that there was no room for. Leaves those for which Redis couldn't be reached.
    pub(super) async fn watch_all(&self, circles: &mut Vec<PublicKey>) {
        while let Some(circle) = circles.last() {
            for what in Watched::ALL {
                if what.is_wanted(&self.hub, circle) {
                    if self.watch(*circle, what).await.is_err() {
                        return;
                    }
                    // What has landed meanwhile didn't come.
                    what.signal_missed(&self.hub, circle);
                }
            }
            circles.pop();
        }
    }

    /// Returns up to `most` events of a circle from the log, from the number `from` on.
    pub(in crate::dispatch::redis) async fn log(
        &self,
        circle: PublicKey,
        from: u64,
        most: usize,
    ) -> Result<Log, Unavailable> {
        let partition = self.redis.keys().of(&circle);
        let log = scripts::Log {
            circle,
            from: from.to_string(),
            most,
            most_bytes: Log::BYTES_AT_ONCE,
        };
        let since = self.redis.number();
        let answer = self.redis.call(partition, log).await?;
        self.confirm(&self.redis, circle, since).await?;
        let mut parts = answer.into_array().into_iter();
        let first = parts.next().and_then(Value::into_string);
        let last = parts.next().and_then(Value::into_string);
        let (Some(first), Some(last), Some(events)) = (first, last, parts.next()) else {
            return Err(Unavailable);
        };
        let events = reply::entries(events).into_iter();
        Ok(Log {
            first: number(&first),
            last: last.parse().unwrap_or(0),
            events: events
                .filter_map(|entry| {
                    event_record::decode(&circle, number(&entry.id), entry.bytes("event")?)
                })
                .collect(),
        })
    }
}

/// Reads the keys that a commit wrote: each after its length and a colon.
fn written_keys(mut message: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some(colon) = message.iter().position(|byte| *byte == b':') {
        let (length, rest) = message.split_at(colon);
        let length = str::from_utf8(length)
            .ok()
            .and_then(|length| length.parse().ok());
        let Some((key, rest)) = length.and_then(|length| rest[1..].split_at_checked(length)) else {
            break;
        };
        keys.push(Key::new(key));
        message = rest;
    }
    keys
}

/// Returns the number of an event by its entry in the log.
fn number(id: &str) -> u64 {
    let number = id.split('-').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}
