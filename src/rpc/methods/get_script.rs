//! `get_script`: shows a named script.

use schemars::JsonSchema;
use serde::Deserialize;

use super::run::{Raw, perform};
use crate::{
    auth::Action,
    circle::{Procedure, Put},
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct GetScript;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The name.
    name: String,
    /// The version: the SHA-256 of the source, or its first digits. Default: the newest.
    #[serde(default)]
    version: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// The name.
    name: String,
    /// The SHA-256 of the source, in hex.
    version: String,
    /// The script, in Rhai.
    source: String,
    /// When it was last put.
    put_at: String,
    /// The key of the caller who put it; `anonymous` if there was no login.
    put_by: String,
    /// All versions that are kept, the newest first.
    versions: Vec<Put>,
}

impl Call for GetScript {
    const NAME: &'static str = "get_script";
    const SUMMARY: &'static str = "Returns a named script of the circle.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Params<'a> = Params;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Raw<Output>> {
        let procedure = Procedure::GetScript {
            name: params.name,
            version: params.version,
        };
        perform(context, admitted, procedure)
    }
}
