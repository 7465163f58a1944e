//! Reads of a circle's store by whoever manages it.

use circled_protocol::methods::{StoreEntry, StorePage};
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::{
    script::RunError,
    store::{KeyRange, Transaction, WriteError},
};

/// Bytes of keys and values on a page: of larger ones, fewer are on it.
const PAGE: usize = 256 << 10;

type Raw = Box<RawValue>;

/// Returns up to `limit` entries whose keys begin with `prefix`, after the key `after`.
pub(super) fn list(
    transaction: &mut Transaction,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<StorePage<Raw>, RunError> {
    let mut range = KeyRange::of_prefix(prefix.as_bytes());
    if let Some(after) = after {
        range.start = range.start.max([after.as_bytes(), &[0]].concat().into());
    }
    let mut limit = limit;
    let found = loop {
        range.limit = limit.saturating_add(1);
        let max_bytes = if limit > 1 { PAGE } else { usize::MAX };
        match transaction.page(range.clone(), max_bytes) {
            Err(WriteError::Entries { .. }) => limit /= 2,
            found => break found?,
        }
    };
    let has_more = found.len() > limit;
    let entries = found.into_iter().take(limit);
    let entries =
        entries.map(|(key, value, expiry)| entry(&String::from_utf8_lossy(&key), &value, expiry));
    let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    let last = entries.last().filter(|_| has_more);
    Ok(StorePage {
        cursor: last.map(|entry| entry.key.clone()),
        entries,
    })
}

/// Returns the entry of a key.
pub(super) fn get(transaction: &mut Transaction, key: &str) -> Result<StoreEntry<Raw>, RunError> {
    let not_found = || RunError::not_found("key");
    let value = transaction.get(key)?.ok_or_else(not_found)?;
    let expiry = transaction.expires_at(key)?;
    entry(key, &value, expiry)
}

fn entry(key: &str, value: &[u8], expiry: Option<i64>) -> Result<StoreEntry<Raw>, RunError> {
    Ok(StoreEntry {
        key: key.to_owned(),
        value: circled_json::from_slice(value).map_err(|_| RunError::Unavailable)?,
        expires_at: expiry.and_then(|expiry| Timestamp::from_millisecond(expiry).ok()),
    })
}
