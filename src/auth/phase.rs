//! The phases of a session's login, each a type: a challenge can't be answered twice, and nothing that needs a caller
//! can be reached without one.

use circled_protocol::{
    Address, BadSignature, DeviceKey, LoginRefusal, NostrEvent, Point, PublicKey, Scheme,
};
use jiff::Timestamp;

use super::Credentials;

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

/// A challenge that awaits its answer: what was sent to be signed, until when, and who must sign it how.
#[derive(Debug)]
pub struct PendingChallenge {
    text: String,
    expires: Timestamp,
    by: Signer,
}

/// Who must answer a challenge, and how.
#[derive(Debug)]
pub enum Signer {
    /// The holder of a key, who signs the text: in this scheme, or any that signs texts with a key of secp256k1.
    Key(Point, Option<Scheme>),
    /// An Ethereum account, which signs the text, a message of EIP-4361.
    Account(Address),
    /// The holder of a device's key, who signs the text.
    Device(DeviceKey),
    /// The holder of a key, who signs an event of NIP-42 that has the text as its challenge.
    Nostr {
        /// The key.
        key: PublicKey,
        /// The origin that the event must name.
        origin: String,
        /// The circle that the event must name.
        circle: PublicKey,
    },
}

/// A session whose caller has proved a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    /// The key that was proved.
    pub key: PublicKey,
}

/// A signature to be verified: plain data, so that another thread can do it.
#[derive(Debug)]
pub enum UnverifiedLogin {
    /// A key's signature over a text.
    Signature {
        /// The key.
        point: Point,
        /// The scheme.
        scheme: Scheme,
        /// What is signed.
        text: String,
        /// The signature.
        signature: String,
    },
    /// An Ethereum account's signature over a message.
    Account {
        /// The account.
        address: Address,
        /// What is signed.
        message: String,
        /// The signature.
        signature: String,
    },
    /// The signature of a device's key over a text.
    Device {
        /// The key.
        key: DeviceKey,
        /// What is signed.
        text: String,
        /// The signature.
        signature: String,
    },
    /// The event of a key.
    Nostr {
        /// The key.
        key: PublicKey,
        /// The event, whose key is this one.
        event: Box<NostrEvent>,
    },
}

/// A key that was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proved {
    /// The caller's own key.
    Caller(PublicKey),
    /// The key of a device: whose it is, the circle's store knows.
    Device(DeviceKey),
}

