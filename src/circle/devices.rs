//! The device keys of callers: keys that act for them, see docs/PROTOCOL.md.
//!
//! The record of a key says whose it is, and an index has the keys of each caller. A key that has expired counts as one
//! that isn't there, and is deleted when its place is needed.

use circled_protocol::{
    DeviceKey, Permission, PublicKey, Scope,
    methods::{AddDeviceKey, Device},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ALL, guest_devices};
use crate::{
    script::RunError,
    store::{self, Key, NewEvent, Transaction, Value, WriteError},
};

/// The prefix of the records in the store: the device's key follows.
const DEVICES: &[u8] = b"d";
/// The prefix of the index: the caller's key follows, then the device's.
const OF_CALLERS: &[u8] = b"D";

/// The topic of the event that tells of a new device key, or a replaced one.
pub const DEVICE_ADDED: &str = "circle.device_key_added";
/// The topic of the event that tells that one was removed.
pub const DEVICE_REMOVED: &str = "circle.device_key_removed";

/// The time for which `last_used_at` stays as it is: logins within an hour write it once.
const USE_NOTED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// A device key, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// The caller for whom it acts.
    #[serde(with = "circled_protocol::trusted")]
    pub caller: PublicKey,
    label: String,
    /// What it may do.
    pub scope: Scope,
    /// The time from which it counts no more.
    pub expires_at: Timestamp,
    added_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl DeviceRecord {
    /// Returns true if a login by it at this time is to be noted.
    pub fn is_use_to_be_noted(&self, now: Timestamp) -> bool {
        self.last_used_at
            .is_none_or(|last| now.duration_since(last) >= USE_NOTED_FOR)
    }

    /// Returns the scope of a device key that acts for a caller; `record`: the key's, if there is one.
    ///
    /// # Errors
    /// [`RunError::UnknownDevice`].
    pub fn scope_for(record: Option<Self>, caller: &PublicKey) -> Result<Scope, RunError> {
        let record = record.filter(|record| record.caller == *caller);
        Ok(record.ok_or(RunError::UnknownDevice)?.scope)
    }

    fn into_view(self, pubkey: DeviceKey) -> Device {
        Device {
            pubkey,
            label: self.label,
            scope: self.scope,
            expires_at: self.expires_at,
            added_at: self.added_at,
            last_used_at: self.last_used_at,
        }
    }
}

/// Checks that the scope of a device key has all of these permissions.
///
/// # Errors
/// [`RunError::OutOfScope`].
pub fn check_scope(
    scope: &Scope,
    needs: impl IntoIterator<Item = Permission>,
) -> Result<(), RunError> {
    match needs.into_iter().find(|needs| !scope.permits(needs)) {
        Some(needs) => Err(RunError::OutOfScope { needs: Some(needs) }),
        None => Ok(()),
    }
}

fn key(device: &DeviceKey) -> Vec<u8> {
    [DEVICES, device.as_bytes()].concat()
}

fn index_of(caller: &PublicKey) -> Vec<u8> {
    [OF_CALLERS, caller.as_bytes()].concat()
}

fn index_key(caller: &PublicKey, device: &DeviceKey) -> Vec<u8> {
    [&index_of(caller), &device.as_bytes()[..]].concat()
}

/// Returns the key of the store that has the record of a device key.
pub fn device_record_key(device: &DeviceKey) -> Key {
    store::own_key(&key(device))
}

/// Returns the record of a device key, unless it has expired.
///
/// # Errors
/// The store can't be read.
pub fn find_device(
    transaction: &mut Transaction,
    device: &DeviceKey,
    now: Timestamp,
) -> Result<Option<DeviceRecord>, WriteError> {
    let found = read(transaction, device)?;
    Ok(found.filter(|record| now < record.expires_at))
}

/// Notes that a session has logged in by a device key.
pub(super) fn note_use(
    transaction: &mut Transaction,
    device: &DeviceKey,
    now: Timestamp,
) -> Result<(), RunError> {
    if let Some(record) = find_device(transaction, device, now)?
        && record.is_use_to_be_noted(now)
    {
        let record = DeviceRecord {
            last_used_at: Some(now),
            ..record
        };
        write(transaction, device, &record);
    }
    Ok(())
}

