//! The wait before the next attempt.

use std::time::Duration;

/// The least wait before the second attempt.
const SHORTEST: Duration = Duration::from_millis(250);
/// The longest wait, after any number of failures.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, each randomized in its upper half, so that the clients of a lost server don't all come back at
/// the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the wait after one more failure. `random` is any number.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let half = SHORTEST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST / 2);
        self.failures = self.failures.saturating_add(1);
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Begins with short waits again, after a success.
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
