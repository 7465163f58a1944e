//! Errors on the wire.

use schemars::JsonSchema;
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

    /// The codes with which a run of a script can end.
    pub(crate) const OF_RUNS: &[i32] = &[EXECUTION_ERROR, TIMEOUT, CANCELLED, CONFLICT];
    /// The same codes for a script that may not exist.
    pub(crate) const OF_NAMED: &[i32] = &[EXECUTION_ERROR, TIMEOUT, NOT_FOUND, CANCELLED, CONFLICT];
    /// The same codes for a script that is only compiled and then stored.
    pub(crate) const OF_SUBMISSIONS: &[i32] = &[EXECUTION_ERROR, TIMEOUT, NOT_FOUND, CANCELLED];
    /// The codes with which a change of a circle can end.
    pub(crate) const OF_CHANGES: &[i32] = &[TIMEOUT, CANCELLED, CONFLICT];

    /// Returns the message of a code, or its beginning.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The kind of error, see [`code`].
    pub code: i32,
    /// The message.
    pub message: String,
    /// More facts: `reason`, `needs`, `limit`, `retry_after_ms` and the like; null if there are none.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub data: Value,
}
