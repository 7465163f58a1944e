//! `list_deliveries`: what providers have sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    deliveries::Delivery,
    jobs::{cursor, limit},
    run::unavailable,
};
use crate::{
    auth::Action,
    dispatch::{JobId, Page, State, Viewer},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

pub(in crate::rpc) struct ListDeliveries;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// Only deliveries of this provider.
    #[serde(default)]
    provider: Option<String>,
    /// How many at most: 1 to 500, default 50.
    #[serde(default, deserialize_with = "circled_json::whole")]
    limit: Option<usize>,
    /// The `cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Only deliveries whose jobs have this status.
    #[serde(default)]
    status: Option<State>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Deliveries {
    /// The newest first.
    deliveries: Vec<Delivery>,
    /// Pass this to get the next page; null after the last one. A short page need not be the last one.
    cursor: Option<JobId>,
}

impl Call for ListDeliveries {
    const NAME: &'static str = "list_deliveries";
    const SUMMARY: &'static str =
        "Lists the circle's deliveries, the newest first, without their payloads.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Params;
    type Output = Deliveries;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Deliveries> {
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
                    .map(|(job, running)| Delivery::new(job, running, owner))
                    .collect(),
                cursor,
            })
        }))
    }
}
