//! `get_job`: returns a durable job, at once or when it has ended.

use std::time::Duration;

use circled_protocol::{
    JobId, PublicKey,
    methods::{GetJob, Job},
};
use tokio::time::{Instant, timeout_at};

use super::{
    jobs::{job, read_reply, visible, visible_caller},
    run::{Raw, unavailable},
};
use crate::{
    dispatch::{JobRecord, ReservedRead, Status, Viewer},
    memory::MemoryBudget,
    rpc::{
        Answer, Context, Error, Shared,
        context::Admitted,
        method::{Call, Needs},
    },
    store::{Feed, Signal, Unavailable},
};

impl Call for GetJob {
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Self;
    type Output = ReservedRead<Job<Raw>>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Self,
    ) -> Answer<ReservedRead<Job<Raw>>> {
        let memory = context.memory.clone();
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        let asked =
            (|| Ok::<_, Error>((job(&params.job_id)?, visible_caller(context, admitted)?)))();
        let (id, visible_caller) = match asked {
            Err(error) => return Answer::Now(Err(error)),
            Ok(asked) => asked,
        };
        let wait = Duration::from_millis(params.wait.unwrap_or(0));
        let until = Instant::now() + wait.min(shared.dispatcher.job_timeout());
        read_reply(async move {
            if wait.is_zero() {
                let read = visible(&shared, circle, id, (visible_caller, viewer), &memory).await?;
                return Ok(shown(read));
            }
            // Listen first, so that no change is missed between the read of the job and the next event.
            let feed = shared.dispatcher.listen(circle).await;
            let feed = feed.map_err(|Unavailable| unavailable())?;
            tokio::select! {
                read = end(&shared, circle, id, ((visible_caller, viewer), &memory), feed, until) => read,
                // The dispatcher's end stops waiting callers, too.
                () = shared.dispatcher.halted() => Err(Error::Cancelled),
            }
        })
    }
}

fn shown(read: ReservedRead<(JobRecord, bool)>) -> ReservedRead<Job<Raw>> {
    read.map(|(job, running)| job.view(running))
}

/// Waits for the end of a job, at most until the given time.
async fn end(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    (who, memory): ((Option<PublicKey>, Viewer), &MemoryBudget),
    mut feed: Feed,
    until: Instant,
) -> Result<ReservedRead<Job<Raw>>, Error> {
    let topic = format!("job.{id}");
    loop {
        let read = visible(shared, circle, id, who, memory).await?;
        if read.found.0.status != Status::Pending || Instant::now() >= until {
            return Ok(shown(read));
        }
        drop(read);
        // Each change that is stored publishes an event.
        let changed = async {
            loop {
                match feed.next().await {
                    Signal::Event(event) if *event.topic == *topic => return,
                    Signal::Event(_) => {}
                    Signal::ReadLog => return,
                }
            }
        };
        // Running out of time is no error: the job's present state is returned.
        let _ = timeout_at(until, changed).await;
    }
}
