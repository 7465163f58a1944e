//! The `[store]` settings, and those of its disk.

use std::path::PathBuf;

use serde::Deserialize;

/// The limits of a circle's store. The defaults stand in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Bytes of one key.
    #[serde(with = "crate::units::size")]
    pub max_key: usize,
    /// Bytes of one value, as JSON.
    #[serde(with = "crate::units::size")]
    pub max_value: usize,
    /// Keys that one job may write.
    pub max_writes: usize,
    /// Events that one job may emit.
    pub max_events: usize,
    /// Bytes of one event's data, as JSON.
    #[serde(with = "crate::units::size")]
    pub max_event: usize,
    /// Events of one circle that are kept, for whoever catches up.
    pub event_log: usize,
    /// Bytes of one circle's events that wait in memory for sessions that are slow to take them.
    #[serde(with = "crate::units::size")]
    pub events_waiting: usize,
    /// Bytes of all circles' events that wait so.
    #[serde(with = "crate::units::size")]
    pub events_waiting_in_all: usize,
    /// Bytes of all keys and values of one circle.
    #[serde(with = "crate::units::size")]
    pub quota: usize,
}

/// The data folder of the embedded backend: part of `[dispatch.embedded]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSettings {
    /// The folder.
    pub data_dir: PathBuf,
    /// Bytes that must be free on its disk, or nothing more is accepted.
    #[serde(with = "crate::units::size")]
    pub min_free: usize,
    /// Bytes that may wait to be written. With more, scripts wait, and webhooks are told to come back.
    #[serde(with = "crate::units::size")]
    pub write_queue: usize,
    /// Bytes of what was read last, kept in memory.
    #[serde(with = "crate::units::size")]
    pub cache: usize,
    /// Files of it that are kept open. No setting: as many as the process can spare.
    #[serde(skip, default = "few")]
    pub open_files: usize,
}

/// Enough where nobody else needs any.
fn few() -> usize {
    256
}