impl UnverifiedLogin {
    /// Verifies the signature, which takes tens of microseconds (of a device key, hundreds), and returns the proved key.
    pub fn verify(&self) -> Result<Proved, LoginRefusal> {
        let verified = match self {
            Self::Signature {
                point,
                scheme,
                text,
                signature,
            } => point.verify(*scheme, text, signature).map(|()| point.key),
            Self::Account {
                address,
                message,
                signature,
            } => Point::recover(message, signature).and_then(|point| {
                match Address::of(&point) == *address {
                    true => Ok(point.key),
                    false => Err(BadSignature),
                }
            }),
            Self::Nostr { key, event } => {
                return event.verify().map(|()| Proved::Caller(*key));
            }
            Self::Device {
                key,
                text,
                signature,
            } => {
                let verified = key.verify(text, signature).map(|()| Proved::Device(*key));
                return verified.map_err(|BadSignature| LoginRefusal::BadSignature);
            }
        };
        verified
            .map(Proved::Caller)
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

    /// Has the session await an answer to `text`, which is returned. An earlier challenge is void.
    pub(crate) fn challenge(&mut self, text: String, expires: Timestamp, by: Signer) -> String {
        let before = self.caller().copied();
        let out = Box::new(PendingChallenge {
            text: text.clone(),
            expires,
            by,
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
        credentials: Credentials,
        now: Timestamp,
    ) -> Result<UnverifiedLogin, LoginRefusal> {
        let Self { text, expires, by } = self;
        let login = match (by, credentials) {
            (
                Signer::Key(point, asked),
                Credentials::Signature {
                    pubkey,
                    scheme,
                    signature,
                },
            ) => {
                let is_asked = asked.map_or(scheme.signs_text(), |asked| asked == scheme);
                if !is_asked
                    || !point.key.is_written(&pubkey)
                        && login_key(&pubkey, Some(scheme))?.key != point.key
                {
                    return Err(LoginRefusal::NoNonce);
                }
                UnverifiedLogin::Signature {
                    point,
                    scheme,
                    text,
                    signature,
                }
            }
            (Signer::Account(account), Credentials::Siwe { address, signature }) => {
                let address = address.parse::<Address>();
                if address.map_err(|_| LoginRefusal::BadKey)? != account {
                    return Err(LoginRefusal::NoNonce);
                }
                UnverifiedLogin::Account {
                    address: account,
                    message: text,
                    signature,
                }
            }
            (
                Signer::Nostr {
                    key,
                    origin,
                    circle,
                },
                Credentials::Nostr(event),
            ) => {
                if !event.is_by(&key) {
                    return Err(LoginRefusal::NoNonce);
                }
                event.check(&text, &origin, &circle, now)?;
                UnverifiedLogin::Nostr { key, event }
            }
            (
                Signer::Device(key),
                Credentials::Signature {
                    pubkey,
                    scheme: Scheme::Es256,
                    signature,
                },
            ) => {
                if pubkey.parse() != Ok(key) {
                    return Err(LoginRefusal::NoNonce);
                }
                UnverifiedLogin::Device {
                    key,
                    text,
                    signature,
                }
            }
            (
                Signer::Key(..) | Signer::Account(_) | Signer::Device(_) | Signer::Nostr { .. },
                _,
            ) => {
                return Err(LoginRefusal::NoNonce);
            }
        };
        if now >= expires {
            return Err(LoginRefusal::Expired);
        }
        Ok(login)
    }
}

/// Reads the key of somebody who logs in. X-only keys are accepted if the scheme is (or may still be) BIP-340.
pub(crate) fn login_key(pubkey: &str, scheme: Option<Scheme>) -> Result<Point, LoginRefusal> {
    if let Ok(point) = pubkey.parse() {
        return Ok(point);
    }
    match scheme {
        None | Some(Scheme::Schnorr | Scheme::Nostr) => {
            Point::from_x_only(pubkey).map_err(|_| LoginRefusal::BadKey)
        }
        Some(Scheme::Eip191 | Scheme::Sha256 | Scheme::Siwe | Scheme::Es256) => {
            Err(LoginRefusal::BadKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use circled_protocol::{Challenge, SecretKey, sign};

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

    fn ask(phase: &mut Phase, challenge: &Challenge, whom: &SecretKey) {
        let by = Signer::Key(point(whom), None);
        phase.challenge(challenge.text(), challenge.expires, by);
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
        let credentials = Credentials::Signature {
            pubkey: as_whom.public().to_string(),
            scheme: Scheme::Eip191,
            signature,
        };
        match challenge.answered(credentials, start() + after)?.verify()? {
            Proved::Caller(key) => Ok(key),
            Proved::Device(key) => panic!("a device: {key}"),
        }
    }

    #[test]
    fn a_signed_challenge_logs_in_once() {
        let (me, mut phase) = (key(1), Phase::default());
        assert!(phase.caller().is_none());
        let challenge = challenge(&me, 7);
        let text = challenge.text();
        ask(&mut phase, &challenge, &me);
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
            ask(&mut phase, &challenge(&me, 7), &me);
            assert_eq!(answer(&mut phase, as_whom, signed, after), Err(refusal));
            assert_eq!(
                answer(&mut phase, &me, &text, Duration::ZERO),
                Err(LoginRefusal::NoNonce)
            );
        }
        ask(&mut phase, &challenge(&me, 7), &me);
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
        ask(&mut phase, &challenge(&me, 7), &me);
        ask(&mut phase, &challenge(&me, 8), &me);
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
        ask(&mut phase, &challenge(&key(2), 7), &key(2));
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
