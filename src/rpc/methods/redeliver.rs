//! `redeliver`: what a provider has sent, once more.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    deliveries::{delivery, payload},
    jobs::job,
};
use crate::{
    auth::Action,
    dispatch::{Delivery, JobId, Viewer},
    rpc::{
        Answer, Context,
        call::hold,
        code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct Redeliver;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The id of the delivery's job.
    job_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// The new job.
    job_id: JobId,
}

impl Call for Redeliver {
    const NAME: &'static str = "redeliver";
    const SUMMARY: &'static str =
        "Runs a delivery once more, as a new job, with the script as it is now.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        // Nothing of it is answered.
        let memory = context.requests.clone();
        let id = match job(&params.job_id) {
            Ok(id) => id,
            Err(error) => return Answer::Now(Err(error)),
        };
        Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let read = delivery(&shared, circle, id, viewer, &memory).await?;
            let (job, _) = read.into_found();
            let job = job.without_results();
            let read = payload(&shared, circle, id, viewer, &memory).await?;
            // The place is for others until it is kept, and it is held meanwhile.
            let text = &read.found;
            let _held = hold(&memory, crate::weight::of_json(text.get()))?;
            let payload = circled_json::parse(text.get()).unwrap_or_default();
            drop(read);
            let again = Delivery {
                circle,
                provider: job.provider().unwrap_or_default().into(),
                identity: None,
                series: job.series,
                event_id: job.event_id,
                event_type: job.event_type,
                payload,
                received_at: Timestamp::now(),
            };
            let receipt = shared
                .dispatcher
                .accept(again, std::time::Duration::ZERO)
                .await?;
            Ok(Output {
                job_id: receipt.job,
            })
        }))
    }
}
