//! Several named scripts, changed as one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Method, ScriptPut};
use crate::{CallRule, Role, code};

/// `deploy_scripts`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployScripts {
    /// The scripts to put.
    pub put: Vec<ScriptToPut>,
    /// The scripts to delete. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Vec<ScriptToDelete>>,
    /// A name of the caller's for this request: 1 to 64 of `A-Za-z0-9_.:-`. If it was done before, the result is that of
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A script to put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptToPut {
    /// The name: 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`.
    pub name: String,
    /// The script, in Rhai.
    pub source: String,
    /// The least role of its callers, in place of the circle's rule `call`. Default: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRule>,
    /// The script as it is now; nothing if there is none. If that isn't so, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<ScriptState>,
}

/// A script to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptToDelete {
    /// The name.
    pub name: String,
    /// The script as it is now. If that isn't so, nothing is done.
    pub was: ScriptState,
}

/// The state of a named script, as `list_scripts` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptState {
    /// The newest version.
    pub version: String,
    /// The least role that may call it, if it has a rule of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Role>,
}

impl Method for DeployScripts {
    const NAME: &'static str = "deploy_scripts";
    const SUMMARY: &'static str = "Puts and deletes several named scripts as one change, if all of them compile and all are as their caller has seen them.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Result = Deployed;
}

/// The result of `deploy_scripts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// The scripts that were put.
    pub put: Vec<ScriptPut>,
    /// The names of the scripts that were deleted.
    pub deleted: Vec<String>,
}
