//! Reads of a circle's store, for consoles, and how much a circle has.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Method;
use crate::{Json, code};

/// `store_list`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreList {
    /// The beginning of the keys. Default: all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The cursor of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most entries of the page: from 1 to 500, 50 by default. Large values make it shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Method for StoreList {
    const NAME: &'static str = "store_list";
    const SUMMARY: &'static str =
        "Lists keys of the circle's store with their values, sorted by key.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = StorePage;
}

/// `store_get`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreGet {
    /// The key.
    pub key: String,
}

impl Method for StoreGet {
    const NAME: &'static str = "store_get";
    const SUMMARY: &'static str = "Returns the value of a key of the circle's store.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Result = StoreEntry;
}

/// Some entries of a circle's store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StorePage")]
pub struct StorePage<V = Json> {
    /// The entries, sorted by key.
    #[schemars(with = "Vec<StoreEntry>")]
    pub entries: Vec<StoreEntry<V>>,
    /// The cursor of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoreEntry")]
pub struct StoreEntry<V = Json> {
    /// The key.
    pub key: String,
    /// The value as JSON.
    #[schemars(with = "Value")]
    pub value: V,
    /// The time when the key expires, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
}

/// `usage`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {}

impl Method for Usage {
    const NAME: &'static str = "usage";
    const SUMMARY: &'static str = "Returns how much the circle has: keys, bytes, events and jobs.";
    const READS: bool = true;
    type Result = CircleUsage;
}

/// The result of `usage`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CircleUsage {
    /// The keys of the store.
    pub keys: u64,
    /// The bytes that count in the quota: keys and values, and the circle's own members and scripts.
    pub bytes: u64,
    /// `store.quota`, in bytes.
    pub quota: u64,
    /// The events that are kept.
    pub events: u64,
    /// The id of the last event; 0 if there was none.
    pub last_event: u64,
    /// The durable jobs that are kept, deliveries too.
    pub jobs: JobCounts,
}

/// The numbers of a circle's durable jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Those that are not over: `pending`, `running` or `failed`.
    pub open: u64,
    /// Those that are `finished` or `cancelled`.
    pub ended: u64,
    /// Those that are `dead`.
    pub dead: u64,
}
