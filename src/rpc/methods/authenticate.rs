//! `authenticate`: logs in with a signature over the text that `fetch_nonce` returned.

use circled_protocol::{LoginRefusal, methods::Authenticate};
use jiff::Timestamp;

use crate::{
    auth::{Authenticated, UnverifiedLogin},
    rpc::{
        Answer, Context, Error,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for Authenticate {
    const NEEDS: Needs = Needs::Credentials;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Authenticate) -> Answer<bool> {
        // This takes tens of microseconds, like a script in the fast lane, and runs once for each core at a time.
        // Another thread would cost each login two hops: a third of the logins that one second allows here.
        let proved = claim(context, params).and_then(|claim| claim.verify());
        Answer::Now(match proved {
            Ok(key) => {
                tracing::Span::current().record("caller", tracing::field::display(&key));
                tracing::debug!("logged in");
                context.phase.authenticated(Authenticated { key });
                context.subscriptions.set_caller(key);
                Ok(true)
            }
            Err(refusal) => Err(Error::InvalidCredentials(refusal)),
        })
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
