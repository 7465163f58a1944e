//! Values, as commands take and return them.

use std::time::Duration;

use fred::types::Value;
use sha1::{Digest, Sha1};

use crate::store;

/// Values longer than this are compared by their hash.
const INLINE: usize = 64;

/// Returns a count as an argument.
pub(crate) fn number(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Returns a duration as an argument, in milliseconds.
pub(crate) fn millis(duration: Duration) -> Value {
    Value::Integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Returns bytes as an argument.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(fred::bytes::Bytes::copy_from_slice(bytes))
}

/// Returns the value of a key in a circle's store, if it has one.
pub(crate) fn stored(value: &Value) -> Option<store::Value> {
    value.as_bytes().map(store::Value::new)
}

/// Returns a value of a key in the form that the Lua scripts compare.
pub(crate) fn expected(value: Option<&store::Value>) -> Value {
    match value {
        None => "-".into(),
        Some(value) if value.len() <= INLINE => bytes(&[b"=", &value[..]].concat()),
        Some(value) => format!("#{}", hex::encode(Sha1::digest(value))).into(),
    }
}
