//! The proof of a server that it speaks for a circle: the circle's owner has granted that to the server's key, and the
//! server has this key. It proves so before a client signs anything.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Origin, PublicKey, Scheme, SecretKey, sign, verify};

/// The grant of a circle's owner: a server's key speaks for the circle, at an origin and until a time. The circle's own
/// key signs it, offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The server's key.
    pub server: PublicKey,
    /// The origin by which clients know the server.
    pub origin: String,
    /// The time from which the grant counts no more, in whole seconds.
    #[schemars(with = "String")]
    pub expires: Timestamp,
    /// The signature of the circle's key over the text `circled grant v1`: ECDSA over SHA-256, 64 bytes hex.
    pub signature: String,
}

/// The proof of a server that it has the key of a grant: the result of `prove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The grant of the circle's owner.
    pub grant: Grant,
    /// The signature of the server's key over the text `circled proof v1`: ECDSA over SHA-256, 64 bytes hex.
    pub signature: String,
}

/// The reason why a grant or a proof is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The circle's owner has not signed the grant.
    #[error("the grant is not signed by the circle's key")]
    Grant,
    /// The grant is for another server.
    #[error("the grant is for the server {granted}, not for {expected}")]
    Origin {
        /// The origin of the grant.
        granted: String,
        /// The server's origin.
        expected: String,
    },
    /// The grant's time is over.
    #[error("the grant has expired: {0}")]
    Expired(Timestamp),
    /// The server has not signed the challenge.
    #[error("the proof is not signed by the server's key in the grant")]
    Proof,
}

impl Grant {
    /// Signs a grant for the circle of this key, until `expires`, without parts of a second. `None` means that the key
    /// can't sign, which has a probability of about 2^-256.
    pub fn sign(
        circle: &SecretKey,
        server: PublicKey,
        origin: &Origin,
        expires: Timestamp,
    ) -> Option<Self> {
        let mut grant = Self {
            server,
            origin: origin.to_string(),
            expires: Timestamp::from_second(expires.as_second()).ok()?,
            signature: String::new(),
        };
        grant.signature = sign(Scheme::Sha256, circle, &grant.text(&circle.public()))?;
        Some(grant)
    }

    /// Checks that the owner of `circle` has granted it, for `origin` and beyond `now`. Takes tens of microseconds.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        circle: &PublicKey,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), ProofError> {
        let text = self.text(circle);
        if verify(Scheme::Sha256, circle, &text, &self.signature).is_err() {
            return Err(ProofError::Grant);
        }
        if self.origin.parse().as_ref() != Ok(origin) {
            return Err(ProofError::Origin {
                granted: self.origin.clone(),
                expected: origin.to_string(),
            });
        }
        if now >= self.expires {
            return Err(ProofError::Expired(self.expires));
        }
        Ok(())
    }

    /// Returns the text that the circle's key signs.
    fn text(&self, circle: &PublicKey) -> String {
        let Self {
            server,
            origin,
            expires,
            signature: _,
        } = self;
        format!(
            "circled grant v1\ncircle: {circle}\nserver: {server}\norigin: {origin}\nexpires: {expires}"
        )
    }
}

impl Proof {
    /// Signs a client's challenge with the server's key. `None` means that the key can't sign, which has a probability
    /// of about 2^-256.
    pub fn sign(
        server: &SecretKey,
        grant: Grant,
        circle: &PublicKey,
        challenge: &[u8; 32],
    ) -> Option<Self> {
        let text = text(&grant.origin, circle, challenge);
        let signature = sign(Scheme::Sha256, server, &text)?;
        Some(Self { grant, signature })
    }

    /// Checks the grant, and that the server has its key. Takes tens of microseconds.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        circle: &PublicKey,
        origin: &Origin,
        challenge: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), ProofError> {
        let Self { grant, signature } = self;
        grant.check(circle, origin, now)?;
        let text = text(&grant.origin, circle, challenge);
        verify(Scheme::Sha256, &grant.server, &text, signature).map_err(|_| ProofError::Proof)
    }
}

