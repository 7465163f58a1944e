//! The `[dispatch.redis]` settings.

use std::num::{NonZeroU16, NonZeroUsize};

use serde::{Deserialize, Deserializer, de::Error};

use crate::units::{PositiveDuration, Size};

/// The settings of gateways and workers. The defaults stand in `config/default.toml`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// The URL of Redis, with user and password if it asks for them.
    #[serde(deserialize_with = "url")]
    pub url: String,
    /// The prefix of every key.
    #[serde(deserialize_with = "namespace")]
    pub namespace: String,
    /// Shares of all circles. It can't be changed once a namespace is in use.
    pub partitions: NonZeroU16,
    /// A worker that is silent for so long loses its jobs to another.
    pub lease: PositiveDuration<1000>,
    /// True if `circled serve` runs jobs, too.
    pub worker: bool,
    /// Plays of one caller of a circle that are with the workers at a time, and as many of the circle's durable jobs. There are
    /// twice as many places for all plays of a circle, and some for those who would have none.
    pub per_circle: NonZeroUsize,
    /// Plays of one circle that wait for places. One more is refused, unless it is of whoever has less than their share; these
    /// get in up to twice as many.
    pub queue: NonZeroUsize,
    /// Jobs that a worker holds, running or about to.
    pub hold: NonZeroUsize,
    /// Bytes of jobs up to which a worker goes on taking some when those that it holds run for long; and of what durable
    /// ones were given, as far as it is fetched.
    #[serde(with = "crate::units::size")]
    pub hold_bytes: usize,
    /// Bytes of values that a worker has read last, kept in memory.
    #[serde(with = "crate::units::size")]
    pub cache: usize,
    /// Entries that wait for a gateway to fetch them. Without room, results are left out, and events come from the log.
    pub inbox: NonZeroUsize,
    /// Bytes of these.
    pub inbox_bytes: Size<{ 16 << 20 }>,
    /// The longest that Redis may take to answer.
    pub timeout: PositiveDuration<100>,
    /// The safety of all that is acknowledged.
    pub durability: Durability,
    /// Replicas that must have a delivery before it is acknowledged; or, where all must be replicated, everything.
    pub min_replicas: u32,
}

/// The safety of all that is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Redis has it in memory.
    Memory,
    /// Redis has synced it to its append-only file.
    Synced,
    /// Replicas have synced it, too.
    Replicated,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Synced => "synced",
            Self::Replicated => "replicated",
        })
    }
}

impl RedisSettings {
    /// Returns the number of replicas that must have synced what is acknowledged; nothing, if not even Redis must.
    pub(crate) fn synced_replicas(&self) -> Option<u32> {
        match self.durability {
            Durability::Memory => None,
            Durability::Synced => Some(0),
            Durability::Replicated => Some(self.min_replicas.max(1)),
        }
    }

    /// Returns the number of replicas that must have a delivery in memory.
    pub(crate) fn delivery_replicas(&self) -> u32 {
        match self.durability {
            Durability::Memory | Durability::Synced => self.min_replicas,
            // They must have more.
            Durability::Replicated => 0,
        }
    }

    /// Returns how many jobs of one circle are with the workers at most: plays, as `prelude.lua` counts them, and durable ones.
    pub(crate) fn most_of_circle(&self) -> usize {
        let per_circle = self.per_circle.get();
        let for_those_with_none = per_circle.max(self.queue.get() / 4);
        let plays = per_circle.saturating_mul(2);
        plays
            .saturating_add(for_those_with_none)
            .saturating_add(per_circle)
    }
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may have a password in it.
        f.debug_struct("RedisSettings")
            .field("namespace", &self.namespace)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    super::url::read(&url).map_err(D::Error::custom)?;
    Ok(url)
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() || name.contains(['{', '}']) {
        return Err(D::Error::custom("must be a name, without braces"));
    }
    Ok(name)
}
