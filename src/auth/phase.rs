//! The phases of a session's login, each a type: a challenge can't be answered twice, and nothing that needs a caller
//! can be reached without one.

use circled_protocol::{BadSignature, Challenge, LoginRefusal, Point, PublicKey, Scheme};
use jiff::Timestamp;

/// The phase of a login.
#[derive(Debug)]
pub enum Phase {
    /// No challenge was asked for.
    Anonymous(Anonymous),
    /// A challenge was sent and awaits its answer.
    Challenged(Challenged),
    /// The caller is known.
    Authenticated(Authenticated),
}

/// A session that has not asked for a text to sign.
#[derive(Debug, Default)]
pub struct Anonymous;

/// A session that has a text to sign. A caller who logs in anew keeps the present identity until the new login
/// succeeds.
#[derive(Debug)]
pub struct Challenged {
    out: Box<PendingChallenge>,
    before: Option<Authenticated>,
}

/// A challenge that awaits its answer, and the key that verifies the answer.
#[derive(Debug)]
pub struct PendingChallenge {
    text: String,
    expires: Timestamp,
    point: Point,
}

/// A session whose caller has proved a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    /// The key that was proved.
    pub key: PublicKey,
}

/// A signature to be verified: plain data, so that another thread can do it.
#[derive(Debug)]
pub struct UnverifiedLogin {
    point: Point,
    scheme: Scheme,
    text: String,
    signature: String,
}

impl UnverifiedLogin {
    /// Verifies the signature, which takes tens of microseconds, and returns the proved key.
    pub fn verify(&self) -> Result<PublicKey, LoginRefusal> {
        self.point
            .verify(self.scheme, &self.text, &self.signature)
            .map(|()| self.point.key)
            .map_err(|BadSignature| LoginRefusal::BadSignature)
    }
}

impl Default for Phase {
    fn default() -> Self {
        Self::Anonymous(Anonymous)
    }
}

impl Phase {
    /// Returns the caller, if there is one.
    pub fn caller(&self) -> Option<&Authenticated> {
        match self {
            Self::Anonymous(Anonymous) => None,
            Self::Challenged(challenged) => challenged.before.as_ref(),
            Self::Authenticated(caller) => Some(caller),
        }
    }

    /// Creates a challenge for the holder of `point` and returns its text. An earlier challenge is void.
    pub(crate) fn challenge(&mut self, challenge: &Challenge, point: Point) -> String {
        let before = self.caller().copied();
        let text = challenge.text();
        let out = Box::new(PendingChallenge {
            text: text.clone(),
            expires: challenge.expires,
            point,
        });
        *self = Self::Challenged(Challenged { out, before });
        text
    }

    /// Takes the challenge that awaits its answer. It is used up, however the answer turns out.
    pub fn take_challenge(&mut self) -> Option<PendingChallenge> {
        match std::mem::take(self) {
            Self::Challenged(Challenged { out, before }) => {
                *self = before.map_or_else(Self::default, Self::Authenticated);
                Some(*out)
            }
            other @ (Self::Anonymous(_) | Self::Authenticated(_)) => {
                *self = other;
                None
            }
        }
    }

    /// Sets the caller, who has proved a key.
    pub fn authenticated(&mut self, caller: Authenticated) {
        *self = Self::Authenticated(caller);
    }
}

impl PendingChallenge {
    /// Checks an answer to this challenge, except for the signature.
    pub fn answered(
        self,
        pubkey: &str,
        scheme: Scheme,
        signature: String,
        now: Timestamp,
    ) -> Result<UnverifiedLogin, LoginRefusal> {
        let Self {
            text,
            expires,
            point,
        } = self;
        if !point.key.is_written(pubkey) && login_key(pubkey, Some(scheme))?.key != point.key {
            return Err(LoginRefusal::NoNonce);
        }
        if now >= expires {
            return Err(LoginRefusal::Expired);
        }
        Ok(UnverifiedLogin {
            point,
            scheme,
            text,
            signature,
        })
    }
}

