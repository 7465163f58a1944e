//! `list_scripts`: lists the circle's named scripts.

use circled_protocol::methods::ListScripts;

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

impl Call for ListScripts {
    const NEEDS: Needs = Needs::To(Action::Call);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> Answer<Raw> {
        let procedure = Procedure::ListScripts;
        perform(context, admitted, procedure)
    }
}
