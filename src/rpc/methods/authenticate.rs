//! `authenticate`: the signature over the text that `fetch_nonce` answered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    auth::{Authenticated, Claim, Refusal, Scheme},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct Authenticate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The key that `fetch_nonce` was called with.
    pubkey: String,
    /// The signature over the whole text, in hex.
    signature: String,
    /// How it was made.
    #[serde(default)]
    scheme: Scheme,
}

/// What older clients send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    credentials: Credentials,
}

#[derive(JsonSchema)]
#[schemars(transparent)]
pub(in crate::rpc) struct Params(Credentials);

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        // Only the wrapped form has this member, or an object in the first place. So each kind of
        // mistake gets the message of the form that was meant.
        let wrapped = raw.contains("\"credentials\"") || raw[1..].trim_start().starts_with('{');
        let credentials = if wrapped {
            serde_json::from_str(raw).map(|Wrapped { credentials }| credentials)
        } else {
            serde_json::from_str(raw)
        };
        credentials.map(Self).map_err(serde::de::Error::custom)
    }
}

impl Call for Authenticate {
    const NAME: &'static str = "authenticate";
    const SUMMARY: &'static str =
        "Logs the session in with a signature over the text that fetch_nonce answered.";
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Params;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, Params(credentials): Params) -> Answer<bool> {
        // Tens of microseconds, no more than a script in the fast lane may take. Another thread would
        // cost each login two hops, a third of what it can do in a second here.
        let proved = claim(context, credentials).and_then(|claim| claim.verify());
        Answer::Now(match proved {
            Ok(key) => {
                tracing::debug!(caller = %key, "logged in");
                context.phase.authenticated(Authenticated { key });
                Ok(true)
            }
            Err(refusal) => Err(Error::InvalidCredentials(refusal)),
        })
    }

    /// A challenge dies at the first answer, however odd.
    fn refused(context: &mut Context) {
        context.phase.take_challenge();
    }
}

fn claim(context: &mut Context, credentials: Credentials) -> Result<Claim, Refusal> {
    let Credentials {
        pubkey,
        signature,
        scheme,
    } = credentials;
    let challenge = context.phase.take_challenge().ok_or(Refusal::NoNonce)?;
    challenge.answered(&pubkey, scheme, signature, Timestamp::now())
}
