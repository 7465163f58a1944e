//! `get_job`: where a durable job stands.

use schemars::JsonSchema;
use serde::Deserialize;

use super::jobs::{job, visible, whose};
use crate::{
    dispatch::JobView,
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct GetJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The job's name, as submit_job answered it.
    job_id: String,
}

impl Call for GetJob {
    const NAME: &'static str = "get_job";
    const SUMMARY: &'static str =
        "Tells where a durable job of the caller stands; the owner may ask for any.";
    const NEEDS: Needs = Needs::Login;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Params<'a> = Params;
    type Output = JobView;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<JobView> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let asked = (|| Ok::<_, Error>((job(&params.job_id)?, whose(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, whose)) => Answer::Later(Box::pin(async move {
                let (job, running) = visible(&shared, circle, id, whose).await?;
                Ok(job.view(running))
            })),
        }
    }
}
