//! The time of a run and its randomness.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The time of a run and the seed of its random numbers. They are decided once, so that a run which is repeated sees
/// the same.
#[derive(Debug, Clone, Copy)]
pub struct Occasion {
    /// The time in milliseconds since 1970.
    pub time: i64,
    /// The seed.
    pub seed: Seed,
}

/// The seed of a run's random numbers. It is drawn from a secure source: job ids are public, and nobody may be able to
/// guess a script's random numbers from them.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(u64, u64);

/// The try of a durable job. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct DurableTry {
    /// The time of the try.
    pub time: i64,
    /// The time when the job was to run first.
    pub due: i64,
    /// The time when it was accepted.
    pub submitted_at: i64,
    /// The tries before this one.
    pub tries: u32,
}

impl Occasion {
    /// Returns the current time, and another seed each time.
    pub fn now() -> Self {
        Self {
            time: Timestamp::now().as_millisecond(),
            seed: Seed::draw(),
        }
    }
}

impl Seed {
    /// Draws a seed.
    pub fn draw() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self(high, low)
    }

    /// Returns 128 random bits, each time the same ones for the same `number`.
    pub(super) fn random(self, number: u64) -> u128 {
        let mut hasher = Sha256::new();
        for part in [self.0, self.1, number] {
            hasher.update(part.to_be_bytes());
        }
        let block = hasher.finalize();
        block
            .iter()
            .take(16)
            .fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }
}

/// Doesn't print it: who knows it knows all random numbers of the run.
impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}
