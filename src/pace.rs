//! How fast something must go on, on average.

use std::time::Duration;

use tokio::time::Instant;

/// A time at first, and then so many bytes each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long it may take whatever its length.
    pub(crate) first: Duration,
    /// Bytes that each further second is for.
    pub(crate) rate: usize,
}

impl Pace {
    /// When more must have come of what began at `since`, and of which so many bytes have come.
    pub(crate) fn deadline(&self, since: Instant, bytes: usize) -> Instant {
        let millis = (bytes as u64).saturating_mul(1000) / (self.rate as u64).max(1);
        since + self.first + Duration::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_gives_time_for_more() {
        let pace = Pace {
            first: Duration::from_secs(5),
            rate: 1 << 10,
        };
        let since = Instant::now();
        for (bytes, seconds) in [(0, 5.0), (512, 5.5), (10 << 10, 15.0)] {
            let deadline = pace.deadline(since, bytes);
            assert_eq!((deadline - since).as_secs_f64(), seconds, "{bytes}");
        }
    }
}
