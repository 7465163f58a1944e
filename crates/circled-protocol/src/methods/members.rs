//! Members of a circle.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{PublicKey, code};

/// `add_member`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The member's public key.
    pub pubkey: PublicKey,
}

impl AddMember {
    /// Adds the holder of a key as a member.
    pub fn new(pubkey: PublicKey) -> Self {
        Self { pubkey }
    }
}

impl Method for AddMember {
    const NAME: &'static str = "add_member";
    const SUMMARY: &'static str = "Makes the holder of a key a member of the circle.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Added;
}

/// `remove_member`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveMember {
    /// The member's public key.
    pub pubkey: PublicKey,
    /// True to cancel their jobs that are not over, too.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    pub stop_jobs: bool,
}

impl Method for RemoveMember {
    const NAME: &'static str = "remove_member";
    const SUMMARY: &'static str =
        "Removes a member of the circle, at once and in all their sessions.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Removed;
}

/// `list_members`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMembers {}

impl Method for ListMembers {
    const NAME: &'static str = "list_members";
    const SUMMARY: &'static str = "Lists the members of the circle.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Members;
}

/// The result of `add_member`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Added {
    /// False if they were already a member.
    pub added: bool,
}

/// The result of `remove_member`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// False if they were not a member.
    pub removed: bool,
    /// The number of their jobs that were cancelled, with `stop_jobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<usize>,
    /// The number of their jobs that could not be cancelled, if any. It is safe to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
}

/// The members of a circle, beside its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Members {
    /// Members that were added, sorted by key.
    pub members: Vec<Member>,
    /// Members in the server's settings.
    pub fixed: Vec<PublicKey>,
}

/// A member that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Their key.
    pub pubkey: PublicKey,
    /// The name of their role, if the server doesn't know it (a later version has stored it): they have the rights of a
    /// guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_role: Option<String>,
    /// The time at which they were added.
    #[schemars(with = "String")]
    pub added_at: Timestamp,
}
