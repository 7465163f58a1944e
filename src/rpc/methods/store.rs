//! `store_list`, `store_get` and `usage`.

use circled_protocol::methods::{CircleUsage, StoreGet, StoreList, Usage};

use super::{
    asked_job,
    runs::{Raw, perform, unavailable},
};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Method, Needs},
    store::Unavailable,
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<StoreList>(),
    Method::of::<StoreGet>(),
    Method::of::<Usage>(),
];

impl Call for StoreList {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let list = Procedure::ListStore {
            prefix: params.prefix.unwrap_or_default(),
            after: params.cursor,
            limit: asked_job::limit(params.limit)?,
        };
        perform(context, admitted, list)
    }
}

impl Call for StoreGet {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { key } = params;
        perform(context, admitted, Procedure::GetKey { key })
    }
}

impl Call for Usage {
    const NEEDS: Needs = Needs::To(Action::Manage);
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = CircleUsage;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<CircleUsage> {
        let (circle, shared) = (context.circle, context.shared.clone());
        Ok(Answer::Later(Box::pin(async move {
            admitted.confirm(&shared, circle).await?;
            let usage = shared.dispatcher.usage(circle, admitted.key).await;
            usage.map_err(|Unavailable| unavailable())
        })))
    }
}
