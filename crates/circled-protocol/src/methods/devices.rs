//! Device keys: keys that act for a caller.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{DeviceKey, Scope, code};

/// `add_device_key`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDeviceKey {
    /// The device's public key.
    pub pubkey: DeviceKey,
    /// A name for people: 1 to 64 characters.
    pub label: String,
    /// The time from which the key counts no more, in whole seconds.
    #[schemars(with = "String")]
    pub expires_at: Timestamp,
    /// What the key may do.
    pub scope: Scope,
    /// The signature of the device's key over the text `circled device v1`, in hex.
    pub proof: String,
}

impl Method for AddDeviceKey {
    const NAME: &'static str = "add_device_key";
    const SUMMARY: &'static str =
        "Has a device's key act for the caller, within a scope and until a time.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Device;
}

/// `list_device_keys`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDeviceKeys {}

impl Method for ListDeviceKeys {
    const NAME: &'static str = "list_device_keys";
    const SUMMARY: &'static str = "Lists the device keys of the caller.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = Devices;
}

/// `remove_device_key`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveDeviceKey {
    /// The device's public key.
    pub pubkey: DeviceKey,
}

impl Method for RemoveDeviceKey {
    const NAME: &'static str = "remove_device_key";
    const SUMMARY: &'static str =
        "Removes a device key of the caller's, at once and in all its sessions.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_CHANGES;
    type Result = DeviceRemoved;
}

/// A device key that acts for a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// The device's public key.
    pub pubkey: DeviceKey,
    /// Its name for people.
    pub label: String,
    /// What it may do.
    pub scope: Scope,
    /// The time from which it counts no more.
    #[schemars(with = "String")]
    pub expires_at: Timestamp,
    /// When it was added.
    #[schemars(with = "String")]
    pub added_at: Timestamp,
    /// When a session logged in by it last, to the hour; null if none did.
    #[schemars(with = "Option<String>")]
    pub last_used_at: Option<Timestamp>,
}

/// The result of `list_device_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Devices {
    /// The device keys, in the order of their keys.
    pub device_keys: Vec<Device>,
}

/// The result of `remove_device_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRemoved {
    /// False if the caller had no such key.
    pub removed: bool,
}
