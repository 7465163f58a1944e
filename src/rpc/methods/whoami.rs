//! `whoami`: what the server knows of this session.

use schemars::JsonSchema;
use serde::Serialize;

use super::run::unavailable;
use crate::{
    auth::Role,
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs, NoParams},
    },
    store::Unavailable,
};

pub(in crate::rpc) struct Whoami;

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Identity {
    /// Whether the caller has logged in.
    authenticated: bool,
    /// The caller's key: 66 lowercase hex digits.
    pubkey: Option<String>,
    /// The circle that the session is in.
    circle: String,
    /// The caller's role in the circle.
    role: Option<Role>,
    /// The id of this session, as in the server's log.
    session_id: String,
    /// The server's name and version.
    server: &'static str,
}

impl Call for Whoami {
    const NAME: &'static str = "whoami";
    const SUMMARY: &'static str = "Returns who the caller is in this session.";
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = NoParams;
    type Output = Identity;

    fn call(context: &mut Context, admitted: Admitted, _: NoParams) -> Answer<Identity> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let key = admitted.key;
        let identity = Identity {
            authenticated: key.is_some(),
            pubkey: key.map(|key| key.to_string()),
            circle: circle.to_string(),
            role: key.map(|key| shared.access.fixed_role(&circle, &key)),
            session_id: context.session_id.to_string(),
            server: concat!("circled/", env!("CARGO_PKG_VERSION")),
        };
        // A guest may be on the circle's own list.
        let Some(key) = key.filter(|_| identity.role == Some(Role::Guest)) else {
            return Answer::Now(Ok(identity));
        };
        let quota = match context.count(Needs::Login, admitted) {
            Ok(quota) => quota,
            Err(error) => return Answer::Now(Err(error)),
        };
        Answer::Later(Box::pin(async move {
            let _quota = quota;
            let member = shared.dispatcher.is_member(circle, key).await;
            let role = match member {
                Ok(true) => Role::Member,
                Ok(false) => Role::Guest,
                Err(Unavailable) => return Err(unavailable()),
            };
            Ok(Identity {
                role: Some(role),
                ..identity
            })
        }))
    }
}
