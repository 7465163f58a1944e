//! The server's description of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Method;
use crate::Json;

/// `rpc.discover`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discover {}

impl Method for Discover {
    const NAME: &'static str = "rpc.discover";
    const SUMMARY: &'static str =
        "Returns this document: the methods of this server, in OpenRPC 1.3.";
    const READS: bool = true;
    type Result = Document;
}

/// An OpenRPC document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Document(#[schemars(with = "Value")] pub Json);
