//! Scripts that run while their caller waits.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Method, RunEffects};
use crate::{JobId, Json, code};

/// `play`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Play<'a> {
    /// The script, in Rhai.
    #[serde(borrow)]
    pub script: Cow<'a, str>,
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub args: Value,
    /// The longest that the call may take, in milliseconds, waiting included: 1 to `dispatch.job_timeout`, the default.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub timeout_ms: Option<u64>,
    /// A name that the caller gives the request: 1 to 64 of `A-Za-z0-9_.:-`. If a request with this name has changed
    /// anything, its result is returned, and nothing runs.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// Tells the run's effects in the result. Only for callers who may `manage`, by their own key.
    #[serde(
        default,
        deserialize_with = "circled_json::or_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub effects: bool,
}

impl Method for Play<'_> {
    const NAME: &'static str = "play";
    const SUMMARY: &'static str =
        "Plays a script: runs its source as the caller, in the session's circle.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Result = Played;
}

/// `call`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallScript<'a> {
    /// The script's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub args: Value,
    /// The version: the SHA-256 of the source, or its first digits. Only for callers who may `manage`; default: the
    /// newest.
    #[serde(default, borrow)]
    pub version: Option<Cow<'a, str>>,
    /// The longest that the call may take, in milliseconds, waiting included: 1 to `dispatch.job_timeout`, the default.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub timeout_ms: Option<u64>,
    /// A name that the caller gives the request: 1 to 64 of `A-Za-z0-9_.:-`. If a request with this name has changed
    /// anything, its result is returned, and nothing runs.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// Tells the run's effects in the result. Only for callers who may `manage`, by their own key.
    #[serde(
        default,
        deserialize_with = "circled_json::or_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub effects: bool,
}

impl Method for CallScript<'_> {
    const NAME: &'static str = "call";
    const SUMMARY: &'static str = "Calls a named script of the circle: runs it as the caller.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Result = Called;
}

/// The result of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Played")]
pub struct Played<V = Json> {
    /// The script's value as Rhai prints it; empty if there is none.
    pub output: String,
    /// The script's value as JSON.
    #[schemars(with = "Value")]
    pub value: V,
    /// The lines of `print` and `debug`.
    pub logs: Vec<String>,
    /// The id of the run's job, as in the server's log.
    pub job_id: JobId,
    /// True if this is the result of an earlier run, for the same `request_id`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// What the run has read and changed, if that was asked for; not with the result of an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Box<RunEffects>>,
}

/// The result of a named script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Called")]
pub struct Called<V = Json> {
    /// The same fields as the result of `play`.
    #[serde(flatten)]
    #[schemars(with = "Played")]
    pub played: Played<V>,
    /// The version that ran.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn additions_of_a_later_server_are_ignored() {
        let called: Called = circled_json::from_value(json!({
            "output": "1", "value": 1, "logs": [], "job_id": JobId::new(), "version": "ab", "more": 1,
        }))
        .unwrap();
        assert_eq!(
            (called.played.output.as_str(), called.version.as_str()),
            ("1", "ab")
        );
    }
}
