//! The event that a Nostr signer signs to log in (NIP-42). Such signers (NIP-07, NIP-46) sign events only.

use http::Uri;
use jiff::{SignedDuration, Timestamp};
use k256::schnorr;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::{BadSignature, LoginRefusal, Origin, PublicKey, SecretKey};

/// The kind of the events that log in.
const CLIENT_AUTHENTICATION: u64 = 22242;
/// The most that an event's time may differ from the server's.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// A signed event (NIP-01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NostrEvent {
    /// The SHA-256 of the other fields but the signature, 64 hex digits.
    pub id: String,
    /// The x coordinate of the signer's key, 64 hex digits.
    pub pubkey: String,
    /// The time, in seconds since 1970.
    #[serde(deserialize_with = "whole")]
    pub created_at: u64,
    /// The kind; 22242 to log in.
    #[serde(deserialize_with = "whole")]
    pub kind: u64,
    /// The tags. To log in, `["relay", "<origin>/<circle_pk>"]` and `["challenge", "<challenge>"]`.
    pub tags: Vec<Vec<String>>,
    /// Any text.
    pub content: String,
    /// The BIP-340 signature over the id, 128 hex digits.
    pub sig: String,
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = circled_json::whole(deserializer)?;
    number.ok_or_else(|| serde::de::Error::custom("invalid type: null, expected a whole number"))
}

impl NostrEvent {
    /// Creates and signs the event that logs in to a server and its circle; `None` if the system has no randomness.
    pub fn login(
        key: &SecretKey,
        origin: &Origin,
        circle: &PublicKey,
        challenge: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let tag = |name: &str, value: String| vec![name.to_owned(), value];
        let mut event = Self {
            id: String::new(),
            pubkey: String::new(),
            created_at: u64::try_from(now.as_second()).ok()?,
            kind: CLIENT_AUTHENTICATION,
            tags: vec![
                tag("relay", format!("{origin}/{circle}")),
                tag("challenge", challenge.to_owned()),
            ],
            content: String::new(),
            sig: String::new(),
        };
        event.sign(key)?;
        Some(event)
    }

    /// Sets the key, the id and the signature; `None` if the system has no randomness.
    pub fn sign(&mut self, key: &SecretKey) -> Option<()> {
        self.pubkey = hex::encode(x_of(&key.public()));
        let id = self.hash();
        self.id = hex::encode(id);
        let mut aux = [0; 32];
        getrandom::fill(&mut aux).ok()?;
        let key = schnorr::SigningKey::from(*key.signing().as_nonzero_scalar());
        self.sig = hex::encode(key.sign_raw(&id, &aux).ok()?.to_bytes());
        Some(())
    }

    /// Returns true if the event's key is this one. It has x alone, so a key with the same x is the same.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        self.pubkey == hex::encode(x_of(key))
    }

    /// Checks that the event answers `challenge`, for this server and circle; everything but the id and the signature.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        challenge: &str,
        origin: &str,
        circle: &PublicKey,
        now: Timestamp,
    ) -> Result<(), LoginRefusal> {
        if self.kind != CLIENT_AUTHENTICATION {
            return Err(LoginRefusal::BadKind);
        }
        if self.tag("challenge") != Some(challenge) {
            return Err(LoginRefusal::BadChallenge);
        }
        if !self
            .tag("relay")
            .is_some_and(|relay| is_circle(relay, origin, circle))
        {
            return Err(LoginRefusal::BadRelay);
        }
        let created = i64::try_from(self.created_at).ok();
        let created = created.and_then(|seconds| Timestamp::from_second(seconds).ok());
        match created {
            Some(created) if now.duration_since(created).abs() <= TOLERANCE => Ok(()),
            Some(_) | None => Err(LoginRefusal::BadTime),
        }
    }

    /// Verifies the id and the signature by the event's own key. Takes tens of microseconds.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn verify(&self) -> Result<(), LoginRefusal> {
        let id = self.hash();
        if self.id != hex::encode(id) {
            return Err(LoginRefusal::BadId);
        }
        verify(&self.pubkey, &id, &self.sig).map_err(|BadSignature| LoginRefusal::BadSignature)
    }

    /// Returns the value of the only tag of this name.
    fn tag(&self, name: &str) -> Option<&str> {
        let is_named = |tag: &&Vec<String>| tag.first().is_some_and(|first| first == name);
        let mut tags = self.tags.iter().filter(is_named);
        match (tags.next(), tags.next()) {
            (Some(tag), None) => tag.get(1).map(String::as_str),
            _ => None,
        }
    }

    /// Computes the id: the hash of an array, as NIP-01 writes it.
    fn hash(&self) -> [u8; 32] {
        let mut text = String::with_capacity(256 + self.content.len());
        text.push_str("[0,");
        write_text(&mut text, &self.pubkey);
        text.push_str(&format!(",{},{},[", self.created_at, self.kind));
        for (at, tag) in self.tags.iter().enumerate() {
            text.push_str(if at == 0 { "[" } else { ",[" });
            for (at, value) in tag.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_text(&mut text, value);
            }
            text.push(']');
        }
        text.push_str("],");
        write_text(&mut text, &self.content);
        text.push(']');
        Sha256::digest(text).into()
    }
}

fn x_of(key: &PublicKey) -> &[u8] {
    &key.as_bytes()[1..]
}

fn verify(pubkey: &str, id: &[u8; 32], signature: &str) -> Result<(), BadSignature> {
    let bytes = |text: &str| hex::decode(text).map_err(|_| BadSignature);
    let key = schnorr::VerifyingKey::from_slice(&bytes(pubkey)?).map_err(|_| BadSignature)?;
    let signature = schnorr::Signature::from_slice(&bytes(signature)?).map_err(|_| BadSignature)?;
    key.verify_raw(id, &signature).map_err(|_| BadSignature)
}

/// Writes a JSON string with the escapes of NIP-01 and no others.
fn write_text(text: &mut String, value: &str) {
    text.push('"');
    for char in value.chars() {
        match char {
            '\n' => text.push_str("\\n"),
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// Returns true if a URL names this server and circle. It need not be the same text: NIP-42 advises against that.
fn is_circle(url: &str, origin: &str, circle: &PublicKey) -> bool {
    let (Ok(uri), Ok(origin)) = (url.parse::<Uri>(), origin.parse::<Origin>()) else {
        return false;
    };
    let path = uri.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let named = path.strip_prefix('/').map(str::parse::<PublicKey>);
    uri.query().is_none() && Origin::of_socket(&uri) == Ok(origin) && named == Some(Ok(*circle))
}
