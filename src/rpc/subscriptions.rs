//! What one session is told of its circle's events.
//!
//! A subscription is a cursor into the circle's log: the event that comes next is sent as it lands, one that has been
//! sent is skipped, and where some are missing they are read from the log first. So nothing is missed or sent twice,
//! whether somebody catches up, was slow, or the server was cut off from Redis for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use circled_protocol::{
    PublicKey, Role, Word,
    methods::{self, Notification},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{sync::Notify, time::sleep};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{PendingCall, Shared};
use crate::{
    address::Network,
    memory::{MemoryBudget, Reservation},
    store::{Event, Feed, Log, Signal, Unavailable},
    turns::Turn,
};

/// Events that are read from the log, or taken as they land, before the session sees to other things.
const AT_ONCE: usize = 64;
/// Bytes of what is told of them at once, about.
const BYTES_AT_ONCE: usize = 64 << 10;
/// What a member's sessions look for.
const REMOVED: &str = "circle.member_removed";
/// What is made room for where there is none for so much: an event that isn't known yet, which may be small.
const LITTLE: usize = 1 << 10;
/// How long to wait before the log is looked at again, where there was no room for what it has, or that failed; twice as long
/// after each further failure, up to the longest.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(4);

/// The subscriptions of one session. A cheap handle.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    shared: Arc<Shared>,
    circle: PublicKey,
    /// What the session may make the server hold.
    memory: MemoryBudget,
    /// Where its client is: whoever reads the log from there takes turns with others.
    address: Network,
}

#[derive(Debug, Default)]
struct State {
    names: u64,
    list: Vec<Subscription>,
    /// A feed that nobody has taken yet.
    feed: Option<Feed>,
    /// Who the session's caller is, once they have logged in.
    caller: Option<PublicKey>,
    /// What is to be said of subscriptions that are there no more.
    notices: Vec<Notice>,
}

/// A text that the session is to be told.
#[derive(Debug)]
pub struct Notice {
    /// A notification.
    pub text: Utf8Bytes,
    /// What it counts as held, until it is sent. What is small needs none.
    pub room: Option<Reservation>,
}

/// What is told at once, as far as there is room for it.
struct Telling<'a> {
    memory: &'a MemoryBudget,
    notices: Vec<Notice>,
    /// An event found no room: it stays where it is.
    is_full: bool,
}

/// One of them.
#[derive(Debug)]
struct Subscription {
    name: u64,
    topic: Box<str>,
    /// Who it is for.
    caller: Option<PublicKey>,
    /// Whether it ends when the caller is no member any more.
    only_members: bool,
    /// The newest event when the caller was known to be one.
    member_at: u64,
    /// The number of the event that comes next.
    next: u64,
    /// Whether the log is to be read from there.
    behind: bool,
    /// Bytes of the text of that event, where it found no room; 0: it isn't known.
    needs: usize,
}

/// What somebody wants to be told.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) topic: Box<str>,
    pub(super) caller: Option<PublicKey>,
    pub(super) only_members: bool,
    /// Those after this one; nothing: those to come.
    pub(super) since: Option<u64>,
}

/// Carries events from the feed and the log to the session's socket.
pub struct Events {
    subscriptions: Subscriptions,
    feed: Option<Feed>,
    look: Option<Look>,
    /// How long to wait before the next one.
    pause: Duration,
}

/// A look at the log.
enum Look {
    /// It waits for its turn.
    Waits(PendingCall<Option<Turn<Network>>>),
    /// It has it, and reads for the subscription of this name.
    Reads(u64, PendingCall<Result<Missed, NotRead>>),
}

/// What may be gathered to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Nothing but what is being read already.
    Nothing,
    /// What lands.
    Land,
    /// What was missed. Only once the client has taken all that it was sent: a page that can't be sent is read in vain.
    Read,
}

/// Why the log wasn't read.
enum NotRead {
    Unavailable,
    NoRoom,
}

/// What a subscription has missed.
struct Missed {
    log: Log,
    /// Whether its caller may be told. The log may have lost that they were removed.
    stays: bool,
    /// What the events count as held.
    room: Option<Reservation>,
}

