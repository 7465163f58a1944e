//! The `[session]` settings.

use std::time::Duration;

use serde::Deserialize;

/// What one session may use, and how many there may be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The largest message a client may send, in bytes.
    #[serde(with = "crate::units::size")]
    pub max_message: usize,
    /// Requests in one batch.
    pub max_batch: usize,
    /// Bytes of the reply to one.
    #[serde(with = "crate::units::size")]
    pub max_reply: usize,
    /// Requests of one session under way at once.
    pub max_in_flight: usize,
    /// Requests of all sessions with long parameters that are read at once; 0: one for each core but one.
    pub long_requests: usize,
    /// Reads of the log, for subscriptions of all sessions that have missed something, that go on at once.
    pub log_reads: usize,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Time between pings.
    #[serde(with = "crate::units::duration")]
    pub ping_interval: Duration,
    /// Time to answer one.
    #[serde(with = "crate::units::duration")]
    pub pong_timeout: Duration,
    /// Time to log in.
    #[serde(with = "crate::units::duration")]
    pub login_deadline: Duration,
    /// Sessions in all.
    pub max_sessions: usize,
    /// Sessions from one address.
    pub max_sessions_per_address: usize,
    /// Messages that wait for a client that reads slowly.
    pub outbound_queue: usize,
    /// Bytes that one session makes the server hold.
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// Bytes that the sessions of one address make it hold together.
    #[serde(with = "crate::units::size")]
    pub max_buffered_per_address: usize,
    /// [`Self::max_message`] until somebody has logged in.
    #[serde(with = "crate::units::size")]
    pub anonymous_message: usize,
    /// [`Self::max_in_flight`] until somebody has logged in.
    pub anonymous_in_flight: usize,
    /// [`Self::max_buffered`] until somebody has logged in.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered: usize,
    /// [`Self::max_buffered_per_address`] of sessions to which nobody has logged in; 0: an eighth of what those of all
    /// addresses have, and no less than one of them may.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered_per_address: usize,
    /// Bytes that all sessions to which nobody has logged in make it hold together; 0: a quarter of
    /// `server.max_buffered`.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered_in_all: usize,
    /// Time in which a client must take something, when something waits for it.
    #[serde(with = "crate::units::duration")]
    pub write_timeout: Duration,
}

impl Settings {
    /// Returns what [`Self::long_requests`] comes to on this machine.
    pub(crate) fn long_places(&self) -> usize {
        if self.long_requests > 0 {
            return self.long_requests;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores - 1).max(1)
    }

    /// Returns what [`Self::anonymous_buffered_in_all`] comes to, where all sessions may make the server hold `all`.
    pub(crate) fn of_strangers(&self, all: usize) -> usize {
        match self.anonymous_buffered_in_all {
            0 => all / 4,
            bytes => bytes,
        }
    }
}
