//! `stop_job`: stops a durable job of the caller that is not over; nothing of a run that is under way lands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    jobs::{job, record, whose},
    run::unavailable,
};
use crate::{
    dispatch::Viewer,
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

pub(in crate::rpc) struct StopJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The job's id, as submit_job returned it.
    job_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// False if it was already over.
    stopped: bool,
}

impl Call for StopJob {
    const NAME: &'static str = "stop_job";
    const SUMMARY: &'static str = "Stops a durable job of the caller that is not over. A run that is under way commits nothing.";
    const NEEDS: Needs = Needs::Login;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        let asked = (|| Ok::<_, Error>((job(&params.job_id)?, whose(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, whose)) => Answer::Later(Box::pin(async move {
                record(&shared, circle, id, (whose, viewer)).await?;
                let stopped = shared.dispatcher.jobs().stop_in(circle, id).await;
                Ok(Output {
                    stopped: stopped.map_err(|Unavailable| unavailable())?,
                })
            })),
        }
    }
}