/// Writes what a subscription is told.
fn notification(subscription: u64, notice: methods::Notice<&RawValue, &str>) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Message<'a> {
        jsonrpc: &'static str,
        method: &'static str,
        params: Notification<&'a RawValue, &'a str>,
    }
    let name = subscription.to_string();
    let notification = Message {
        jsonrpc: "2.0",
        method: <Notification>::NAME,
        params: Notification {
            subscription: &name,
            notice,
        },
    };
    // Names, numbers, and JSON that is kept as such.
    serde_json::to_string(&notification)
        .unwrap_or_default()
        .into()
}

impl From<Unavailable> for NotRead {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<Utf8Bytes> for Notice {
    fn from(small: Utf8Bytes) -> Self {
        Self {
            text: small,
            room: None,
        }
    }
}

impl<'a> Telling<'a> {
    fn new(memory: &'a MemoryBudget) -> Self {
        Self {
            memory,
            notices: Vec::new(),
            is_full: false,
        }
    }

    /// Says something of a subscription.
    fn say(&mut self, small: Utf8Bytes) {
        self.notices.push(small.into());
    }

    /// Tells an event. Returns whether there was room for it.
    fn tell(&mut self, text: Utf8Bytes) -> bool {
        match self.memory.try_reserve(text.len()) {
            Ok(room) => self.notices.push(Notice {
                text,
                room: Some(room),
            }),
            Err(_) => self.is_full = true,
        }
        !self.is_full
    }

    fn bytes(&self) -> usize {
        self.notices.iter().map(|notice| notice.text.len()).sum()
    }
}

impl Subscriptions {
    /// None yet, of a session in this circle. What it is told counts in `memory`.
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

    /// Returns what they are told, for whoever sends it.
    pub fn events(&self) -> Events {
        Events {
            subscriptions: self.clone(),
            feed: None,
            look: None,
            pause: Duration::ZERO,
        }
    }

    /// Whether there are, or were, any.
    pub fn any(&self) -> bool {
        self.0.state().names > 0
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.state().list.len()
    }

