//! `whoami`: what the server knows of this session.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    auth::Role,
    rpc::{
        Answer, Context,
        method::{Call, Needs, NoParams},
    },
};

pub(in crate::rpc) struct Whoami;

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Identity {
    /// Whether the caller has proved a key.
    authenticated: bool,
    /// That key: 66 lowercase hex digits.
    pubkey: Option<String>,
    /// The circle that the session is in.
    circle: String,
    /// What the caller is in it.
    role: Option<Role>,
    /// This session's name in the server's log.
    session_id: String,
    /// The server's name and version.
    server: &'static str,
}

impl Call for Whoami {
    const NAME: &'static str = "whoami";
    const SUMMARY: &'static str = "Tells who the caller is in this session.";
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = NoParams;
    type Output = Identity;

    fn call(context: &mut Context, _: NoParams) -> Answer<Identity> {
        let caller = context.phase.caller();
        Answer::Now(Ok(Identity {
            authenticated: caller.is_some(),
            pubkey: caller.map(|caller| caller.key.to_string()),
            circle: context.circle.to_string(),
            role: caller.map(|caller| caller.role),
            session_id: context.session_id.to_string(),
            server: concat!("circled/", env!("CARGO_PKG_VERSION")),
        }))
    }
}
