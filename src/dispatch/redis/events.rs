//! Events in Redis: how they are stored, and how they reach the listeners here.
//!
//! A gateway is in the set of a circle's watchers as long as somebody listens to the circle here; every event that is
//! committed there comes to its inbox, in order. If that may have been missed, the listeners read the log.

use std::sync::Arc;

use circled_protocol::PublicKey;
use fred::types::Value;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{
    Deserialize, Serialize,
    de::{
        IntoDeserializer,
        value::{Error, StrDeserializer},
    },
};
use serde_json::value::RawValue;

use super::{gateway::Gateway, keys::Partition, reply, scripts::Lua};
use crate::store::{Event, Feed, Log, NewEvent, Unavailable};

/// The word in place of an event's number if it and those after it are in the log alone, as `lua/prelude.lua` has it.
const READ_LOG: &str = "look";

/// An event, as it is stored and sent. Its number is the key.
#[derive(Serialize, Deserialize)]
struct EventRecord<'a> {
    topic: std::borrow::Cow<'a, str>,
    data: Box<RawValue>,
    at: Timestamp,
    #[serde(
        default,
        with = "circled_protocol::trusted::option",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<PublicKey>,
}

/// Encodes an event that happens now.
pub(super) fn encode(event: &NewEvent) -> Vec<u8> {
    let record = EventRecord {
        topic: (&*event.topic).into(),
        // What was emitted is JSON.
        data: circled_json::from_slice(&event.data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        at: Timestamp::now(),
        to: event.to,
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

fn decode(number: u64, json: &[u8]) -> Option<Arc<Event>> {
    let EventRecord {
        topic,
        data,
        at,
        to,
    } = circled_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, "failed to read an event"))
        .ok()?;
    Some(Arc::new(Event::new(number, topic, data, at, to)))
}

impl Gateway {
    /// Listens to a circle's events. From then on, none is missed.
    pub(super) async fn listen(&self, circle: PublicKey) -> Result<Feed, Unavailable> {
        let feed = self.hub.listen(circle);
        self.watched.insert(circle);
        self.watch(&circle).await?;
        Ok(feed)
    }

    async fn watch(&self, circle: &PublicKey) -> Result<(), Unavailable> {
        let partition = self.redis.keys().of(circle);
        let args = [partition.watchers(circle), self.redis.name().to_owned()].map(Value::from);
        self.redis.send("SADD", partition, args).await.map(drop)
    }

    /// Watches a partition's circles again, after its inbox was lost.
    pub(super) async fn watch_again(&self, partition: &Partition) -> Result<(), Unavailable> {
        let circles = self.hub.circles().into_iter();
        let ours = |circle: &PublicKey| std::ptr::eq(self.redis.keys().of(circle), partition);
        let circles: Vec<_> = circles.filter(ours).collect();
        try_join_all(circles.iter().map(|circle| self.watch(circle))).await?;
        for circle in &circles {
            self.hub.signal_read_log(circle);
        }
        Ok(())
    }

    /// Tells all listeners to read the log.
    pub(super) fn signal_read_log(&self) {
        for circle in self.hub.circles() {
            self.hub.signal_read_log(&circle);
        }
    }

    /// Stops watching circles that nobody listens to. Those where somebody does again are added to `unwatched` if that
    /// failed.
    pub(super) async fn unwatch_idle(&self, unwatched: &mut Vec<PublicKey>) {
        let watched: Vec<_> = self.watched.iter().map(|circle| *circle).collect();
        for circle in watched {
            if self.hub.has_listeners(&circle) {
                continue;
            }
            let partition = self.redis.keys().of(&circle);
            let args = [partition.watchers(&circle), self.redis.name().to_owned()].map(Value::from);
            if self.redis.send("SREM", partition, args).await.is_err() {
                return;
            }
            self.watched.remove(&circle);
            if self.hub.has_listeners(&circle) {
                // Somebody has come meanwhile.
                self.watched.insert(circle);
                unwatched.push(circle);
                self.watch_all(unwatched).await;
            }
        }
    }

    /// Publishes an event that came to the inbox. Returns the circle, if no more of its events come.
    pub(super) fn publish_event(&self, name: &str, json: &[u8]) -> Option<PublicKey> {
        let (circle, number) = name.split_once(' ')?;
        let circle: StrDeserializer<'_, Error> = circle.into_deserializer();
        let circle = circled_protocol::trusted::deserialize(circle).ok()?;
        if number == READ_LOG {
            self.hub.signal_read_log(&circle);
            return Some(circle);
        }
        if self.hub.has_listeners(&circle) {
            self.hub
                .publish(&circle, decode(number.parse().ok()?, json));
        }
        None
    }

    /// Watches circles again that there was no room for. Leaves those for which Redis couldn't be reached.
    pub(super) async fn watch_all(&self, circles: &mut Vec<PublicKey>) {
        while let Some(circle) = circles.last() {
            if self.hub.has_listeners(circle) {
                if self.watch(circle).await.is_err() {
                    return;
                }
                // What has landed meanwhile didn't come.
                self.hub.signal_read_log(circle);
            }
            circles.pop();
        }
    }

    /// Returns up to `most` events of a circle from the log, from the number `from` on.
    pub(super) async fn log(
        &self,
        circle: PublicKey,
        from: u64,
        most: usize,
    ) -> Result<Log, Unavailable> {
        let partition = self.redis.keys().of(&circle);
        let keys = [partition.events(&circle), partition.event_sequence(&circle)];
        let args = [
            Value::from(from.to_string()),
            super::gateway::number(most),
            super::gateway::number(Log::BYTES_AT_ONCE),
        ];
        let answer = self.redis.call(Lua::Log, partition, keys, args).await?;
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
                .filter_map(|entry| decode(number(&entry.id), entry.bytes("event")?))
                .collect(),
        })
    }
}

/// Returns the number of an event by its entry in the log.
fn number(id: &str) -> u64 {
    let number = id.split('-').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}
