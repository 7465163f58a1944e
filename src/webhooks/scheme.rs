//! Signature schemes of providers, as data, and the one verifier for all of them.
//!
//! Every scheme here is an HMAC (RFC 2104) over the raw body, maybe with text around it. Schemes differ in the places
//! and encodings of the parts.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Sha256, Sha384, Sha512};

use super::{
    encodings::{Encoding, Hash, Key, KeyEncoding, TimestampFormat},
    template::{Filling, Part, Template},
};
use crate::auth::Secret;

/// A provider's signature scheme.
///
/// The value of the signature header is split at `separator`, if there is one. The items that begin with
/// `signature_prefix` are signatures, any of which may be the right one. The item that begins with `timestamp_prefix`
/// is the time, written in `timestamp_format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    /// The names of the headers; the first set whose signature header is there counts.
    pub(super) headers: Vec<Headers>,
    pub(super) separator: Option<String>,
    pub(super) signature_prefix: String,
    pub(super) timestamp_prefix: Option<String>,
    pub(super) timestamp_format: TimestampFormat,
    pub(super) signed: Template,
    pub(super) hash: Hash,
    pub(super) encoding: Encoding,
    pub(super) key: KeyEncoding,
    /// The text before the key in the secret, as the provider shows it.
    pub(super) key_prefix: String,
}

/// The headers of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) signature: HeaderName,
    pub(super) timestamp: Option<HeaderName>,
    pub(super) id: Option<HeaderName>,
}

/// The reason why a scheme can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// A required setting is missing.
    #[error("{0} is missing: a provider needs a preset, or signature_header and signed")]
    Missing(&'static str),
    /// The template has a place for a part that the request doesn't have.
    #[error("signed has {{{part}}} in it, but {needs} says where that is")]
    Unfilled {
        /// The place.
        part: &'static str,
        /// The settings that would give the part.
        needs: &'static str,
    },
    /// A list of names doesn't match the list of signature headers.
    #[error("{0} must have as many names as signature_header")]
    Uneven(&'static str),
    /// One of two settings that are only valid together is missing.
    #[error("{0} needs {1}")]
    Half(&'static str, &'static str),
    /// The time isn't signed, so anybody could change it.
    #[error("the time isn't signed: signed must have {{timestamp}} in it")]
    Undated,
    /// The scheme has two times.
    #[error("timestamp_header and timestamp_prefix exclude each other")]
    TwoTimes,
    /// The time is in the header with the signature, and nothing separates them.
    #[error(
        "timestamp_prefix needs a separator and a signature_prefix, to tell the time from the signature"
    )]
    Inseparable,
    /// A secret isn't in the required encoding.
    #[error("the secret is not written in {expected}")]
    Key {
        /// The required encoding.
        expected: &'static str,
    },
    /// The key is so short that it can be found by trying.
    #[error("the key in it is shorter than 8 bytes, and could be guessed")]
    WeakKey,
}

impl SchemeError {
    /// Returns the name of the setting that is wrong, unless it is one that is missing.
    pub(super) fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Missing(_) | Self::Key { .. } | Self::WeakKey => None,
            Self::Unfilled { .. } | Self::Undated => Some("signed"),
            Self::Uneven(setting) | Self::Half(setting, _) => Some(setting),
            Self::TwoTimes | Self::Inseparable => Some("timestamp_prefix"),
        }
    }
}

/// The reason why a signature isn't accepted. For the log: the sender doesn't learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is no signature.
    #[error("the signature header is missing")]
    Missing,
    /// A header is there twice, so it is unclear which counts.
    #[error("a header of the signature is repeated")]
    Repeated,
    /// A header isn't written as the provider writes it.
    #[error("the signature is malformed")]
    Malformed,
    /// The request was signed too long ago, or its time is too far ahead.
    #[error("signed {seconds} s ago, which is past the tolerance")]
    Stale {
        /// The seconds since the signature; negative for a time ahead.
        seconds: i64,
    },
    /// No secret fits.
    #[error("the signature is wrong")]
    Wrong,
    /// A GET is no check of the address.
    #[error("the GET is not a verification of the address")]
    NotAsked,
    /// A GET has no agreed token.
    #[error("the GET has a wrong token")]
    WrongToken,
}

