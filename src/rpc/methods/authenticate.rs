//! `authenticate`: the signature over the text that `fetch_nonce` answered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    auth::{Authenticated, LoginRefusal, Scheme, UnverifiedLogin},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct Authenticate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The key that `fetch_nonce` was called with.
    pubkey: String,
    /// The signature over the whole login text, in hex.
    signature: String,
    /// How the text was signed.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    scheme: Scheme,
}

impl Call for Authenticate {
    const NAME: &'static str = "authenticate";
    const SUMMARY: &'static str =
        "Logs the session in, with a signature over the text of fetch_nonce.";
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Params;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Params) -> Answer<bool> {
        // Tens of microseconds, no more than a script in the fast lane may take, and one for each core at once. Another
        // thread would cost each login two hops, a third of what it can do in a second here.
        let proved = claim(context, params).and_then(|claim| claim.verify());
        Answer::Now(match proved {
            Ok(key) => {
                tracing::Span::current().record("caller", tracing::field::display(&key));
                tracing::debug!("logged in");
                context.phase.authenticated(Authenticated { key });
                context.subscriptions.belong_to(key);
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

fn claim(context: &mut Context, params: Params) -> Result<UnverifiedLogin, LoginRefusal> {
    let Params {
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
