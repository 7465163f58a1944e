//! The three schemes for signing a login text.

use k256::{
    ecdsa::{
        self,
        signature::hazmat::{PrehashSigner, PrehashVerifier},
    },
    schnorr,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha3::{Digest, Keccak256};
use thiserror::Error;

use crate::key::{Point, PublicKey, SecretKey, strip_0x};

/// A signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// The scheme of Ethereum wallets (EIP-191, version 0x45): ECDSA over Keccak-256 of the prefixed text. 64 or 65
    /// bytes; a 65th byte of 0, 1, 27 or 28 is ignored.
    #[default]
    Eip191,
    /// ECDSA over SHA-256 of the text. 64 bytes, or DER.
    Sha256,
    /// BIP-340 over SHA-256 of the text. 64 bytes.
    Schnorr,
}

/// The error of a signature that is malformed, or not of this key over this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature is not one of this key over this text")]
pub struct BadSignature;

/// Verifies the `signature` (hex, with or without `0x`) of `key` over `text`. Takes tens of microseconds.
///
/// # Errors
/// [`BadSignature`], also for an ECDSA signature with a high S, which anyone could have made from the low one.
pub fn verify(
    scheme: Scheme,
    key: &PublicKey,
    text: &str,
    signature: &str,
) -> Result<(), BadSignature> {
    let point = Point::from_sec1(key.as_bytes()).map_err(|_| BadSignature)?;
    point.verify(scheme, text, signature)
}

impl Point {
    /// Verifies a signature like [`verify`], in less time.
    ///
    /// # Errors
    /// The same as [`verify`].
    pub fn verify(&self, scheme: Scheme, text: &str, signature: &str) -> Result<(), BadSignature> {
        let bytes = hex::decode(strip_0x(signature)).map_err(|_| BadSignature)?;
        match scheme {
            Scheme::Eip191 => {
                let fixed = match bytes.as_slice() {
                    [fixed @ .., 0 | 1 | 27 | 28] if fixed.len() == 64 => fixed,
                    all => all,
                };
                verify_ecdsa(self, &eip191_hash(text), parse_fixed(fixed)?)
            }
            Scheme::Sha256 => {
                let parsed = parse_fixed(&bytes)
                    .or_else(|_| ecdsa::Signature::from_der(&bytes).map_err(|_| BadSignature))?;
                verify_ecdsa(self, &Sha256::digest(text), parsed)
            }
            Scheme::Schnorr => {
                let signature = schnorr::Signature::from_slice(&bytes).map_err(|_| BadSignature)?;
                // BIP-340 uses only x, and takes the point with even y, which may be the other one.
                let key = schnorr::VerifyingKey::from_slice(&self.key.as_bytes()[1..])
                    .map_err(|_| BadSignature)?;
                key.verify_raw(&Sha256::digest(text), &signature)
                    .map_err(|_| BadSignature)
            }
        }
    }
}

/// Signs `text`; the result is hex for [`verify`]. `None` means that the key can't sign, which has a probability of
/// about 2^-256.
pub fn sign(scheme: Scheme, key: &SecretKey, text: &str) -> Option<String> {
    match scheme {
        Scheme::Eip191 => {
            let (signature, recovery) = key.signing().sign_prehash_recoverable(&eip191_hash(text));
            Some(format!(
                "0x{}{:02x}",
                hex::encode(signature.to_bytes()),
                27 + recovery.to_byte()
            ))
        }
        Scheme::Sha256 => {
            let signature: ecdsa::Signature =
                key.signing().sign_prehash(&Sha256::digest(text)).ok()?;
            Some(hex::encode(signature.to_bytes()))
        }
        Scheme::Schnorr => {
            let mut aux = [0; 32];
            getrandom::fill(&mut aux).ok()?;
            let key = schnorr::SigningKey::from(*key.signing().as_nonzero_scalar());
            let signature = key.sign_raw(&Sha256::digest(text), &aux).ok()?;
            Some(hex::encode(signature.to_bytes()))
        }
    }
}

fn eip191_hash(text: &str) -> [u8; 32] {
    Keccak256::new()
        .chain_update("\x19Ethereum Signed Message:\n")
        .chain_update(text.len().to_string())
        .chain_update(text)
        .finalize()
        .into()
}

