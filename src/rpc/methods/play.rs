//! `play`: runs a script.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};

use super::run::run;
use crate::{
    auth::Action,
    dispatch::{JobId, Work},
    rpc::{
        Answer, Context, code,
        context::Admitted,
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
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    args: Value,
    /// How many milliseconds the job may take, waiting included; at most the server's limit.
    #[serde(default, deserialize_with = "circled_json::whole")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Run {
    /// The script's value as Rhai prints it; empty if there is none.
    output: String,
    /// The same as JSON.
    #[schemars(with = "Value")]
    value: Box<RawValue>,
    /// The lines of `print` and `debug`.
    logs: Vec<String>,
    /// The id of the run's job, as in the server's log.
    job_id: JobId,
}

impl Call for Play {
    const NAME: &'static str = "play";
    const SUMMARY: &'static str =
        "Plays a script: runs its source as the caller, in the session's circle.";
    const NEEDS: Needs = Needs::To(Action::Play);
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Params<'a> = Params<'a>;
    type Output = Run;

    fn call(context: &mut Context, admitted: Admitted, params: Params<'_>) -> Answer<Run> {
        let Params {
            script,
            args,
            timeout_ms,
        } = params;
        let work = Work::Script(script);
        run(context, admitted, work, args, timeout_ms, |job_id, ran| {
            Run {
                output: ran.output,
                value: ran.value,
                logs: ran.logs,
                job_id,
            }
        })
    }
}
