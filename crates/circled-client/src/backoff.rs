//! How long to wait before the next try.

use std::time::Duration;

/// Before the second try, at least.
const SHORTEST: Duration = Duration::from_millis(250);
/// However many have failed, at most.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, each somewhere in the upper half of what it may be: so that the clients that a server has lost don't all
/// come back in the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `random` is anywhere in its range.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let half = SHORTEST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST / 2);
        self.failures = self.failures.saturating_add(1);
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// It went well for a while.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let waits = |random: u32| {
            let mut backoff = Backoff::default();
            let waits: Vec<u128> = (0..10).map(|_| backoff.next(random).as_millis()).collect();
            backoff.reset();
            assert_eq!(backoff.next(random).as_millis(), waits[0]);
            waits
        };
        assert_eq!(
            waits(0),
            [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000, 15000]
        );
        assert_eq!(
            waits(u32::MAX),
            [
                500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000
            ]
        );
        let mut many = Backoff { failures: u32::MAX };
        assert_eq!(many.next(0), LONGEST / 2);
    }
}
