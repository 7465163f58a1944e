//! Gathers events from the feed and the log, and values of watches, for the session's socket.

use std::time::Duration;

use circled_protocol::Permission;
use tokio::time::sleep;

use super::{
    Subscriptions,
    cursors::{Missed, PAGE},
    notice::{Notice, NoticeBatch},
};
use crate::{
    address::Network,
    circle::Caller,
    memory::Reservation,
    rpc::PendingCall,
    script::RunError,
    store::{Feed, Log, Signal, Unavailable},
    turns::Turn,
};

/// The size in bytes after which a batch of notifications is sent.
const BATCH_BYTES: usize = 64 << 10;
/// The memory for reading one event if there is none for a page. Its size isn't known yet, and it may be small.
const SMALL_READ: usize = 1 << 10;
/// The wait before the log is read again, after a read that failed or found no memory. It doubles with each further
/// failure, up to the longest.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(4);

/// The source of a session's notifications.
pub struct Events {
    subscriptions: Subscriptions,
    feed: Option<Feed>,
    read: Option<LogRead>,
    /// The wait before the next read of the log.
    pause: Duration,
}

/// A read of the log.
enum LogRead {
    /// It waits for its turn.
    Waiting(PendingCall<Option<Turn<Network>>>),
    /// It has its turn, and reads for the subscription of this name.
    Reading(u64, PendingCall<Result<(Missed, Reservation), ReadError>>),
}

/// The kind of events that may be gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Only the result of a read that has begun.
    Nothing,
    /// New events.
    New,
    /// Missed events. The client must have read everything before: a page that can't be sent is read in vain.
    Missed,
}

/// The reason why the log wasn't read.
enum ReadError {
    Unavailable,
    NoMemory,
}

impl From<Unavailable> for ReadError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl Events {
    pub(super) fn new(subscriptions: Subscriptions) -> Self {
        Self {
            subscriptions,
            feed: None,
            read: None,
            pause: Duration::ZERO,
        }
    }

    /// Returns true if events were missed, so that [`Gather::Missed`] comes before [`Gather::New`].
    pub fn is_behind(&self) -> bool {
        self.subscriptions.0.state().cursors.is_behind()
    }