    /// Makes the session another caller's: what the one before has subscribed to ends.
    pub(super) fn belong_to(&self, caller: PublicKey) {
        let mut state = self.0.state();
        let State { list, notices, .. } = &mut *state;
        list.retain(|one| {
            let stays = one.caller.is_none_or(|before| before == caller);
            if !stays {
                notices.push(ended(one, None).into());
            }
            stays
        });
        state.caller = Some(caller);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Begins one, with a feed that was there before the log was looked at. Returns its name, and the event after
    /// which it begins; nothing, where the session is another caller's by now.
    pub(super) fn begin(&self, wanted: Wanted, feed: Feed, log: &Log) -> Option<(String, u64)> {
        let mut state = self.0.state();
        if wanted.caller.is_some() && wanted.caller != state.caller {
            return None;
        }
        state.names += 1;
        let name = state.names;
        let since = wanted.since.unwrap_or(log.last);
        state.list.push(Subscription {
            name,
            topic: wanted.topic,
            caller: wanted.caller,
            only_members: wanted.only_members,
            member_at: log.last,
            next: since.saturating_add(1),
            // A feed that is there already may have seen what has landed since the look at the log.
            behind: since != log.last || name > 1,
            needs: 0,
        });
        state.feed.get_or_insert(feed);
        drop(state);
        self.0.changed.notify_one();
        Some((name.to_string(), since))
    }

    /// Answers whether there was one of this name.
    pub(super) fn end(&self, name: &str) -> bool {
        let mut state = self.0.state();
        let before = state.list.len();
        state.list.retain(|one| one.name.to_string() != name);
        let ended = state.list.len() < before;
        drop(state);
        self.0.changed.notify_one();
        ended
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Whether something was missed, so that [`May::Read`] comes before [`May::Land`].
    pub fn is_behind(&self) -> bool {
        let state = self.subscriptions.0.state();
        state.list.iter().any(|one| one.behind)
    }

    /// Waits for something to be sent; or for nothing, where it depends on what may be gathered now. What there is no room
    /// for stays in the log. A look at the log has its turn, so it is to be waited for even where nothing else may be
    /// gathered. Loses nothing when it is dropped.
    pub async fn next(&mut self, may: May) -> Vec<Notice> {
        loop {
            match &mut self.look {
                Some(Look::Waits(turn)) => {
                    let turn = turn.await;
                    self.look = None;
                    // There are as many places to wait as sessions.
                    let Some(turn) = turn else {
                        self.pause = AGAIN;
                        return Vec::new();
                    };
                    self.read_for_those_behind(turn);
                    continue;
                }
                Some(Look::Reads(name, missed)) => {
                    let (name, missed) = (*name, missed.await);
                    self.look = None;
                    return self.tell_missed(name, missed);
                }
                None => {}
            }
            if may == May::Nothing {
                return std::future::pending().await;
            }
            let changed = self.subscriptions.0.clone();
            let changed = changed.changed.notified();
            let notices = self.settle_feed();
            if !notices.is_empty() || self.is_behind() != (may == May::Read) {
                return notices;
            }
            if may == May::Read {
                self.look = Some(self.wait_for_turn());
                continue;
            }
            let Self {
                feed,
                subscriptions,
                ..
            } = self;
            let mut telling = Telling::new(&subscriptions.0.memory);
            tokio::select! {
                () = Self::land(feed, subscriptions, &mut telling) => {}
                () = changed => {}
            }
            if !telling.notices.is_empty() {
                return telling.notices;
            }
        }
    }

    /// Waits until the log isn't read any more for a session that has ended: until then, it has its turn and its room.
    pub async fn finish(self) {
        if let Some(Look::Reads(_, missed)) = self.look {
            let _ = missed.await;
        }
    }

    /// Tells a subscription what has been read for it.
    fn tell_missed(&mut self, name: u64, missed: Result<Missed, NotRead>) -> Vec<Notice> {
        let inner = &*self.subscriptions.0;
        let mut telling = Telling::new(&inner.memory);
        let again = match missed {
            Ok(mut missed) => {
                // It is about what the texts need.
                drop(missed.room.take());
                let mut state = inner.state();
                catch_up(&mut state.list, name, &missed, &inner.circle, &mut telling);
                telling.is_full.then_some(AGAIN)
            }
            // It costs nothing to ask for room.
            Err(NotRead::NoRoom) => Some(AGAIN),
            Err(NotRead::Unavailable) => Some((2 * self.pause).clamp(AGAIN, AGAIN_AT_MOST)),
        };
        self.pause = again.unwrap_or_default();
        telling.notices
    }

    /// Has a feed as long as somebody wants to be told. One is enough for all, and the one that is there longest
    /// has missed the least. Returns what is to be said of subscriptions that have ended.
    fn settle_feed(&mut self) -> Vec<Notice> {
        let mut state = self.subscriptions.0.state();
        let new = state.feed.take();
        self.feed = if state.list.is_empty() {
            None
        } else {
            self.feed.take().or(new)
        };
        std::mem::take(&mut state.notices)
    }

    fn wait_for_turn(&self) -> Look {
        let (inner, pause) = (&*self.subscriptions.0, self.pause);
        let (shared, address) = (inner.shared.clone(), inner.address);
        Look::Waits(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            shared.log_reads.take([address; 2]).await
        }))
    }

    /// Begins to read the log for one of them, if there is room for what it reads.
    fn read_for_those_behind(&mut self, turn: Turn<Network>) {
        let inner = &*self.subscriptions.0;
        let state = inner.state();
        let Some(one) = state.list.iter().find(|one| one.behind) else {
            return;
        };
        let (name, from, needs) = (one.name, one.next, one.needs);
        let member = one.caller.filter(|_| one.only_members);
        drop(state);
        let (shared, circle, memory) = (inner.shared.clone(), inner.circle, inner.memory.clone());
        let read = async move {
            let _turn = turn;
            // Without room for a page, one by one: whoever holds little is told all the same.
            let (room, most) = match memory.try_reserve(needs.max(Log::BYTES_AT_ONCE)) {
                Ok(room) => (room, AT_ONCE),
                Err(_) => match memory.try_reserve(needs.max(LITTLE)) {
                    Ok(room) => (room, 1),
                    Err(_) => return Err(NotRead::NoRoom),
                },
            };
            let log = shared.dispatcher.log(circle, from, most).await?;
            tracing::debug!(from, events = log.events.len(), "read missed events");
            let stays = match member {
                Some(member) => shared.dispatcher.is_member(circle, member).await?,
                None => true,
            };
            Ok(Missed {
                log,
                stays,
                room: Some(room),
            })
        };
        self.look = Some(Look::Reads(name, Box::pin(read)));
    }

