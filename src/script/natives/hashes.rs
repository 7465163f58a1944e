//! Hashes, encodings and signatures.

use circled_protocol::{PublicKey, Scheme};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use rhai::{Blob, EvalAltResult, ImmutableString, Module, Position};
use sha2::{Digest, Sha256};

use super::{Failed, native, too_long};
use crate::script::{Limits, budget};

/// The least cost of a call, in operations.
const COST: usize = 4;
/// Bytes that count as one operation when they are hashed.
const HASHED_PER_OPERATION: usize = 64;
/// Bytes that count as one operation when they are encoded or decoded.
const CODED_PER_OPERATION: usize = 256;
/// The cost of checking a signature: more than a session's own thread does for a script.
const VERIFY: usize = 20_000;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let most = limits.max_string.get();
    native!(module, pure: true, "sha256", |text: ImmutableString| sha256(text.as_bytes()));
    native!(module, pure: true, "sha256", |blob: Blob| sha256(&blob));
    native!(module, pure: true, "hmac_sha256", |key: ImmutableString, text: ImmutableString| {
        hmac_sha256(key.as_bytes(), text.as_bytes())
    });
    native!(module, pure: true, "hmac_sha256", |key: ImmutableString, blob: Blob| {
        hmac_sha256(key.as_bytes(), &blob)
    });
    native!(module, pure: true, "hmac_sha256", |key: Blob, text: ImmutableString| {
        hmac_sha256(&key, text.as_bytes())
    });
    native!(module, pure: true, "hmac_sha256", |key: Blob, blob: Blob| hmac_sha256(&key, &blob));
    native!(module, pure: true, "base64", move |text: ImmutableString| base64(text.as_bytes(), most));
    native!(module, pure: true, "base64", move |blob: Blob| base64(&blob, most));
    native!(module, pure: true, "hex", move |text: ImmutableString| hex(text.as_bytes(), most));
    native!(module, pure: true, "hex", move |blob: Blob| hex(&blob, most));
    native!(module, pure: true, "from_base64", |text: ImmutableString| from_base64(&text));
    native!(module, pure: true, "from_hex", |text: ImmutableString| from_hex(&text));
    native!(module, pure: true, "verify", |key: ImmutableString, text: ImmutableString, signature: ImmutableString| {
        verify(&key, &text, &signature)
    });
}

fn sha256(bytes: &[u8]) -> Result<ImmutableString, Failed> {
    budget::charge(COST + bytes.len() / HASHED_PER_OPERATION)?;
    Ok(HEXLOWER.encode(&Sha256::digest(bytes)).into())
}

fn hmac_sha256(key: &[u8], bytes: &[u8]) -> Result<ImmutableString, Failed> {
    budget::charge(2 * COST + (key.len() + bytes.len()) / HASHED_PER_OPERATION)?;
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mac = mac.map_err(|_| failed("hmac_sha256: this can't be a key".to_owned()))?;
    let mac = mac.chain_update(bytes).finalize().into_bytes();
    Ok(HEXLOWER.encode(&mac).into())
}

fn base64(bytes: &[u8], most: usize) -> Result<ImmutableString, Failed> {
    charge_for(bytes.len())?;
    if BASE64.encode_len(bytes.len()) > most {
        return Err(too_long());
    }
    Ok(BASE64.encode(bytes).into())
}

fn hex(bytes: &[u8], most: usize) -> Result<ImmutableString, Failed> {
    charge_for(bytes.len())?;
    if bytes.len().saturating_mul(2) > most {
        return Err(too_long());
    }
    Ok(HEXLOWER.encode(bytes).into())
}

/// Decodes either alphabet, with or without padding.
fn from_base64(text: &str) -> Result<Blob, Failed> {
    charge_for(text.len())?;
    let digits = text.trim_end_matches('=');
    let encoding = if digits.contains(['-', '_']) {
        &BASE64URL_NOPAD
    } else {
        &BASE64_NOPAD
    };
    let blob = encoding.decode(digits.as_bytes());
    blob.map_err(|error| failed(format!("from_base64: {error}")))
}

fn from_hex(text: &str) -> Result<Blob, Failed> {
    charge_for(text.len())?;
    let blob = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    blob.map_err(|error| failed(format!("from_hex: {error}")))
}

fn charge_for(bytes: usize) -> Result<(), Failed> {
    budget::charge(COST + bytes / CODED_PER_OPERATION)
}

/// Returns true if the signature is one of this key over this text, in any of the schemes that logins have. What is no
/// key, or no signature, is a wrong one.
fn verify(key: &str, text: &str, signature: &str) -> Result<bool, Failed> {
    budget::charge(VERIFY + text.len() / HASHED_PER_OPERATION)?;
    let is_by =
        |key: &PublicKey, scheme| circled_protocol::verify(scheme, key, text, signature).is_ok();
    let schemes = [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr];
    Ok(match key.parse() {
        Ok(key) => schemes.into_iter().any(|scheme| is_by(&key, scheme)),
        Err(_) => PublicKey::from_x_only(key).is_ok_and(|key| is_by(&key, Scheme::Schnorr)),
    })
}

fn failed(message: String) -> Failed {
    EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into()
}
