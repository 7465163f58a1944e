//! `whoami`: returns what the server knows of this session.

use circled_protocol::{
    Role,
    methods::{Identity, Whoami},
};

use super::run::unavailable;
use crate::{
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs},
    },
    store::Unavailable,
};

impl Call for Whoami {
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Self;
    type Output = Identity;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> Answer<Identity> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let key = admitted.key;
        let identity = Identity {
            authenticated: key.is_some(),
            pubkey: key,
            circle,
            role: key.map(|key| shared.access.fixed_role(&circle, &key).into()),
            session_id: context.session_id.to_string(),
            server: concat!("circled/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        // A guest may be on the circle's member list.
        let Some(key) = key.filter(|_| identity.role == Some(Role::Guest.into())) else {
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
                role: Some(role.into()),
                ..identity
            })
        }))
    }
}