    /// Takes what lands, and tells who wants it.
    async fn land(
        feed: &mut Option<Feed>,
        subscriptions: &Subscriptions,
        telling: &mut Telling<'_>,
    ) {
        let Some(feed) = feed else {
            return std::future::pending().await;
        };
        let mut signal = feed.next().await;
        let circle = &subscriptions.0.circle;
        let mut state = subscriptions.0.state();
        let list = &mut state.list;
        for taken in 1.. {
            match signal {
                Signal::Event(event) => offer(list, &event, circle, telling),
                Signal::ReadLog => list.iter_mut().for_each(|one| one.behind = true),
            }
            // With many subscriptions, each event is many texts.
            let enough = taken == AT_ONCE
                || telling.notices.len() >= AT_ONCE
                || telling.bytes() >= BYTES_AT_ONCE;
            if enough || list.iter().any(|one| one.behind) {
                break;
            }
            // Only what is going to be looked at is taken.
            match feed.try_next() {
                Some(next) => signal = next,
                None => break,
            }
        }
    }
}

/// Tells a subscription what it had missed.
fn catch_up(
    list: &mut Vec<Subscription>,
    name: u64,
    missed: &Missed,
    circle: &PublicKey,
    telling: &mut Telling<'_>,
) {
    let Missed { log, stays, .. } = missed;
    let find = |list: &[Subscription]| list.iter().position(|one| one.name == name);
    let Some(place) = find(list) else {
        return;
    };
    if !stays {
        end(list, place, telling);
        return;
    }
    let one = &mut list[place];
    let next = match log.events.first() {
        Some(event) => event.id,
        // It is another log: what this subscription was told is nowhere in it.
        None if one.next > log.last + 1 => {
            one.member_at = log.last;
            log.first.max(1)
        }
        None => log.last + 1,
    };
    if next != one.next {
        // The log has been cut since, or it is another one.
        one.next = next;
        one.needs = 0;
        telling.say(notification(
            name,
            methods::Notice::Gap {
                gap: true,
                since: next - 1,
            },
        ));
    }
    one.behind = false;
    for event in &log.events {
        let Some(place) = find(list) else {
            return;
        };
        offer_one(list, place, event, circle, telling);
    }
    if let Some(place) = find(list) {
        let one = &mut list[place];
        one.behind |= log.events.len() == AT_ONCE || one.next <= log.last;
    }
}

/// Ends a subscription whose caller is no member any more.
fn end(list: &mut Vec<Subscription>, place: usize, telling: &mut Telling<'_>) {
    let one = list.remove(place);
    telling.say(ended(&one, Some(Role::Member)));
}

/// Says that a subscription is there no more, and what it would take.
fn ended(one: &Subscription, needs: Option<Role>) -> Utf8Bytes {
    notification(
        one.name,
        methods::Notice::Ended {
            ended: true,
            needs: needs.map(Word::Known),
        },
    )
}

/// Tells everyone who wants it.
fn offer(
    list: &mut Vec<Subscription>,
    event: &Arc<Event>,
    circle: &PublicKey,
    telling: &mut Telling<'_>,
) {
    let mut place = list.len();
    while place > 0 {
        place -= 1;
        offer_one(list, place, event, circle, telling);
    }
}

fn offer_one(
    list: &mut Vec<Subscription>,
    place: usize,
    event: &Arc<Event>,
    circle: &PublicKey,
    telling: &mut Telling<'_>,
) {
    let one = &mut list[place];
    if event.id < one.next {
        return;
    }
    if event.id > one.next {
        one.behind = true;
        return;
    }
    if one.only_members
        && event.id > one.member_at
        && *event.topic == *REMOVED
        && one.is_about(event)
    {
        end(list, place, telling);
        return;
    }
    if one.wants(event, circle) {
        let text = || {
            notification(
                one.name,
                methods::Notice::Event(methods::Event {
                    id: event.id,
                    topic: &event.topic,
                    data: &event.data,
                    at: event.at,
                }),
            )
        };
        // Most sessions have one subscription, and all of those are told the same.
        let text = match one.name {
            1 => event.text(text),
            _ => text(),
        };
        let length = text.len();
        if !telling.tell(text) {
            one.behind = true;
            one.needs = length;
            return;
        }
    }
    one.next += 1;
    one.needs = 0;
}

impl Subscription {
    fn wants(&self, event: &Event, circle: &PublicKey) -> bool {
        let may = match (&event.to, &self.caller) {
            (None, _) => true,
            (Some(to), Some(caller)) => caller == to || caller == circle,
            (Some(_), None) => false,
        };
        may && event.topic.starts_with(&*self.topic)
    }