/// Adds a device key of the caller's, or replaces it. The caller has proved that its holder wants that.
pub(super) fn add(
    transaction: &mut Transaction,
    caller: &PublicKey,
    new: &AddDeviceKey,
    now: Timestamp,
    most: usize,
) -> Result<Device, RunError> {
    let before = read(transaction, &new.pubkey)?;
    if let Some(before) = &before
        && before.caller != *caller
    {
        if now < before.expires_at {
            return Err(RunError::Invalid {
                reason: "this device key acts for another caller".to_owned(),
            });
        }
        erase(transaction, &before.caller, &new.pubkey);
        guest_devices::forget(transaction, before.expires_at, &new.pubkey)?;
    } else if let Some(before) = before
        && (&before.label, &before.scope, before.expires_at)
            == (&new.label, &new.scope, new.expires_at)
    {
        // Nothing changes, so nothing is told.
        return Ok(before.into_view(new.pubkey));
    }
    let mut others = 0;
    for device in devices_of(transaction, caller)? {
        if device == new.pubkey {
            continue;
        }
        match read(transaction, &device)? {
            Some(stored) if now < stored.expires_at => others += 1,
            Some(stored) => {
                erase(transaction, caller, &device);
                guest_devices::forget(transaction, stored.expires_at, &device)?;
            }
            None => erase(transaction, caller, &device),
        }
    }
    if others >= most {
        return Err(RunError::limit("auth.max_device_keys"));
    }
    let device = DeviceRecord {
        caller: *caller,
        label: new.label.clone(),
        scope: new.scope.clone(),
        expires_at: new.expires_at,
        added_at: now,
        last_used_at: None,
    };
    write(transaction, &new.pubkey, &device);
    let index = index_key(caller, &new.pubkey);
    transaction.own_set(&index, Some(Value::new(b"1")));
    tell(transaction, DEVICE_ADDED, caller, &new.pubkey);
    Ok(device.into_view(new.pubkey))
}

/// Removes a device key of the caller's. Returns true if it was one.
pub(super) fn remove(
    transaction: &mut Transaction,
    caller: &PublicKey,
    device: &DeviceKey,
    now: Timestamp,
) -> Result<bool, RunError> {
    let stored = read(transaction, device)?;
    let Some(stored) = stored.filter(|stored| stored.caller == *caller) else {
        return Ok(false);
    };
    erase(transaction, caller, device);
    guest_devices::forget(transaction, stored.expires_at, device)?;
    tell(transaction, DEVICE_REMOVED, caller, device);
    Ok(now < stored.expires_at)
}

/// Returns the device keys of a caller, in the order of their keys.
pub(super) fn list(
    transaction: &mut Transaction,
    caller: &PublicKey,
    now: Timestamp,
) -> Result<Vec<Device>, RunError> {
    let mut devices = Vec::new();
    for device in devices_of(transaction, caller)? {
        if let Some(stored) = read(transaction, &device)?
            && now < stored.expires_at
        {
            devices.push(stored.into_view(device));
        }
    }
    Ok(devices)
}

pub(super) fn read(
    transaction: &mut Transaction,
    device: &DeviceKey,
) -> Result<Option<DeviceRecord>, WriteError> {
    let stored = transaction.own_get(&key(device))?;
    Ok(stored.and_then(|stored| circled_json::from_slice(&stored).ok()))
}

fn write(transaction: &mut Transaction, device: &DeviceKey, record: &DeviceRecord) {
    let stored = serde_json::to_vec(record).unwrap_or_default();
    transaction.own_set(&key(device), Some(Value::new(&stored)));
}

fn devices_of(
    transaction: &mut Transaction,
    caller: &PublicKey,
) -> Result<Vec<DeviceKey>, WriteError> {
    let index = index_of(caller);
    let keys = transaction.own_keys(&index, ALL)?;
    let bytes = keys.iter().filter_map(|key| key.get(index.len()..));
    let bytes = bytes.filter_map(|bytes| bytes.try_into().ok());
    Ok(bytes.map(DeviceKey::from_stored).collect())
}

pub(super) fn erase(transaction: &mut Transaction, caller: &PublicKey, device: &DeviceKey) {
    transaction.own_set(&key(device), None);
    transaction.own_set(&index_key(caller, device), None);
}

/// Emits an event for the caller's sessions, see the events in docs/PROTOCOL.md.
fn tell(transaction: &mut Transaction, topic: &str, caller: &PublicKey, device: &DeviceKey) {
    let data = format!("{{\"pubkey\":\"{device}\"}}");
    transaction.emit_unchecked(NewEvent {
        topic: topic.into(),
        data: Value::new(data.as_bytes()),
        to: Some(*caller),
    });
}

#[cfg(test)]
mod tests {
    use circled_protocol::{DeviceSecretKey, SecretKey};

    use super::*;
    use crate::golden;

    #[test]
    fn device_keys_are_stored_as_before() {
        let caller = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let device = DeviceSecretKey::from_hex(&"02".repeat(32))
            .unwrap()
            .public();
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let stored = DeviceRecord {
            caller,
            label: "phone".to_owned(),
            scope: "call:greet,jobs".parse().unwrap(),
            expires_at: at(1_800_000_000_000),
            added_at: at(1_700_000_000_123),
            last_used_at: Some(at(1_700_000_100_000)),
        };
        let written = serde_json::to_string(&stored).unwrap();
        golden::check_json("device_key", &written, &[""], |text| {
            let stored: DeviceRecord = circled_json::from_str(text).ok()?;
            serde_json::to_string(&stored).ok()
        });
        for (name, key) in [
            ("device_key_key", key(&device)),
            ("device_key_index", index_key(&caller, &device)),
        ] {
            golden::check(name, &hex::encode(key), |text| Some(text.to_owned()));
        }
    }
}
