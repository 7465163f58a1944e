//! `put_script`: stores a script under a name.

use circled_protocol::methods::PutScript;

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

impl Call for PutScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Raw> {
        let procedure = Procedure::PutScript {
            name: params.name,
            source: params.source,
        };
        perform(context, admitted, procedure)
    }
}