    fn is_about(&self, event: &Event) -> bool {
        let key = self.caller.map(|caller| caller.to_string());
        key.is_some_and(|key| event.data.get().contains(&key))
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn key(seed: u8) -> PublicKey {
        let secret = SecretKey::from_hex(&hex::encode([seed; 32]));
        secret.unwrap().public()
    }

    fn event(id: u64, topic: &str, data: &Value, to: Option<PublicKey>) -> Arc<Event> {
        let data = serde_json::value::to_raw_value(data).unwrap();
        Arc::new(Event::new(id, topic, data, Timestamp::UNIX_EPOCH, to))
    }

    fn news(id: u64) -> Arc<Event> {
        event(id, "news", &json!(id), None)
    }

    fn removed(id: u64, seed: u8) -> Arc<Event> {
        event(id, REMOVED, &json!({ "pubkey": key(seed) }), Some(key(1)))
    }

    /// One of the holder of `key(2)`, in the circle of `key(1)`, that is to be told of this event next.
    fn subscription(name: u64, next: u64) -> Subscription {
        Subscription {
            name,
            topic: "".into(),
            caller: Some(key(2)),
            only_members: false,
            member_at: 0,
            next,
            behind: false,
            needs: 0,
        }
    }

    fn missed(first: u64, last: u64, ids: impl IntoIterator<Item = u64>) -> Missed {
        Missed {
            log: Log {
                first,
                last,
                events: ids.into_iter().map(news).collect(),
            },
            stays: true,
            room: None,
        }
    }

    /// What was told, and whom: `1: 7`, `1: gap 7`, `1: ended`.
    fn told(telling: Telling<'_>) -> Vec<String> {
        let tell = |notice: Notice| {
            let message: Value = circled_json::parse(notice.text.as_str()).unwrap();
            assert_eq!(
                (&message["jsonrpc"], &message["method"]),
                (&json!("2.0"), &json!("event"))
            );
            let params = &message["params"];
            let name = params["subscription"].as_str().unwrap();
            if params["gap"] == true {
                format!("{name}: gap {}", params["since"])
            } else if params["ended"] == true {
                assert_eq!(params["needs"], "member");
                format!("{name}: ended")
            } else {
                format!("{name}: {}", params["id"])
            }
        };
        telling.notices.into_iter().map(tell).collect()
    }

    fn memory(bytes: usize) -> MemoryBudget {
        MemoryBudget::new("session.max_buffered", bytes)
    }

    fn offered(list: &mut Vec<Subscription>, event: &Arc<Event>) -> Vec<String> {
        let memory = memory(1 << 20);
        let mut telling = Telling::new(&memory);
        offer(list, event, &key(1), &mut telling);
        let mut told = told(telling);
        told.sort();
        told
    }

    fn caught_up(list: &mut Vec<Subscription>, name: u64, missed: &Missed) -> Vec<String> {
        let memory = memory(1 << 20);
        let mut telling = Telling::new(&memory);
        catch_up(list, name, missed, &key(1), &mut telling);
        told(telling)
    }

    #[test]
    fn what_comes_next_is_told_and_what_has_been_is_not() {
        let list = &mut vec![subscription(1, 5), subscription(2, 7)];
        assert!(offered(list, &news(4)).is_empty());
        assert_eq!(offered(list, &news(5)), ["1: 5"]);
        assert!(offered(list, &news(5)).is_empty());
        assert_eq!(offered(list, &news(6)), ["1: 6"]);
        assert_eq!(offered(list, &news(7)), ["1: 7", "2: 7"]);
        assert!(list.iter().all(|one| one.next == 8 && !one.behind));
    }

    #[test]
    fn where_some_are_missing_the_log_comes_first() {
        let list = &mut vec![subscription(1, 8)];
        assert!(offered(list, &news(10)).is_empty());
        assert!(list[0].behind && list[0].next == 8);
        // It has what came meanwhile, too.
        assert_eq!(
            caught_up(list, 1, &missed(1, 11, 8..=11)),
            ["1: 8", "1: 9", "1: 10", "1: 11"]
        );
        assert!(!list[0].behind);
        assert!(offered(list, &news(11)).is_empty());
        assert_eq!(offered(list, &news(12)), ["1: 12"]);
        assert!(caught_up(list, 1, &missed(1, 12, [])).is_empty());
        assert!(
            caught_up(list, 7, &missed(1, 12, [])).is_empty(),
            "nobody's"
        );
    }

    #[test]
    fn what_there_is_no_room_for_stays_in_the_log() {
        let (none, some) = (memory(10), memory(180));
        let list = &mut vec![subscription(1, 5), subscription(2, 5)];
        let mut telling = Telling::new(&none);
        offer(list, &news(5), &key(1), &mut telling);
        assert!(telling.is_full && told(telling).is_empty());
        assert!(list.iter().all(|one| one.behind && one.next == 5));
        assert!(
            list.iter().all(|one| one.needs > 10),
            "room for it is made first"
        );
        // Room for one of three.
        let mut telling = Telling::new(&some);
        let log = missed(1, 7, 5..=7);
        catch_up(list, 1, &log, &key(1), &mut telling);
        assert!(telling.is_full && some.used() > 100);
        assert_eq!(told(telling), ["1: 5"]);
        assert_eq!(some.used(), 0);
        assert!(list[0].behind && list[0].next == 6);
        assert_eq!(caught_up(list, 1, &missed(1, 7, 6..=7)), ["1: 6", "1: 7"]);
        assert_eq!(caught_up(list, 2, &log).len(), 3);
        assert!(list.iter().all(|one| !one.behind && one.next == 8));
        assert!(list.iter().all(|one| one.needs == 0));
    }

    #[test]
    fn a_full_page_is_not_the_end() {
        let list = &mut vec![subscription(1, 1)];
        let page = AT_ONCE as u64;
        assert_eq!(
            caught_up(list, 1, &missed(1, page, 1..=page)).len(),
            AT_ONCE
        );
        assert!(list[0].behind, "there may be more by now");
        assert!(caught_up(list, 1, &missed(1, page, [])).is_empty());
        assert!(!list[0].behind);
        assert_eq!(
            caught_up(list, 1, &missed(1, page + 9, [page + 1])).len(),
            1
        );
        assert!(list[0].behind, "the log says so");
    }

    #[test]
    fn what_the_log_has_lost_is_a_gap() {
        let list = &mut vec![subscription(1, 5)];
        assert_eq!(
            caught_up(list, 1, &missed(8, 9, 8..=9)),
            ["1: gap 7", "1: 8", "1: 9"]
        );
        // What can't be read any more, in the middle and at the end.
        assert_eq!(caught_up(list, 1, &missed(8, 12, [10, 12])), ["1: 10"]);
        assert!(list[0].behind);
        assert_eq!(
            caught_up(list, 1, &missed(8, 12, [12])),
            ["1: gap 11", "1: 12"]
        );
        assert_eq!(caught_up(list, 1, &missed(8, 14, [])), ["1: gap 14"]);
        assert!(!list[0].behind && list[0].next == 15);
    }

    #[test]
    fn another_log_is_told_from_its_beginning() {
        let list = &mut vec![subscription(1, 100)];
        list[0].only_members = true;
        list[0].member_at = 99;
        assert_eq!(caught_up(list, 1, &missed(3, 7, [])), ["1: gap 2"]);
        assert!(list[0].behind && list[0].next == 3);
        // Whoever is removed from here on is.
        assert_eq!(list[0].member_at, 7);
        assert_eq!(caught_up(list, 1, &missed(3, 7, 3..=7)).len(), 5);
        let list = &mut vec![subscription(1, u64::MAX)];
        assert_eq!(caught_up(list, 1, &missed(0, 0, [])), ["1: gap 0"]);
        assert!(!list[0].behind);
        assert_eq!(offered(list, &news(1)), ["1: 1"]);
    }

    #[test]
    fn who_is_removed_is_told_no_more() {
        let member = |name| Subscription {
            only_members: true,
            member_at: 4,
            ..subscription(name, 3)
        };
        let list = &mut vec![
            member(1),
            subscription(2, 3),
            Subscription {
                topic: "none".into(),
                ..member(3)
            },
            Subscription {
                caller: Some(key(3)),
                ..member(4)
            },
        ];
        // They were one again by then.
        assert!(offered(list, &removed(3, 2)).is_empty());
        assert_eq!(offered(list, &news(4)), ["1: 4", "2: 4", "4: 4"]);
        assert_eq!(offered(list, &removed(5, 2)), ["1: ended", "3: ended"]);
        assert_eq!(offered(list, &news(6)), ["2: 6", "4: 6"]);
        // In the log, and where the log has lost it.
        let list = &mut vec![member(1), member(2)];
        let mut log = missed(3, 6, [3, 4]);
        log.log.events.extend([removed(5, 2), news(6)]);
        assert_eq!(caught_up(list, 1, &log), ["1: 3", "1: 4", "1: ended"]);
        let gone = Missed {
            stays: false,
            ..missed(9, 9, [9])
        };
        assert_eq!(caught_up(list, 2, &gone), ["2: ended"]);
        assert!(list.is_empty());
    }

    #[test]
    fn some_events_are_for_one_alone_and_the_owner() {
        let of = |name, caller| Subscription {
            caller,
            ..subscription(name, 1)
        };
        let list = &mut vec![
            of(1, Some(key(1))),
            of(2, Some(key(2))),
            of(3, Some(key(3))),
            of(4, None),
        ];
        let own = event(1, "job.x", &json!(1), Some(key(2)));
        assert_eq!(offered(list, &own), ["1: 1", "2: 1"]);
        let owners = event(2, "circle.x", &json!(1), Some(key(1)));
        assert_eq!(offered(list, &owners), ["1: 2"]);
        assert_eq!(offered(list, &news(3)).len(), 4);
    }

    #[test]
    fn topics_begin_with_what_was_asked_for() {
        let of = |name, topic: &str| Subscription {
            topic: topic.into(),
            ..subscription(name, 1)
        };
        let list = &mut vec![
            of(1, ""),
            of(2, "news"),
            of(3, "news/"),
            of(4, "new\u{301}"),
        ];
        assert_eq!(offered(list, &news(1)), ["1: 1", "2: 1"]);
        let topic = event(2, "news/a", &json!(1), None);
        assert_eq!(offered(list, &topic), ["1: 2", "2: 2", "3: 2"]);
        assert!(list.iter().all(|one| one.next == 3));
    }

    #[test]
    fn each_is_told_by_its_own_name() {
        let event = news(1);
        for name in [1, 2, 1, 3] {
            let list = &mut vec![subscription(name, 1)];
            assert_eq!(offered(list, &event), [format!("{name}: 1")]);
        }
    }

    /// What may happen around a subscription.
    #[derive(Debug, Clone)]
    enum Happens {
        /// So many events land.
        Lands(u64),
        /// So many of those that landed reach the session.
        Arrive(usize),
        /// Those that were on their way are lost, and it is told to look.
        Lost,
        /// It looks into the log.
        Look,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            (1_u64..100).prop_map(Happens::Lands),
            (1_usize..100).prop_map(Happens::Arrive),
            Just(Happens::Lost),
            Just(Happens::Look),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_each_event_comes_once_and_in_order(
            since in 0_u64..50,
            all in proptest::collection::vec(happens(), 1..60),
        ) {
            let (mut last, mut arriving) = (50, std::collections::VecDeque::new());
            let list = &mut vec![Subscription { behind: true, ..subscription(1, since + 1) }];
            let mut seen = Vec::new();
            let look = |list: &mut Vec<Subscription>, last: u64| {
                let from = list[0].next;
                let page = (from..=last).take(AT_ONCE);
                caught_up(list, 1, &missed(1, last, page))
            };
            for one in all {
                match one {
                    Happens::Lands(count) => {
                        arriving.extend(last + 1..=last + count);
                        last += count;
                    }
                    Happens::Arrive(count) => {
                        for _ in 0..count.min(arriving.len()) {
                            let id = arriving.pop_front().unwrap();
                            seen.extend(offered(list, &news(id)));
                        }
                    }
                    Happens::Lost => {
                        arriving.clear();
                        list[0].behind = true;
                    }
                    Happens::Look if list[0].behind => seen.extend(look(list, last)),
                    Happens::Look => {}
                }
            }
            for id in arriving {
                seen.extend(offered(list, &news(id)));
            }
            while list[0].behind {
                seen.extend(look(list, last));
            }
            let expected: Vec<String> = (since + 1..=last).map(|id| format!("1: {id}")).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
