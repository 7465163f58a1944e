//! The deadlines of a session, as a state machine without a clock: pings, the login, a client that doesn't read.

use std::time::Duration;

use tokio::time::Instant;

use super::{Closing, Settings};

/// The least time that a client still has to log in after its message waited for its turn.
const LOGIN_PUT_OFF: Duration = Duration::from_secs(1);

/// The time for the answers to calls that are under way, in a session whose caller may do nothing more.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The deadlines of a session. [`Heartbeat::on_tick`] must be called at the time of [`Heartbeat::next`].
#[derive(Debug)]
pub(super) struct Heartbeat {
    ping_interval: Duration,
    pong_timeout: Duration,
    write_timeout: Duration,
    ping_at: Instant,
    pong_by: Option<Instant>,
    login_by: Option<Instant>,
    /// The time by which the session ends, whatever is under way.
    end_by: Option<Instant>,
    /// The time to check a client that reads nothing; `None` while it reads.
    write_by: Option<Instant>,
}

/// The action that a tick asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    Ping,
    Silent,
    Close(Closing),
}

impl Heartbeat {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            ping_interval: settings.ping_interval.get(),
            pong_timeout: settings.pong_timeout.get(),
            write_timeout: settings.write_timeout.get(),
            ping_at: now + settings.ping_interval.get(),
            pong_by: None,
            login_by: Some(now + settings.login_deadline.get()),
            write_by: None,
            end_by: None,
        }
    }

    /// Returns the time of the next tick.
    pub(super) fn next(&self) -> Instant {
        [self.pong_by, self.login_by, self.write_by, self.end_by]
            .into_iter()
            .flatten()
            .fold(self.ping_at, Instant::min)
    }

    pub(super) fn on_pong(&mut self) {
        self.pong_by = None;
    }

    /// Renews the deadline of the pong after a time in which nothing was read, because one may have come.
    pub(super) fn on_wait(&mut self, now: Instant) {
        let again = now + self.pong_timeout;
        self.pong_by = self.pong_by.map(|by| by.max(again));
    }

    pub(super) fn on_login(&mut self) {
        self.login_by = None;
    }

    /// Notes that the session ends, though calls may be under way: they have a moment to be answered. Returns the time of
    /// the next check.
    pub(super) fn on_end(&mut self, now: Instant) -> Instant {
        self.end_by = Some(now + LAST_ANSWERS);
        self.next()
    }

    /// Notes that the client reads nothing more. Returns the time of the next check.
    pub(super) fn on_blocked(&mut self, now: Instant) -> Instant {
        self.write_by = Some(now + self.write_timeout);
        self.next()
    }

    /// Puts off the login deadline while a message that came in time waits for its turn, because it may be the login.
    pub(super) fn on_handling(&mut self, now: Instant) {
        self.login_by = self.login_by.map(|by| by.max(now + LOGIN_PUT_OFF));
    }

    /// Returns what is due. `blocked_since` is the time when the client last read something, if bytes wait for it.
    pub(super) fn on_tick(&mut self, now: Instant, blocked_since: Option<Instant>) -> Tick {
        self.write_by = blocked_since.map(|since| since + self.write_timeout);
        if self.write_by.is_some_and(|by| now >= by) {
            return Tick::Close(Closing::TooSlow);
        }
        if self.end_by.is_some_and(|by| now >= by) {
            return Tick::Close(Closing::GoingAway);
        }
        if self.login_by.is_some_and(|by| now >= by) {
            return Tick::Close(Closing::LoginDeadline);
        }
        if self.pong_by.is_some_and(|by| now >= by) {
            if blocked_since.is_none() {
                return Tick::Silent;
            }
            // The ping may not have left yet; the client's reading is what counts.
            self.pong_by = Some(now + self.pong_timeout);
        }
        if now >= self.ping_at {
            self.ping_at = now + self.ping_interval;
            if self.pong_by.is_none() {
                self.pong_by = Some(now + self.pong_timeout);
                return Tick::Ping;
            }
        }
        Tick::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    fn heartbeat(start: Instant) -> Heartbeat {
        let defaults = Document::read(include_str!("../../config/default.toml")).unwrap();
        let mut session = defaults.values["session"].clone();
        for (key, value) in [
            ("ping_interval", "25s"),
            ("pong_timeout", "10s"),
            ("login_deadline", "60s"),
            ("write_timeout", "10s"),
        ] {
            session[key] = value.into();
        }
        let settings: Settings = circled_json::from_value(session).unwrap();
        Heartbeat::new(&settings, start)
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_login_deadline_waits_for_a_message_that_waits() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        let late = heartbeat.login_by.unwrap();
        heartbeat.on_handling(late);
        let close = Tick::Close(Closing::LoginDeadline);
        assert_ne!(heartbeat.on_tick(late, None), close);
        assert_eq!(heartbeat.on_tick(late + LOGIN_PUT_OFF, None), close);
    }

    #[test]
    fn pings_go_out_and_must_be_answered() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        heartbeat.on_login();
        assert_eq!(heartbeat.next(), start + s(25));
        assert_eq!(heartbeat.on_tick(start + s(24), None), Tick::Nothing);
        assert_eq!(heartbeat.on_tick(start + s(25), None), Tick::Ping);
        assert_eq!(heartbeat.next(), start + s(35));
        heartbeat.on_pong();
        assert_eq!(heartbeat.next(), start + s(50));
        assert_eq!(heartbeat.on_tick(start + s(50), None), Tick::Ping);
        assert_eq!(heartbeat.on_tick(start + s(59), None), Tick::Nothing);
        assert_eq!(heartbeat.on_tick(start + s(60), None), Tick::Silent);
    }

    #[test]
    fn a_login_has_a_deadline() {
        let start = Instant::now();
        let mut late = heartbeat(start);
        late.on_tick(start + s(25), None);
        late.on_pong();
        late.on_tick(start + s(50), None);
        late.on_pong();
        assert_eq!(late.next(), start + s(60));
        assert_eq!(
            late.on_tick(start + s(60), None),
            Tick::Close(Closing::LoginDeadline)
        );

        let mut early = heartbeat(start);
        early.on_login();
        early.on_tick(start + s(25), None);
        early.on_pong();
        assert_ne!(
            early.on_tick(start + s(60), None),
            Tick::Close(Closing::LoginDeadline)
        );
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        heartbeat.on_login();
        assert_eq!(heartbeat.on_blocked(start + s(1)), start + s(11));
        let progress = Some(start + s(8));
        assert_eq!(
            heartbeat.on_tick(start + s(11), progress),
            Tick::Nothing,
            "it is slow, but it reads"
        );
        assert_eq!(heartbeat.next(), start + s(18));
        assert_eq!(
            heartbeat.on_tick(start + s(18), progress),
            Tick::Close(Closing::TooSlow)
        );
    }

    #[test]
    fn no_pong_is_expected_while_the_ping_waits() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(start);
        heartbeat.on_login();
        assert_eq!(heartbeat.on_tick(start + s(25), None), Tick::Ping);
        assert_eq!(
            heartbeat.on_tick(start + s(35), Some(start + s(34))),
            Tick::Nothing
        );
        assert_eq!(heartbeat.on_tick(start + s(46), None), Tick::Silent);
    }
}
