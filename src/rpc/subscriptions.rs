//! Sends a session the events of its circle, and the values that it watches.
//!
//! A subscription is a cursor into the circle's log. The event that comes next is sent when it is committed, one that
//! has been sent is skipped, and missing ones are read from the log first. So nothing is missed or sent twice, even if
//! the client is slow, or the server was cut off from Redis for a while.

mod cursors;
mod events;
mod notice;
mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use circled_protocol::{DeviceKey, PublicKey};
use tokio::sync::{Notify, oneshot};

use super::{Shared, watches::WatchGuard};
use crate::{
    address::Network,
    memory::MemoryBudget,
    store::{Feed, Log},
};
use cursors::Cursors;
pub(super) use cursors::NewSubscription;
pub use events::{Events, Gather};
pub use notice::Notice;
use values::Values;
pub(super) use values::{First, FirstAnswer, SessionWatch};

/// The subscriptions of one session. A cheap handle.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    shared: Arc<Shared>,
    circle: PublicKey,
    /// The memory budget of the session.
    memory: MemoryBudget,
    /// The client's address: reads of the log from one address take turns with others.
    address: Network,
}

#[derive(Debug, Default)]
struct State {
    cursors: Cursors,
    values: Values,
    /// A new feed that [`Events`] hasn't taken yet.
    feed: Option<Feed>,
    /// The session's caller, once they have logged in.
    caller: Option<PublicKey>,
    /// The device key by which they have, if it was one.
    device: Option<DeviceKey>,
    /// Notifications about subscriptions that have ended.
    notices: Vec<Notice>,
}

impl Subscriptions {
    /// Creates an empty set for a session of this circle. Its notifications count in `memory`.
    pub(super) fn new(
        shared: Arc<Shared>,
        circle: PublicKey,
        memory: MemoryBudget,
        address: Network,
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: Notify::new(),
            shared,
            circle,
            memory,
            address,
        }))
    }

    /// Returns the source of notifications for the session's socket.
    pub fn events(&self) -> Events {
        Events::new(self.clone())
    }

    /// Returns true if there is, or was, a subscription.
    pub fn any(&self) -> bool {
        self.0.state().cursors.any()
    }

    /// Returns the number of subscriptions.
    pub(super) fn len(&self) -> usize {
        self.0.state().cursors.len()
    }

    /// Sets the session's caller, and the device key by which they act. The subscriptions of an earlier caller or device
    /// end.
    pub(super) fn set_caller(&self, caller: PublicKey, device: Option<DeviceKey>) {
        let mut state = self.0.state();
        let ended = state.cursors.end_of_others(&caller, device);
        state.notices.extend(ended.into_iter().map(Notice::from));
        state.values.end_of_others(&caller, device);
        state.caller = Some(caller);
        state.device = device;
        drop(state);
        self.0.changed.notify_one();
    }

    /// Begins a subscription, with a feed that existed before the log was read. Returns its name, and the event after
    /// which it begins; `None` if the session has another caller by now.
    pub(super) fn begin(
        &self,
        new: NewSubscription,
        feed: Feed,
        log: &Log,
    ) -> Option<(String, u64)> {
        let mut state = self.0.state();
        if new.caller.is_some() && !state.is(new.caller, new.device) {
            return None;
        }
        let (name, since) = state.cursors.begin(new, log.last);
        state.feed.get_or_insert(feed);
        drop(state);
        self.0.changed.notify_one();
        Some((name.to_string(), since))
    }

    /// Ends a subscription. Returns true if there was one of this name.
    pub(super) fn end(&self, name: &str) -> bool {
        let mut state = self.0.state();
        let ended = state.cursors.end(name) || state.values.end(name);
        drop(state);
        self.0.changed.notify_one();
        ended
    }

    /// Returns the number of watches.
    pub(super) fn watches(&self) -> usize {
        self.0.state().values.len()
    }

    /// Adds a watch that is to begin. Returns its name, its side of the query, and what its first answer comes from;
    /// `None` if the session has another caller by now.
    pub(super) fn add_watch(
        &self,
        caller: Option<PublicKey>,
        device: Option<DeviceKey>,
    ) -> Option<(u64, SessionWatch, oneshot::Receiver<First>)> {
        let mut state = self.0.state();
        if caller.is_some() && !state.is(caller, device) {
            return None;
        }
        let name = state.cursors.take_name();
        state.values.add(name, caller, device);
        let (watch, first) = SessionWatch::new(Arc::downgrade(&self.0), name);
        Some((name, watch, first))
    }

    /// Keeps what ends a watch, as long as the session has it.
    pub(super) fn hold_watch(&self, name: u64, guard: WatchGuard) {
        let unwanted = self.0.state().values.hold(name, guard);
        drop(unwanted);
    }

    /// Begins a watch: the client is about to be sent the answer with this digest, or has it. Returns false if the watch
    /// has ended.
    pub(super) fn begin_watch(&self, name: u64, digest: [u8; 32]) -> bool {
        let begun = self.0.state().values.begin(name, digest);
        self.0.changed.notify_one();
        begun
    }
}

impl State {
    /// Returns true if the session's caller is this one, by this device.
    fn is(&self, caller: Option<PublicKey>, device: Option<DeviceKey>) -> bool {
        (caller, device) == (self.caller, self.device)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