/// The parts of a request's signature headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SignatureHeaders<'a> {
    signatures: Vec<&'a str>,
    /// The time of the signature, if it is signed.
    pub(super) timestamp: &'a str,
    /// The event's id, if it is signed.
    pub(super) id: &'a str,
}

/// A request to be signed like the provider does.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The secret to sign with.
    pub secret: &'a Secret,
    /// The time of the signature.
    pub at: Timestamp,
    /// The event's id, for schemes that sign one.
    pub id: &'a str,
    /// The raw body.
    pub body: &'a [u8],
}

impl Scheme {
    /// Returns the settings that don't go together.
    pub(super) fn mistakes(&self) -> Vec<SchemeError> {
        let mut mistakes = Vec::new();
        let mut check = |is_right: bool, mistake| {
            if !is_right {
                mistakes.push(mistake);
            }
        };
        let has = |part| self.signed.has(&part);
        let (some_timestamp, all_timestamps) = (
            self.headers.iter().any(|names| names.timestamp.is_some()),
            self.headers.iter().all(|names| names.timestamp.is_some()),
        );
        check(
            !has(Part::Timestamp) || self.timestamp_prefix.is_some() || all_timestamps,
            SchemeError::Unfilled {
                part: "timestamp",
                needs: "neither timestamp_header nor timestamp_prefix",
            },
        );
        check(
            !has(Part::Id) || self.headers.iter().all(|names| names.id.is_some()),
            SchemeError::Unfilled {
                part: "id",
                needs: "no id_header",
            },
        );
        check(
            self.timestamp_prefix.is_none() || !some_timestamp,
            SchemeError::TwoTimes,
        );
        check(
            !self.is_dated() || has(Part::Timestamp),
            SchemeError::Undated,
        );
        check(
            self.timestamp_prefix.is_none()
                || self.separator.is_some() && !self.signature_prefix.is_empty(),
            SchemeError::Inseparable,
        );
        mistakes
    }

    /// Returns the key in a secret.
    pub(super) fn key(&self, secret: &Secret) -> Result<Key, SchemeError> {
        let text = secret.expose();
        let text = text.strip_prefix(&self.key_prefix).unwrap_or(text);
        let (bytes, expected) = self.key.decode(text);
        bytes
            .filter(|bytes| !bytes.is_empty())
            .map(Key)
            .ok_or(SchemeError::Key { expected })
    }

