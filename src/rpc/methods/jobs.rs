//! Durable jobs of callers. They run even if nobody stays connected.

use std::{sync::Arc, time::Duration};

use circled_protocol::{
    FailureKind, JobId, JobKind, Permission, PublicKey, Role,
    methods::{
        GetJob, Job, Jobs, ListJobs, Retried, RetriedDead, RetryDead, RetryJob, StopJob, Stopped,
        SubmitJob, Submitted,
    },
};
use jiff::{Span, Timestamp};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    asked_job::{AskedJob, cursor, limit, read_reply},
    runs::{Raw, unavailable},
};
use crate::{
    auth::Action,
    dispatch::{
        self, DeadJobs, JobRecord, NotRetried, Page, Progress, ReservedRead, Status, Submission,
        Viewer,
    },
    memory::MemoryBudget,
    rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs},
    script::Failure,
    store::{Feed, Signal, Unavailable},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<SubmitJob>(),
    Method::of::<GetJob>(),
    Method::of::<ListJobs>(),
    Method::of::<StopJob>(),
    Method::of::<RetryJob>(),
    Method::of::<RetryDead>(),
];

/// The longest delay of a job in hours.
const FURTHEST: i64 = 366 * 24;
/// The longest idempotency key in bytes.
const LONGEST_KEY: usize = 255;

/// The script of a submitted job.
enum Script {
    Source(String),
    Named(String, Option<String>),
}

impl Call for SubmitJob {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Jobs;
    type Params<'a> = Self;
    type Output = Submitted;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<Submitted> {
        let invalid = |reason: &str| Error::InvalidParams {
            reason: reason.to_owned(),
        };
        let permits = |action, version| context.permits_version(action, version);
        let (script, admitted) = match (params.script, params.name, params.version) {
            (Some(script), None, None) => {
                context.check_device(&Permission::Play)?;
                (Script::Source(script), permits(Action::Play, None)?)
            }
            (None, Some(name), version) => {
                context.check_device_calls(&name, version.as_deref())?;
                let admitted = permits(Action::Call, version.as_deref())?;
                (Script::Named(name, version), admitted)
            }
            _ => {
                return Err(invalid(
                    "give either `script`, or `name` with an optional `version`",
                ));
            }
        };
        let caller = admitted.key.ok_or(Error::AuthenticationRequired)?;
        let now = Timestamp::now();
        let run_at = params.run_at.filter(|run_at| *run_at > now);
        if run_at.is_some_and(|run_at| run_at > now + Span::new().hours(FURTHEST)) {
            return Err(invalid("`run_at` is more than 366 days from now"));
        }
        let identity = match params.idempotency_key {
            Some(key) if key.is_empty() || key.len() > LONGEST_KEY => {
                return Err(invalid("`idempotency_key` must have from 1 to 255 bytes"));
            }
            Some(key) => Some(identity(&caller, &key)),
            None => None,
        };
        let (circle, session) = (context.circle, context.session_id);
        let (shared, args) = (context.shared.clone(), params.args);
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let dispatcher = &shared.dispatcher;
            let is_member = admitted.requires >= Some(Role::Member)
                || shared.access.fixed_role(&circle, &caller) >= Role::Member;
            let by_guest = !is_member && {
                let listed = dispatcher.list_role(circle, caller).await;
                listed.map_err(|_| unavailable())? < Some(Role::Member)
            };
            // A job with a later `run_at` runs the script's newest version then.
            let newest = run_at.is_some() && matches!(script, Script::Named(_, None));
            let pinned = match script {
                Script::Source(source) => {
                    let pinned = dispatcher.pin_source(circle, caller, session, source);
                    pinned.await
                }
                Script::Named(name, version) => {
                    let pinned = dispatcher.pin_named(circle, caller, session, name, version);
                    pinned.await
                }
            };
            let submission = Submission {
                circle,
                caller,
                device: admitted.device,
                script: Arc::new(pinned?),
                args,
                identity,
                newest,
                run_at,
                by_guest,
                submitted_at: now,
            };
            let receipt = dispatcher.submit(submission).await?;
            Ok(Submitted {
                job_id: receipt.job,
                duplicate: receipt.status == Progress::Duplicate,
            })
        })))
    }
}

