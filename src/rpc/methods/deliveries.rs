//! What the methods about deliveries have in common.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    auth::PublicKey,
    dispatch::{JobError, JobId, JobRecord, ReservedRead, State, Viewer},
    memory::MemoryBudget,
    rpc::{Error, Shared},
};

/// A delivery: one webhook request, without its payload.
#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Delivery {
    /// Its job.
    job_id: JobId,
    /// Who sent it.
    provider: String,
    /// The event's id, if it has one.
    event_id: Option<String>,
    /// The event's type.
    event_type: Option<String>,
    /// When it came.
    #[schemars(with = "String")]
    received_at: Timestamp,
    /// The status of its job.
    status: State,
    /// Runs of the script that came to an end, well or not.
    tries: u32,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JobError>,
}

impl Delivery {
    /// What went wrong may say what was sent: in words, only the owner sees it.
    pub(super) fn new(job: JobRecord, running: bool, owner: bool) -> Self {
        let error = job.error.clone().map(|mut error| {
            if !owner && error.kind.is_some() {
                "the script failed; the owner sees how".clone_into(&mut error.message);
            }
            error
        });
        Self {
            status: job.state(running),
            job_id: job.id,
            provider: job.provider().unwrap_or_default().to_owned(),
            event_id: job.event_id,
            event_type: job.event_type,
            received_at: job.received_at,
            tries: job.tries,
            error,
        }
    }
}

/// The job of a delivery, and whether it runs right now.
pub(super) async fn delivery(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    viewer: Viewer,
    memory: &MemoryBudget,
) -> Result<ReservedRead<(JobRecord, bool)>, Error> {
    let jobs = shared.dispatcher.jobs();
    let found = jobs.find_in(circle, id, viewer, memory).await?;
    found
        .filter(|read| read.found.0.provider().is_some())
        .ok_or(Error::NotFound {
            what: "delivery".into(),
        })
}

/// The body that the provider sent, as JSON.
pub(super) async fn payload(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    viewer: Viewer,
    memory: &MemoryBudget,
) -> Result<ReservedRead<Box<RawValue>>, Error> {
    let jobs = shared.dispatcher.jobs();
    let payload = jobs.payload_in(circle, id, viewer, memory).await?;
    payload.ok_or(Error::NotFound {
        what: "delivery".into(),
    })
}
