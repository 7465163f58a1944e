//! Everything a call can fail with, and what it looks like on the wire.

use std::borrow::Cow;

use circled_protocol::{LoginRefusal, Role, code};
use serde_json::{Value, json};
use thiserror::Error as ThisError;

use crate::{memory::OverBudget, script::Failure};

/// Why a call failed. Displays as the `message` that the client gets.
#[derive(Debug, Clone, ThisError)]
pub enum Error {
    /// The message is no JSON.
    #[error("{}", code::message(code::PARSE_ERROR))]
    Parse {
        /// Where, and what was expected there.
        reason: String,
    },
    /// The message is no request.
    #[error("{}", code::message(code::INVALID_REQUEST))]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such method.
    #[error("{}", code::message(code::METHOD_NOT_FOUND))]
    MethodNotFound {
        /// What was asked for, and where to look.
        reason: String,
    },
    /// The parameters don't fit the method.
    #[error("{}", code::message(code::INVALID_PARAMS))]
    InvalidParams {
        /// Which, and what would.
        reason: String,
    },
    /// A mistake of ours; the log knows more.
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
    /// The caller may not do that here.
    #[error("{}", code::message(code::FORBIDDEN))]
    Forbidden {
        /// The least role that may.
        needs: Role,
    },
    /// The job took too long.
    #[error("{}", code::message(code::TIMEOUT))]
    Timeout {
        /// What it had, in milliseconds.
        timeout_ms: u64,
    },
    /// Something is full.
    #[error("{}", code::message(code::LIMIT_EXCEEDED))]
    LimitExceeded {
        /// The name of the setting.
        limit: Cow<'static, str>,
        /// When to try again, where that can help.
        retry_after_ms: Option<u64>,
    },
    /// There is no such thing, or it isn't the caller's.
    #[error("{}", code::message(code::NOT_FOUND))]
    NotFound {
        /// What kind of thing.
        what: Cow<'static, str>,
    },
    /// The server can't run it now.
    #[error("{}", code::message(code::UNAVAILABLE))]
    Unavailable {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The job was stopped.
    #[error("{}", code::message(code::CANCELLED))]
    Cancelled,
    /// The job kept colliding with others that change what it reads; nothing of it has landed.
    #[error("{}", code::message(code::CONFLICT))]
    Conflict,
}

impl From<OverBudget> for Error {
    fn from(over: OverBudget) -> Self {
        Self::LimitExceeded {
            limit: over.setting.into(),
            // What never has room isn't worth to ask for again.
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

    /// The code on the wire.
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
            Self::Forbidden { .. } => code::FORBIDDEN,
            Self::Timeout { .. } => code::TIMEOUT,
            Self::LimitExceeded { .. } => code::LIMIT_EXCEEDED,
            Self::NotFound { .. } => code::NOT_FOUND,
            Self::Unavailable { .. } => code::UNAVAILABLE,
            Self::Cancelled => code::CANCELLED,
            Self::Conflict => code::CONFLICT,
        }
    }

    /// The `data` on the wire.
    pub fn data(&self) -> Option<Value> {
        match self {
            Self::Parse { reason }
            | Self::InvalidRequest { reason }
            | Self::MethodNotFound { reason }
            | Self::InvalidParams { reason } => Some(json!({ "reason": reason })),
            Self::Internal | Self::AuthenticationRequired | Self::Cancelled | Self::Conflict => {
                None
            }
            Self::Execution(failure) => Some(json!({
                "kind": failure.kind,
                "line": failure.line,
                "column": failure.column,
                "logs": failure.logs,
            })),
            Self::InvalidCredentials(refusal) => Some(json!({ "reason": refusal })),
            Self::Forbidden { needs } => Some(json!({ "needs": needs })),
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
            Self::Unavailable { retry_after_ms } => {
                Some(json!({ "retry_after_ms": retry_after_ms }))
            }
        }
    }
}
