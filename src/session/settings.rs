//! The `[session]` settings.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    auth::CirclesSettings,
    rpc::{Limits, WatchLimits},
    units::{PositiveDuration, Size, size},
};

/// The `[session]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most bytes of a client's message.
    pub max_message: Size,
    /// The most requests in a batch.
    pub max_batch: NonZeroUsize,
    /// The most bytes of the reply to a batch.
    pub max_reply: Size<{ 1 << 10 }>,
    /// The most requests of one session that are under way at once.
    pub max_in_flight: NonZeroUsize,
    /// The most requests with long parameters that are read at once, of all sessions; 0: one for each core but one.
    pub long_requests: usize,
    /// The most reads of the log for subscriptions that have missed events, at once, of all sessions.
    pub log_reads: NonZeroUsize,
    /// The most subscriptions of one session.
    pub max_subscriptions: NonZeroUsize,
    /// The most watches of one session.
    pub max_watches: NonZeroUsize,
    /// The most bytes of keys and ranges that a watched script may read.
    pub watch_reads: Size,
    /// The interval of pings.
    pub ping_interval: PositiveDuration,
    /// The time in which a client must answer a ping.
    pub pong_timeout: PositiveDuration,
    /// The time in which a client must log in.
    pub login_deadline: PositiveDuration,
    /// The most sessions.
    pub max_sessions: NonZeroUsize,
    /// The most sessions from one address.
    pub max_sessions_per_address: NonZeroUsize,
    /// The most messages that wait for a client that reads slowly.
    pub outbound_queue: NonZeroUsize,
    /// The most bytes that one session makes the server hold.
    pub max_buffered: Size,
    /// The most bytes that the sessions of one address make the server hold together.
    pub max_buffered_per_address: Size<{ 1 << 20 }>,
    /// [`Self::max_message`] until somebody has logged in.
    pub anonymous_message: Size<{ 1 << 10 }>,
    /// [`Self::max_in_flight`] until somebody has logged in.
    pub anonymous_in_flight: NonZeroUsize,
    /// [`Self::max_buffered`] until somebody has logged in.
    pub anonymous_buffered: Size<{ 64 << 10 }>,
    /// [`Self::max_buffered_per_address`] of the sessions without a login; 0: an eighth of what such sessions of all
    /// addresses have, and at least what one session may have.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered_per_address: usize,
    /// The most bytes that all sessions without a login make the server hold together; 0: a quarter of
    /// `server.max_buffered`.
    #[serde(deserialize_with = "size_or_none")]
    pub anonymous_buffered_in_all: Option<Size<{ 64 << 10 }>>,
    /// The time in which a client must read something when bytes wait for it.
    pub write_timeout: PositiveDuration,
}

impl Settings {
    /// Returns the limits of a session's requests.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_batch: self.max_batch.get(),
            max_reply: self.max_reply.get(),
            max_in_flight: self.max_in_flight.get(),
            anonymous_in_flight: self.anonymous_in_flight.get(),
            max_subscriptions: self.max_subscriptions.get(),
        }
    }

    /// Returns the bounds of live queries.
    pub(crate) fn watch_limits(&self, circles: &CirclesSettings) -> WatchLimits {
        WatchLimits {
            max_watches: self.max_watches.get(),
            watch_reads: self.watch_reads.get(),
            max_queries: circles.max_queries.get(),
            query_bytes: circles.query_bytes.get(),
        }
    }

    /// Returns the value of [`Self::long_requests`] on this machine.
    pub(crate) fn long_places(&self) -> usize {
        if self.long_requests > 0 {
            return self.long_requests;
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (cores - 1).max(1)
    }

    /// Returns the value of [`Self::anonymous_buffered_in_all`] if all sessions may make the server hold `all` bytes.
    pub(crate) fn of_strangers(&self, all: usize) -> usize {
        self.anonymous_buffered_in_all
            .map_or(all / 4, |bytes| bytes.get())
    }
}

fn size_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Size<{ 64 << 10 }>>, D::Error> {
    match size::deserialize(deserializer)? {
        0 => Ok(None),
        bytes => Size::new(bytes)
            .map(Some)
            .ok_or_else(|| D::Error::custom("must be at least 64KiB, or 0B")),
    }
}
