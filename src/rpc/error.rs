//! Errors of calls, and their form on the wire.

use std::borrow::Cow;

use circled_protocol::{LoginRefusal, Permission, Role, code};
use serde_json::{Value, json};
use thiserror::Error as ThisError;

use crate::{memory::OverBudget, script::Failure};

/// The reason why a call failed. Displays as the `message` that the client gets.
#[derive(Debug, Clone, ThisError)]
pub enum Error {
    /// The message is no JSON.
    #[error("{}", code::message(code::PARSE_ERROR))]
    Parse {
        /// The place, and what was expected there.
        reason: String,
    },
    /// The message is no request.
    #[error("{}", code::message(code::INVALID_REQUEST))]
    InvalidRequest {
        /// The mistake.
        reason: String,
    },
    /// There is no such method.
    #[error("{}", code::message(code::METHOD_NOT_FOUND))]
    MethodNotFound {
        /// The method that was asked for, and where to look.
        reason: String,
    },
    /// The parameters don't fit the method.
    #[error("{}", code::message(code::INVALID_PARAMS))]
    InvalidParams {
        /// The parameter, and what would fit.
        reason: String,
    },
    /// The server has a bug or a fault; the log has more.
    #[error("{}", code::message(code::INTERNAL_ERROR))]
    Internal,
    /// The script failed.
    #[error("Execution Error: {}", .0.message)]
    Execution(Box<Failure>),
    /// The method needs a login.
    #[error("{}", code::message(code::AUTHENTICATION_REQUIRED))]
    AuthenticationRequired,
    /// The login failed.
    #[error("{}", code::message(code::INVALID_CREDENTIALS))]
    InvalidCredentials(LoginRefusal),
    /// The caller's role doesn't permit it in this circle.
    #[error("{}", code::message(code::FORBIDDEN))]
    Forbidden {
        /// The least role that permits it.
        needs: Role,
    },
    /// The scope of the session's device key doesn't permit it.
    #[error("{}", code::message(code::FORBIDDEN))]
    OutOfScope {
        /// The permission that the key lacks; nothing if no device key may.
        needs: Option<Permission>,
    },
    /// The job took too long.
    #[error("{}", code::message(code::TIMEOUT))]
    Timeout {
        /// The time limit in milliseconds.
        timeout_ms: u64,
    },
    /// A limit is reached.
    #[error("{}", code::message(code::LIMIT_EXCEEDED))]
    LimitExceeded {
        /// The name of the setting.
        limit: Cow<'static, str>,
        /// The time after which to try again, if that can help.
        retry_after_ms: Option<u64>,
    },
    /// The thing doesn't exist, or it isn't the caller's.
    #[error("{}", code::message(code::NOT_FOUND))]
    NotFound {
        /// The kind of thing.
        what: Cow<'static, str>,
    },
    /// The server can't run it now.
    #[error("{}", code::message(code::UNAVAILABLE))]
    Unavailable {
        /// The time after which to try again.
        retry_after_ms: u64,
    },
    /// The job was stopped.
    #[error("{}", code::message(code::CANCELLED))]
    Cancelled,
    /// The job kept colliding with others that change what it reads; none of its effects were committed.
    #[error("{}", code::message(code::CONFLICT))]
    Conflict,
    /// The newest version of a script is another one than the caller expects.
    #[error("{}", code::message(code::CONFLICT))]
    Outdated {
        /// The newest version; nothing if there is no such script.
        version: Option<String>,
        /// The script, if there are several.
        script: Option<String>,
    },
    /// More jobs are dead than the caller expects.
    #[error("{}", code::message(code::CONFLICT))]
    MoreDead {
        /// As many are found, or all.
        dead: u64,
    },
}

impl From<OverBudget> for Error {
    fn from(over: OverBudget) -> Self {
        Self::LimitExceeded {
            limit: over.setting.into(),
            // Trying again is useless if the budget can never be large enough.
            retry_after_ms: (!over.never).then_some(1000),
        }
    }
}

