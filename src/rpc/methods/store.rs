//! `store_list` and `store_get`.

use circled_protocol::methods::{StoreGet, StoreList};

use super::{
    asked_job,
    runs::{Raw, perform},
};
use crate::{
    auth::Action,
    circle::Procedure,
    rpc::{Admitted, Call, CallResult, Context, Method, Needs},
};

pub(super) const METHODS: &[Method] = &[Method::of::<StoreList>(), Method::of::<StoreGet>()];

impl Call for StoreList {
    const NEEDS: Needs = Needs::To(Action::Manage);
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
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { key } = params;
        perform(context, admitted, Procedure::GetKey { key })
    }
}
