//! What a job is and what comes of it.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    auth::PublicKey,
    script::{Ending, Failure, FailureKind, Success},
    store::CommitError,
};

/// One requested run of a script.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// Its name.
    pub id: JobId,
    /// The circle that it runs in.
    pub circle: PublicKey,
    /// Who runs it.
    pub caller: Caller,
    /// The source.
    pub script: Cow<'a, str>,
    /// What the script sees as `ARGS`.
    pub args: Value,
    /// How long it may take, waiting for its turn included.
    pub timeout: Duration,
}

/// Who runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The holder of a key.
    Key(PublicKey),
}

/// Names a job, across servers and restarts: a UUID of version 7 (RFC 9562), so that names sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

/// What comes of a job.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The script ended with a value.
    Finished(Success),
    /// The script failed.
    Failed(Box<Failure>),
    /// It took longer than it had.
    TimedOut {
        /// What it had.
        after: Duration,
    },
    /// Its caller left, or the server stopped.
    Cancelled,
    /// Too many jobs wait already; this one was not begun.
    QueueFull {
        /// The setting that says how many may.
        limit: Cow<'static, str>,
    },
    /// The transaction kept colliding with others.
    Conflict,
    /// The store could not be reached.
    Unavailable,
}

impl Outcome {
    /// What a run came to that was given so much time.
    pub(super) fn of(ending: Ending, after: Duration) -> Self {
        match ending {
            Ending::Finished(Ok(success)) => Self::Finished(success),
            Ending::Finished(Err(failure)) => Self::Failed(Box::new(failure)),
            Ending::TimedOut => Self::TimedOut { after },
            Ending::Cancelled => Self::Cancelled,
            Ending::Unavailable => Self::Unavailable,
        }
    }

    /// What comes of a run that had logged these when its commit was refused.
    pub(super) fn refused(why: CommitError, logs: Vec<String>) -> Self {
        match why {
            CommitError::Conflict | CommitError::Busy => Self::Conflict,
            CommitError::Gone | CommitError::Superseded => Self::Cancelled,
            CommitError::Unavailable(_) => Self::Unavailable,
            CommitError::Quota { .. } => {
                let failure = Failure::new(FailureKind::Size, why.to_string());
                Self::Failed(Box::new(Failure { logs, ..failure }))
            }
        }
    }

    /// What the script had printed.
    pub(super) fn logs(&self) -> &[String] {
        match self {
            Self::Finished(success) => &success.logs,
            Self::Failed(failure) => &failure.logs,
            Self::TimedOut { .. }
            | Self::Cancelled
            | Self::QueueFull { .. }
            | Self::Conflict
            | Self::Unavailable => &[],
        }
    }

    /// For the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Finished(_) => "finished",
            Self::Failed(_) => "failed",
            Self::TimedOut { .. } => "timed out",
            Self::Cancelled => "cancelled",
            Self::QueueFull { .. } => "queue full",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Job<'_> {
    /// A copy that outlives the message it came in.
    pub fn into_owned(self) -> Job<'static> {
        let Self {
            id,
            circle,
            caller,
            script,
            args,
            timeout,
        } = self;
        Job {
            id,
            circle,
            caller,
            script: Cow::Owned(script.into_owned()),
            args,
            timeout,
        }
    }
}

impl JobId {
    /// A new name.
    #[expect(clippy::new_without_default, reason = "every call answers another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The sixteen bytes of the UUID.
    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Writes the name into `buffer`.
    pub(super) fn encode(self, buffer: &mut [u8; Hyphenated::LENGTH]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Hyphenated::LENGTH]))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; Hyphenated::LENGTH]))
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that names no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job's name: expected a UUID, as in 019ab1c2-...")]
pub struct InvalidJobId;

impl std::str::FromStr for JobId {
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

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
        }
    }
}
