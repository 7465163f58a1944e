//! `list_jobs`: lists the caller's durable jobs.

use circled_protocol::methods::{Jobs, ListJobs};

use super::{
    jobs::{cursor, limit, shown, visible_caller},
    run::{Raw, unavailable},
};
use crate::{
    dispatch::{Page, ReservedRead, Viewer},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

impl Call for ListJobs {
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Self;
    type Output = ReservedRead<Jobs<Raw>>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Self,
    ) -> Answer<ReservedRead<Jobs<Raw>>> {
        let page = (|| {
            Ok::<_, Error>(Page {
                circle: context.circle,
                caller: visible_caller(context, admitted)?,
                state: params.status,
                deliveries: Some(false),
                provider: None,
                before: cursor(params.cursor.as_deref())?,
                limit: limit(params.limit)?,
            })
        })();
        let page = match page {
            Ok(page) => page,
            Err(error) => return Answer::Now(Err(error)),
        };
        let (jobs, viewer) = (
            context.shared.dispatcher.jobs(),
            Viewer::Caller(admitted.key),
        );
        let memory = context.memory.clone();
        Answer::Later(Box::pin(async move {
            let read = jobs.page(page, viewer, &memory).await;
            let read = read.map_err(|Unavailable| unavailable())?;
            Ok(read.map(shown))
        }))
    }
}
