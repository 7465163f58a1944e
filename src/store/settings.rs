//! The `[store]` settings, and those of its disk.

use std::{num::NonZeroUsize, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

use crate::units::Size;

/// The longest keys. Those of the database have 65,535 bytes at most, the circle and an expiry time included.
const MAX_KEY: usize = 65_000;
/// The longest values. The database and Redis have 512 MiB for one at least.
const MAX_VALUE: usize = 256 << 20;

/// The limits of a circle's store. The defaults stand in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Bytes of one key.
    pub max_key: Size<1, MAX_KEY>,
    /// Bytes of one value, as JSON.
    pub max_value: Size<1, MAX_VALUE>,
    /// Keys that one job may write.
    #[serde(deserialize_with = "some")]
    pub max_writes: usize,
    /// Keys that one job may delete by ranges.
    pub max_range_delete: usize,
    /// Events that one job may emit.
    pub max_events: NonZeroUsize,
    /// Bytes of one event's data, as JSON.
    #[serde(with = "crate::units::size")]
    pub max_event: usize,
    /// Events of one circle that are kept, for whoever catches up.
    pub event_log: NonZeroUsize,
    /// Bytes of these events. Each counts as an equal share at least.
    pub event_log_bytes: Size,
    /// Bytes of one circle's events that wait in memory for sessions that are slow to take them.
    pub events_waiting: Size,
    /// Bytes of all circles' events that wait so.
    pub events_waiting_in_all: Size,
    /// Bytes of all keys and values of one circle.
    #[serde(with = "crate::units::size")]
    pub quota: usize,
}

/// The data folder of the embedded backend: part of `[dispatch.embedded]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSettings {
    /// The folder.
    #[serde(deserialize_with = "folder")]
    pub data_dir: PathBuf,
    /// Bytes that must be free on its disk, or nothing more is accepted.
    #[serde(with = "crate::units::size")]
    pub min_free: usize,
    /// Bytes that may wait to be written. With more, scripts wait, and webhooks are told to come back.
    pub write_queue: Size,
    /// Bytes of what is in the journal alone, and in memory until it is written out in order. When it is full, writes wait.
    pub memtables: Size<{ 16 << 20 }>,
    /// Bytes of what was read last, kept in memory.
    #[serde(with = "crate::units::size")]
    pub cache: usize,
    /// Files of it that are kept open. No setting: as many as the process can spare.
    #[serde(skip, default = "few")]
    pub open_files: usize,
    /// Bytes of one circle's replies to requests. It is a setting of all backends.
    #[serde(skip)]
    pub max_requests: usize,
}

/// Enough where nobody else needs any.
fn few() -> usize {
    256
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    NonZeroUsize::deserialize(deserializer).map(NonZeroUsize::get)
}

fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let folder = PathBuf::deserialize(deserializer)?;
    if folder.as_os_str().is_empty() {
        return Err(D::Error::custom(
            "must be the name of a folder, like \"data\"",
        ));
    }
    Ok(folder)
}
