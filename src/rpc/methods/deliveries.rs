//! The parts that the methods about deliveries share.

use circled_protocol::{JobId, PublicKey, methods::Delivery};

use super::run::Raw;
use crate::{
    dispatch::{JobRecord, ReservedRead, Viewer},
    memory::MemoryBudget,
    rpc::{Error, Shared},
};

/// Returns a delivery without its body. An error's message may quote the body, so only the owner sees it.
pub(super) fn described(job: JobRecord, running: bool, owner: bool) -> Delivery {
    let error = job.error.clone().map(|mut error| {
        if !owner && error.kind.is_some() {
            "the script failed; the owner sees how".clone_into(&mut error.message);
        }
        error
    });
    Delivery {
        status: job.state(running).into(),
        job_id: job.id,
        provider: job.provider().unwrap_or_default().to_owned(),
        event_id: job.event_id,
        event_type: job.event_type,
        received_at: job.received_at,
        tries: job.tries,
        error,
    }
}

/// Returns the job of a delivery, and whether it runs right now.
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

/// Returns the body that the provider sent, as JSON.
pub(super) async fn payload(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    viewer: Viewer,
    memory: &MemoryBudget,
) -> Result<ReservedRead<Raw>, Error> {
    let jobs = shared.dispatcher.jobs();
    let payload = jobs.payload_in(circle, id, viewer, memory).await?;
    payload.ok_or(Error::NotFound {
        what: "delivery".into(),
    })
}
