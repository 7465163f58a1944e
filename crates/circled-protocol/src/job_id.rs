//! Ids of jobs.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::{NoContext, Uuid, fmt::Hyphenated};

/// The id of a job, across servers and restarts: a UUID of version 7 (RFC 9562), so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

/// The error of a text that is no job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a job id: expected a UUID, as in 019ab1c2-...")]
pub struct InvalidJobId;

impl JobId {
    /// The length of its text in bytes.
    pub const TEXT_LENGTH: usize = Hyphenated::LENGTH;

    /// Creates an id.
    #[expect(clippy::new_without_default, reason = "every call returns another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Creates an id at less cost: of two that are made within a millisecond, either may sort first.
    pub fn unordered() -> Self {
        Self(Uuid::new_v7(uuid::Timestamp::now(NoContext)))
    }

    /// Returns the sixteen bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Creates an id from the sixteen bytes of a UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Creates an id from the bytes of a UUID; `None` if they aren't sixteen.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Returns the time of creation, with which the id begins.
    pub fn made_at(self) -> Timestamp {
        let bytes = self.0.as_bytes()[..6].iter();
        let millis = bytes.fold(0, |millis, byte| millis << 8 | i64::from(*byte));
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Writes the id into `buffer`.
    pub fn encode(self, buffer: &mut [u8; Self::TEXT_LENGTH]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::TEXT_LENGTH]))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; Self::TEXT_LENGTH]))
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        text.parse().map(Self).map_err(|_| InvalidJobId)
    }
}

impl JsonSchema for JobId {
    fn schema_name() -> Cow<'static, str> {
        "JobId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uuid" })
    }
}