/// Returns the id of a submission, which differs from all other ids in the circle.
fn identity(caller: &PublicKey, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [b"submitted\0".as_slice(), caller.as_bytes(), key.as_bytes()] {
        hash.update(part);
    }
    hash.finalize().into()
}

impl Call for GetJob {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Jobs;
    type Params<'a> = Self;
    type Output = ReservedRead<Job<Raw>>;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Self::Output> {
        let asked = AskedJob::new(context, admitted, &params.job_id)?;
        let memory = context.memory.clone();
        let wait = Duration::from_millis(params.wait.unwrap_or(0));
        let until = Instant::now() + wait.min(asked.shared.dispatcher.job_timeout());
        Ok(read_reply(async move {
            admitted.confirm(&asked.shared, asked.circle).await?;
            let job = if wait.is_zero() {
                shown(asked.read(&memory).await?)
            } else {
                let dispatcher = &asked.shared.dispatcher;
                // Listen first, so that no change is missed between the read of the job and the next event.
                let feed = dispatcher.listen(asked.circle).await;
                let feed = feed.map_err(|Unavailable| unavailable())?;
                tokio::select! {
                    read = end(&asked, &memory, feed, until) => read?,
                    // The dispatcher's end stops waiting callers, too.
                    () = dispatcher.halted() => return Err(Error::Cancelled),
                }
            };
            match params.input {
                true => with_input(&asked, &memory, job).await,
                false => Ok(job),
            }
        }))
    }
}

/// Adds what was submitted to a job.
async fn with_input(
    asked: &AskedJob,
    memory: &MemoryBudget,
    mut job: ReservedRead<Job<Raw>>,
) -> Result<ReservedRead<Job<Raw>>, Error> {
    // One permit to read at a time.
    let room = job.answer.take();
    let job = job.into_found();
    let mut read = asked.submitted(memory).await?;
    match (&mut read.answer, room) {
        (Some(answer), Some(room)) => answer.absorb(room),
        (answer @ None, room) => *answer = room,
        (Some(_), None) => {}
    }
    Ok(read.map(|input| Job { input, ..job }))
}

fn shown(read: ReservedRead<(JobRecord, bool)>) -> ReservedRead<Job<Raw>> {
    read.map(|(job, running)| job.view(running))
}

/// Waits for the end of a job, at most until the given time.
async fn end(
    asked: &AskedJob,
    memory: &MemoryBudget,
    mut feed: Feed,
    until: Instant,
) -> Result<ReservedRead<Job<Raw>>, Error> {
    let topic = format!("job.{}", asked.id);
    loop {
        let read = asked.read(memory).await?;
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

impl Call for ListJobs {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Jobs;
    type Params<'a> = Self;
    type Output = ReservedRead<Jobs<Raw>>;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Self::Output> {
        let page = Page {
            circle: context.circle,
            // The owner sees all callers' jobs.
            caller: match admitted.is_owner(&context.circle) {
                true => None,
                false => Some(admitted.key.ok_or(Error::AuthenticationRequired)?),
            },
            state: params.status,
            kind: Some(params.kind.unwrap_or(JobKind::Submitted)),
            provider: None,
            name: params.name,
            before: cursor(params.cursor.as_deref())?,
            limit: limit(params.limit)?,
            time: context.shared.dispatcher.time_to_look(),
        };
        let viewer = Viewer::Caller(admitted.key);
        let (shared, circle) = (context.shared.clone(), context.circle);
        let memory = context.memory.clone();
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let jobs = shared.dispatcher.jobs();
            let read = jobs.page(page, viewer, &memory).await;
            let read = read.map_err(|Unavailable| unavailable())?;
            Ok(read.map(|(jobs, cursor)| Jobs {
                jobs: jobs
                    .into_iter()
                    .map(|listed| Job {
                        input_bytes: Some(listed.input_bytes as u64),
                        ..listed.job.view(listed.running)
                    })
                    .collect(),
                cursor,
            }))
        })))
    }
}

