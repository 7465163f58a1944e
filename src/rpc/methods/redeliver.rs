//! `redeliver`: runs a delivery once more.

use circled_protocol::methods::{Redeliver, Redelivered};
use jiff::Timestamp;

use super::{
    deliveries::{delivery, payload},
    jobs::job,
};
use crate::{
    auth::Action,
    dispatch::{Delivery, Viewer},
    rpc::{
        Answer, Context,
        call::hold,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for Redeliver {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Redelivered;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Redelivered> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        // The reply has nothing of the body, so it counts as a request.
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
            // The turn to read is free for others from here on; the body's memory is held until the job is stored.
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
            let job_id = shared.dispatcher.redeliver(again).await?;
            Ok(Redelivered { job_id })
        }))
    }
}