/// Reads the key of somebody who logs in. X-only keys are accepted if the scheme is (or may still be) BIP-340.
pub(crate) fn login_key(pubkey: &str, scheme: Option<Scheme>) -> Result<Point, LoginRefusal> {
    if let Ok(point) = pubkey.parse() {
        return Ok(point);
    }
    match scheme {
        None | Some(Scheme::Schnorr) => {
            Point::from_x_only(pubkey).map_err(|_| LoginRefusal::BadKey)
        }
        Some(Scheme::Eip191 | Scheme::Sha256) => Err(LoginRefusal::BadKey),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use circled_protocol::{SecretKey, sign};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_hex(&hex::encode([seed; 32])).unwrap()
    }

    fn point(of: &SecretKey) -> Point {
        of.public().to_string().parse().unwrap()
    }

    fn start() -> Timestamp {
        "2026-11-23T16:44:00Z".parse().unwrap()
    }

    fn challenge(for_whom: &SecretKey, nonce: u8) -> Challenge {
        let (origin, circle) = ("ws://localhost:8080".to_owned(), key(9).public());
        Challenge::new(
            origin,
            circle,
            for_whom.public(),
            Duration::from_secs(60),
            start(),
            [nonce; 32],
        )
    }

    /// Signs the pending challenge like a client with this key, `after` it was sent.
    fn answer(
        phase: &mut Phase,
        as_whom: &SecretKey,
        signed: &str,
        after: Duration,
    ) -> Result<PublicKey, LoginRefusal> {
        let signature = sign(Scheme::Eip191, as_whom, signed).unwrap();
        let challenge = phase.take_challenge().ok_or(LoginRefusal::NoNonce)?;
        let claim = challenge.answered(
            &as_whom.public().to_string(),
            Scheme::Eip191,
            signature,
            start() + after,
        )?;
        claim.verify()
    }

    #[test]
    fn a_signed_challenge_logs_in_once() {
        let (me, mut phase) = (key(1), Phase::default());
        assert!(phase.caller().is_none());
        let challenge = challenge(&me, 7);
        let text = challenge.text();
        phase.challenge(&challenge, point(&me));
        assert!(phase.caller().is_none(), "asking proves nothing");
        assert_eq!(
            answer(&mut phase, &me, &text, Duration::ZERO),
            Ok(me.public())
        );
        assert_eq!(
            answer(&mut phase, &me, &text, Duration::ZERO),
            Err(LoginRefusal::NoNonce),
            "it is used"
        );
    }

    #[test]
    fn a_wrong_answer_uses_the_challenge_too() {
        let (me, other, mut phase) = (key(1), key(2), Phase::default());
        let text = challenge(&me, 7).text();
        let second = Duration::from_secs(1);
        for (as_whom, signed, after, refusal) in [
            (&other, text.as_str(), Duration::ZERO, LoginRefusal::NoNonce),
            (
                &me,
                "another text",
                Duration::ZERO,
                LoginRefusal::BadSignature,
            ),
            (&me, text.as_str(), 60 * second, LoginRefusal::Expired),
        ] {
            phase.challenge(&challenge(&me, 7), point(&me));
            assert_eq!(answer(&mut phase, as_whom, signed, after), Err(refusal));
            assert_eq!(
                answer(&mut phase, &me, &text, Duration::ZERO),
                Err(LoginRefusal::NoNonce)
            );
        }
        phase.challenge(&challenge(&me, 7), point(&me));
        assert_eq!(
            answer(&mut phase, &me, &text, 59 * second),
            Ok(me.public()),
            "until the very end"
        );
    }

    #[test]
    fn a_new_challenge_replaces_the_one_before() {
        let (me, mut phase) = (key(1), Phase::default());
        let old = challenge(&me, 7).text();
        phase.challenge(&challenge(&me, 7), point(&me));
        phase.challenge(&challenge(&me, 8), point(&me));
        assert_eq!(
            answer(&mut phase, &me, &old, Duration::ZERO),
            Err(LoginRefusal::BadSignature)
        );
    }

    #[test]
    fn a_caller_stays_who_they_are_until_another_login_succeeds() {
        let mut phase = Phase::default();
        let first = Authenticated {
            key: key(1).public(),
        };
        phase.authenticated(first);
        phase.challenge(&challenge(&key(2), 7), point(&key(2)));
        assert_eq!(phase.caller(), Some(&first));
        assert_eq!(
            answer(&mut phase, &key(3), "", Duration::ZERO),
            Err(LoginRefusal::NoNonce)
        );
        assert_eq!(phase.caller(), Some(&first));
    }

    #[test]
    fn an_x_only_key_is_for_schnorr() {
        let public = key(1).public().to_string();
        let x_only = &public[2..];
        assert!(login_key(x_only, None).is_ok());
        assert!(login_key(x_only, Some(Scheme::Schnorr)).is_ok());
        assert_eq!(
            login_key(x_only, Some(Scheme::Eip191)),
            Err(LoginRefusal::BadKey)
        );
        assert_eq!(
            login_key(x_only, Some(Scheme::Sha256)),
            Err(LoginRefusal::BadKey)
        );
        assert_eq!(login_key("03", None), Err(LoginRefusal::BadKey));
    }
}
