//! The schemes of logins, and signatures over texts.

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

/// A scheme of logins: what is signed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// The scheme of Ethereum wallets (EIP-191, version 0x45): ECDSA over Keccak-256 of the prefixed text. 65 bytes, of
    /// which the last is 0, 1, 27 or 28 and ignored; or 64, r and s or compact (ERC-2098).
    #[default]
    Eip191,
    /// ECDSA over SHA-256 of the text. 64 bytes, or DER.
    Sha256,
    /// BIP-340 over SHA-256 of the text. 64 bytes.
    Schnorr,
    /// A message of EIP-4361, by an Ethereum account: ECDSA over Keccak-256 of the prefixed message. 65 bytes, or 64 in
    /// the compact form of ERC-2098.
    Siwe,
    /// An event of NIP-42 (Nostr), which BIP-340 signs.
    Nostr,
    /// ECDSA on P-256 over SHA-256 of the text, for the keys of devices. 64 bytes.
    Es256,
}

impl Scheme {
    /// Returns its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eip191 => "eip191",
            Self::Sha256 => "sha256",
            Self::Schnorr => "schnorr",
            Self::Siwe => "siwe",
            Self::Nostr => "nostr",
            Self::Es256 => "es256",
        }
    }

    /// Returns true if callers sign the login text with their own secp256k1 key.
    pub fn signs_text(self) -> bool {
        match self {
            Self::Eip191 | Self::Sha256 | Self::Schnorr => true,
            Self::Siwe | Self::Nostr | Self::Es256 => false,
        }
    }
}

/// The error of a signature that is malformed, or not of this key over this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature is not one of this key over this text")]
pub struct BadSignature;

/// Verifies the `signature` (hex, with or without `0x`) of `key` over `text`. Takes tens of microseconds.
///
/// # Errors
/// [`BadSignature`], also for an ECDSA signature with a high S, which anyone could have made from the low one; and in
/// the schemes in which keys of secp256k1 sign no texts.
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
                let (signature, _) = parse_recoverable(&bytes)?;
                verify_ecdsa(self, &eip191_hash(text), signature)
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
            Scheme::Siwe | Scheme::Nostr | Scheme::Es256 => Err(BadSignature),
        }
    }

    /// Recovers the key that has signed a text as Ethereum wallets do (EIP-191), from a signature of 65 bytes, or of 64
    /// in the compact form of ERC-2098. Takes tens of microseconds. A wrong signature gives another key.
    ///
    /// # Errors
    /// [`BadSignature`] if the signature has another form or a high S, or can't be any key's.
    pub fn recover(text: &str, signature: &str) -> Result<Self, BadSignature> {
        let bytes = hex::decode(strip_0x(signature)).map_err(|_| BadSignature)?;
        let (signature, is_y_odd) = parse_recoverable(&bytes)?;
        let recovery = ecdsa::RecoveryId::new(is_y_odd, false);
        let key = check_low_s(&signature).and_then(|()| {
            ecdsa::VerifyingKey::recover_from_prehash(&eip191_hash(text), &signature, recovery)
                .map_err(|_| BadSignature)
        })?;
        Ok(Self::from(k256::PublicKey::from(key)))
    }
}

/// Signs `text`; the result is hex for [`verify`]. `None` if keys of secp256k1 sign no texts in this scheme, or this
/// one can't sign, which has a probability of about 2^-256.
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
        Scheme::Siwe | Scheme::Nostr | Scheme::Es256 => None,
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

/// Parses an Ethereum signature: r, s and v (0, 1, 27 or 28); or, compact (ERC-2098), r and s, where the highest bit of
/// s has the place of v, because a low S doesn't need it. Returns it with the parity of the point's y. Without v, r and
/// s alone are the compact form for an even y.
fn parse_recoverable(bytes: &[u8]) -> Result<(ecdsa::Signature, bool), BadSignature> {
    match bytes {
        [fixed @ .., v @ (0 | 1 | 27 | 28)] if fixed.len() == 64 => {
            Ok((parse_fixed(fixed)?, matches!(v, 1 | 28)))
        }
        compact => {
            let mut fixed: [u8; 64] = compact.try_into().map_err(|_| BadSignature)?;
            let is_y_odd = fixed[32] & 0x80 != 0;
            fixed[32] &= 0x7f;
            Ok((parse_fixed(&fixed)?, is_y_odd))
        }
    }
}

fn check_low_s(signature: &ecdsa::Signature) -> Result<(), BadSignature> {
    if signature.normalize_s() != *signature {
        return Err(BadSignature);
    }
    Ok(())
}

fn verify_ecdsa(
    point: &Point,
    hash: &[u8],
    signature: ecdsa::Signature,
) -> Result<(), BadSignature> {
    check_low_s(&signature)?;
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
