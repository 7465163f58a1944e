//! The circle's named scripts.

use circled_protocol::methods::{DeleteScript, GetScript, ListScripts, PutScript};

use super::runs::{Raw, perform};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{Admitted, Call, CallResult, Context, Method, Needs},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<PutScript>(),
    Method::of::<GetScript>(),
    Method::of::<ListScripts>(),
    Method::of::<DeleteScript>(),
];

impl Call for PutScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { name, source } = params;
        perform(context, admitted, Procedure::PutScript { name, source })
    }
}

impl Call for GetScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { name, version } = params;
        perform(context, admitted, Procedure::GetScript { name, version })
    }
}

impl Call for ListScripts {
    const NEEDS: Needs = Needs::To(Action::Call);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Raw> {
        perform(context, admitted, Procedure::ListScripts)
    }
}

impl Call for DeleteScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { name } = params;
        perform(context, admitted, Procedure::DeleteScript { name })
    }
}
