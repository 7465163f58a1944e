//! Publishes events to the sessions that listen, once they are on disk.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use circled_protocol::PublicKey;
use dashmap::{DashMap, Entry};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use super::{commit_hub::CommitHub, settings::Settings};
use crate::memory::{MemoryBudget, Reservation};

/// Events of a circle that wait for a slow listener. The oldest are dropped: they are in the log.
const WAITING: usize = 256;

/// An event of a circle, emitted by a script or by circled itself.
#[derive(Debug)]
pub struct Event {
    /// Its number in the circle, from 1, in the order of the commits.
    pub id: u64,
    /// The topic.
    pub topic: Box<str>,
    /// The data.
    pub data: Box<RawValue>,
    /// The time of the commit.
    pub at: Timestamp,
    /// The key whose sessions receive it, besides the owner's; `None`: everyone's.
    pub to: Option<PublicKey>,
    /// The text that listeners make of it, see [`Event::shared`].
    shared: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The memory that it counts as, for as long as anybody has it.
    reservation: OnceLock<Reservation>,
}

/// A part of a circle's event log.
#[derive(Debug, Default)]
pub struct Log {
    /// The oldest event that is kept; 0 where there is none.
    pub first: u64,
    /// The newest one; 0 where there is none.
    pub last: u64,
    /// The events that were asked for, in order, without a hole.
    pub events: Vec<Arc<Event>>,
}

impl Log {
    /// Bytes of events that are read at once, about: at least one, and where there are more, the rest the next time.
    pub const BYTES_AT_ONCE: usize = 64 << 10;
}

/// The circles that somebody listens to. A cheap handle.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    circles: DashMap<PublicKey, Circle>,
    /// The memory of events that wait in all circles.
    memory: MemoryBudget,
    per_circle: usize,
    commits: CommitHub,
}

#[derive(Debug)]
struct Circle {
    sender: broadcast::Sender<Signal>,
    memory: MemoryBudget,
}

/// A message to listeners.
#[derive(Debug, Clone)]
pub enum Signal {
    /// An event was committed.
    Event(Arc<Event>),
    /// The log may have events that were not sent.
    ReadLog,
}

/// The events of one circle that are committed from the moment on that this was made.
#[derive(Debug)]
pub struct Feed {
    hub: Hub,
    circle: PublicKey,
    receiver: Option<broadcast::Receiver<Signal>>,
}

impl Event {
    /// Creates an event that has its number.
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
            shared: OnceLock::new(),
            reservation: OnceLock::new(),
        }
    }

    /// Returns about how many bytes it takes in memory, with what listeners make of it.
    fn size(&self) -> usize {
        2 * (self.topic.len() + self.data.get().len()) + 512
    }

    /// Returns what its listeners make of it, which is made once for all of them. It should be about as large as the
    /// event.
    pub fn shared<T: Any + Clone + Send + Sync>(&self, make: impl Fn() -> T) -> T {
        let shared = self.shared.get_or_init(|| Box::new(make()));
        // Another type has none made for it.
        shared.downcast_ref().cloned().unwrap_or_else(make)
    }
}

impl Hub {
    /// Creates a hub that bounds what waits as the settings say.
    pub fn new(settings: &Settings) -> Self {
        let in_all = settings.events_waiting_in_all.get();
        let memory = MemoryBudget::new("store.events_waiting_in_all", in_all);
        let per_circle = settings.events_waiting.get();
        Self(Arc::new(Inner {
            circles: DashMap::new(),
            commits: CommitHub::new(memory.clone(), per_circle),
            memory,
            per_circle,
        }))
    }

    /// Returns the hub of those who watch commits.
    pub fn commits(&self) -> &CommitHub {
        &self.0.commits
    }

    /// Listens to a circle.
    pub fn listen(&self, circle: PublicKey) -> Feed {
        let inner = &*self.0;
        let here = inner.circles.entry(circle).or_insert_with(|| Circle {
            sender: broadcast::Sender::new(WAITING),
            memory: inner
                .memory
                .part("store.events_waiting", inner.per_circle, 0),
        });
        Feed {
            receiver: Some(here.sender.subscribe()),
            hub: self.clone(),
            circle,
        }
    }

