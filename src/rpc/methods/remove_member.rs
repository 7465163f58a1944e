//! `remove_member`: makes a member a guest again.

use schemars::JsonSchema;
use serde::Deserialize;

use super::run::{Raw, perform};
use crate::{
    auth::PublicKey,
    circle::Procedure,
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct RemoveMember;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// Whom.
    pubkey: PublicKey,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what is passed on as JSON")]
pub(in crate::rpc) struct Output {
    /// Whether they were one.
    removed: bool,
}

impl Call for RemoveMember {
    const NAME: &'static str = "remove_member";
    const SUMMARY: &'static str =
        "Makes a member of the circle a guest again, in all sessions at once.";
    const NEEDS: Needs = Needs::Owner;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Params<'a> = Params;
    type Output = Raw<Output>;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Raw<Output>> {
        let pubkey = params.pubkey;
        if context
            .shared
            .access
            .fixed_members(&context.circle)
            .contains(&pubkey)
        {
            return Answer::Now(Err(Error::InvalidParams {
                reason: "the settings of the server list this member: it can only be removed there"
                    .to_owned(),
            }));
        }
        let procedure = Procedure::RemoveMember { pubkey };
        perform(context, admitted, procedure)
    }
}
