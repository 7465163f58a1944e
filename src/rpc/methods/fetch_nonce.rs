//! `fetch_nonce`: returns the text to sign.

use circled_protocol::{Challenge, methods::FetchNonce};
use jiff::Timestamp;

use crate::{
    auth::login_key,
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for FetchNonce {
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Self;
    type Output = String;

    fn call(context: &mut Context, _: Admitted, params: Self) -> Answer<String> {
        Answer::Now(challenge(context, &params.pubkey))
    }
}

fn challenge(context: &mut Context, pubkey: &str) -> Result<String, Error> {
    let point = login_key(pubkey, None).map_err(Error::InvalidCredentials)?;
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
    Ok(context.phase.challenge(&challenge, point))
}