/// Nothing of a run that is under way is committed.
impl Call for StopJob {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Jobs;
    type Params<'a> = Self;
    type Output = Stopped;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Stopped> {
        let asked = AskedJob::new(context, admitted, &params.job_id)?;
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&asked.shared, asked.circle).await?;
            asked.record().await?;
            let jobs = asked.shared.dispatcher.jobs();
            let stopped = jobs.stop_in(asked.circle, asked.id).await;
            let stopped = stopped.map_err(|Unavailable| unavailable())?;
            Ok(Stopped { stopped })
        })))
    }
}

impl Call for RetryJob {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Jobs;
    type Params<'a> = Self;
    type Output = Retried;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Retried> {
        let asked = AskedJob::new(context, admitted, &params.job_id)?;
        let (version, session) = (params.version, context.session_id);
        // Running it again needs the same permission as submitting it.
        let play = context.permits_version(Action::Play, version.as_deref());
        let call = context.permits_version(Action::Call, version.as_deref());
        let scope = context.device.as_ref().map(|device| device.scope.clone());
        Ok(Answer::Later(Box::pin(async move {
            let name = asked.record().await?.name;
            let admitted = if name.is_some() { call? } else { play? };
            let needs = name.map_or(Permission::Play, Permission::CallNamed);
            if scope.is_some_and(|scope| !scope.permits(&needs)) {
                return Err(Error::OutOfScope { needs: Some(needs) });
            }
            let (circle, asker) = (asked.circle, Some((admitted.caller(), session)));
            admitted.confirm(&asked.shared, circle).await?;
            let dispatcher = &asked.shared.dispatcher;
            let (retried, version) = match dispatcher.retry(asked.id, circle, asker, version).await
            {
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
        })))
    }
}

impl Call for RetryDead {
    const NEEDS: Needs = Needs::Owner;
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = RetriedDead;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<RetriedDead> {
        let owner = admitted.key.ok_or(Error::AuthenticationRequired)?;
        let (expect, cursor) = (params.expect, params.cursor.as_deref());
        let from = cursor.map(dead_after).transpose()?;
        let (until, after) = from.unzip();
        let wanted = DeadJobs {
            circle: context.circle,
            kind: params.kind,
            name: params.name,
            until: until.unwrap_or_else(Timestamp::now),
            after,
        };
        let (session, shared) = (context.session_id, context.shared.clone());
        Ok(Answer::Later(Box::pin(async move {
            let dispatcher = &shared.dispatcher;
            let mut dead = None;
            if after.is_none() {
                let time = dispatcher.job_timeout();
                let (most, viewer) = (expect.unwrap_or(u64::MAX), Viewer::Caller(Some(owner)));
                let count = dispatcher.count_dead(wanted.clone(), most, viewer);
                let count = timeout(time, count).await.map_err(|_| Error::Timeout {
                    timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                })?;
                let count = count.map_err(|Unavailable| unavailable())?;
                match expect {
                    None => {
                        return Ok(RetriedDead {
                            dead: Some(count),
                            ..RetriedDead::default()
                        });
                    }
                    Some(most) if count > most => return Err(Error::MoreDead { dead: count }),
                    Some(_) => dead = Some(count),
                }
            }
            let until = wanted.until.as_millisecond();
            let done = dispatcher.retry_dead(wanted, (owner, session)).await;
            let done = done.map_err(|Unavailable| unavailable())?;
            Ok(RetriedDead {
                dead,
                retried: done.retried,
                failed: done.failed,
                error: done.error,
                cursor: done.after.map(|after| format!("{until}.{after}")),
            })
        })))
    }
}

/// Reads the cursor of `retry_dead`: a time in milliseconds, and a job.
fn dead_after(cursor: &str) -> Result<(Timestamp, JobId), Error> {
    let read = || {
        let (until, after) = cursor.split_once('.')?;
        let until = Timestamp::from_millisecond(until.parse().ok()?).ok()?;
        Some((until, after.parse().ok()?))
    };
    read().ok_or_else(|| Error::InvalidParams {
        reason: "`cursor` must be the one of the call before".to_owned(),
    })
}
