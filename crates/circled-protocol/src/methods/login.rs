//! Login and identity of the caller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{DeviceKey, NostrEvent, PublicKey, Role, Scheme, Word, code};

/// `fetch_nonce`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchNonce {
    /// The caller's secp256k1 public key: 66 or 130 hex digits; or, for the schemes `schnorr` and `nostr`, the 64 of its
    /// x coordinate. For `es256`, the device's P-256 key: 66 hex digits.
    #[serde(default)]
    pub pubkey: Option<String>,
    /// The signature scheme. Without it, one of those that sign the login text with the caller's own key; `siwe` with an
    /// `address`.
    #[serde(default)]
    pub scheme: Option<Scheme>,
    /// In place of a key, for `siwe`: the address of an Ethereum account.
    #[serde(default)]
    pub address: Option<String>,
    /// With an address: the chain of the account; 1 if missing.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub chain_id: Option<u64>,
}

impl Method for FetchNonce {
    const NAME: &'static str = "fetch_nonce";
    const SUMMARY: &'static str = "Returns the login text, or what else the scheme has to be signed. To log in, sign it and call `authenticate`.";
    const READS: bool = false;
    type Result = String;
}

/// `authenticate`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    /// The key that `fetch_nonce` was called with.
    #[serde(default)]
    pub pubkey: Option<String>,
    /// The signature over all that `fetch_nonce` returned, in hex.
    #[serde(default)]
    pub signature: Option<String>,
    /// The signature scheme. Without it, `siwe` with an `address`, `nostr` with an `event`, else `eip191`.
    #[serde(default)]
    pub scheme: Option<Scheme>,
    /// In place of a key, for `siwe`: the address that `fetch_nonce` was called with.
    #[serde(default)]
    pub address: Option<String>,
    /// In place of all else, for `nostr`: the signed event.
    #[serde(default)]
    pub event: Option<Box<NostrEvent>>,
}

impl Method for Authenticate {
    const NAME: &'static str = "authenticate";
    const SUMMARY: &'static str =
        "Logs the session in, with a signature over what `fetch_nonce` returned.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = &[code::UNAVAILABLE];
    type Result = bool;
}

/// `whoami`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whoami {}

impl Method for Whoami {
    const NAME: &'static str = "whoami";
    const SUMMARY: &'static str = "Returns who the caller is in this session.";
    const READS: bool = true;
    type Result = Identity;
}

/// The result of `whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// True once the caller has logged in.
    pub authenticated: bool,
    /// The caller's key.
    pub pubkey: Option<PublicKey>,
    /// The device key by which the caller has logged in; null if it wasn't one.
    #[serde(default)]
    pub device: Option<DeviceKey>,
    /// The circle that the session is in.
    pub circle: PublicKey,
    /// The caller's role in the circle.
    pub role: Option<Word<Role>>,
    /// What this session may do, sorted: `call`, `call:<name>` (by a device key), `jobs`, `manage`, `play`, `subscribe`. A
    /// named script's own rule may permit or forbid its calls all the same; and some methods are the owner's alone.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// The id of this session, as in the server's log.
    pub session_id: String,
    /// The server's name and version.
    pub server: String,
}
