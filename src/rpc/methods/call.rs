//! `call`: runs a script that the circle has under a name.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};

use super::run::run;
use crate::{
    auth::Action,
    dispatch::{JobId, Work},
    json,
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
    /// Any value: what the script sees as ARGS.
    #[serde(default, deserialize_with = "json::value")]
    args: Value,
    /// Which version of it, by the SHA-256 of its source or how that begins, for those who may `manage`; the newest
    /// one if none is given.
    #[serde(default, borrow)]
    version: Option<Cow<'a, str>>,
    /// How long the job may take, waiting for its turn included; the server's own limit at most.
    #[serde(default, deserialize_with = "json::whole")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Called {
    /// The script's value as Rhai prints it; empty for none.
    output: String,
    /// The same as JSON.
    #[schemars(with = "Value")]
    value: Box<RawValue>,
    /// What `print` and `debug` wrote, line by line.
    logs: Vec<String>,
    /// The run's name in the server's log.
    job_id: JobId,
    /// The version that ran.
    version: String,
}

impl Call for CallScript {
    const NAME: &'static str = "call";
    const SUMMARY: &'static str = "Runs a script that the circle has under a name, as the caller.";
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
