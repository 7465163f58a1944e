//! The login, and what the server knows of a session.

use circled_protocol::{
    Challenge, LoginRefusal,
    methods::{Authenticate, FetchNonce, Identity, Whoami},
};
use jiff::Timestamp;

use super::runs::unavailable;
use crate::{
    auth::{Authenticated, HIGHEST_LISTED, UnverifiedLogin, login_key},
    rpc::{Admitted, Answer, Call, CallResult, Context, Error, Method, Needs},
    store::Unavailable,
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<FetchNonce>(),
    Method::of::<Authenticate>(),
    Method::of::<Whoami>(),
];

impl Call for FetchNonce {
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Self;
    type Output = String;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<String> {
        let callers = &context.shared.callers;
        let point = callers.parse(&params.pubkey, |pubkey| login_key(pubkey, None));
        let point = point.map_err(Error::InvalidCredentials)?;
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| {
            tracing::error!(%error, "failed to draw a nonce");
            Error::Internal
        })?;
        let challenge = Challenge::new(
            context.origin.clone(),
            context.circle,
            point.key,
            context.shared.nonce_ttl,
            Timestamp::now(),
            nonce,
        );
        Ok(Answer::Now(Ok(context.phase.challenge(&challenge, point))))
    }
}

impl Call for Authenticate {
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<bool> {
        // This takes tens of microseconds, like a short script, and runs once for each core at a time. Another thread
        // would cost each login two hops: a third of the logins that one second allows here.
        let proved = claim(context, params).and_then(|claim| claim.verify());
        let key = proved.map_err(Error::InvalidCredentials)?;
        tracing::Span::current().record("caller", tracing::field::display(&key));
        tracing::debug!("logged in");
        context.phase.authenticated(Authenticated { key });
        context.subscriptions.set_caller(key);
        Ok(Answer::Now(Ok(true)))
    }

    /// Uses up the challenge, as any answer does.
    fn refused(context: &mut Context) {
        context.phase.take_challenge();
    }
}

fn claim(context: &mut Context, params: Authenticate) -> Result<UnverifiedLogin, LoginRefusal> {
    let Authenticate {
        pubkey,
        signature,
        scheme,
    } = params;
    let challenge = context
        .phase
        .take_challenge()
        .ok_or(LoginRefusal::NoNonce)?;
    challenge.answered(&pubkey, scheme, signature, Timestamp::now())
}

impl Call for Whoami {
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = Self;
    type Output = Identity;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Identity> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let key = admitted.key;
        let fixed = key.map(|key| shared.access.fixed_role(&circle, &key));
        let identity = Identity {
            authenticated: key.is_some(),
            pubkey: key,
            circle,
            role: fixed.map(Into::into),
            session_id: context.session_id.to_string(),
            server: concat!("circled/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        // The circle's list may give a higher role.
        let Some(key) = key.filter(|_| fixed < Some(HIGHEST_LISTED)) else {
            return Ok(Answer::Now(Ok(identity)));
        };
        let quota = context.count(Needs::Login, admitted)?;
        Ok(Answer::Later(Box::pin(async move {
            let _quota = quota;
            let listed = shared.dispatcher.list_role(circle, key).await;
            let listed = listed.map_err(|Unavailable| unavailable())?;
            Ok(Identity {
                role: listed.max(fixed).map(Into::into),
                ..identity
            })
        })))
    }
}