    /// Waits for notifications; returns none if `gather` must be decided anew. Events without memory stay in the log. A
    /// read of the log holds a turn, so this must be polled even when nothing may be gathered. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self, gather: Gather) -> Vec<Notice> {
        loop {
            match &mut self.read {
                Some(LogRead::Waiting(turn)) => {
                    let turn = turn.await;
                    self.read = None;
                    // There are as many places to wait as sessions.
                    let Some(turn) = turn else {
                        self.pause = RETRY;
                        return Vec::new();
                    };
                    self.begin_read(turn);
                    continue;
                }
                Some(LogRead::Reading(name, missed)) => {
                    let (name, missed) = (*name, missed.await);
                    self.read = None;
                    return self.take_missed(name, missed);
                }
                None => {}
            }
            if gather == Gather::Nothing {
                return std::future::pending().await;
            }
            let inner = self.subscriptions.0.clone();
            let changed = inner.changed.notified();
            let mut notices = self.update_feed();
            let has_values_left = self.gather_values(&mut notices);
            if !notices.is_empty() || self.is_behind() != (gather == Gather::Missed) {
                return notices;
            }
            if gather == Gather::Missed {
                self.read = Some(self.wait_for_turn());
                continue;
            }
            let Self {
                feed,
                subscriptions,
                ..
            } = self;
            let mut batch = NoticeBatch::new(&inner.memory);
            tokio::select! {
                () = Self::take_new(feed, subscriptions, &mut batch) => {}
                () = changed => {}
                () = sleep(RETRY), if has_values_left => {}
            }
            if batch.len() > 0 {
                return batch.into_notices();
            }
        }
    }

    /// Waits for the end of a read after the session has ended: the read holds its turn and memory until then.
    pub async fn finish(self) {
        if let Some(LogRead::Reading(_, missed)) = self.read {
            let _ = missed.await;
        }
    }

    /// Hands missed events to their subscription.
    fn take_missed(
        &mut self,
        name: u64,
        missed: Result<(Missed, Reservation), ReadError>,
    ) -> Vec<Notice> {
        let inner = &*self.subscriptions.0;
        let mut batch = NoticeBatch::new(&inner.memory);
        let retry = match missed {
            Ok((missed, reservation)) => {
                // The notifications need about as much.
                drop(reservation);
                let mut state = inner.state();
                state
                    .cursors
                    .catch_up(name, &missed, &inner.circle, &mut batch);
                batch.is_full().then_some(RETRY)
            }
            // It costs nothing to ask for memory.
            Err(ReadError::NoMemory) => Some(RETRY),
            Err(ReadError::Unavailable) => Some((2 * self.pause).clamp(RETRY, LONGEST_RETRY)),
        };
        self.pause = retry.unwrap_or_default();
        batch.into_notices()
    }

    /// Keeps a feed while there are subscriptions. One is enough for all, and the oldest one has missed the least.
    /// Returns notifications about subscriptions that have ended.
    fn update_feed(&mut self) -> Vec<Notice> {
        let mut state = self.subscriptions.0.state();
        let new = state.feed.take();
        self.feed = match state.cursors.len() {
            0 => None,
            _ => self.feed.take().or(new),
        };
        std::mem::take(&mut state.notices)
    }

    /// Adds the newest values of watches. Returns true if there was no memory for some.
    fn gather_values(&self, notices: &mut Vec<Notice>) -> bool {
        let inner = &*self.subscriptions.0;
        let mut batch = NoticeBatch::new(&inner.memory);
        inner.state().values.gather(&mut batch);
        let is_full = batch.is_full();
        notices.extend(batch.into_notices());
        is_full
    }

    fn wait_for_turn(&self) -> LogRead {
        let (inner, pause) = (&*self.subscriptions.0, self.pause);
        let (shared, address) = (inner.shared.clone(), inner.address);
        LogRead::Waiting(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            shared.log_reads.take([address; 2]).await
        }))
    }

    /// Begins to read the log for a subscription that has missed events, if there is memory for the read.
    fn begin_read(&mut self, turn: Turn<Network>) {
        let inner = &*self.subscriptions.0;
        let Some(behind) = inner.state().cursors.first_behind() else {
            return;
        };
        let (shared, circle, memory) = (inner.shared.clone(), inner.circle, inner.memory.clone());
        let read = async move {
            let _turn = turn;
            // Without memory for a page, events are read one by one, so that small sessions get them, too.
            let (reservation, most) = match memory.try_reserve(behind.needs.max(Log::BYTES_AT_ONCE))
            {
                Ok(reservation) => (reservation, PAGE),
                Err(_) => match memory.try_reserve(behind.needs.max(SMALL_READ)) {
                    Ok(reservation) => (reservation, 1),
                    Err(_) => return Err(ReadError::NoMemory),
                },
            };
            let from = behind.from;
            let log = shared.dispatcher.log(circle, from, most).await?;
            tracing::debug!(from, events = log.events.len(), "read missed events");
            let is_acting = match behind.device {
                Some((key, device)) => {
                    let caller = Caller::Device { key, device };
                    let needs = Some(Permission::Subscribe);
                    match shared.dispatcher.check_device(circle, &caller, needs).await {
                        Err(RunError::Unavailable) => return Err(ReadError::Unavailable),
                        checked => checked.is_ok(),
                    }
                }
                None => true,
            };
            let has_role = match behind.requires {
                Some((caller, role)) => {
                    shared.dispatcher.list_role(circle, caller).await? >= Some(role)
                }
                None => true,
            };
            let stays = is_acting && has_role;
            Ok((Missed { log, stays }, reservation))
        };
        self.read = Some(LogRead::Reading(behind.name, Box::pin(read)));
    }

    /// Takes new events, and hands them to their subscriptions.
    async fn take_new(
        feed: &mut Option<Feed>,
        subscriptions: &Subscriptions,
        batch: &mut NoticeBatch<'_>,
    ) {
        let Some(feed) = feed else {
            return std::future::pending().await;
        };
        let mut signal = feed.next().await;
        let circle = &subscriptions.0.circle;
        let mut state = subscriptions.0.state();
        let cursors = &mut state.cursors;
        for taken in 1.. {
            match signal {
                Signal::Event(event) => cursors.offer(&event, circle, batch),
                Signal::ReadLog => cursors.read_log(),
            }
            // With many subscriptions, each event is many notifications.
            let is_enough = taken == PAGE || batch.len() >= PAGE || batch.bytes() >= BATCH_BYTES;
            if is_enough || cursors.is_behind() {
                break;
            }
            // Take only events that are handled at once.
            match feed.try_next() {
                Some(next) => signal = next,
                None => break,
            }
        }
    }
}
