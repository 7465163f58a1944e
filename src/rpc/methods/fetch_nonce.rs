//! `fetch_nonce`: the text to sign.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    auth::{Challenge, login_key},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct FetchNonce;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The caller's secp256k1 public key: 66 or 130 hex digits, or the 64 of its x coordinate for the
    /// scheme `schnorr`.
    pubkey: String,
}

impl Call for FetchNonce {
    const NAME: &'static str = "fetch_nonce";
    const SUMMARY: &'static str =
        "Returns the login text. To log in, sign it and call authenticate.";
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Params;
    type Output = String;

    fn call(context: &mut Context, _: Admitted, params: Params) -> Answer<String> {
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
