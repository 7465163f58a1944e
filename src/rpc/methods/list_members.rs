//! `list_members`: lists the members.

use schemars::JsonSchema;

use super::run::{Raw, perform};
use crate::{
    auth::{Action, PublicKey},
    circle::Procedure,
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs, NoParams},
    },
};

pub(in crate::rpc) struct ListMembers;

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Member {
    /// Their key.
    pubkey: PublicKey,
    /// When they were added.
    added_at: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// Members that were added, sorted by key.
    members: Vec<Member>,
    /// Members in the server's settings.
    fixed: Vec<PublicKey>,
}

impl Call for ListMembers {
    const NAME: &'static str = "list_members";
    const SUMMARY: &'static str = "Lists the members of the circle.";
    const NEEDS: Needs = Needs::To(Action::Manage);
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = NoParams;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, _: NoParams) -> Answer<Raw<Output>> {
        let fixed = context.shared.access.fixed_members(&context.circle);
        let procedure = Procedure::ListMembers { fixed };
        perform(context, admitted, procedure)
    }
}
