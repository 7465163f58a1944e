//! Device keys, and the parameters that add them.

use circled_protocol::{DeviceClaim, DeviceSecretKey, PublicKey};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::harness::{
    calls::{assert_refused, ok},
    server::{Answer, Received, TestServer, Ws, circle},
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

/// Logs in by a device.
pub(crate) async fn log_in(session: &mut Ws, device: &DeviceSecretKey) -> Answer {
    let pubkey = device.public();
    let asked = json!({ "pubkey": pubkey, "scheme": "es256" });
    let text = ok(session, "fetch_nonce", asked).await;
    let signature = device.sign(text.as_str().unwrap());
    let shown = json!({ "pubkey": pubkey, "signature": signature, "scheme": "es256" });
    session.call("authenticate", shown).await
}

/// Returns a session of a device.
pub(crate) async fn connected(server: &TestServer, device: &DeviceSecretKey) -> Ws {
    let mut session = server.connect().await;
    assert_eq!(log_in(&mut session, device).await, Ok(json!(true)));
    session
}

/// Reads what a session is sent until it is closed. Returns its texts, and the code and reason.
pub(crate) async fn end(session: &mut Ws) -> (Vec<Value>, u16, String) {
    let mut texts = Vec::new();
    loop {
        match session.next().await {
            Received::Text(text) => texts.push(circled_json::parse(&text).unwrap()),
            Received::Close(code, reason) => return (texts, code, reason),
            Received::Gone => panic!("it ended without a close frame"),
        }
    }
}

/// Checks that a session is closed because its device key was removed. Returns what it was sent before.
pub(crate) async fn removed(session: &mut Ws) -> Vec<Value> {
    let (texts, code, reason) = end(session).await;
    assert_eq!((code, reason.as_str()), (1008, "device key removed"));
    texts
}

/// The scope with every permission.
pub(crate) const ALL: &str = "play,subscribe,jobs,call";

/// Checks that a login was refused for a reason.
#[track_caller]
pub(crate) fn assert_no_login(what: &str, answer: Answer, reason: &str) {
    assert_refused(what, answer, -32002, json!({ "reason": reason }));
}

/// Removes a device key of the session's caller.
pub(crate) async fn remove(session: &mut Ws, device: &DeviceSecretKey) {
    let removed = ok(session, "remove_device_key", json!([device.public()])).await;
    assert_eq!(removed, json!({ "removed": true }));
}
