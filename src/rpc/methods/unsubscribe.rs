//! `unsubscribe`: ends a subscription.

use circled_protocol::methods::Unsubscribe;

use crate::rpc::{
    Answer, Context,
    context::Admitted,
    method::{Call, Needs},
};

impl Call for Unsubscribe {
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Self) -> Answer<bool> {
        Answer::Now(Ok(context.subscriptions.end(&params.subscription)))
    }
}
