//! The effects of a run, as its caller is told of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Word, WriteOp};

/// The effects of a run: what it has read and changed. Of each kind, the first ones are listed, and `more` counts the
/// others. What belongs to the circle itself, such as its members and scripts, is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEffects {
    /// The keys and ranges that it has read.
    pub reads: Vec<KeysTouched>,
    /// The keys and ranges that it has written: deletes of ranges, then the others by their keys, then pushes.
    pub writes: Vec<WriteEffect>,
    /// The topics of the events that it has emitted, in order.
    pub events: Vec<String>,
    /// The number of durable jobs that it has submitted.
    pub jobs: u64,
    /// The numbers of effects that are not listed; missing if all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<MoreEffects>,
}

/// A key, or a range of keys in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysTouched {
    /// The key, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The first key that may be in the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The key behind the last one that may be in the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// In place of `end`: the range goes on to the last key that begins like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A write of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WriteEffect {
    /// The kind of write.
    pub op: Word<WriteOp>,
    /// The key, of a push what the new key begins with; or the range.
    #[serde(flatten)]
    pub keys: KeysTouched,
}

/// The numbers of effects that are not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoreEffects {
    /// Of `reads`.
    pub reads: u64,
    /// Of `writes`.
    pub writes: u64,
    /// Of `events`.
    pub events: u64,
}
