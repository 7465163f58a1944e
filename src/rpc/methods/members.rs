//! The circle's members.

use circled_protocol::{
    JobKind, PublicKey,
    methods::{AddMember, ListMembers, RemoveMember, Removed},
};
use futures_util::future::join_all;

use super::runs::{Raw, With, perform, run, unavailable};
use crate::{
    auth::Action,
    circle::{Procedure, Task},
    dispatch::{Page, Status, Viewer},
    memory::MemoryBudget,
    rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs, Shared},
    store::Unavailable,
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<AddMember>(),
    Method::of::<RemoveMember>(),
    Method::of::<ListMembers>(),
];

/// The size of a page of jobs, and the number of jobs that are stopped at a time.
const PAGE: usize = 500;
const AT_A_TIME: usize = 16;

impl Call for AddMember {
    const NEEDS: Needs = Needs::Owner;
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        perform(context, admitted, Procedure::AddMember(params))
    }
}

impl Call for RemoveMember {
    const NEEDS: Needs = Needs::Owner;
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Removed;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Removed> {
        let Self { pubkey, stop_jobs } = params;
        let (shared, circle) = (context.shared.clone(), context.circle);
        if shared.access.fixed_members(&circle).contains(&pubkey) {
            return Err(Error::InvalidParams {
                reason: "this member is in the server's settings, and can only be removed there"
                    .to_owned(),
            });
        }
        let viewer = Viewer::Caller(admitted.key);
        let task = Task::Procedure(Procedure::RemoveMember { pubkey });
        let answer = run(context, admitted, task, With::default(), |_, success| {
            circled_json::from_str(success.value.get()).unwrap_or(Removed {
                removed: false,
                stopped: None,
                failed: None,
            })
        })?;
        if !stop_jobs {
            return Ok(answer);
        }
        let memory = context.memory.clone();
        Ok(Answer::Later(Box::pin(async move {
            let output = match answer {
                Answer::Now(output) => output?,
                Answer::Later(output) => output.await?,
                Answer::Reserved(output) => output.await.0?,
            };
            // Everything that they submit from now on is refused.
            let stopped = stop_all(&shared, circle, (pubkey, viewer), &memory).await;
            let (stopped, failed) = stopped.map_err(|Unavailable| unavailable())?;
            Ok(Removed {
                stopped: Some(stopped),
                failed: Some(failed).filter(|failed| *failed > 0),
                ..output
            })
        })))
    }
}

impl Call for ListMembers {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Raw> {
        let fixed = context.shared.access.fixed_members(&context.circle);
        perform(context, admitted, Procedure::ListMembers { fixed })
    }
}

/// Stops the jobs that somebody has submitted and that haven't ended. Returns how many were stopped, and how many were
/// not.
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
        kind: Some(JobKind::Submitted),
        provider: None,
        name: None,
        before: None,
        limit: PAGE,
        time: shared.dispatcher.time_to_look(),
    };
    let (mut stopped, mut failed) = (0, 0);
    loop {
        let jobs = shared.dispatcher.jobs();
        let (jobs, next) = jobs.page(page.clone(), viewer, memory).await?.into_found();
        let open = jobs
            .into_iter()
            .filter(|listed| listed.job.status == Status::Pending)
            .map(|listed| listed.job.id);
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
