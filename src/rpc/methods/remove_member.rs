//! `remove_member`: makes a member a guest again.

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::{run, unavailable};
use crate::{
    auth::PublicKey,
    circle::Procedure,
    dispatch::{Page, Status, Viewer, Work},
    memory::MemoryBudget,
    rpc::{
        Answer, Context, Error, Shared, code,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

/// Jobs that are looked at, and that are stopped, at a time.
const PAGE: usize = 500;
const AT_A_TIME: usize = 16;

pub(in crate::rpc) struct RemoveMember;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The member's public key.
    pubkey: PublicKey,
    /// Whether to stop their jobs that are not over, too.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    stop_jobs: bool,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// Whether they were a member.
    removed: bool,
    /// How many of their jobs were stopped, with `stop_jobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<usize>,
    /// How many of them could not be stopped, if any. It is safe to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<usize>,
}

/// What the procedure says.
#[derive(Deserialize)]
struct Removed {
    removed: bool,
}

impl Call for RemoveMember {
    const NAME: &'static str = "remove_member";
    const SUMMARY: &'static str =
        "Removes a member of the circle, at once and in all their sessions.";
    const NEEDS: Needs = Needs::Owner;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        let Params { pubkey, stop_jobs } = params;
        if context
            .shared
            .access
            .fixed_members(&context.circle)
            .contains(&pubkey)
        {
            return Answer::Now(Err(Error::InvalidParams {
                reason: "this member is in the server's settings, and can only be removed there"
                    .to_owned(),
            }));
        }
        let viewer = Viewer::Caller(admitted.key);
        let work = Work::Procedure(Procedure::RemoveMember { pubkey });
        let answer = run(context, admitted, work, Value::Null, None, |_, success| {
            let said = circled_json::from_str::<Removed>(success.value.get());
            Output {
                removed: said.is_ok_and(|said| said.removed),
                stopped: None,
                failed: None,
            }
        });
        if !stop_jobs {
            return answer;
        }
        let (shared, circle) = (context.shared.clone(), context.circle);
        let memory = context.memory.clone();
        Answer::Later(Box::pin(async move {
            let output = match answer {
                Answer::Now(output) => output?,
                Answer::Later(output) => output.await?,
                Answer::Reserved(output) => output.await.0?,
            };
            // Whatever they submit from now on is refused.
            let stopped = stop_all(&shared, circle, (pubkey, viewer), &memory).await;
            let (stopped, failed) = stopped.map_err(|Unavailable| unavailable())?;
            Ok(Output {
                stopped: Some(stopped),
                failed: Some(failed).filter(|failed| *failed > 0),
                ..output
            })
        }))
    }
}

/// Stops what somebody has submitted and is not over. Returns how many jobs that were, and how many of them go on.
async fn stop_all(
    shared: &Shared,
    circle: PublicKey,
    (caller, viewer): (PublicKey, Viewer),
    memory: &MemoryBudget,
) -> Result<(usize, usize), Unavailable> {
    let mut page = Page {
        circle,
        caller: Some(caller),
        state: None,
        deliveries: Some(false),
        provider: None,
        before: None,
        limit: PAGE,
    };
    let (mut stopped, mut failed) = (0, 0);
    loop {
        let jobs = shared.dispatcher.jobs();
        let (jobs, next) = jobs.page(page.clone(), viewer, memory).await?.into_found();
        let open = jobs
            .into_iter()
            .filter(|(job, _)| job.status == Status::Pending)
            .map(|(job, _)| job.id);
        for ids in open.collect::<Vec<_>>().chunks(AT_A_TIME) {
            let stops = ids
                .iter()
                .map(|id| shared.dispatcher.jobs().stop_in(circle, *id));
            for done in join_all(stops).await {
                match done {
                    Ok(done) => stopped += usize::from(done),
                    Err(Unavailable) => failed += 1,
                }
            }
        }
        page.before = next;
        if page.before.is_none() {
            return Ok((stopped, failed));
        }
    }
}
