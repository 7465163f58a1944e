//! Settings of the login.

use std::num::NonZeroUsize;

use serde::Deserialize;

use crate::units::PositiveDuration;

/// The `[auth]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The time for which a text to sign is valid.
    pub nonce_ttl: PositiveDuration,
    /// The most calls of `fetch_nonce` and `authenticate` that are processed at once; 0: one for each core.
    pub checks: usize,
    /// The most such calls that may wait.
    pub queue: NonZeroUsize,
    /// The most device keys of one caller in one circle.
    pub max_device_keys: NonZeroUsize,
    /// The most device keys of all guests of one circle.
    pub max_guest_device_keys: NonZeroUsize,
    /// The longest time for which a device key counts.
    pub device_key_ttl: PositiveDuration,
}

impl Settings {
    /// Returns the most such calls that are processed at once.
    pub(crate) fn places(&self) -> usize {
        if self.checks > 0 {
            return self.checks;
        }
        std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
    }
}
