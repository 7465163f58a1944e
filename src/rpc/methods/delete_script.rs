//! `delete_script`: deletes a named script.

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

pub(in crate::rpc) struct DeleteScript;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The name.
    name: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// Whether there was such a script.
    deleted: bool,
}

impl Call for DeleteScript {
    const NAME: &'static str = "delete_script";
    const SUMMARY: &'static str = "Deletes a named script with all its versions.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = Params;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Raw<Output>> {
        let procedure = Procedure::DeleteScript { name: params.name };
        perform(context, admitted, procedure)
    }
}
