//! `retry_job`: runs a dead or cancelled job of the caller again.

use circled_protocol::{
    FailureKind,
    methods::{Retried, RetryJob},
};

use super::{
    jobs::{job, record, visible_caller},
    run::unavailable,
};
use crate::{
    auth::Action,
    dispatch::{self, NotRetried, Viewer},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    script::Failure,
};

impl Call for RetryJob {
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Self;
    type Output = Retried;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Retried> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let RetryJob { job_id, version } = params;
        let viewer = Viewer::Caller(admitted.key);
        // Running it again needs the same permission as submitting it.
        let play = context.permits_version(Action::Play, version.as_deref());
        let call = context.permits_version(Action::Call, version.as_deref());
        let asked = (|| Ok::<_, Error>((job(&job_id)?, visible_caller(context, admitted)?)))();
        match asked {
            Err(error) => Answer::Now(Err(error)),
            Ok((id, visible_caller)) => Answer::Later(Box::pin(async move {
                let job = record(&shared, circle, id, (visible_caller, viewer)).await?;
                let admitted = if job.name.is_some() { call? } else { play? };
                drop(job);
                let caller = admitted.key;
                admitted.confirm(&shared, circle).await?;
                let dispatcher = &shared.dispatcher;
                let retried = dispatcher.retry(id, circle, caller, version).await;
                let (retried, version) = match retried {
                    Ok(dispatch::Retried { version, .. }) => (true, version),
                    Err(NotRetried::NotOver) => (false, None),
                    Err(NotRetried::Script(why)) => return Err(why.into()),
                    Err(NotRetried::Unreadable) => {
                        let failure = Failure::new(FailureKind::Runtime, NotRetried::UNREADABLE);
                        return Err(Error::Execution(Box::new(failure)));
                    }
                    Err(NotRetried::Unavailable) => return Err(unavailable()),
                };
                Ok(Retried { retried, version })
            })),
        }
    }
}
