//! The proof of a server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{Proof, code};

/// `prove`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prove {
    /// 32 random bytes of the client, in hex.
    pub challenge: String,
}

impl Method for Prove {
    const NAME: &'static str = "prove";
    const SUMMARY: &'static str =
        "Proves that this server speaks for the circle, before the client signs anything.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Result = Proof;
}
