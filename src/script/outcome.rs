//! The inputs of a run, and its result.

use std::{fmt, sync::Arc};

use circled_protocol::{FailureKind, JobId, PublicKey, methods::RunEffects};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{DurableTry, Occasion, PinnedModules, Queried};

/// The constants that a script sees. Names are written out only for scripts that mention them.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// `CALLER_ID`: who runs the script.
    pub caller_id: &'a (dyn fmt::Display + Sync),
    /// The caller's key, if it has proved one.
    pub caller: Option<&'a PublicKey>,
    /// `CONTEXT_ID`: the circle.
    pub context_id: &'a (dyn fmt::Display + Sync),
    /// `JOB_ID`.
    pub job_id: &'a (dyn fmt::Display + Sync),
    /// `ARGS`: what the caller passed; null becomes `()`.
    pub args: &'a Value,
    /// `EVENT`: a webhook's delivery. Not defined where there is none.
    pub event: Option<&'a Value>,
    /// `JOB`: the try of a durable job.
    pub durable: Option<DurableTry>,
    /// The time and the randomness of the run.
    pub occasion: Occasion,
    /// The scripts that this one may import; `None`: those that the circle has when it runs.
    pub modules: Option<&'a Arc<PinnedModules>>,
}

/// A run that came to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Success {
    /// The value as Rhai prints it; empty for `()`.
    pub output: String,
    /// The value as JSON.
    pub value: Box<RawValue>,
    /// The lines of `print` and `debug`.
    pub logs: Vec<String>,
    /// The version of the named script that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The reads of a query; nothing for all other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queried: Option<Box<Queried>>,
    /// The job that it is the result of, if that is an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<JobId>,
    /// The effects, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Box<RunEffects>>,
}

impl Success {
    /// Returns the success of a run that has no value.
    pub fn nothing() -> Self {
        Self {
            output: String::new(),
            value: RawValue::NULL.to_owned(),
            logs: Vec::new(),
            version: None,
            queried: None,
            replayed: None,
            effects: None,
        }
    }
}

/// A script that doesn't compile, failed, or ran into a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The sort of failure.
    pub kind: FailureKind,
    /// The error in words, for the author of the script; says nothing about the server.
    pub message: String,
    /// Line in the source, from 1.
    pub line: Option<usize>,
    /// Column in the line, in characters from 1.
    pub column: Option<usize>,
    /// The lines that the run had printed by then.
    pub logs: Vec<String>,
    /// The value that it threw, as JSON; nothing for a text, which is the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thrown: Option<Box<Thrown>>,
    /// The name of the script, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<ScriptName>>,
    /// The version of the named script that ran, if it is known here.
    #[serde(skip)]
    pub version: Option<Box<str>>,
}

/// A value that a script threw, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thrown(pub Box<str>);

/// The name of a circle's script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScriptName(pub Box<str>);
