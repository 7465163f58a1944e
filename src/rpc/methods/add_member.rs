//! `add_member`: adds a member to the circle.

use circled_protocol::methods::AddMember;

use super::run::{Raw, perform};
use crate::{
    circle::Procedure,
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for AddMember {
    const NEEDS: Needs = Needs::Owner;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> Answer<Raw> {
        let pubkey = params.pubkey;
        let procedure = Procedure::AddMember { pubkey };
        perform(context, admitted, procedure)
    }
}
