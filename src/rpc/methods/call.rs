//! `call`: runs a script that the circle has under a name.

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

pub(in crate::rpc) struct CallScript;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params<'a> {
    /// The script's name.
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    args: Value,
    /// The version: the SHA-256 of the source, or its first digits. Only for callers who may `manage`; default: the
    /// newest.
    #[serde(default, borrow)]
    version: Option<Cow<'a, str>>,
    /// How many milliseconds the job may take, waiting included; at most the server's limit.
    #[serde(default, deserialize_with = "circled_json::whole")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Called {
    /// The script's value as Rhai prints it; empty if there is none.
    output: String,
    /// The same as JSON.
    #[schemars(with = "Value")]
    value: Box<RawValue>,
    /// The lines of `print` and `debug`.
    logs: Vec<String>,
    /// The id of the run's job, as in the server's log.
    job_id: JobId,
    /// The version that ran.
    version: String,
}

impl Call for CallScript {
    const NAME: &'static str = "call";
    const SUMMARY: &'static str = "Calls a named script of the circle: runs it as the caller.";
    const NEEDS: Needs = Needs::To(Action::Call);
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Params<'a> = Params<'a>;
    type Output = Called;

    fn call(context: &mut Context, _: Admitted, params: Params<'_>) -> Answer<Called> {
        let Params {
            name,
            args,
            version,
            timeout_ms,
        } = params;
        let admitted = match context.permits_version(Action::Call, version.as_deref()) {
            Ok(admitted) => admitted,
            Err(error) => return Answer::Now(Err(error)),
        };
        let work = Work::Named { name, version };
        run(context, admitted, work, args, timeout_ms, |job_id, ran| {
            Called {
                output: ran.output,
                value: ran.value,
                logs: ran.logs,
                job_id,
                version: ran.version.unwrap_or_default(),
            }
        })
    }
}
