//! `list_deliveries`: lists the circle's deliveries.

use circled_protocol::methods::{Deliveries, ListDeliveries};

use super::{
    deliveries::described,
    jobs::{cursor, limit},
    run::unavailable,
};
use crate::{
    auth::Action,
    dispatch::{Page, Viewer},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

impl Call for ListDeliveries {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Deliveries;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Deliveries> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let owner = admitted.is_owner(&circle);
        let page = (|| {
            Ok::<_, Error>(Page {
                circle,
                caller: None,
                state: params.status,
                deliveries: Some(true),
                provider: params.provider,
                before: cursor(params.cursor.as_deref())?,
                limit: limit(params.limit)?,
            })
        })();
        let page = match page {
            Ok(page) => page,
            Err(error) => return Answer::Now(Err(error)),
        };
        let memory = context.memory.clone();
        Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let jobs = shared.dispatcher.jobs();
            let read = jobs.page(page, Viewer::Caller(admitted.key), &memory);
            let (jobs, cursor) = read
                .await
                .map_err(|Unavailable| unavailable())?
                .into_found();
            let jobs = jobs.into_iter();
            Ok(Deliveries {
                deliveries: jobs
                    .map(|(job, running)| described(job, running, owner))
                    .collect(),
                cursor,
            })
        }))
    }
}
