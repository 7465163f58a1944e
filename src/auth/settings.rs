//! How people log in.

use std::time::Duration;

use serde::Deserialize;

/// The `[auth]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long the text to sign is good for.
    #[serde(with = "crate::units::duration")]
    pub nonce_ttl: Duration,
    /// Calls of `fetch_nonce` and `authenticate` that are carried out at once; 0 is one for each core.
    pub checks: usize,
    /// Such calls that may wait.
    pub queue: usize,
}

impl Settings {
    /// Returns how many such calls are carried out at once.
    pub(crate) fn places(&self) -> usize {
        if self.checks > 0 {
            return self.checks;
        }
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}