fn parse_fixed(bytes: &[u8]) -> Result<ecdsa::Signature, BadSignature> {
    ecdsa::Signature::from_slice(bytes).map_err(|_| BadSignature)
}

fn verify_ecdsa(
    point: &Point,
    hash: &[u8],
    signature: ecdsa::Signature,
) -> Result<(), BadSignature> {
    if signature.normalize_s() != signature {
        return Err(BadSignature);
    }
    ecdsa::VerifyingKey::from(&point.affine)
        .verify_prehash(hash, &signature)
        .map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Returns vectors made with eth-account, web3.js and libsecp256k1.
    fn vectors() -> Vec<Value> {
        let vectors = circled_json::parse(include_str!("../tests/vectors/logins.json"));
        vectors.unwrap().as_array().unwrap().clone()
    }

    fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap_or_else(|| panic!("no {name}"))
    }

    fn scheme(vector: &Value) -> Scheme {
        circled_json::from_value(vector["scheme"].clone()).unwrap()
    }

    #[test]
    fn signatures_of_other_libraries_hold() {
        for vector in vectors() {
            let (key, text) = (
                field(&vector, "pubkey").parse().unwrap(),
                field(&vector, "text"),
            );
            let expected = if vector["refused"].is_null() {
                Ok(())
            } else {
                Err(BadSignature)
            };
            let mut spellings = vec![field(&vector, "signature").to_owned()];
            spellings.extend(vector["signature_der"].as_str().map(str::to_owned));
            for signature in spellings {
                assert_eq!(
                    verify(scheme(&vector), &key, text, &signature),
                    expected,
                    "{vector}"
                );
                assert_eq!(
                    verify(
                        scheme(&vector),
                        &key,
                        text,
                        &format!("0x{}", signature.to_uppercase())
                    ),
                    expected
                );
                assert_eq!(
                    verify(scheme(&vector), &key, &format!("{text} "), &signature),
                    Err(BadSignature)
                );
            }
        }
    }

    #[test]
    fn only_a_recovery_byte_may_follow() {
        let vectors = vectors();
        let vector = &vectors[0];
        let (key, text) = (
            field(vector, "pubkey").parse().unwrap(),
            field(vector, "text"),
        );
        let fixed = &field(vector, "signature")[..128];
        for (tail, expected) in [
            ("", Ok(())),
            ("00", Ok(())),
            ("01", Ok(())),
            ("1b", Ok(())),
            ("1c", Ok(())),
            ("02", Err(BadSignature)),
            ("1d", Err(BadSignature)),
            ("1b00", Err(BadSignature)),
        ] {
            assert_eq!(
                verify(Scheme::Eip191, &key, text, &format!("{fixed}{tail}")),
                expected,
                "{tail}"
            );
        }
        assert_eq!(
            verify(Scheme::Sha256, &key, text, fixed),
            Err(BadSignature),
            "a scheme is not taken for another"
        );
    }

    #[test]
    fn every_key_can_sign_in_every_scheme() {
        let mut leads = std::collections::HashSet::new();
        for seed in 1..=8_u8 {
            let key = SecretKey::from_hex(&hex::encode([seed; 32])).unwrap();
            leads.insert(key.public().as_bytes()[0]);
            for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
                let signature = sign(scheme, &key, "text").unwrap();
                assert_eq!(
                    verify(scheme, &key.public(), "text", &signature),
                    Ok(()),
                    "{scheme:?} by {}",
                    key.public()
                );
            }
        }
        assert_eq!(leads.len(), 2, "with even y and with odd");
    }

    #[test]
    fn any_flipped_bit_breaks_a_signature() {
        let key = SecretKey::from_hex(&"17".repeat(32)).unwrap();
        for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
            let signature = sign(scheme, &key, "text").unwrap();
            assert_eq!(verify(scheme, &key.public(), "text", &signature), Ok(()));
            let bytes = hex::decode(strip_0x(&signature)).unwrap();
            for bit in (0..64 * 8).step_by(7) {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    verify(scheme, &key.public(), "text", &hex::encode(bytes)),
                    Err(BadSignature),
                    "{scheme:?} bit {bit}"
                );
            }
        }
    }
}