/// Returns the text that the server's key signs.
fn text(origin: &str, circle: &PublicKey, challenge: &[u8; 32]) -> String {
    let challenge = hex::encode(challenge);
    format!("circled proof v1\norigin: {origin}\ncircle: {circle}\nchallenge: {challenge}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: [u8; 32] = [7; 32];

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_hex(&hex::encode([seed; 32])).unwrap()
    }

    fn origin() -> Origin {
        "wss://circles.example.org".parse().unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-23T16:44:00.5Z".parse().unwrap()
    }

    fn proof() -> Proof {
        let expires = "2027-02-21T16:44:00.9Z".parse().unwrap();
        let grant = Grant::sign(&key(1), key(2).public(), &origin(), expires).unwrap();
        Proof::sign(&key(2), grant, &key(1).public(), &CHALLENGE).unwrap()
    }

    fn check(proof: &Proof) -> Result<(), ProofError> {
        proof.check(&key(1).public(), &origin(), &CHALLENGE, now())
    }

    #[test]
    fn the_texts_are_those_of_the_contract() {
        let (circle, server) = (key(1).public(), key(2).public());
        let Proof { grant, signature } = proof();
        let signed = [
            (
                circle,
                &grant.signature,
                format!(
                    "circled grant v1\ncircle: {circle}\nserver: {server}\norigin: wss://circles.example.org\nexpires: 2027-02-21T16:44:00Z"
                ),
            ),
            (
                server,
                &signature,
                format!(
                    "circled proof v1\norigin: wss://circles.example.org\ncircle: {circle}\nchallenge: {}",
                    "07".repeat(32)
                ),
            ),
        ];
        for (key, signature, text) in signed {
            assert_eq!(verify(Scheme::Sha256, &key, &text, signature), Ok(()));
            assert_eq!(signature.len(), 128);
        }
    }

    #[test]
    fn a_proof_is_good_for_its_circle_origin_time_and_challenge() {
        let (circle, proof) = (key(1).public(), proof());
        assert_eq!(check(&proof), Ok(()));
        let same: Origin = "WSS://Circles.Example.org:443/".parse().unwrap();
        assert_eq!(proof.check(&circle, &same, &CHALLENGE, now()), Ok(()));

        let other = "wss://circles.example.com".parse().unwrap();
        assert!(matches!(
            proof.check(&circle, &other, &CHALLENGE, now()),
            Err(ProofError::Origin { .. })
        ));
        assert_eq!(
            proof.check(&key(2).public(), &origin(), &CHALLENGE, now()),
            Err(ProofError::Grant)
        );
        assert_eq!(
            proof.check(&circle, &origin(), &[8; 32], now()),
            Err(ProofError::Proof)
        );
        let end = proof.grant.expires;
        assert_eq!(
            proof.check(&circle, &origin(), &CHALLENGE, end),
            Err(ProofError::Expired(end))
        );
    }

    #[test]
    fn no_part_of_a_proof_can_be_changed() {
        type Change = fn(&mut Proof);
        let changes: [(Change, ProofError); 6] = [
            (
                |proof| proof.grant.server = key(3).public(),
                ProofError::Grant,
            ),
            (|proof| proof.grant.origin.push('/'), ProofError::Grant),
            (
                |proof| proof.grant.expires = Timestamp::MAX,
                ProofError::Grant,
            ),
            (
                |proof| proof.grant.signature = proof.signature.clone(),
                ProofError::Grant,
            ),
            (
                |proof| proof.signature = proof.grant.signature.clone(),
                ProofError::Proof,
            ),
            (|proof| proof.signature.clear(), ProofError::Proof),
        ];
        for (change, refusal) in changes {
            let mut proof = proof();
            change(&mut proof);
            assert_eq!(check(&proof), Err(refusal));
        }
        // Another server can't use the grant.
        let stolen = Proof::sign(&key(3), proof().grant, &key(1).public(), &CHALLENGE).unwrap();
        assert_eq!(check(&stolen), Err(ProofError::Proof));
    }
}
