//! The cursors of a session's subscriptions: which events each gets, and which it has missed.

use std::sync::Arc;

use circled_protocol::{DeviceKey, PublicKey, Role};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::notice::{self, NoticeBatch};
use crate::{
    circle::DEVICE_REMOVED,
    metrics::metrics,
    rpc::device_sessions::changed_device,
    store::{Event, Log},
};

/// The most events that are read from the log at once.
pub(super) const PAGE: usize = 64;
/// The topic of the event after which a removed member's subscriptions end.
const MEMBER_REMOVED: &str = "circle.member_removed";

/// The cursors of one session.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    last_name: u64,
    list: Vec<Cursor>,
}

/// One subscription.
#[derive(Debug)]
struct Cursor {
    name: u64,
    topic: Box<str>,
    /// The caller who subscribed, if they had logged in.
    caller: Option<PublicKey>,
    /// The device key by which the caller acts, if they do.
    device: Option<DeviceKey>,
    /// The role that the circle's list must give the caller; without it, the subscription ends.
    requires: Option<Role>,
    /// The newest event when the caller was known to have that role.
    confirmed_at: u64,
    /// The number of the event that comes next.
    next: u64,
    /// True if the log must be read from there.
    is_behind: bool,
    /// The bytes of that event's notification, if it found no memory; 0 if they aren't known.
    needs: usize,
}

/// A subscription to begin.
#[derive(Debug)]
pub(in crate::rpc) struct NewSubscription {
    pub(in crate::rpc) topic: Box<str>,
    pub(in crate::rpc) caller: Option<PublicKey>,
    pub(in crate::rpc) device: Option<DeviceKey>,
    pub(in crate::rpc) requires: Option<Role>,
    /// The event after which it begins; `None`: new events.
    pub(in crate::rpc) since: Option<u64>,
}

/// A cursor for which the log must be read.
pub(super) struct Behind {
    pub(super) name: u64,
    pub(super) from: u64,
    pub(super) needs: usize,
    /// The caller, and the role that the circle's list must still give them.
    pub(super) requires: Option<(PublicKey, Role)>,
    /// The caller, and the device key that must still be theirs.
    pub(super) device: Option<(PublicKey, DeviceKey)>,
}

/// Events that a subscription has missed.
pub(super) struct Missed {
    pub(super) log: Log,
    /// True if the caller may still get events. The log may have lost the event of their removal.
    pub(super) stays: bool,
}

impl Cursors {
    /// Returns true if there is, or was, a subscription or a watch.
    pub(super) fn any(&self) -> bool {
        self.last_name > 0
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns a new name for a subscription, or for a watch.
    pub(super) fn take_name(&mut self) -> u64 {
        self.last_name += 1;
        self.last_name
    }

    /// Adds a cursor to a log whose newest event is `last`. Returns its name, and the event after which it begins.
    pub(super) fn begin(&mut self, new: NewSubscription, last: u64) -> (u64, u64) {
        let name = self.take_name();
        let since = new.since.unwrap_or(last);
        self.list.push(Cursor {
            name,
            topic: new.topic,
            caller: new.caller,
            device: new.device,
            requires: new.requires,
            confirmed_at: last,
            next: since.saturating_add(1),
            // An earlier feed may have passed events that were committed since the read of the log.
            is_behind: since != last || name > 1,
            needs: 0,
        });
        (name, since)
    }

    /// Removes a cursor. Returns true if there was one of this name.
    pub(super) fn end(&mut self, name: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|cursor| cursor.name.to_string() != name);
        self.list.len() < before
    }

    /// Removes the cursors of other callers and devices. Returns the notifications about that.
    pub(super) fn end_of_others(
        &mut self,
        caller: &PublicKey,
        device: Option<DeviceKey>,
    ) -> Vec<Utf8Bytes> {
        let is_others = |cursor: &mut Cursor| {
            let is_other = |other| other != *caller || cursor.device != device;
            cursor.caller.is_some_and(is_other)
        };
        let ended = self.list.extract_if(.., is_others);
        ended
            .map(|cursor| notice::ended(cursor.name, None))
            .collect()
    }

    /// Returns true if a cursor has missed events.
    pub(super) fn is_behind(&self) -> bool {
        self.list.iter().any(|cursor| cursor.is_behind)
    }

    /// Returns the first cursor that has missed events.
    pub(super) fn first_behind(&self) -> Option<Behind> {
        let behind = self.list.iter().find(|cursor| cursor.is_behind);
        behind.map(|cursor| Behind {
            name: cursor.name,
            from: cursor.next,
            needs: cursor.needs,
            requires: cursor.caller.zip(cursor.requires),
            device: cursor.caller.zip(cursor.device),
        })
    }

