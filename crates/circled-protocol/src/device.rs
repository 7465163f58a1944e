//! Device keys: P-256 keys that act for a caller.

use std::{borrow::Cow, fmt, str::FromStr};

use p256::ecdsa::{
    Signature, SigningKey, VerifyingKey,
    signature::{Signer, Verifier},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BadSignature, key::strip_0x};

/// A point of the curve P-256, compressed: it names a device.
///
/// Parses 66 hex digits (compressed) or 130 (uncompressed), with or without `0x`, in any case (SEC 1, section 2.3.3),
/// and always prints the 66 lowercase ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey([u8; 33]);

/// The error of a text that is no device key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a P-256 public key: expected 66 or 130 hex digits of a point on the curve")]
pub struct InvalidDeviceKey;

impl DeviceKey {
    /// The length of the compressed SEC 1 encoding in bytes.
    pub const LENGTH: usize = 33;

    /// Creates a key from bytes that were checked before they were stored.
    pub fn from_stored(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Reads 66 hex digits that were checked before they were stored.
    pub fn from_stored_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Returns the compressed SEC 1 encoding.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Verifies a signature over `text` (ECDSA over SHA-256, 64 bytes hex, with or without `0x`). It may have either S:
    /// `WebCrypto` makes a high one half of the time. Takes hundreds of microseconds.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, text: &str, signature: &str) -> Result<(), BadSignature> {
        let bytes = hex::decode(strip_0x(signature)).map_err(|_| BadSignature)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| BadSignature)?;
        let key = VerifyingKey::from_sec1_bytes(&self.0).map_err(|_| BadSignature)?;
        key.verify(text.as_bytes(), &signature)
            .map_err(|_| BadSignature)
    }
}

impl From<&VerifyingKey> for DeviceKey {
    fn from(key: &VerifyingKey) -> Self {
        let mut bytes = [0; Self::LENGTH];
        bytes.copy_from_slice(key.to_sec1_point(true).as_bytes());
        Self(bytes)
    }
}

impl FromStr for DeviceKey {
    type Err = InvalidDeviceKey;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceKey> {
        let digits = strip_0x(text);
        let mut bytes = [0; 65];
        let bytes = match digits.len() {
            66 => &mut bytes[..33],
            130 => &mut bytes[..],
            _ => return Err(InvalidDeviceKey),
        };
        hex::decode_to_slice(digits, bytes).map_err(|_| InvalidDeviceKey)?;
        // The library also reads hybrid and compact forms, which nobody uses.
        if !matches!((bytes.len(), bytes[0]), (33, 2 | 3) | (65, 4)) {
            return Err(InvalidDeviceKey);
        }
        let key = VerifyingKey::from_sec1_bytes(bytes).map_err(|_| InvalidDeviceKey)?;
        Ok(Self::from(&key))
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 66];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DeviceKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for DeviceKey {
    fn schema_name() -> Cow<'static, str> {
        "DeviceKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A P-256 public key: 66 or 130 hex digits. Results have 66 lowercase hex digits.",
        })
    }
}

/// A device's own key. Never prints itself; erased from memory when dropped.
#[derive(Clone)]
pub struct DeviceSecretKey(SigningKey);

/// The error of a text that is no secret key of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a P-256 secret key: expected 64 hex digits, not zero and below the order of the curve"
)]
pub struct InvalidDeviceSecretKey;

impl DeviceSecretKey {
    /// Generates a key with the operating system's randomness.
    ///
    /// # Errors
    /// The system gives none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        loop {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            // All but one in 2^32 draws are below the order of the curve.
            if let Ok(key) = SigningKey::from_slice(&bytes) {
                return Ok(Self(key));
            }
        }
    }

    /// Parses 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// They are no secret key.
    pub fn from_hex(text: &str) -> Result<Self, InvalidDeviceSecretKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(strip_0x(text), &mut bytes).map_err(|_| InvalidDeviceSecretKey)?;
        SigningKey::from_slice(&bytes)
            .map(Self)
            .map_err(|_| InvalidDeviceSecretKey)
    }

    /// Returns the 64 hex digits that [`DeviceSecretKey::from_hex`] parses. Only for writing the key file.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.to_bytes())
    }

    /// Returns the public key.
    pub fn public(&self) -> DeviceKey {
        DeviceKey::from(self.0.verifying_key())
    }

    /// Signs `text`, for [`DeviceKey::verify`]. The signature has the low S.
    pub fn sign(&self, text: &str) -> String {
        let signature: Signature = self.0.sign(text.as_bytes());
        hex::encode(signature.normalize_s().to_bytes())
    }
}

