//! The bound of the device keys of guests. Keys cost a guest nothing, so without it, strangers could fill a circle's store.
//!
//! An index has those that a guest has added, by when they expire. The ones that have expired make room.

use circled_protocol::{DeviceKey, methods::AddDeviceKey};
use jiff::Timestamp;

use super::devices::{erase, read};
use crate::{
    script::RunError,
    store::{Transaction, Value, WriteError},
};

/// The prefix of the index in the store: the time in milliseconds follows, then the device's key.
const OF_GUESTS: &[u8] = b"G";
/// Bytes of an entry before the device's key.
const HEADER: usize = OF_GUESTS.len() + size_of::<u64>();
/// The most that are deleted at once.
const AT_ONCE: usize = 32;

fn entry(expires: Timestamp, device: &DeviceKey) -> Vec<u8> {
    // No time that is kept here is before 1970, so the order of the bytes is that of the times.
    let at = expires.as_millisecond().max(0).to_be_bytes();
    [OF_GUESTS, &at, device.as_bytes()].concat()
}

/// Makes room for a device key that a guest adds.
///
/// # Errors
/// There are `most` already, and none has expired.
pub(super) fn make_room(
    transaction: &mut Transaction,
    new: &AddDeviceKey,
    now: Timestamp,
    most: usize,
) -> Result<(), RunError> {
    let before = read(transaction, &new.pubkey)?;
    let before = before.map(|before| entry(before.expires_at, &new.pubkey));
    let entries = match transaction.own_keys(OF_GUESTS, most.saturating_add(1)) {
        Ok(entries) => entries,
        // The setting was larger once.
        Err(WriteError::Keys { .. }) => return Err(RunError::limit("auth.max_guest_device_keys")),
        Err(error) => return Err(error.into()),
    };
    let others = entries
        .iter()
        .filter(|other| Some(&other[..]) != before.as_deref());
    let (mut count, mut deleted) = (others.clone().count(), 0);
    for other in others {
        let is_over = other.get(..HEADER) <= Some(&entry(now, &new.pubkey)[..HEADER]);
        if !is_over || deleted == AT_ONCE {
            break;
        }
        let device = other.get(HEADER..).and_then(|bytes| bytes.try_into().ok());
        if let Some(device) = device.map(DeviceKey::from_stored)
            && let Some(stored) = read(transaction, &device)?
            && stored.expires_at <= now
        {
            erase(transaction, &stored.caller, &device);
        }
        transaction.own_set(other, None);
        (count, deleted) = (count - 1, deleted + 1);
    }
    if count >= most {
        return Err(RunError::limit("auth.max_guest_device_keys"));
    }
    if let Some(before) = before {
        transaction.own_set(&before, None);
    }
    let index = entry(new.expires_at, &new.pubkey);
    transaction.own_set(&index, Some(Value::new(b"1")));
    Ok(())
}

/// Forgets a device key that a guest may have added.
pub(super) fn forget(
    transaction: &mut Transaction,
    expires: Timestamp,
    device: &DeviceKey,
) -> Result<(), WriteError> {
    let entry = entry(expires, device);
    if transaction.own_get(&entry)?.is_some() {
        transaction.own_set(&entry, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use circled_protocol::DeviceSecretKey;

    use super::*;
    use crate::golden;

    #[test]
    fn entries_are_stored_as_before() {
        let secret = DeviceSecretKey::from_hex(&"02".repeat(32)).unwrap();
        let at = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        let written = hex::encode(entry(at, &secret.public()));
        golden::check("device_key_of_guest", &written, |text| {
            Some(text.to_owned())
        });
    }
}
