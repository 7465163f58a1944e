//! `rpc.discover`: this server, described by itself.

use serde_json::Value;

use crate::rpc::{
    Answer, Context,
    context::Admitted,
    method::{Call, Needs, NoParams},
    openrpc,
};

pub(in crate::rpc) struct Discover;

impl Call for Discover {
    const NAME: &'static str = "rpc.discover";
    const SUMMARY: &'static str =
        "Answers this document: the methods of this server, in OpenRPC 1.3.";
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = NoParams;
    type Output = &'static Value;

    fn call(_: &mut Context, _: Admitted, _: NoParams) -> Answer<&'static Value> {
        Answer::Now(Ok(openrpc::document()))
    }
}
