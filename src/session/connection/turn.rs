//! A session's turn on its thread: the messages that it reads before the socket is flushed and other sessions go on.

use std::{task::Context, time::Duration};

use tokio::time::Instant;

use crate::turns::after_others;

/// The most messages in a turn.
pub(super) const BURST: usize = 64;
/// The longest turn. The time is checked after each few messages, and after long ones and long replies.
const LONGEST: Duration = Duration::from_micros(100);
pub(super) const FEW: usize = 4;

/// A session's turn.
#[derive(Debug)]
pub(super) struct ReadTurn {
    messages: usize,
    began: Instant,
    longest: Duration,
    /// True if the last message was long, or a reply since then.
    was_long: bool,
}

impl ReadTurn {
    pub(super) fn new() -> Self {
        Self::of_at_most(LONGEST)
    }

    pub(super) fn of_at_most(longest: Duration) -> Self {
        Self {
            messages: 0,
            began: Instant::now(),
            longest,
            was_long: false,
        }
    }

    /// Counts a message or another frame.
    pub(super) fn count(&mut self) {
        if self.messages == 0 {
            self.began = Instant::now();
        }
        self.messages += 1;
    }

    /// Notes if the last message was long.
    pub(super) fn set_long(&mut self, was_long: bool) {
        self.was_long = was_long;
    }

    /// Notes if a reply to the last message is long.
    pub(super) fn add_long(&mut self, is_long: bool) {
        self.was_long |= is_long;
    }

    /// Returns true if the last message was the first of this turn.
    pub(super) fn has_just_begun(&self) -> bool {
        self.messages == 1
    }

    /// Returns the time when the last turn began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Ends the turn if it has taken too long.
    pub(super) fn check_time(&mut self) {
        if self.messages > 0
            && (self.was_long || self.messages.is_multiple_of(FEW))
            && self.began.elapsed() > self.longest
        {
            self.messages = BURST;
        }
    }

    /// Returns true if others have to have their turn first.
    pub(super) fn is_over(&self) -> bool {
        self.messages >= BURST
    }

    /// Begins anew. If the turn was over, the task is woken after others have had theirs.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>) {
        if self.is_over() {
            match self.was_long {
                true => after_others(cx),
                false => cx.waker().wake_by_ref(),
            }
        }
        self.messages = 0;
    }

    /// Begins anew while a message waits for its own turn, so that others go on.
    pub(super) fn reset(&mut self) {
        self.messages = 0;
    }
}
