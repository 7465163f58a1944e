//! secp256k1 keys, in the form of URLs, requests and files.

use std::{fmt, str::FromStr};

use k256::{ecdsa::SigningKey, elliptic_curve::sec1::ToSec1Point};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A point of the curve secp256k1, compressed: it names a circle, or a caller.
///
/// Parses 66 hex digits (compressed) or 130 (uncompressed), with or without `0x`, in any case (SEC 1, section 2.3.3),
/// and always prints the 66 lowercase ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 33]);

/// The error of a text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve")]
pub struct InvalidKey;

impl PublicKey {
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
    pub fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    /// Parses a key given by its x coordinate alone (BIP-340, 64 hex digits): the point with even y.
    ///
    /// # Errors
    /// There is no such point.
    pub fn from_x_only(text: &str) -> Result<Self, InvalidKey> {
        Point::from_x_only(text).map(|point| point.key)
    }

    /// Returns true if `text` is this key's compressed form. Needs no curve arithmetic.
    pub fn is_written(&self, text: &str) -> bool {
        let mut bytes = [0; 33];
        hex::decode_to_slice(strip_0x(text), &mut bytes).is_ok() && bytes == self.0
    }
}

impl From<&k256::PublicKey> for PublicKey {
    fn from(key: &k256::PublicKey) -> Self {
        let mut bytes = [0; 33];
        bytes.copy_from_slice(key.to_sec1_point(true).as_bytes());
        Self(bytes)
    }
}

/// (De)serializes keys that were checked before they were stored, without another check: `#[serde(with =
/// "circled_protocol::trusted")]`.
pub mod trusted {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{InvalidKey, PublicKey};

    /// Serializes a key.
    ///
    /// # Errors
    /// The serializer fails.
    pub fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        key.serialize(serializer)
    }

    /// Deserializes 66 hex digits.
    ///
    /// # Errors
    /// The text isn't 66 hex digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; PublicKey::LENGTH];
        hex::decode_to_slice(text.as_ref(), &mut bytes)
            .map_err(|_| D::Error::custom(InvalidKey))?;
        Ok(PublicKey(bytes))
    }

    /// (De)serializes device keys in the same way: `#[serde(with = "circled_protocol::trusted::device")]`.
    pub mod device {
        use std::borrow::Cow;

        use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

        use crate::{DeviceKey, InvalidDeviceKey};

        /// Serializes a key.
        ///
        /// # Errors
        /// The serializer fails.
        pub fn serialize<S: Serializer>(key: &DeviceKey, serializer: S) -> Result<S::Ok, S::Error> {
            key.serialize(serializer)
        }

        /// Deserializes 66 hex digits.
        ///
        /// # Errors
        /// The text isn't 66 hex digits.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<DeviceKey, D::Error> {
            let text = Cow::<str>::deserialize(deserializer)?;
            DeviceKey::from_stored_hex(&text).ok_or_else(|| D::Error::custom(InvalidDeviceKey))
        }

        /// (De)serializes device keys that may be missing.
        pub mod option {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            use crate::DeviceKey;

            /// Serializes a key, or null.
            ///
            /// # Errors
            /// The serializer fails.
            pub fn serialize<S: Serializer>(
                key: &Option<DeviceKey>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                key.serialize(serializer)
            }

            /// Deserializes 66 hex digits, or null.
            ///
            /// # Errors
            /// The text isn't 66 hex digits.
            pub fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<DeviceKey>, D::Error> {
                #[derive(Deserialize)]
                struct Trusted(#[serde(with = "super")] DeviceKey);

                let key = Option::<Trusted>::deserialize(deserializer)?;
                Ok(key.map(|Trusted(key)| key))
            }
        }
    }

    /// (De)serializes keys that may be missing: `#[serde(with = "circled_protocol::trusted::option")]`.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use super::PublicKey;

        /// Serializes a key, or null.
        ///
        /// # Errors
        /// The serializer fails.
        pub fn serialize<S: Serializer>(
            key: &Option<PublicKey>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            key.serialize(serializer)
        }

        /// Deserializes 66 hex digits, or null.
        ///
        /// # Errors
        /// The text isn't 66 hex digits.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<PublicKey>, D::Error> {
            #[derive(Deserialize)]
            struct Trusted(#[serde(with = "super")] PublicKey);

            let key = Option::<Trusted>::deserialize(deserializer)?;
            Ok(key.map(|Trusted(key)| key))
        }
    }
}

/// A public key with both its coordinates, which verifying needs: computing y takes microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The key in its compressed form.
    pub key: PublicKey,
    pub(crate) affine: k256::PublicKey,
}

impl Point {
    pub(crate) fn from_sec1(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let affine = k256::PublicKey::from_sec1_bytes(bytes).map_err(|_| InvalidKey)?;
        Ok(Self::from(affine))
    }

