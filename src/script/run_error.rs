//! The error of a run.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use circled_protocol::{FailureKind, Permission, Role};
use serde::{Deserialize, Serialize};

use super::{Failure, ScriptName, Success};
use crate::{
    memory::OverBudget,
    store::{CommitError, Unavailable, WriteError},
};

/// The outcome of a run: one type from the sandbox to the client.
pub type Outcome = Result<Success, RunError>;

/// The reason why a run failed. None of its effects has been committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum RunError {
    /// The script failed, or doesn't compile.
    #[error("{}{_0}", if _0.kind == FailureKind::Compile { "the script doesn't compile: " } else { "" })]
    Failed(Box<Failure>),
    /// It took longer than it had.
    #[error("it took longer than {} ms", after.as_millis())]
    TimedOut {
        /// The time that it had.
        after: Duration,
        /// The version of a named script that ran.
        #[serde(skip)]
        version: Option<String>,
    },
    /// Its caller left, or the server stopped.
    #[error("its caller has left")]
    Cancelled,
    /// It kept others waiting who have used less, and there was no room to set it aside.
    #[error("this exceeds {}", Self::MAX_ASIDE)]
    Displaced,
    /// There is no such thing in the circle.
    #[error("the circle has no such {what}")]
    NotFound {
        /// The kind of thing: `script`, `version`.
        what: Cow<'static, str>,
    },
    /// The caller's role is too low.
    #[error("that needs the role {needs}")]
    Forbidden {
        /// The least role that may.
        needs: Role,
    },
    /// The scope of the device key by which the caller acts doesn't permit it.
    #[error("that needs {}", match needs { Some(needs) => format!("a device key with the scope {needs}"), None => "the caller's own key".to_owned() })]
    OutOfScope {
        /// The permission that the key lacks; nothing if no device key may.
        needs: Option<Permission>,
    },
    /// The device key by which the caller acts was removed, or has expired.
    #[error("the device key was removed, or has expired")]
    UnknownDevice,
    /// The request makes no sense.
    #[error("{reason}")]
    Invalid {
        /// The reason.
        reason: String,
    },
    /// A limit would be exceeded.
    #[error("this exceeds {limit}")]
    Limit {
        /// The setting with the limit.
        limit: Cow<'static, str>,
    },
    /// The transaction kept colliding with others.
    #[error("it kept colliding with others")]
    Conflict,
    /// The newest version of a script is another one than its caller expects.
    #[error("the newest version of the script is another one")]
    Outdated {
        /// The newest version; nothing if there is no such script.
        version: Option<String>,
        /// The script, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<String>,
    },
    /// The store can't be reached.
    #[error("the store can't be reached")]
    Unavailable,
}

impl RunError {
    /// The setting that bounds the runs which are set aside.
    pub const MAX_ASIDE: &str = "script.max_aside";

    /// Returns an error that names the setting which bounds something.
    pub fn limit(setting: &'static str) -> Self {
        Self::Limit {
            limit: setting.into(),
        }
    }

    /// Returns an error that names the kind of thing which isn't there.
    pub fn not_found(what: &'static str) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// Returns the error with `timeout` as the time that it had, if it timed out at the caller's `deadline`; else the same.
    #[must_use]
    pub fn by_deadline(mut self, deadline: Instant, timeout: Duration) -> Self {
        if let Self::TimedOut { after, .. } = &mut self
            && Instant::now() >= deadline
        {
            *after = timeout;
        }
        self
    }

    /// Returns the error with the name of the script that failed, where there are several.
    #[must_use]
    pub fn in_script(mut self, name: &str) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.script = Some(Box::new(ScriptName(name.into())));
        }
        self
    }

    /// Returns the variant's name, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::TimedOut { .. } => "timed out",
            Self::Cancelled => "cancelled",
            Self::Displaced | Self::Limit { .. } => "limit",
            Self::NotFound { .. } => "not found",
            Self::Forbidden { .. } => "forbidden",
            Self::OutOfScope { .. } => "out of scope",
            Self::UnknownDevice => "unknown device",
            Self::Invalid { .. } => "invalid",
            Self::Conflict => "conflict",
            Self::Outdated { .. } => "outdated",
            Self::Unavailable => "unavailable",
        }
    }

    /// Returns whether a run that reads the same ends so again.
    pub fn is_of_its_reads(&self) -> bool {
        match self {
            Self::Failed(_)
            | Self::NotFound { .. }
            | Self::Forbidden { .. }
            | Self::OutOfScope { .. }
            | Self::UnknownDevice
            | Self::Outdated { .. }
            | Self::Invalid { .. } => true,
            Self::TimedOut { .. }
            | Self::Cancelled
            | Self::Displaced
            | Self::Limit { .. }
            | Self::Conflict
            | Self::Unavailable => false,
        }
    }

    /// Returns whether no script ran: the request was refused, or a procedure was.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Forbidden { .. }
            | Self::OutOfScope { .. }
            | Self::UnknownDevice
            | Self::Invalid { .. }
            | Self::Outdated { .. }
            | Self::Limit { .. } => true,
            Self::Failed(_)
            | Self::TimedOut { .. }
            | Self::Cancelled
            | Self::Displaced
            | Self::Conflict
            | Self::Unavailable => false,
        }
    }
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<Unavailable> for RunError {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<WriteError> for RunError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unavailable(Unavailable) => Self::Unavailable,
            error @ (WriteError::Key { .. }
            | WriteError::Value { .. }
            | WriteError::Writes { .. }
            | WriteError::Topic { .. }
            | WriteError::Reserved
            | WriteError::Event { .. }
            | WriteError::Events { .. }
            | WriteError::Keys { .. }
            | WriteError::Entries { .. }
            | WriteError::Add { .. }
            | WriteError::ReadOnly) => Self::Invalid {
                reason: error.to_string(),
            },
        }
    }
}

impl From<CommitError> for RunError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict | CommitError::Busy => Self::Conflict,
            CommitError::Gone | CommitError::Superseded => Self::Cancelled,
            CommitError::Unavailable(Unavailable) => Self::Unavailable,
            CommitError::Quota { .. } => Self::limit("store.quota"),
            why @ CommitError::Add { .. } => {
                Failure::new(FailureKind::Runtime, format!("store: {why}")).into()
            }
            why @ CommitError::RangeDelete { .. } => {
                Failure::new(FailureKind::Size, format!("store: {why}")).into()
            }
            CommitError::Backlog => Self::limit("dispatch.durable.backlog"),
        }
    }
}

impl From<OverBudget> for RunError {
    fn from(over: OverBudget) -> Self {
        Self::limit(over.setting)
    }
}
