//! `unsubscribe`: being told no more.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::rpc::{
    Answer, Context,
    context::Admitted,
    method::{Call, Needs},
};

pub(in crate::rpc) struct Unsubscribe;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The id of the subscription, as subscribe returned it.
    subscription: String,
}

impl Call for Unsubscribe {
    const NAME: &'static str = "unsubscribe";
    const SUMMARY: &'static str = "Ends a subscription. Returns false if there was none.";
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Params;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Params) -> Answer<bool> {
        Answer::Now(Ok(context.subscriptions.end(&params.subscription)))
    }
}