    /// Parses the x coordinate alone (BIP-340, 64 hex digits): the point with even y.
    ///
    /// # Errors
    /// There is no such point.
    pub fn from_x_only(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = [2; 33];
        hex::decode_to_slice(strip_0x(text), &mut bytes[1..]).map_err(|_| InvalidKey)?;
        Self::from_sec1(&bytes)
    }
}

impl From<k256::PublicKey> for Point {
    fn from(affine: k256::PublicKey) -> Self {
        Self {
            key: PublicKey::from(&affine),
            affine,
        }
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        text.parse().map(|point: Point| point.key)
    }
}

impl FromStr for Point {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = strip_0x(text);
        let mut bytes = [0; 65];
        let bytes = match digits.len() {
            66 => &mut bytes[..33],
            130 => &mut bytes[..],
            _ => return Err(InvalidKey),
        };
        hex::decode_to_slice(digits, bytes).map_err(|_| InvalidKey)?;
        // The library also reads hybrid and compact forms, which nobody uses.
        if !matches!((bytes.len(), bytes[0]), (33, 2 | 3) | (65, 4)) {
            return Err(InvalidKey);
        }
        Self::from_sec1(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 66];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A secp256k1 public key: 66 or 130 hex digits. Results have 66 lowercase hex digits.",
        })
    }
}

/// A caller's own key. Never prints itself; erased from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Generates a key with the operating system's randomness.
    ///
    /// # Errors
    /// The system gives none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        loop {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            // All but one in 2^127 draws are below the order of the curve.
            if let Ok(key) = SigningKey::from_slice(&bytes) {
                return Ok(Self(key));
            }
        }
    }

    /// Parses 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// They are no secret key.
    pub fn from_hex(text: &str) -> Result<Self, InvalidSecretKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(strip_0x(text), &mut bytes).map_err(|_| InvalidSecretKey)?;
        SigningKey::from_slice(&bytes)
            .map(Self)
            .map_err(|_| InvalidSecretKey)
    }

    /// Returns the 64 hex digits that [`SecretKey::from_hex`] parses. Only for writing the key file.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.to_bytes())
    }

    /// Returns the public key.
    pub fn public(&self) -> PublicKey {
        PublicKey::from(&k256::PublicKey::from(self.0.verifying_key()))
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

/// The error of a text that is no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a secp256k1 secret key: expected 64 hex digits, not zero and below the order of the curve"
)]
pub struct InvalidSecretKey;

/// Returns true if a text has the form of a secret key: 64 hex digits.
pub fn is_secret_key(text: &str) -> bool {
    let digits = strip_0x(text.trim());
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(crate) fn strip_0x(text: &str) -> &str {
    text.strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPRESSED: &str = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e";
    const UNCOMPRESSED: &str = "044e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e47fd35c4215d1edf53e6f83de344615ce719bdb0fd878f6ed76f06dd277956de";

    #[test]
    fn every_spelling_is_the_same_key() {
        for digits in [COMPRESSED, UNCOMPRESSED] {
            for prefix in ["", "0x", "0X"] {
                for digits in [digits.to_owned(), digits.to_uppercase()] {
                    let key: PublicKey = format!("{prefix}{digits}").parse().unwrap();
                    assert_eq!(key.to_string(), COMPRESSED);
                }
            }
        }
        assert_eq!(
            PublicKey::from_x_only(&COMPRESSED[2..])
                .unwrap()
                .to_string(),
            COMPRESSED
        );
    }

    #[test]
    fn texts_that_are_no_point_are_refused() {
        let off_curve = format!("04{}", "11".repeat(64));
        let no_such_x = format!("02{}", "ff".repeat(32));
        let compact = COMPRESSED.replacen("02", "05", 1);
        let hybrid = UNCOMPRESSED.replacen("04", "06", 1);
        let identity = "00";
        for wrong in [
            "",
            "0x",
            "hello",
            identity,
            &off_curve,
            &no_such_x,
            &hybrid,
            &compact,
            &COMPRESSED[2..],
            &format!("{COMPRESSED} "),
        ] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(InvalidKey), "{wrong}");
        }
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = SecretKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_hex()));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*|(0x)?0[234][0-9a-fA-F]{60,130}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string().parse::<PublicKey>(), Ok(key));
            }
        }

        #[test]
        fn every_key_reads_back(secret in proptest::array::uniform32(1u8..=254)) {
            let public = SecretKey::from_hex(&hex::encode(secret)).unwrap().public();
            prop_assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public));
            prop_assert_eq!(PublicKey::from_x_only(&public.to_string()[2..]).unwrap().as_bytes()[1..].to_vec(), public.as_bytes()[1..].to_vec());
        }
    }
}
