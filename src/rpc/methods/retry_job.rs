//! `retry_job`: has a durable job of the caller run again that was given up or stopped, from the first try.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    jobs::{job, record, whose},
    run::unavailable,
    submit_job::unpinned,
};
use crate::{
    auth::Action,
    dispatch::{NotRetried, Retried, Viewer},
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
    },
    script::{Failure, FailureKind},
};

pub(in crate::rpc) struct RetryJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The job's id, as submit_job returned it.
    job_id: String,
    /// The version of its named script, as in call. Default: the newest.
    #[serde(default)]
    version: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// False if it was neither dead nor cancelled.
    retried: bool,
    /// The version that it runs, if its script has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl Call for RetryJob {
    const NAME: &'static str = "retry_job";
    const SUMMARY: &'static str = "Runs a dead or cancelled job of the caller again, with all its tries and with its script as it is now.";
    const NEEDS: Needs = Needs::Login;
    const ERRORS: &'static [i32] = &[
        code::EXECUTION_ERROR,
        code::TIMEOUT,
        code::NOT_FOUND,
        code::CANCELLED,
    ];
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let Params { job_id, version } = params;
        let viewer = Viewer::Caller(admitted.key);
        // Running it again takes what submitting it did.
        let play = context.permits_version(Action::Play, version.as_deref());
        let call = context.permits_version(Action::Call, version.as_deref());
        let asked = (|| Ok::<_, Error>((job(&job_id)?, whose(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, whose)) => Answer::Later(Box::pin(async move {
                let job = record(&shared, circle, id, (whose, viewer)).await?;
                let admitted = if job.name.is_some() { call? } else { play? };
                drop(job);
                let caller = admitted.key;
                admitted.confirm(&shared, circle).await?;
                let dispatcher = &shared.dispatcher;
                let retried = dispatcher.retry(id, circle, caller, version).await;
                let (retried, version) = match retried {
                    Ok(Retried { version, .. }) => (true, version),
                    Err(NotRetried::NotOver) => (false, None),
                    Err(NotRetried::Script(why)) => return Err(unpinned(why)),
                    Err(NotRetried::Unreadable) => {
                        let failure = Failure::new(FailureKind::Runtime, NotRetried::UNREADABLE);
                        return Err(Error::Execution(Box::new(failure)));
                    }
                    Err(NotRetried::Unavailable) => return Err(unavailable()),
                };
                Ok(Output { retried, version })
            })),
        }
    }
}
