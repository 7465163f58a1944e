//! Device keys, and the parameters that add them.

use circled_protocol::{DeviceClaim, DeviceSecretKey, PublicKey};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::harness::{
    calls::ok,
    server::{Ws, circle},
};

/// Returns the device key of a seed.
pub(crate) fn device(seed: u8) -> DeviceSecretKey {
    DeviceSecretKey::from_hex(&hex::encode([seed; 32])).unwrap()
}

/// Returns what a device claims in [`circle`]: so many seconds from now on.
pub(crate) fn claim(
    device: &DeviceSecretKey,
    caller: PublicKey,
    scope: &str,
    seconds: i64,
) -> DeviceClaim {
    let expires = Timestamp::now() + seconds.seconds();
    DeviceClaim {
        circle: circle(),
        caller,
        key: device.public(),
        scope: scope.parse().unwrap(),
        expires: Timestamp::from_second(expires.as_second()).unwrap(),
    }
}

/// Returns the parameters of `add_device_key` for a claim, with its proof.
pub(crate) fn proved(device: &DeviceSecretKey, claim: &DeviceClaim) -> Value {
    json!({
        "pubkey": claim.key,
        "label": "a phone",
        "expires_at": claim.expires,
        "scope": claim.scope,
        "proof": device.sign(&claim.text()),
    })
}

/// Has a device act for the caller of a session, for so many seconds.
pub(crate) async fn add_for(session: &mut Ws, device: &DeviceSecretKey, scope: &str, seconds: i64) {
    let caller = session.whoami().await["pubkey"].take();
    let caller = circled_json::from_value(caller).unwrap();
    let claim = claim(device, caller, scope, seconds);
    ok(session, "add_device_key", proved(device, &claim)).await;
}

/// Has a device act for the caller of a session, for an hour.
pub(crate) async fn add_device(session: &mut Ws, device: &DeviceSecretKey, scope: &str) {
    add_for(session, device, scope, 3600).await;
}
