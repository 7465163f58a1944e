//! `rpc.discover`: returns the OpenRPC document of this server.

use circled_protocol::methods::Discover;
use serde_json::value::RawValue;

use crate::rpc::{
    Answer, Context,
    context::Admitted,
    method::{Call, Needs},
    openrpc,
};

impl Call for Discover {
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Self;
    type Output = &'static RawValue;

    fn call(_: &mut Context, _: Admitted, _: Self) -> Answer<&'static RawValue> {
        Answer::Now(Ok(openrpc::discover()))
    }
}
