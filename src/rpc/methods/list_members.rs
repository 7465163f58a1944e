//! `list_members`: lists the circle's members.

use circled_protocol::methods::ListMembers;

use super::run::{Raw, perform};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for ListMembers {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> Answer<Raw> {
        let fixed = context.shared.access.fixed_members(&context.circle);
        let procedure = Procedure::ListMembers { fixed };
        perform(context, admitted, procedure)
    }
}
