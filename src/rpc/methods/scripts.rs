//! The circle's named scripts.

use circled_protocol::{
    Permission,
    methods::{CheckScript, DeleteScript, DeployScripts, GetScript, ListScripts, PutScript},
};

use serde_json::Value;

use super::runs::{Raw, With, perform, request, run};
use crate::{
    auth::Action,
    circle::{Procedure, Task},
    rpc::{Admitted, Call, CallResult, Context, DeviceNeeds, Method, Needs},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<PutScript>(),
    Method::of::<CheckScript>(),
    Method::of::<GetScript>(),
    Method::of::<ListScripts>(),
    Method::of::<DeleteScript>(),
    Method::of::<DeployScripts>(),
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

impl Call for DeployScripts {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, mut params: Self) -> CallResult<Raw> {
        let id = params.request_id.take();
        let task = Task::Procedure(Procedure::DeployScripts(params));
        let with = With {
            request: request(&admitted, id.as_deref(), &task, &Value::Null)?,
            ..With::default()
        };
        run(context, admitted, task, with, |_, success| success.value)
    }
}
