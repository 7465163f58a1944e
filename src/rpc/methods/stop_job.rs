//! `stop_job`: stops a durable job of the caller that hasn't ended. Nothing of a run that is under way is committed.

use circled_protocol::methods::{StopJob, Stopped};

use super::{
    jobs::{job, record, visible_caller},
    run::unavailable,
};
use crate::{
    dispatch::Viewer,
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

impl Call for StopJob {
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Self;
    type Output = Stopped;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Stopped> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        let asked =
            (|| Ok::<_, Error>((job(&params.job_id)?, visible_caller(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, visible_caller)) => Answer::Later(Box::pin(async move {
                record(&shared, circle, id, (visible_caller, viewer)).await?;
                let stopped = shared.dispatcher.jobs().stop_in(circle, id).await;
                Ok(Stopped {
                    stopped: stopped.map_err(|Unavailable| unavailable())?,
                })
            })),
        }
    }
}
