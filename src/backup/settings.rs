//! The `[backup]` settings.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use crate::units::duration;

/// The backups that a server makes by itself. The defaults stand in `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The time from one to the next, if it makes any.
    #[serde(deserialize_with = "every")]
    pub every: Option<Duration>,
    /// The folder that they are in.
    pub folder: PathBuf,
    /// The number of backups that are kept.
    pub keep: NonZeroUsize,
}

/// The shortest time from one to the next.
const LEAST: Duration = Duration::from_secs(60);
/// The longest one.
const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let every = duration::parse(&text).filter(|every| (LEAST..=MOST).contains(every));
    every.map(Some).ok_or_else(|| {
        D::Error::custom("must be from \"1m\" to \"365d\", like \"24h\", or \"\" for no backups")
    })
}