    /// Notes that all cursors may have missed events.
    pub(super) fn read_log(&mut self) {
        for cursor in &mut self.list {
            cursor.is_behind = true;
        }
    }

    /// Hands an event to every cursor.
    pub(super) fn offer(
        &mut self,
        event: &Arc<Event>,
        circle: &PublicKey,
        batch: &mut NoticeBatch<'_>,
    ) {
        for index in (0..self.list.len()).rev() {
            self.offer_one(index, event, circle, batch);
        }
    }

    /// Hands missed events to a cursor.
    pub(super) fn catch_up(
        &mut self,
        name: u64,
        missed: &Missed,
        circle: &PublicKey,
        batch: &mut NoticeBatch<'_>,
    ) {
        let Missed { log, stays } = missed;
        let Some(index) = self.find(name) else {
            return;
        };
        if !stays {
            self.end_of_removed(index, batch);
            return;
        }
        let cursor = &mut self.list[index];
        let next = match log.events.first() {
            Some(event) => event.id,
            // It is another log, which has no event that this cursor has passed.
            None if cursor.next > log.last + 1 => {
                cursor.confirmed_at = log.last;
                log.first.max(1)
            }
            None => log.last + 1,
        };
        if next != cursor.next {
            // The log has been cut since, or it is another one.
            cursor.next = next;
            cursor.needs = 0;
            metrics().event_gaps.increment();
            batch.push(notice::gap(name, next - 1));
        }
        cursor.is_behind = false;
        for event in &log.events {
            let Some(index) = self.find(name) else {
                return;
            };
            self.offer_one(index, event, circle, batch);
        }
        if let Some(index) = self.find(name) {
            let cursor = &mut self.list[index];
            cursor.is_behind |= log.events.len() == PAGE || cursor.next <= log.last;
        }
    }

    fn find(&self, name: u64) -> Option<usize> {
        self.list.iter().position(|cursor| cursor.name == name)
    }

    /// Removes a cursor whose caller no longer has the role that it requires.
    fn end_of_removed(&mut self, index: usize, batch: &mut NoticeBatch<'_>) {
        let cursor = self.list.remove(index);
        let needs = cursor.requires.filter(|_| cursor.device.is_none());
        batch.push(notice::ended(cursor.name, needs));
    }

    fn offer_one(
        &mut self,
        index: usize,
        event: &Arc<Event>,
        circle: &PublicKey,
        batch: &mut NoticeBatch<'_>,
    ) {
        let cursor = &mut self.list[index];
        if event.id < cursor.next {
            return;
        }
        if event.id > cursor.next {
            cursor.is_behind = true;
            return;
        }
        if cursor.is_ended_by(event) {
            self.end_of_removed(index, batch);
            return;
        }
        if cursor.gets(event, circle) {
            let text = || notice::event(cursor.name, event);
            // Most sessions have one subscription, and all of those get the same text.
            let text = match cursor.name {
                1 => event.shared(text),
                _ => text(),
            };
            let length = text.len();
            if !batch.try_push(text) {
                cursor.is_behind = true;
                cursor.needs = length;
                return;
            }
        }
        cursor.next += 1;
        cursor.needs = 0;
    }
}

impl Cursor {
    fn gets(&self, event: &Event, circle: &PublicKey) -> bool {
        let may = match (&event.to, &self.caller) {
            (None, _) => true,
            // The owner sees what the server tells of jobs and members, not what scripts tell one caller.
            (Some(to), Some(caller)) => caller == to || caller == circle && is_servers_own(event),
            (Some(_), None) => false,
        };
        may && event.topic.starts_with(&*self.topic)
    }

    /// Returns true if the event is the removal of the caller from the list, which must give them a role; or that of the
    /// device key by which they act.
    fn is_ended_by(&self, event: &Event) -> bool {
        #[derive(Deserialize)]
        struct MemberRemoved {
            #[serde(with = "circled_protocol::trusted")]
            pubkey: PublicKey,
        }
        if self.device.is_some() && *event.topic == *DEVICE_REMOVED {
            return event.id > self.confirmed_at && changed_device(event) == self.device;
        }
        self.requires.is_some()
            && event.id > self.confirmed_at
            && *event.topic == *MEMBER_REMOVED
            && circled_json::from_str::<MemberRemoved>(event.data.get())
                .is_ok_and(|removed| self.caller == Some(removed.pubkey))
    }
}

/// Returns true if only the server emits events of this topic to one caller.
fn is_servers_own(event: &Event) -> bool {
    ["job.", "circle."]
        .iter()
        .any(|prefix| event.topic.starts_with(prefix))
}

#[cfg(test)]
mod tests;
