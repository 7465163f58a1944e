//! `list_jobs`: the caller's durable jobs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    jobs::{Jobs, cursor, limit, whose},
    run::unavailable,
};
use crate::{
    dispatch::{Page, ReservedRead, State, Viewer},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

pub(in crate::rpc) struct ListJobs;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// Only jobs with this status.
    #[serde(default)]
    status: Option<State>,
    /// How many at most: 1 to 500, default 50.
    #[serde(default, deserialize_with = "circled_json::whole")]
    limit: Option<usize>,
    /// The `cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

impl Call for ListJobs {
    const NAME: &'static str = "list_jobs";
    const SUMMARY: &'static str = "Lists the caller's durable jobs, the newest first. The owner gets all that are not deliveries.";
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Params;
    type Output = ReservedRead<Jobs>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Params,
    ) -> Answer<ReservedRead<Jobs>> {
        let page = (|| {
            Ok::<_, Error>(Page {
                circle: context.circle,
                caller: whose(context, admitted)?,
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
            Ok(read.map(Jobs::new))
        }))
    }
}
