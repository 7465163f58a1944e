//! `play` and `call`: run a script for a caller, who waits for it. Procedures run in the same way.

use std::{borrow::Cow, time::Duration};

use circled_protocol::{
    JobId, LoginRefusal, Permission,
    methods::{CallScript, Called, Play, Played},
};
use serde_json::{Value, value::RawValue};

use crate::{
    auth::Action,
    circle::{JobSpec, Procedure, Request, Task},
    dispatch,
    rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs},
    script::{Outcome, RunError, Seed, Success},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<Play<'static>>(),
    Method::of::<CallScript<'static>>(),
];

/// The milliseconds after which to try again: for a full queue, and for any other limit.
const QUEUE: u64 = 100;
const OTHERS: u64 = 1000;

/// JSON that is passed on as it is.
pub(super) type Raw = Box<RawValue>;

impl Call for Play<'static> {
    const NEEDS: Needs = Needs::To(Action::Play);
    const DEVICE: DeviceNeeds = DeviceNeeds::Scope(Permission::Play);
    type Params<'a> = Play<'a>;
    type Output = Played<Raw>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Play<'_>,
    ) -> CallResult<Played<Raw>> {
        let admitted = match params.effects {
            true => context.permits_managing(Action::Play)?,
            false => admitted,
        };
        let task = Task::Source(params.script);
        let with = With {
            request: request(&admitted, params.request_id.as_deref(), &task, &params.args)?,
            args: params.args,
            timeout_ms: params.timeout_ms,
            tells_effects: params.effects,
        };
        run(context, admitted, task, with, play_result)
    }
}

impl Call for CallScript<'static> {
    const NEEDS: Needs = Needs::To(Action::Call);
    const DEVICE: DeviceNeeds = DeviceNeeds::ToCall;
    type Params<'a> = CallScript<'a>;
    type Output = Called<Raw>;

    fn call(context: &mut Context, _: Admitted, params: CallScript<'_>) -> CallResult<Called<Raw>> {
        context.check_device_calls(&params.name, params.version.as_deref())?;
        let admitted = match params.version.is_some() || params.effects {
            true => context.permits_managing(Action::Call)?,
            false => context.permits_script()?,
        };
        let task = Task::Named {
            name: params.name,
            version: params.version,
        };
        let with = With {
            request: request(&admitted, params.request_id.as_deref(), &task, &params.args)?,
            args: params.args,
            timeout_ms: params.timeout_ms,
            tells_effects: params.effects,
        };
        let result = |job_id, mut ran: Success| Called {
            version: ran.version.take().unwrap_or_default(),
            played: play_result(job_id, ran),
        };
        run(context, admitted, task, with, result)
    }
}

/// The parameters of a run besides its script.
#[derive(Default)]
pub(super) struct With {
    pub(super) args: Value,
    pub(super) timeout_ms: Option<u64>,
    pub(super) request: Option<Request>,
    pub(super) tells_effects: bool,
}

/// Returns the request that its caller has named, if it has.
pub(super) fn request(
    admitted: &Admitted,
    id: Option<&str>,
    task: &Task<'_>,
    args: &Value,
) -> Result<Option<Request>, Error> {
    let Some(id) = id else {
        return Ok(None);
    };
    let invalid = |reason: &str| Error::InvalidParams {
        reason: reason.to_owned(),
    };
    let caller = admitted.caller();
    let caller = caller
        .key()
        .ok_or_else(|| invalid("`request_id` needs a login"))?;
    let request = Request::new(caller, id, task, args);
    let request =
        request.ok_or_else(|| invalid("`request_id` must be 1 to 64 of A-Za-z0-9_.:-"))?;
    Ok(Some(request))
}

/// Runs a procedure in the circle for the caller, who waits for it.
pub(super) fn perform(
    context: &Context,
    admitted: Admitted,
    procedure: Procedure,
) -> CallResult<Raw> {
    let task = Task::Procedure(procedure);
    run(context, admitted, task, With::default(), |_, success| {
        success.value
    })
}

/// Runs a job for the caller, who waits for it. `result` makes the method's result of a success.
pub(super) fn run<T: Send + 'static>(
    context: &Context,
    admitted: Admitted,
    task: Task<'_>,
    with: With,
    result: fn(JobId, Success) -> T,
) -> CallResult<T> {
    let dispatcher = &context.shared.dispatcher;
    let timeout = match with.timeout_ms.map(Duration::from_millis) {
        None => dispatcher.job_timeout(),
        Some(timeout) if timeout <= dispatcher.job_timeout() && !timeout.is_zero() => timeout,
        Some(_) => {
            let most = dispatcher.job_timeout().as_millis();
            return Err(Error::InvalidParams {
                reason: format!("`timeout_ms` must be from 1 to {most}"),
            });
        }
    };
    let job = JobSpec {
        id: dispatcher.name_play(),
        circle: context.circle,
        caller: admitted.caller(),
        requires: admitted.requires,
        task,
        args: Cow::Owned(with.args),
        event: None,
        timeout,
        seed: Seed::draw(),
        durable: None,
        request: with.request,
        tells_effects: with.tells_effects,
    };
    let (id, has_login) = (job.id, admitted.key.is_some());
    let answer = move |outcome: Outcome| match outcome {
        Err(RunError::Forbidden { .. }) if !has_login => Err(Error::AuthenticationRequired),
        outcome => Ok(result(id, outcome?)),
    };
    Ok(
        match dispatcher.play(
            job,
            context.session_id,
            &context.memory,
            context.begun,
            context.may_run_here(),
        ) {
            dispatch::Played::Now(outcome) => Answer::Now(answer(outcome)),
            dispatch::Played::Later(handle) => Answer::Reserved(Box::pin(async move {
                let reserved = handle.outcome().await;
                (answer(reserved.outcome), reserved.reservation)
            })),
        },
    )
}

fn play_result(job_id: JobId, ran: Success) -> Played<Raw> {
    Played {
        output: ran.output,
        value: ran.value,
        logs: ran.logs,
        job_id: ran.replayed.unwrap_or(job_id),
        replayed: ran.replayed.is_some(),
        effects: ran.effects,
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Failed(failure) => Self::Execution(failure),
            RunError::TimedOut { after, .. } => Self::Timeout {
                timeout_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
            RunError::Cancelled => Self::Cancelled,
            RunError::Conflict => Self::Conflict,
            RunError::Outdated { version, script } => Self::Outdated { version, script },
            RunError::Unavailable => unavailable(),
            RunError::Displaced => limit_exceeded(RunError::MAX_ASIDE.into()),
            RunError::Limit { limit } => limit_exceeded(limit),
            RunError::NotFound { what } => Self::NotFound { what },
            RunError::Forbidden { needs } => Self::Forbidden { needs },
            RunError::OutOfScope { needs } => Self::OutOfScope { needs },
            RunError::UnknownDevice => Self::InvalidCredentials(LoginRefusal::UnknownDevice),
            RunError::Invalid { reason } => Self::InvalidParams { reason },
        }
    }
}

/// Builds the error for a limit that is reached.
pub(super) fn limit_exceeded(limit: Cow<'static, str>) -> Error {
    let wait = if limit.ends_with("queue") {
        QUEUE
    } else {
        OTHERS
    };
    Error::LimitExceeded {
        limit,
        retry_after_ms: Some(wait),
    }
}

/// Builds the error for a store that can't be reached.
pub(super) fn unavailable() -> Error {
    Error::Unavailable {
        retry_after_ms: OTHERS,
    }
}
