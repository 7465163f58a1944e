//! Deliveries of webhooks to a circle.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JobError, Method};
use crate::{JobId, JobStatus, Json, Word, code};

/// `list_deliveries`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDeliveries {
    /// Only deliveries of this provider.
    #[serde(default)]
    pub provider: Option<String>,
    /// The most deliveries to return: 1 to 500, default 50.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub limit: Option<usize>,
    /// The `cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Only deliveries whose jobs have this status.
    #[serde(default)]
    pub status: Option<JobStatus>,
}

impl Method for ListDeliveries {
    const NAME: &'static str = "list_deliveries";
    const SUMMARY: &'static str =
        "Lists the circle's deliveries, the newest first, without their payloads.";
    const READS: bool = true;
    type Result = Deliveries;
}

/// `get_delivery`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetDelivery {
    /// The id of the delivery's job.
    pub job_id: String,
}

impl Method for GetDelivery {
    const NAME: &'static str = "get_delivery";
    const SUMMARY: &'static str = "Returns a delivery with its payload.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Result = DeliveryDetails;
}

/// `redeliver`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// The id of the delivery's job.
    pub job_id: String,
}

impl Method for Redeliver {
    const NAME: &'static str = "redeliver";
    const SUMMARY: &'static str =
        "Runs a delivery once more, as a new job, with the script as it is now.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Result = Redelivered;
}

/// A delivery: one webhook request, without its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The id of its job.
    pub job_id: JobId,
    /// The provider that sent it.
    pub provider: String,
    /// The event's id, if it has one.
    pub event_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The time of its receipt.
    #[schemars(with = "String")]
    pub received_at: Timestamp,
    /// The status of its job.
    pub status: Word<JobStatus>,
    /// Runs of the script that came to an end, well or not.
    pub tries: u32,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

/// A delivery with its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeliveryDetails")]
pub struct DeliveryDetails<V = Json> {
    /// The delivery, like in a list.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// The printed lines of the last run that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// The body that the provider sent, as JSON.
    #[schemars(with = "Value")]
    pub payload: V,
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// The newest first.
    pub deliveries: Vec<Delivery>,
    /// Pass this to get the next page; null after the last one. A short page need not be the last one.
    pub cursor: Option<JobId>,
}

/// A delivery that runs once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redelivered {
    /// The id of the new job.
    pub job_id: JobId,
}
