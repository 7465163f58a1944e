//! Login and identity of the caller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{PublicKey, Role, Scheme, Word};

/// `fetch_nonce`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchNonce {
    /// The caller's secp256k1 public key: 66 or 130 hex digits; or, for the scheme `schnorr`, the 64 of its x
    /// coordinate.
    pub pubkey: String,
}

impl Method for FetchNonce {
    const NAME: &'static str = "fetch_nonce";
    const SUMMARY: &'static str =
        "Returns the login text. To log in, sign it and call `authenticate`.";
    type Result = String;
}

/// `authenticate`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    /// The key that `fetch_nonce` was called with.
    pub pubkey: String,
    /// The signature over the whole login text, in hex.
    pub signature: String,
    /// The signature scheme.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    pub scheme: Scheme,
}

impl Method for Authenticate {
    const NAME: &'static str = "authenticate";
    const SUMMARY: &'static str =
        "Logs the session in, with a signature over the login text that `fetch_nonce` returned.";
    type Result = bool;
}

/// `whoami`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whoami {}

impl Method for Whoami {
    const NAME: &'static str = "whoami";
    const SUMMARY: &'static str = "Returns who the caller is in this session.";
    type Result = Identity;
}

/// The result of `whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// True once the caller has logged in.
    pub authenticated: bool,
    /// The caller's key.
    pub pubkey: Option<PublicKey>,
    /// The circle that the session is in.
    pub circle: PublicKey,
    /// The caller's role in the circle.
    pub role: Option<Word<Role>>,
    /// The id of this session, as in the server's log.
    pub session_id: String,
    /// The server's name and version.
    pub server: String,
}
