//! The circle's named scripts.

use circled_protocol::{
    Permission,
    methods::{CheckScript, DeleteScript, GetScript, ListScripts, PutScript},
};

use super::runs::{Raw, perform};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{Admitted, Call, CallResult, Context, DeviceNeeds, Method, Needs},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<PutScript>(),
    Method::of::<CheckScript>(),
    Method::of::<GetScript>(),
    Method::of::<ListScripts>(),
    Method::of::<DeleteScript>(),
];

impl Call for PutScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        perform(context, admitted, Procedure::PutRuledScript(params))
    }
}

impl Call for CheckScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { source } = params;
        perform(context, admitted, Procedure::CheckScript { source })
    }
}

impl Call for GetScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { name, version } = params;
        perform(context, admitted, Procedure::GetScript { name, version })
    }
}

impl Call for ListScripts {
    const NEEDS: Needs = Needs::To(Action::Call);
    const DEVICE: DeviceNeeds = DeviceNeeds::Scope(Permission::Call);
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Raw> {
        perform(context, admitted, Procedure::ListScripts)
    }
}

impl Call for DeleteScript {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { name, if_version } = params;
        let delete = match if_version {
            None => Procedure::DeleteScript { name },
            Some(if_version) => Procedure::DeleteScriptIf { name, if_version },
        };
        perform(context, admitted, delete)
    }
}
