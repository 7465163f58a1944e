//! Encodings of signatures, keys and times.

use data_encoding::{BASE64, BASE64URL, Encoding as Alphabet, HEXLOWER, HEXUPPER};
use jiff::Timestamp;
use serde::Deserialize;

/// The hash function of the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-256 (FIPS 180-4), as all the others.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lowercase hex digits.
    Hex,
    /// Uppercase hex digits.
    HexUpper,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
    /// Base64 for URLs, with padding (RFC 4648, section 5).
    Base64url,
}

/// The encoding of the key in a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// The secret's own bytes are the key.
    Text,
    /// Hex digits of either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// The format of a signature's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormat {
    /// Seconds since 1970, in decimal digits.
    Seconds,
    /// Milliseconds since 1970, in decimal digits.
    Milliseconds,
    /// A date and a time with its offset, like `2026-11-23T16:45:00Z` (RFC 3339).
    Rfc3339,
}

/// The bytes that a provider signs with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    /// Returns true if the key is so short that it can be found by trying.
    pub(super) fn is_weak(&self) -> bool {
        self.0.len() < 8
    }
}

impl Encoding {
    /// Returns the strict alphabet: one text for each signature, no white space, no missing padding.
    pub(super) fn alphabet(self) -> Alphabet {
        match self {
            Self::Hex => HEXLOWER,
            Self::HexUpper => HEXUPPER,
            Self::Base64 => BASE64,
            Self::Base64url => BASE64URL,
        }
    }
}

impl TimestampFormat {
    /// Parses a time in this format.
    pub(super) fn read(self, text: &str) -> Option<Timestamp> {
        let number = || {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        match self {
            Self::Seconds => Timestamp::from_second(number()?).ok(),
            Self::Milliseconds => Timestamp::from_millisecond(number()?).ok(),
            Self::Rfc3339 => text.parse().ok(),
        }
    }

    /// Formats a time.
    pub(super) fn write(self, at: Timestamp) -> String {
        match self {
            Self::Seconds => at.as_second().to_string(),
            Self::Milliseconds => at.as_millisecond().to_string(),
            Self::Rfc3339 => at.to_string(),
        }
    }
}

impl KeyEncoding {
    /// Decodes a key, and returns the encoding's name for messages.
    pub(super) fn decode(self, text: &str) -> (Option<Vec<u8>>, &'static str) {
        match self {
            Self::Text => (Some(text.as_bytes().to_vec()), "text"),
            Self::Hex => (hex::decode(text).ok(), "hex"),
            Self::Base64 => (BASE64.decode(text.as_bytes()).ok(), "base64"),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}
