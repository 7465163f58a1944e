//! `retry_job`: has a durable job of the caller run again that was given up or stopped, from the first try.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    jobs::{job, visible, whose},
    run::unavailable,
};
use crate::{
    auth::Action,
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

pub(in crate::rpc) struct RetryJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The job's name, as submit_job answered it.
    job_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// Whether it was dead or cancelled.
    retried: bool,
}

impl Call for RetryJob {
    const NAME: &'static str = "retry_job";
    const SUMMARY: &'static str = "Has a durable job of the caller run again that was given up or stopped, from the first try.";
    const NEEDS: Needs = Needs::Login;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        let (circle, shared) = (context.circle, context.shared.clone());
        // Running it again takes what submitting it did.
        let play = context.permits_to(Action::Play);
        let call = context.permits_to(Action::Call);
        let asked = (|| Ok::<_, Error>((job(&params.job_id)?, whose(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, whose)) => Answer::Later(Box::pin(async move {
                let (job, _) = visible(&shared, circle, id, whose).await?;
                let admitted = if job.name.is_some() { call? } else { play? };
                admitted.confirm(&shared, circle).await?;
                let retried = shared.dispatcher.jobs().retry_in(circle, id).await;
                Ok(Output {
                    retried: retried.map_err(|Unavailable| unavailable())?,
                })
            })),
        }
    }
}
