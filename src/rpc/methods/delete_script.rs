//! `delete_script`: deletes a named script.

use circled_protocol::methods::DeleteScript;

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

impl Call for DeleteScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Raw> {
        let procedure = Procedure::DeleteScript { name: params.name };
        perform(context, admitted, procedure)
    }
}
