//! Limits log lines that any client can cause: a few each second, and the number of the others.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// Decides which of many events are logged: so many each second. It counts the others, which are reported together.
#[derive(Debug)]
pub(crate) struct LogLimit {
    most: u32,
    start: Instant,
    /// The present second since the start in the high bits, and the lines logged in it in the low bits.
    this_second: AtomicU64,
    skipped: AtomicU64,
    count: AtomicU64,
}

impl LogLimit {
    pub(crate) fn new(most: u32, start: Instant) -> Self {
        Self {
            most,
            start,
            this_second: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// Counts one event. Returns true if it is to be logged.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        self.count.fetch_add(1, Relaxed);
        let second = now.saturating_duration_since(self.start).as_secs() << 32;
        let logged = self.this_second.fetch_update(Relaxed, Relaxed, |last| {
            // The present thread's time may be a little behind that of others.
            let lines = if last >= second { last } else { second };
            (lines & u64::from(u32::MAX) < u64::from(self.most)).then_some(lines + 1)
        });
        if logged.is_err() {
            self.skipped.fetch_add(1, Relaxed);
        }
        logged.is_ok()
    }

    /// Returns the number of events that were not logged since the last call.
    pub(crate) fn take_skipped(&self) -> u64 {
        // Mostly there are none, and nothing is written.
        if self.skipped.load(Relaxed) == 0 {
            return 0;
        }
        self.skipped.swap(0, Relaxed)
    }

    /// Returns the number of all events.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let start = Instant::now();
        let limit = LogLimit::new(2, start);
        let logged = |second, times| {
            let now = start + Duration::from_secs(second);
            (0..times).filter(|_| limit.admit(now)).count()
        };
        assert_eq!(logged(0, 1), 1);
        assert_eq!(limit.take_skipped(), 0);
        assert_eq!(logged(0, 1000), 1);
        assert_eq!((limit.take_skipped(), limit.take_skipped()), (999, 0));
        assert_eq!(logged(7, 3), 2);
        assert_eq!(logged(6, 1), 0, "that second is over");
        assert_eq!((limit.take_skipped(), limit.count()), (2, 1005));
    }
}