    /// Reads the signature headers, and checks the age of the signature.
    pub(super) fn read_headers<'a>(
        &self,
        headers: &'a HeaderMap,
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<SignatureHeaders<'a>, Unsigned> {
        let names = self.headers.iter();
        let names = names
            .clone()
            .find(|names| headers.contains_key(&names.signature))
            .ok_or(Unsigned::Missing)?;
        let value = only(headers, &names.signature)?;
        let mut signed = SignatureHeaders {
            signatures: Vec::new(),
            timestamp: match &names.timestamp {
                Some(name) => only(headers, name)?,
                None => "",
            },
            id: match &names.id {
                Some(name) => only(headers, name)?,
                None => "",
            },
        };
        for item in self.items(value) {
            if let Some(signature) = item.strip_prefix(&self.signature_prefix) {
                signed.signatures.push(signature);
            } else if let Some(prefix) = &self.timestamp_prefix
                && let Some(timestamp) = item.strip_prefix(prefix)
                && !std::mem::replace(&mut signed.timestamp, timestamp).is_empty()
            {
                return Err(Unsigned::Repeated);
            }
        }
        if signed.signatures.is_empty() {
            return Err(Unsigned::Malformed);
        }
        if self.is_dated() {
            let signed_at = self.timestamp_format.read(signed.timestamp);
            let signed_at = signed_at.ok_or(Unsigned::Malformed)?;
            let seconds = now.as_second() - signed_at.as_second();
            if seconds.unsigned_abs() > tolerance.as_secs() {
                return Err(Unsigned::Stale { seconds });
            }
        }
        Ok(signed)
    }

    /// Returns true if one of the keys made one of the signatures. Takes constant time.
    pub(super) fn verify(
        &self,
        signed: &SignatureHeaders<'_>,
        body: &[u8],
        keys: &[Key],
    ) -> Result<(), Unsigned> {
        let signatures: Vec<Vec<u8>> = signed
            .signatures
            .iter()
            .filter_map(|text| self.encoding.alphabet().decode(text.as_bytes()).ok())
            .collect();
        if signatures.is_empty() {
            return Err(Unsigned::Malformed);
        }
        let filling = Filling {
            timestamp: signed.timestamp,
            id: signed.id,
            body,
        };
        let is_right = |key: &Key| match self.hash {
            Hash::Sha256 => self.is_signed::<Hmac<Sha256>>(key, filling, &signatures),
            Hash::Sha384 => self.is_signed::<Hmac<Sha384>>(key, filling, &signatures),
            Hash::Sha512 => self.is_signed::<Hmac<Sha512>>(key, filling, &signatures),
        };
        if keys.iter().any(is_right) {
            Ok(())
        } else {
            Err(Unsigned::Wrong)
        }
    }

    /// Returns the headers of a signed request, under the first of each header's names.
    ///
    /// # Errors
    /// The secret isn't in the required encoding.
    pub fn sign(&self, signing: &Signing<'_>) -> Result<HeaderMap, SchemeError> {
        let key = self.key(signing.secret)?;
        let timestamp = self.timestamp_format.write(signing.at);
        let filling = Filling {
            timestamp: &timestamp,
            id: signing.id,
            body: signing.body,
        };
        let signature = match self.hash {
            Hash::Sha256 => self.digest::<Hmac<Sha256>>(&key, filling),
            Hash::Sha384 => self.digest::<Hmac<Sha384>>(&key, filling),
            Hash::Sha512 => self.digest::<Hmac<Sha512>>(&key, filling),
        };
        let signature = self.encoding.alphabet().encode(&signature);
        let mut value = format!("{}{signature}", self.signature_prefix);
        if let (Some(prefix), Some(separator)) = (&self.timestamp_prefix, &self.separator) {
            value = format!("{prefix}{timestamp}{separator}{value}");
        }
        let mut headers = HeaderMap::new();
        let mut put = |name: &HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(names) = self.headers.first() {
            put(&names.signature, &value);
            if let Some(name) = &names.timestamp {
                put(name, &timestamp);
            }
            if let Some(name) = &names.id {
                put(name, signing.id);
            }
        }
        Ok(headers)
    }

    fn items<'a>(&self, value: &'a str) -> Vec<&'a str> {
        match &self.separator {
            Some(separator) => value.split(separator.as_str()).collect(),
            None => vec![value],
        }
    }

    fn is_dated(&self) -> bool {
        self.timestamp_prefix.is_some()
            || self.headers.iter().any(|names| names.timestamp.is_some())
    }

    fn is_signed<M: Mac + KeyInit + Clone>(
        &self,
        key: &Key,
        filling: Filling<'_>,
        signatures: &[Vec<u8>],
    ) -> bool {
        let Some(mac) = self.mac::<M>(key, filling) else {
            return false;
        };
        // The comparison takes constant time, the length included.
        signatures
            .iter()
            .any(|signature| mac.clone().verify_slice(signature).is_ok())
    }

    fn digest<M: Mac + KeyInit>(&self, key: &Key, filling: Filling<'_>) -> Vec<u8> {
        self.mac::<M>(key, filling)
            .map(|mac| mac.finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }

    fn mac<M: Mac + KeyInit>(&self, key: &Key, filling: Filling<'_>) -> Option<M> {
        // An HMAC takes keys of any length.
        let mut mac = <M as KeyInit>::new_from_slice(&key.0).ok()?;
        self.signed.fill(filling, |piece| mac.update(piece));
        Some(mac)
    }
}

/// Returns the value of a header that must be there exactly once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Unsigned> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Unsigned::Missing)?;
    if values.next().is_some() {
        return Err(Unsigned::Repeated);
    }
    value.to_str().map_err(|_| Unsigned::Malformed)
}

#[cfg(test)]
mod tests;
