//! `rpc.discover`: returns the OpenRPC document of this server.

use circled_protocol::methods::Discover;
use serde_json::value::RawValue;

use crate::rpc::{Answer, Context, Error, Method, Needs, context::Admitted, method::Call, openrpc};

pub(super) const METHODS: &[Method] = &[Method::of::<Discover>()];

impl Call for Discover {
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Self;
    type Output = &'static RawValue;

    fn call(_: &mut Context, _: Admitted, _: Self) -> Result<Answer<&'static RawValue>, Error> {
        Ok(Answer::Now(Ok(openrpc::discover())))
    }
}