impl fmt::Debug for DeviceSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSecretKey(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{Scheme, SecretKey, sign, verify};

    /// Returns vectors made with WebCrypto, by `devices.mjs` beside them.
    fn vectors() -> Vec<Value> {
        let vectors = circled_json::parse(include_str!("../tests/vectors/devices.json"));
        vectors.unwrap().as_array().unwrap().clone()
    }

    fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn signatures_of_webcrypto_hold_with_either_s() {
        let mut high = 0;
        for vector in vectors() {
            let key: DeviceKey = field(&vector, "pubkey").parse().unwrap();
            assert_eq!(field(&vector, "uncompressed").parse(), Ok(key));
            let secret = DeviceSecretKey::from_hex(field(&vector, "secret")).unwrap();
            assert_eq!(secret.public(), key);
            high += usize::from(vector["high_s"] == true);
            for (text, signature) in [("claim", "proof"), ("login", "signature")] {
                let (text, signature) = (field(&vector, text), field(&vector, signature));
                for signature in [
                    signature.to_owned(),
                    format!("0x{}", signature.to_uppercase()),
                ] {
                    assert_eq!(key.verify(text, &signature), Ok(()), "{vector}");
                    let other = format!("{text} ");
                    assert_eq!(key.verify(&other, &signature), Err(BadSignature));
                }
            }
            let swapped = key.verify(field(&vector, "claim"), field(&vector, "signature"));
            assert_eq!(swapped, Err(BadSignature));
        }
        assert_eq!(high, 3);
    }

    #[test]
    fn our_signatures_have_the_low_s() {
        let key = DeviceSecretKey::generate().unwrap();
        for n in 0..16 {
            let (text, signed) = (n.to_string(), key.sign(&n.to_string()));
            let signature = Signature::from_slice(&hex::decode(&signed).unwrap()).unwrap();
            assert_eq!(signature.normalize_s(), signature);
            assert_eq!(key.public().verify(&text, &signed), Ok(()));
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_breaks_a_signature() {
        let key = DeviceSecretKey::from_hex(&"17".repeat(32)).unwrap();
        let signature = key.sign("text");
        let bytes = hex::decode(&signature).unwrap();
        for bit in (0..64 * 8).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped = key.public().verify("text", &hex::encode(bytes));
            assert_eq!(flipped, Err(BadSignature), "bit {bit}");
        }
        for wrong in [
            &signature[2..],
            &format!("{signature}1b"),
            "",
            "00",
            &"00".repeat(64),
        ] {
            assert_eq!(
                key.public().verify("text", wrong),
                Err(BadSignature),
                "{wrong}"
            );
        }
    }

    #[test]
    fn keys_of_one_curve_are_not_taken_on_the_other() {
        // The same secret on both curves.
        let secret = "17".repeat(32);
        let (device, caller) = (
            DeviceSecretKey::from_hex(&secret).unwrap(),
            SecretKey::from_hex(&secret).unwrap(),
        );
        assert_ne!(device.public().to_string(), caller.public().to_string());
        let by_device = device.sign("text");
        for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
            let refused = verify(scheme, &caller.public(), "text", &by_device);
            assert_eq!(refused, Err(BadSignature), "{scheme:?}");
            let by_caller = sign(scheme, &caller, "text").unwrap();
            assert_eq!(
                device.public().verify("text", &by_caller),
                Err(BadSignature)
            );
        }
        let uncompressed = field(&vectors()[0], "uncompressed").to_owned();
        assert!(uncompressed.parse::<crate::PublicKey>().is_err());
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = DeviceSecretKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_hex()));
        assert_eq!(
            DeviceSecretKey::from_hex(&key.to_hex()).unwrap().public(),
            key.public()
        );
        for wrong in ["", "00", &"00".repeat(32), &"ff".repeat(32)] {
            assert!(DeviceSecretKey::from_hex(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*|(0x)?0[234][0-9a-fA-F]{60,130}") {
            if let Ok(key) = text.parse::<DeviceKey>() {
                prop_assert_eq!(key.to_string().parse::<DeviceKey>(), Ok(key));
            }
        }
    }
}
