//! Deliveries of webhooks.

use circled_protocol::{
    JobKind,
    methods::{
        Deliveries, Delivery, DeliveryDetails, GetDelivery, ListDeliveries, Redeliver, Redelivered,
    },
};
use jiff::Timestamp;

use super::{
    asked_job::{AskedJob, cursor, limit, read_reply},
    runs::{Raw, unavailable},
};
use crate::{
    auth::Action,
    dispatch::{self, JobRecord, Page, ReservedRead, Status, Viewer},
    rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Method, Needs, call::hold},
    store::Unavailable,
};

/// The copies of a body while it is stored again: its own, the one in the event, and those in the commit.
const COPIES: usize = 4;

pub(super) const METHODS: &[Method] = &[
    Method::of::<ListDeliveries>(),
    Method::of::<GetDelivery>(),
    Method::of::<Redeliver>(),
];

impl Call for ListDeliveries {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Deliveries;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Deliveries> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let owner = admitted.is_owner(&circle);
        let page = Page {
            circle,
            caller: None,
            state: params.status,
            kind: Some(JobKind::Delivery),
            provider: params.provider,
            name: None,
            before: cursor(params.cursor.as_deref())?,
            limit: limit(params.limit)?,
            time: shared.dispatcher.time_to_look(),
        };
        let memory = context.memory.clone();
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let jobs = shared.dispatcher.jobs();
            let read = jobs.page(page, Viewer::Caller(admitted.key), &memory);
            let read = read.await.map_err(|Unavailable| unavailable())?;
            let (jobs, cursor) = read.into_found();
            let jobs = jobs.into_iter();
            Ok(Deliveries {
                deliveries: jobs
                    .map(|listed| described(listed.job, listed.running, owner))
                    .collect(),
                cursor,
            })
        })))
    }
}

impl Call for GetDelivery {
    const NEEDS: Needs = Needs::Owner;
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = ReservedRead<DeliveryDetails<Raw>>;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Self::Output> {
        let asked = AskedJob::new(context, admitted, &params.job_id)?;
        let memory = context.memory.clone();
        Ok(read_reply(async move {
            let read = asked.delivery(&memory).await?;
            let (mut job, running) = read.into_found();
            let logs = std::mem::take(&mut job.logs);
            let delivery = described(job, running, true);
            let payload = asked.payload(&memory).await?;
            Ok(payload.map(|payload| DeliveryDetails {
                delivery,
                logs,
                payload,
            }))
        }))
    }
}

impl Call for Redeliver {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Redelivered;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Redelivered> {
        let asked = AskedJob::new(context, admitted, &params.job_id)?;
        // The reply has nothing of the body, so it counts as a request.
        let memory = context.requests.clone();
        let session = context.session_id;
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&asked.shared, asked.circle).await?;
            let read = asked.delivery(&memory).await?;
            let (job, _) = read.into_found();
            let is_open = job.status == Status::Pending;
            let job = job.without_results();
            let read = asked.payload(&memory).await?;
            // The turn to read is free for others from here on; the body's memory is held until the job is stored.
            let _held = hold(&memory, COPIES * read.found.get().len())?;
            let payload = read.into_found();
            let again = dispatch::Delivery {
                circle: asked.circle,
                provider: job.provider().unwrap_or_default().into(),
                identity: None,
                series: job.series,
                event_id: job.event_id,
                event_type: job.event_type,
                payload,
                received_at: Timestamp::now(),
            };
            let job_id = asked.shared.dispatcher.redeliver(again, session).await?;
            if is_open {
                // The new job is there, so this is no error of the call.
                let jobs = asked.shared.dispatcher.jobs();
                if let Err(Unavailable) = jobs.stop_in(asked.circle, asked.id).await {
                    let (job, new) = (asked.id, job_id);
                    tracing::warn!(%job, %new, "failed to stop the job of a delivery that was redelivered: it goes on");
                }
            }
            Ok(Redelivered { job_id })
        })))
    }
}

/// Returns a delivery without its body. An error's message may quote the body, so only the owner sees it.
fn described(job: JobRecord, running: bool, owner: bool) -> Delivery {
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
