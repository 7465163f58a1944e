//! Named scripts of a circle.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{CallRule, Role, Word, code};

/// `put_script`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutScript {
    /// The name: 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`.
    pub name: String,
    /// The script, in Rhai.
    pub source: String,
    /// The version that must be the newest one; else nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<String>,
    /// The least role of its callers, in place of the circle's rule `call`. Default: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRule>,
}

impl Method for PutScript {
    const NAME: &'static str = "put_script";
    const SUMMARY: &'static str =
        "Puts a script under a name, if it compiles. Its version is the SHA-256 of its source.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Result = ScriptPut;
}

/// `check_script`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckScript {
    /// The script, in Rhai.
    pub source: String,
}

impl Method for CheckScript {
    const NAME: &'static str = "check_script";
    const SUMMARY: &'static str =
        "Compiles a script. The error, if there is one, is that of put_script.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Result = ScriptChecked;
}

/// `get_script`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetScript {
    /// The name.
    pub name: String,
    /// The version: the SHA-256 of the source, or its first digits. Default: the newest.
    #[serde(default)]
    pub version: Option<String>,
}

impl Method for GetScript {
    const NAME: &'static str = "get_script";
    const SUMMARY: &'static str = "Returns a named script of the circle.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Result = Script;
}

/// `list_scripts`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListScripts {}

impl Method for ListScripts {
    const NAME: &'static str = "list_scripts";
    const SUMMARY: &'static str = "Lists the circle's named scripts, sorted by name.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Scripts;
}

/// `delete_script`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteScript {
    /// The name.
    pub name: String,
    /// The version that must be the newest one; else nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<String>,
}

impl Method for DeleteScript {
    const NAME: &'static str = "delete_script";
    const SUMMARY: &'static str = "Deletes a named script with all its versions.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Deleted;
}

/// A script that was stored under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptPut {
    /// The name.
    pub name: String,
    /// The SHA-256 of the source, in hex.
    pub version: String,
    /// False if this was already the newest version.
    pub created: bool,
}

/// A script that compiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptChecked {
    /// The SHA-256 of the source, in hex: the version that it would have.
    pub version: String,
}

/// A script at one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Script {
    /// The name.
    pub name: String,
    /// The version, and when and by whom it was put last.
    #[serde(flatten)]
    pub shown: ScriptVersion,
    /// The script, in Rhai.
    pub source: String,
    /// The least role that may call it, if it has a rule of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Word<Role>>,
    /// All stored versions, the newest first.
    pub versions: Vec<ScriptVersion>,
}

/// A version of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptVersion {
    /// The SHA-256 of the source, in hex.
    pub version: String,
    /// The time at which it was last put.
    #[schemars(with = "String")]
    pub put_at: Timestamp,
    /// The key of the caller who put it; `anonymous` if there was no login.
    pub put_by: String,
}

/// All scripts of a circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scripts {
    /// The newest version of each.
    pub scripts: Vec<ScriptEntry>,
}

/// A script in a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptEntry {
    /// The name.
    pub name: String,
    /// Its newest version.
    #[serde(flatten)]
    pub current: ScriptVersion,
    /// The least role that may call it, if it has a rule of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Word<Role>>,
}

/// The result of `delete_script`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// False if there was no such script.
    pub deleted: bool,
}