    /// Returns whether anybody listens to a circle.
    pub fn has_listeners(&self, circle: &PublicKey) -> bool {
        self.0.circles.contains_key(circle)
    }

    /// The circles that somebody listens to.
    pub fn circles(&self) -> Vec<PublicKey> {
        self.0.circles.iter().map(|here| *here.key()).collect()
    }

    /// Sends events to the listeners of a circle; where too much waits already, tells them to read the log. The events
    /// of one circle must come in their order, from one thread at a time.
    pub fn publish(&self, circle: &PublicKey, events: impl IntoIterator<Item = Arc<Event>>) {
        if let Some(here) = self.0.circles.get(circle) {
            for event in events {
                let signal = match here.memory.try_reserve(event.size()) {
                    Ok(reservation) => {
                        let _ = event.reservation.set(reservation);
                        Signal::Event(event)
                    }
                    Err(_) => Signal::ReadLog,
                };
                // Whoever listened may have left.
                let _ = here.sender.send(signal);
            }
        }
    }

    /// Tells the listeners of a circle to read the log.
    pub fn signal_read_log(&self, circle: &PublicKey) {
        if let Some(here) = self.0.circles.get(circle) {
            let _ = here.sender.send(Signal::ReadLog);
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
            Err(RecvError::Lagged(_)) => Signal::ReadLog,
            // The sender lives as long as anybody listens.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Returns the next one, if it is there.
    pub fn try_next(&mut self) -> Option<Signal> {
        match self.receiver.as_mut()?.try_recv() {
            Ok(signal) => Some(signal),
            Err(TryRecvError::Lagged(_)) => Some(Signal::ReadLog),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.receiver = None;
        if let Entry::Occupied(here) = self.hub.0.circles.entry(self.circle)
            && here.get().sender.receiver_count() == 0
        {
            here.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;
    use crate::{config, units::Size};

    fn hub(per_circle: usize) -> Hub {
        let mut settings = config::Settings::load(None, []).unwrap().settings.store;
        settings.events_waiting = Size::new(per_circle).unwrap();
        Hub::new(&settings)
    }

    fn event(id: u64) -> Arc<Event> {
        let data = RawValue::NULL.to_owned();
        Arc::new(Event::new(id, "news", data, Timestamp::UNIX_EPOCH, None))
    }

    #[tokio::test]
    async fn whoever_listens_is_told_in_order_and_whoever_lags_is_told_to_look() {
        let circle = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let hub = hub(1 << 20);
        hub.publish(&circle, [event(1)]);
        let mut feed = hub.listen(circle);
        let mut other = hub.listen(circle);
        hub.publish(&circle, [event(2), event(3)]);
        for id in [2, 3] {
            assert!(matches!(feed.next().await, Signal::Event(event) if event.id == id));
        }
        assert!(feed.try_next().is_none());
        hub.publish(&circle, (4..1000).map(event));
        assert!(matches!(other.next().await, Signal::ReadLog));
        drop(feed);
        assert!(hub.has_listeners(&circle));
        drop(other);
        assert!(!hub.has_listeners(&circle) && hub.circles().is_empty());
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_the_rest_is_in_the_log() {
        let circle = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let hub = hub(3 * event(1).size());
        let mut slow = hub.listen(circle);
        let mut quick = hub.listen(circle);
        hub.publish(&circle, (1..=5).map(event));
        let received = |feed: &mut Feed| {
            let signals = std::iter::from_fn(|| feed.try_next());
            let id = |signal| match signal {
                Signal::Event(event) => event.id,
                Signal::ReadLog => 0,
            };
            signals.map(id).collect::<Vec<_>>()
        };
        assert_eq!(received(&mut quick), [1, 2, 3, 0, 0]);
        hub.publish(&circle, [event(6)]);
        assert_eq!(received(&mut quick), [0], "the other one has them still");
        assert_eq!(received(&mut slow), [1, 2, 3, 0, 0, 0]);
        hub.publish(&circle, [event(7)]);
        assert_eq!(
            (received(&mut slow), received(&mut quick)),
            (vec![7], vec![7])
        );
        assert_eq!(hub.0.memory.used(), 0);
    }
}