impl Error {
    pub(super) fn no_method() -> Self {
        Self::MethodNotFound {
            reason: "rpc.discover lists the methods of this server".to_owned(),
        }
    }

    pub(super) fn parse(error: &serde_json::Error) -> Self {
        Self::Parse {
            reason: error.to_string(),
        }
    }

    pub(crate) fn invalid_request(reason: &str) -> Self {
        Self::InvalidRequest {
            reason: reason.to_owned(),
        }
    }

    /// Returns the code on the wire.
    pub fn code(&self) -> i32 {
        match self {
            Self::Parse { .. } => code::PARSE_ERROR,
            Self::InvalidRequest { .. } => code::INVALID_REQUEST,
            Self::MethodNotFound { .. } => code::METHOD_NOT_FOUND,
            Self::InvalidParams { .. } => code::INVALID_PARAMS,
            Self::Internal => code::INTERNAL_ERROR,
            Self::Execution(_) => code::EXECUTION_ERROR,
            Self::AuthenticationRequired => code::AUTHENTICATION_REQUIRED,
            Self::InvalidCredentials(_) => code::INVALID_CREDENTIALS,
            Self::Forbidden { .. } | Self::OutOfScope { .. } => code::FORBIDDEN,
            Self::Timeout { .. } => code::TIMEOUT,
            Self::LimitExceeded { .. } => code::LIMIT_EXCEEDED,
            Self::NotFound { .. } => code::NOT_FOUND,
            Self::Unavailable { .. } => code::UNAVAILABLE,
            Self::Cancelled => code::CANCELLED,
            Self::Conflict | Self::Outdated { .. } | Self::MoreDead { .. } => code::CONFLICT,
        }
    }

    /// Returns the `data` on the wire.
    pub fn data(&self) -> Option<Value> {
        match self {
            Self::Parse { reason }
            | Self::InvalidRequest { reason }
            | Self::MethodNotFound { reason }
            | Self::InvalidParams { reason } => Some(json!({ "reason": reason })),
            Self::Internal | Self::AuthenticationRequired | Self::Cancelled | Self::Conflict => {
                None
            }
            Self::Execution(failure) => {
                let mut data = json!({
                    "kind": failure.kind,
                    "line": failure.line,
                    "column": failure.column,
                    "logs": failure.logs,
                });
                let thrown = failure
                    .thrown
                    .as_ref()
                    .map(|thrown| circled_json::parse(&*thrown.0));
                if let Some(Ok(thrown)) = thrown {
                    data["thrown"] = thrown;
                }
                if let Some(script) = &failure.script {
                    data["script"] = (&*script.0).into();
                }
                Some(data)
            }
            Self::InvalidCredentials(refusal) => Some(json!({ "reason": refusal })),
            Self::Forbidden { needs } => Some(json!({ "needs": needs })),
            Self::OutOfScope { needs } => Some(json!({ "scope": needs })),
            Self::Timeout { timeout_ms } => Some(json!({ "timeout_ms": timeout_ms })),
            Self::LimitExceeded {
                limit,
                retry_after_ms: Some(ms),
            } => Some(json!({ "limit": limit, "retry_after_ms": ms })),
            Self::LimitExceeded {
                limit,
                retry_after_ms: None,
            } => Some(json!({ "limit": limit })),
            Self::NotFound { what } => Some(json!({ "what": what })),
            Self::MoreDead { dead } => Some(json!({ "dead": dead })),
            Self::Outdated {
                version,
                script: None,
            } => Some(json!({ "version": version })),
            Self::Outdated {
                version,
                script: Some(script),
            } => Some(json!({ "version": version, "script": script })),
            Self::Unavailable { retry_after_ms } => {
                Some(json!({ "retry_after_ms": retry_after_ms }))
            }
        }
    }
}
