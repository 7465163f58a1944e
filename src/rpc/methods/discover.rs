//! `rpc.discover`: returns the OpenRPC document of this server.

use circled_protocol::methods::Discover;
use serde_json::value::RawValue;

use crate::rpc::{
    Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Method, Needs, openrpc,
};

pub(super) const METHODS: &[Method] = &[Method::of::<Discover>()];

impl Call for Discover {
    const NEEDS: Needs = Needs::Nothing;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = &'static RawValue;

    fn call(_: &mut Context, _: Admitted, _: Self) -> CallResult<&'static RawValue> {
        Ok(Answer::Now(Ok(openrpc::discover())))
    }
}
