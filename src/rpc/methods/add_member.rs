//! `add_member`: makes somebody a member.

use schemars::JsonSchema;
use serde::Deserialize;

use super::run::{Raw, perform};
use crate::{
    auth::PublicKey,
    circle::Procedure,
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct AddMember;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The member's public key.
    pubkey: PublicKey,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// False if they were already a member.
    added: bool,
}

impl Call for AddMember {
    const NAME: &'static str = "add_member";
    const SUMMARY: &'static str = "Makes the holder of a key a member of the circle.";
    const NEEDS: Needs = Needs::Owner;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = Params;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Raw<Output>> {
        let pubkey = params.pubkey;
        let procedure = Procedure::AddMember { pubkey };
        perform(context, admitted, procedure)
    }
}
