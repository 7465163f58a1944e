//! What a job is and what comes of it.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    auth::PublicKey,
    script::{Failure, Success},
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
#[derive(Debug)]
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
    QueueFull,
}

impl Outcome {
    /// For the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Finished(_) => "finished",
            Self::Failed(_) => "failed",
            Self::TimedOut { .. } => "timed out",
            Self::Cancelled => "cancelled",
            Self::QueueFull => "queue full",
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
