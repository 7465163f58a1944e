//! Who is told of events as they land.

use std::sync::{Arc, OnceLock};

use axum::extract::ws::Utf8Bytes;
use dashmap::{DashMap, Entry};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::auth::PublicKey;

/// Events of a circle that wait for whoever is slow to take them. The oldest are dropped: they are in the log.
const WAITING: usize = 256;

/// What scripts, and circled itself, have told a circle.
#[derive(Debug)]
pub struct Event {
    /// Its number in the circle, from 1, in the order of the commits.
    pub id: u64,
    /// What it is about.
    pub topic: Box<str>,
    /// What is told.
    pub data: Box<RawValue>,
    /// When.
    pub at: Timestamp,
    /// Who alone is told, besides the owner; nothing: everyone.
    pub to: Option<PublicKey>,
    /// As most are told it, see [`Event::told`].
    told: OnceLock<Utf8Bytes>,
}

/// What the log has of a circle.
#[derive(Debug, Default)]
pub struct Log {
    /// The oldest event that is kept; 0 where there is none.
    pub first: u64,
    /// The newest one; 0 where there is none.
    pub last: u64,
    /// Those that were asked for, in order, without a hole.
    pub events: Vec<Arc<Event>>,
}

/// The circles that somebody listens to. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<DashMap<PublicKey, broadcast::Sender<Signal>>>);

/// What listeners are told.
#[derive(Debug, Clone)]
pub enum Signal {
    /// An event has landed.
    Event(Arc<Event>),
    /// There may be some in the log that were not told.
    Look,
}

/// Events of one circle, as they land, from the moment on that this was made.
#[derive(Debug)]
pub struct Feed {
    hub: Hub,
    circle: PublicKey,
    receiver: Option<broadcast::Receiver<Signal>>,
}

impl Event {
    /// One that has got its number.
    pub fn new(
        id: u64,
        topic: impl Into<Box<str>>,
        data: Box<RawValue>,
        at: Timestamp,
        to: Option<PublicKey>,
    ) -> Self {
        Self {
            id,
            topic: topic.into(),
            data,
            at,
            to,
            told: OnceLock::new(),
        }
    }

    /// Its text, written out once for all who get the same.
    pub fn told(&self, write: impl FnOnce() -> Utf8Bytes) -> Utf8Bytes {
        self.told.get_or_init(write).clone()
    }
}

impl Hub {
    /// Listens to a circle.
    pub fn listen(&self, circle: PublicKey) -> Feed {
        let sender = self.0.entry(circle);
        let sender = sender.or_insert_with(|| broadcast::Sender::new(WAITING));
        Feed {
            receiver: Some(sender.subscribe()),
            hub: self.clone(),
            circle,
        }
    }

    /// Whether anybody listens.
    pub fn listens(&self, circle: &PublicKey) -> bool {
        self.0.contains_key(circle)
    }

    /// The circles that somebody listens to.
    pub fn circles(&self) -> Vec<PublicKey> {
        self.0.iter().map(|circle| *circle.key()).collect()
    }

    /// Tells whoever listens. Those of one circle must come in their order, from one thread at a time.
    pub fn tell(&self, circle: &PublicKey, events: impl IntoIterator<Item = Arc<Event>>) {
        if let Some(sender) = self.0.get(circle) {
            for event in events {
                // Whoever listened may have left.
                let _ = sender.send(Signal::Event(event));
            }
        }
    }

    /// Has whoever listens look into the log.
    pub fn look(&self, circle: &PublicKey) {
        if let Some(sender) = self.0.get(circle) {
            let _ = sender.send(Signal::Look);
        }
    }
}

impl Feed {
    /// Waits for the next one. Loses nothing when it is dropped.
    pub async fn next(&mut self) -> Signal {
        let Some(receiver) = &mut self.receiver else {
            return std::future::pending().await;
        };
        match receiver.recv().await {
            Ok(signal) => signal,
            Err(RecvError::Lagged(_)) => Signal::Look,
            // The sender lives as long as anybody listens.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The next one, if it is there.
    pub fn try_next(&mut self) -> Option<Signal> {
        match self.receiver.as_mut()?.try_recv() {
            Ok(signal) => Some(signal),
            Err(TryRecvError::Lagged(_)) => Some(Signal::Look),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.receiver = None;
        if let Entry::Occupied(sender) = self.hub.0.entry(self.circle)
            && sender.get().receiver_count() == 0
        {
            sender.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SecretKey;

    fn event(id: u64) -> Arc<Event> {
        let data = RawValue::NULL.to_owned();
        Arc::new(Event::new(id, "news", data, Timestamp::UNIX_EPOCH, None))
    }

    #[tokio::test]
    async fn whoever_listens_is_told_in_order_and_whoever_lags_is_told_to_look() {
        let circle = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let hub = Hub::default();
        hub.tell(&circle, [event(1)]);
        let mut feed = hub.listen(circle);
        let mut other = hub.listen(circle);
        hub.tell(&circle, [event(2), event(3)]);
        for id in [2, 3] {
            assert!(matches!(feed.next().await, Signal::Event(event) if event.id == id));
        }
        assert!(feed.try_next().is_none());
        hub.tell(&circle, (4..1000).map(event));
        assert!(matches!(other.next().await, Signal::Look));
        drop(feed);
        assert!(hub.listens(&circle));
        drop(other);
        assert!(!hub.listens(&circle) && hub.circles().is_empty());
    }
}
