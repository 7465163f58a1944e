//! `list_scripts`: lists the named scripts.

use schemars::JsonSchema;

use super::run::{Raw, perform};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs, NoParams},
    },
};

pub(in crate::rpc) struct ListScripts;

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Described {
    /// The name.
    name: String,
    /// The SHA-256 of the source, in hex.
    version: String,
    /// When it was last put.
    put_at: String,
    /// The key of the caller who put it; `anonymous` if there was no login.
    put_by: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// The newest version of each.
    scripts: Vec<Described>,
}

impl Call for ListScripts {
    const NAME: &'static str = "list_scripts";
    const SUMMARY: &'static str = "Lists the circle's named scripts, sorted by name.";
    const NEEDS: Needs = Needs::To(Action::Call);
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = NoParams;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, _: NoParams) -> Answer<Raw<Output>> {
        let procedure = Procedure::ListScripts;
        perform(context, admitted, procedure)
    }
}
