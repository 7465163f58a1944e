//! `play`: runs a script.

use std::{borrow::Cow, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};

use crate::{
    auth::Role,
    dispatch::{Caller, Job, JobId, Outcome, Played},
    rpc::{
        Answer, Context, Error,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct Play;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params<'a> {
    /// The script, in Rhai.
    #[serde(borrow)]
    script: Cow<'a, str>,
    /// Any value: what the script sees as ARGS.
    #[serde(default)]
    args: Value,
    /// How long the job may take, waiting for its turn included; the server's own limit at most.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Run {
    /// The script's value as Rhai prints it; empty for none.
    output: String,
    /// The same as JSON.
    #[schemars(with = "Value")]
    value: Box<RawValue>,
    /// What `print` and `debug` wrote, line by line.
    logs: Vec<String>,
    /// The run's name in the server's log.
    job_id: JobId,
}

impl Call for Play {
    const NAME: &'static str = "play";
    const SUMMARY: &'static str = "Runs a script as the caller, in the session's circle.";
    const NEEDS: Needs = Needs::Play;
    type Params<'a> = Params<'a>;
    type Output = Run;

    fn call(context: &mut Context, params: Params<'_>) -> Answer<Run> {
        let Params {
            script,
            args,
            timeout_ms,
        } = params;
        let dispatcher = &context.shared.dispatcher;
        let timeout = match timeout_ms.map(Duration::from_millis) {
            None => dispatcher.job_timeout(),
            Some(timeout) if timeout <= dispatcher.job_timeout() && !timeout.is_zero() => timeout,
            Some(_) => {
                let most = dispatcher.job_timeout().as_millis();
                return Answer::Now(Err(Error::InvalidParams {
                    reason: format!("`timeout_ms` must be from 1 to {most}"),
                }));
            }
        };
        // The method table has checked the role already; this asks who it is.
        let caller = match context.caller_with(Role::Guest) {
            Ok(caller) => Caller::Key(caller.key),
            Err(error) => return Answer::Now(Err(error)),
        };
        let job = Job {
            id: JobId::new(),
            circle: context.circle,
            caller,
            script,
            args,
            timeout,
        };
        let id = job.id;
        match dispatcher.play(job, context.may_run_here()) {
            Played::Now(outcome) => Answer::Now(output(id, outcome)),
            Played::Later(ticket) => {
                Answer::Later(Box::pin(async move { output(id, ticket.outcome().await) }))
            }
        }
    }
}

fn output(job_id: JobId, outcome: Outcome) -> Result<Run, Error> {
    match outcome {
        Outcome::Finished(success) => Ok(Run {
            output: success.output,
            value: success.value,
            logs: success.logs,
            job_id,
        }),
        Outcome::Failed(failure) => Err(Error::Execution(failure)),
        Outcome::TimedOut { after } => Err(Error::Timeout {
            timeout_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        }),
        Outcome::Cancelled => Err(Error::Cancelled),
        Outcome::Conflict => Err(Error::Conflict),
        Outcome::Unavailable => Err(Error::Unavailable {
            retry_after_ms: 1000,
        }),
        Outcome::QueueFull { limit } => Err(Error::LimitExceeded {
            limit,
            retry_after_ms: Some(100),
        }),
    }
}
