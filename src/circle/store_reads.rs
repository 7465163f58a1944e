//! Reads of a circle's store by whoever manages it.

use circled_protocol::methods::{StoreEntry, StorePage};
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::{
    script::RunError,
    store::{KeyRange, Transaction},
};

/// Bytes of keys and values after which a page ends: what comes next is on the next one.
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
    range.limit = limit.saturating_add(1);
    if let Some(after) = after {
        range.start = range.start.max([after.as_bytes(), &[0]].concat().into());
    }
    let keys = transaction.scan(range)?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for key in &keys {
        if entries.len() == limit || bytes >= PAGE {
            let last = entries
                .last()
                .map(|entry: &StoreEntry<Raw>| entry.key.clone());
            return Ok(StorePage {
                entries,
                cursor: last,
            });
        }
        let entry = get(transaction, &String::from_utf8_lossy(key))?;
        bytes += entry.key.len() + entry.value.get().len();
        entries.push(entry);
    }
    Ok(StorePage {
        entries,
        cursor: None,
    })
}

/// Returns the entry of a key.
pub(super) fn get(transaction: &mut Transaction, key: &str) -> Result<StoreEntry<Raw>, RunError> {
    let not_found = || RunError::not_found("key");
    let value = transaction.get(key)?.ok_or_else(not_found)?;
    let expires_at = transaction.expires_at(key)?;
    Ok(StoreEntry {
        key: key.to_owned(),
        value: circled_json::from_slice(&value).map_err(|_| RunError::Unavailable)?,
        expires_at: expires_at.and_then(|end| Timestamp::from_millisecond(end).ok()),
    })
}
