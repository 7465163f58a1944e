//! `put_script`: puts a script under a name.

use schemars::JsonSchema;
use serde::Deserialize;

use super::run::{Raw, perform};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct PutScript;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The name: 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`.
    name: String,
    /// The script, in Rhai.
    source: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// The name.
    name: String,
    /// The SHA-256 of the source, in hex.
    version: String,
    /// False if this was already the newest version.
    created: bool,
}

impl Call for PutScript {
    const NAME: &'static str = "put_script";
    const SUMMARY: &'static str =
        "Puts a script under a name, if it compiles. Its version is the SHA-256 of its source.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    const ERRORS: &'static [i32] = code::OF_RUNS;
    type Params<'a> = Params;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Raw<Output>> {
        let procedure = Procedure::PutScript {
            name: params.name,
            source: params.source,
        };
        perform(context, admitted, procedure)
    }
}
