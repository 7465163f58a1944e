//! `submit_job`: submits a durable job. It runs even if nobody stays connected.

use std::sync::Arc;

use circled_protocol::methods::{SubmitJob, Submitted};
use jiff::{Span, Timestamp};
use sha2::{Digest, Sha256};

use crate::{
    auth::Action,
    dispatch::{Progress, Submission},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

/// The longest delay of a job in hours.
const FURTHEST: i64 = 366 * 24;
/// The longest idempotency key in bytes.
const LONGEST_KEY: usize = 255;

/// The script to be run.
enum Script {
    Source(String),
    Named(String, Option<String>),
}

impl Script {
    fn version(&self) -> Option<&str> {
        match self {
            Self::Source(_) => None,
            Self::Named(_, version) => version.as_deref(),
        }
    }
}

impl Call for SubmitJob {
    const NEEDS: Needs = Needs::Login;
    type Params<'a> = Self;
    type Output = Submitted;

    fn call(context: &mut Context, _: Admitted, params: SubmitJob) -> Answer<Submitted> {
        match submit(context, params) {
            Ok(answer) => answer,
            Err(error) => Answer::Now(Err(error)),
        }
    }
}

fn submit(context: &Context, params: SubmitJob) -> Result<Answer<Submitted>, Error> {
    let invalid = |reason: &str| Error::InvalidParams {
        reason: reason.to_owned(),
    };
    let (what, action) = match (params.script, params.name, params.version) {
        (Some(script), None, None) => (Script::Source(script), Action::Play),
        (None, Some(name), version) => (Script::Named(name, version), Action::Call),
        _ => {
            return Err(invalid(
                "give either `script`, or `name` with an optional `version`",
            ));
        }
    };
    let admitted = context.permits_version(action, what.version())?;
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
    let (circle, shared, args) = (context.circle, context.shared.clone(), params.args);
    Ok(Answer::Later(Box::pin(async move {
        admitted.confirm(&shared, circle).await?;
        let dispatcher = &shared.dispatcher;
        // A job with a later `run_at` runs the script's newest version then.
        let newest = run_at.is_some() && matches!(what, Script::Named(_, None));
        let pinned = match what {
            Script::Source(source) => dispatcher.pin_source(circle, caller, source).await,
            Script::Named(name, version) => {
                dispatcher.pin_named(circle, caller, name, version).await
            }
        };
        let submission = Submission {
            circle,
            caller,
            script: Arc::new(pinned?),
            args,
            identity,
            newest,
            run_at,
            submitted_at: now,
        };
        let receipt = dispatcher.submit(submission).await?;
        Ok(Submitted {
            job_id: receipt.job,
            duplicate: receipt.status == Progress::Duplicate,
        })
    })))
}

/// Returns the id of a submission, which differs from all other ids in the circle.
fn identity(caller: &circled_protocol::PublicKey, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [b"submitted\0".as_slice(), caller.as_bytes(), key.as_bytes()] {
        hash.update(part);
    }
    hash.finalize().into()
}
