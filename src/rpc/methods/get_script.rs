//! `get_script`: returns a named script.

use circled_protocol::methods::GetScript;

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

impl Call for GetScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Raw> {
        let procedure = Procedure::GetScript {
            name: params.name,
            version: params.version,
        };
        perform(context, admitted, procedure)
    }
}
