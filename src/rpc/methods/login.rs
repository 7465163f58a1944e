//! The login, and what the server knows of a session.

use circled_protocol::{
    Challenge, LoginRefusal, SiweMessage,
    methods::{Authenticate, FetchNonce, Identity, Whoami},
};
use jiff::Timestamp;

use super::runs::unavailable;
use crate::{
    auth::{Authenticated, Credentials, HIGHEST_LISTED, Signer, Wanted, login_key},
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
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| {
            tracing::error!(%error, "failed to draw a nonce");
            Error::Internal
        })?;
        let wanted = Wanted::of(params).map_err(misfit)?;
        let asked = asked(context, wanted, Timestamp::now(), nonce);
        let (text, expires, by) = asked.map_err(Error::InvalidCredentials)?;
        Ok(Answer::Now(Ok(context.phase.challenge(text, expires, by))))
    }
}

/// Returns what is to be signed, until when, and who must sign it how.
fn asked(
    context: &Context,
    wanted: Wanted,
    now: Timestamp,
    nonce: [u8; 32],
) -> Result<(String, Timestamp, Signer), LoginRefusal> {
    let shared = &context.shared;
    let point = |pubkey: &str| shared.callers.parse(pubkey, |key| login_key(key, None));
    let (origin, circle, ttl) = (context.origin.clone(), context.circle, shared.nonce_ttl);
    Ok(match wanted {
        Wanted::Text { pubkey, scheme } => {
            let point = point(&pubkey)?;
            let challenge = Challenge::new(origin, circle, point.key, ttl, now, nonce);
            let text = challenge.text();
            (text, challenge.expires, Signer::Key(point, scheme))
        }
        Wanted::Siwe { address, chain_id } => {
            let address = address.parse().map_err(|_| LoginRefusal::BadKey)?;
            let (issued, expires) = SiweMessage::times(now, ttl);
            let message = SiweMessage {
                domain: context.domain(),
                address,
                origin,
                circle,
                chain_id,
                nonce,
                issued,
                expires,
            };
            (message.to_string(), expires, Signer::Account(address))
        }
        Wanted::Nostr { pubkey } => {
            let key = point(&pubkey)?.key;
            let by = Signer::Nostr {
                key,
                origin,
                circle,
            };
            (hex::encode(nonce), now + ttl, by)
        }
        Wanted::Device { .. } => return Err(LoginRefusal::UnknownDevice),
    })
}

impl Call for Authenticate {
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<bool> {
        let challenge = context.phase.take_challenge();
        let credentials = Credentials::of(params).map_err(misfit)?;
        let challenge = challenge.ok_or(LoginRefusal::NoNonce);
        // This takes tens of microseconds, like a short script, and runs once for each core at a time. Another thread
        // would cost each login two hops: a third of the logins that one second allows here.
        let proved = challenge
            .and_then(|challenge| challenge.answered(credentials, Timestamp::now()))
            .and_then(|login| login.verify());
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

fn misfit(reason: &str) -> Error {
    Error::InvalidParams {
        reason: reason.to_owned(),
    }
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
