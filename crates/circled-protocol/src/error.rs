//! Errors, as they look on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The codes of JSON-RPC 2.0, and circled's own from -32000 down.
pub mod code {
    #![expect(
        missing_docs,
        reason = "named as the specification and docs/PROTOCOL.md name them"
    )]
    pub const PARSE_ERROR: i32 = -32700;
    pub const INVALID_REQUEST: i32 = -32600;
    pub const METHOD_NOT_FOUND: i32 = -32601;
    pub const INVALID_PARAMS: i32 = -32602;
    pub const INTERNAL_ERROR: i32 = -32603;
    pub const EXECUTION_ERROR: i32 = -32000;
    pub const AUTHENTICATION_REQUIRED: i32 = -32001;
    pub const INVALID_CREDENTIALS: i32 = -32002;
    pub const FORBIDDEN: i32 = -32003;
    pub const TIMEOUT: i32 = -32004;
    pub const LIMIT_EXCEEDED: i32 = -32005;
    pub const NOT_FOUND: i32 = -32006;
    pub const UNAVAILABLE: i32 = -32007;
    pub const CANCELLED: i32 = -32008;
    pub const CONFLICT: i32 = -32009;

    /// What a script that runs can end with.
    pub(crate) const OF_RUNS: &[i32] = &[EXECUTION_ERROR, TIMEOUT, CANCELLED, CONFLICT];
    /// The same for one that may not be there.
    pub(crate) const OF_NAMED: &[i32] = &[EXECUTION_ERROR, TIMEOUT, NOT_FOUND, CANCELLED, CONFLICT];
    /// The same for one that is only compiled, and then kept.
    pub(crate) const OF_SUBMISSIONS: &[i32] = &[EXECUTION_ERROR, TIMEOUT, NOT_FOUND, CANCELLED];
    /// What a change of a circle can end with.
    pub(crate) const OF_CHANGES: &[i32] = &[TIMEOUT, CANCELLED, CONFLICT];

    /// Returns the message that comes with a code, or how it begins.
    pub fn message(code: i32) -> &'static str {
        match code {
            PARSE_ERROR => "Parse error",
            INVALID_REQUEST => "Invalid Request",
            METHOD_NOT_FOUND => "Method not found",
            INVALID_PARAMS => "Invalid params",
            EXECUTION_ERROR => "Execution Error",
            AUTHENTICATION_REQUIRED => "Authentication Required",
            INVALID_CREDENTIALS => "Invalid Credentials",
            FORBIDDEN => "Forbidden",
            TIMEOUT => "Timeout",
            LIMIT_EXCEEDED => "Limit Exceeded",
            NOT_FOUND => "Not Found",
            UNAVAILABLE => "Unavailable",
            CANCELLED => "Cancelled",
            CONFLICT => "Conflict",
            _ => "Internal error",
        }
    }
}

/// The error in a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// Which kind, as [`code`] lists them.
    pub code: i32,
    /// What happened, in words.
    pub message: String,
    /// What more there is to know: `reason`, `needs`, `limit`, `retry_after_ms` and the like. Null where there is nothing.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub data: Value,
}
