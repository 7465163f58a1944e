//! The average speed at which a transfer must go on.

use std::time::Duration;

use tokio::time::Instant;

/// A first period, and a number of bytes for each further second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The time that is granted whatever the length.
    pub(crate) first: Duration,
    /// The bytes for which one more second is granted.
    pub(crate) rate: usize,
}

impl Pace {
    /// Returns the time by which more must have come of a transfer that began at `since` and has so many bytes.
    pub(crate) fn deadline(&self, since: Instant, bytes: usize) -> Instant {
        let millis = (bytes as u64).saturating_mul(1000) / (self.rate as u64).max(1);
        since + self.first + Duration::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_bytes_give_time_for_more() {
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
