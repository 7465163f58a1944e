//! The `[session]` settings.

use std::time::Duration;

use serde::Deserialize;

/// The `[session]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most bytes of a client's message.
    #[serde(with = "crate::units::size")]
    pub max_message: usize,
    /// The most requests in a batch.
    pub max_batch: usize,
    /// The most bytes of the reply to a batch.
    #[serde(with = "crate::units::size")]
    pub max_reply: usize,
    /// The most requests of one session that are under way at once.
    pub max_in_flight: usize,
    /// The most requests with long parameters that are read at once, of all sessions; 0: one for each core but one.
    pub long_requests: usize,
    /// The most reads of the log for subscriptions that have missed events, at once, of all sessions.
    pub log_reads: usize,
    /// The most subscriptions of one session.
    pub max_subscriptions: usize,
    /// The interval of pings.
    #[serde(with = "crate::units::duration")]
    pub ping_interval: Duration,
    /// The time in which a client must answer a ping.
    #[serde(with = "crate::units::duration")]
    pub pong_timeout: Duration,
    /// The time in which a client must log in.
    #[serde(with = "crate::units::duration")]
    pub login_deadline: Duration,
    /// The most sessions.
    pub max_sessions: usize,
    /// The most sessions from one address.
    pub max_sessions_per_address: usize,
    /// The most messages that wait for a client that reads slowly.
    pub outbound_queue: usize,
    /// The most bytes that one session makes the server hold.
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// The most bytes that the sessions of one address make the server hold together.
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
    /// [`Self::max_buffered_per_address`] of the sessions without a login; 0: an eighth of what such sessions of all
    /// addresses have, and at least what one session may have.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered_per_address: usize,
    /// The most bytes that all sessions without a login make the server hold together; 0: a quarter of
    /// `server.max_buffered`.
    #[serde(with = "crate::units::size")]
    pub anonymous_buffered_in_all: usize,
    /// The time in which a client must read something when bytes wait for it.
    #[serde(with = "crate::units::duration")]
    pub write_timeout: Duration,
}

impl Settings {
    /// Returns the value of [`Self::long_requests`] on this machine.
    pub(crate) fn long_places(&self) -> usize {
        if self.long_requests > 0 {
            return self.long_requests;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores - 1).max(1)
    }

    /// Returns the value of [`Self::anonymous_buffered_in_all`] if all sessions may make the server hold `all` bytes.
    pub(crate) fn of_strangers(&self, all: usize) -> usize {
        match self.anonymous_buffered_in_all {
            0 => all / 4,
            bytes => bytes,
        }
    }
}
