//! Tests of the records of device keys.

use circled_protocol::{DeviceKey, DeviceSecretKey, methods::AddDeviceKey};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{
    super::guest_devices, Caller, Procedure, SETTINGS, Settings, Store, begin, by, key, limit, open,
};
use crate::{script::RunError, store::Preconditions};

fn device(seed: u8) -> DeviceKey {
    let secret = DeviceSecretKey::from_hex(&hex::encode([seed; 32]));
    secret.unwrap().public()
}

/// Adds a device key that expires at a second.
fn add(seed: u8, scope: &str, expires: i64) -> Procedure {
    Procedure::AddDeviceKey(AddDeviceKey {
        pubkey: device(seed),
        label: format!("device {seed}"),
        expires_at: Timestamp::from_second(expires).unwrap(),
        scope: scope.parse().unwrap(),
        proof: String::new(),
    })
}

fn remove(seed: u8) -> Procedure {
    Procedure::RemoveDeviceKey {
        pubkey: device(seed),
    }
}

fn view(seed: u8, scope: &[&str], added: i64, expires: i64) -> Json {
    let at = |second| Timestamp::from_second(second).unwrap();
    json!({
        "pubkey": device(seed),
        "label": format!("device {seed}"),
        "scope": scope,
        "expires_at": at(expires),
        "added_at": at(added),
        "last_used_at": null,
    })
}

/// Returns the device keys of a caller at a second.
fn listed(store: &Store, caller: u8, second: i64) -> Json {
    let list = Procedure::ListDeviceKeys;
    by(store, caller, second, &SETTINGS, &list).unwrap()["device_keys"].take()
}

/// Returns the seeds of the device keys that a caller has at a second.
fn seeds(store: &Store, caller: u8, second: i64) -> Vec<u8> {
    let listed = listed(store, caller, second);
    let labels = listed.as_array().unwrap().iter();
    let labels = labels.map(|one| one["label"].as_str().unwrap()["device ".len()..].parse());
    let mut seeds: Vec<u8> = labels.map(Result::unwrap).collect();
    seeds.sort_unstable();
    seeds
}

#[test]
fn a_caller_has_their_own_device_keys_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let perform =
        |caller, second, procedure: &Procedure| by(&store, caller, second, &SETTINGS, procedure);
    let added = perform(2, 1, &add(11, "call,play", 100)).unwrap();
    assert_eq!(added, view(11, &["call", "play"], 1, 100));
    perform(2, 2, &add(12, "jobs", 100)).unwrap();
    perform(3, 3, &add(13, "subscribe", 100)).unwrap();
    let mut both = [
        view(11, &["call", "play"], 1, 100),
        view(12, &["jobs"], 2, 100),
    ];
    both.sort_by_key(|one| one["pubkey"].to_string());
    assert_eq!(listed(&store, 2, 4), json!(both));
    assert_eq!(
        listed(&store, 3, 4),
        json!([view(13, &["subscribe"], 3, 100)])
    );
    assert_eq!(listed(&store, 4, 4), json!([]));
    // Adding it again replaces it.
    let again = perform(2, 5, &add(11, "call:a", 50)).unwrap();
    assert_eq!(again, view(11, &["call:a"], 5, 50));
    assert_eq!(seeds(&store, 2, 5), [11, 12]);
    // Another's can neither be taken nor removed.
    let taken = RunError::Invalid {
        reason: "this device key acts for another caller".to_owned(),
    };
    assert_eq!(perform(3, 6, &add(11, "play", 100)), Err(taken));
    for (caller, removed) in [(3, false), (2, true), (2, false)] {
        let answer = perform(caller, 6, &remove(11)).unwrap();
        assert_eq!(answer, json!({ "removed": removed }));
    }
    assert_eq!(seeds(&store, 2, 6), [12]);
    // It may be another's now.
    perform(3, 7, &add(11, "play", 100)).unwrap();
    assert_eq!(seeds(&store, 3, 7), [11, 13]);
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    assert_eq!(seeds(&store, 3, 8), [11, 13]);
    // Other circles don't have them.
    let mut other = store.begin_latest(key(100));
    assert!(
        super::super::devices::list(&mut other, &key(3), Timestamp::UNIX_EPOCH)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn guests_have_a_bounded_number_of_device_keys_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let full = Err(limit("auth.max_guest_device_keys"));
    // As the executor does for guests.
    let add = |caller, second, seed, expires| {
        let procedure = add(seed, "play", expires);
        let Procedure::AddDeviceKey(new) = &procedure else {
            unreachable!()
        };
        let now = Timestamp::from_second(second).unwrap();
        let mut run = begin(&store);
        let most = SETTINGS.max_guest_device_keys;
        guest_devices::make_room(&mut run, new, now, most)?;
        let caller = Caller::Key(key(caller));
        procedure.perform(&mut run, &caller, now, &SETTINGS)?;
        store
            .commit_and_wait(run, Vec::new(), Preconditions::NONE)
            .unwrap();
        Ok(())
    };
    for (caller, seed, expires) in [(2, 11, 10), (3, 12, 20), (4, 13, 30)] {
        add(caller, 1, seed, expires).unwrap();
    }
    assert_eq!(add(5, 9, 14, 40), full);
    // One that is there may be changed, and counts by its new time.
    assert_eq!(add(4, 9, 13, 15), Ok(()));
    assert_eq!(add(5, 9, 14, 40), full);
    assert_eq!(add(5, 10, 14, 40), Ok(()), "the first one has expired");
    assert_eq!(add(6, 10, 15, 40), full);
    let remove = remove(14);
    by(&store, 5, 11, &SETTINGS, &remove).unwrap();
    assert_eq!(add(6, 11, 15, 40), Ok(()), "one was removed");
    assert_eq!(add(7, 11, 16, 40), full);
    // Members don't count.
    by(
        &store,
        7,
        11,
        &SETTINGS,
        &super::devices::add(16, "play", 40),
    )
    .unwrap();
    assert_eq!(add(8, 15, 17, 40), Ok(()));
    let mut run = begin(&store);
    let expired = super::super::find_device(&mut run, &device(11), Timestamp::UNIX_EPOCH);
    assert!(expired.unwrap().is_none(), "its record is gone, too");
}

#[test]
fn the_same_device_key_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = by(&store, 2, 1, &SETTINGS, &add(11, "play", 10)).unwrap();
    let mut again = begin(&store);
    let now = Timestamp::from_second(5).unwrap();
    let view = add(11, "play", 10).perform(&mut again, &Caller::Key(key(2)), now, &SETTINGS);
    let view: Json = circled_json::from_str(view.unwrap().get()).unwrap();
    assert_eq!(view, first);
    assert!(!again.writes());
}

#[test]
fn device_keys_that_have_expired_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let settings = Settings {
        max_device_keys: 2,
        ..SETTINGS
    };
    let add = |caller, second, seed, expires| {
        by(
            &store,
            caller,
            second,
            &settings,
            &add(seed, "play", expires),
        )
        .map(drop)
    };
    add(2, 1, 11, 10).unwrap();
    add(2, 1, 12, 20).unwrap();
    let full = Err(limit("auth.max_device_keys"));
    assert_eq!(add(2, 9, 13, 30), full);
    assert_eq!(add(2, 9, 12, 20), Ok(()), "it has its place already");
    assert_eq!(add(3, 9, 13, 30), Ok(()), "others have places of their own");
    assert_eq!(seeds(&store, 2, 9), [11, 12]);
    assert_eq!(seeds(&store, 2, 10), [12], "at its time");
    assert_eq!(add(2, 10, 14, 30), Ok(()));
    assert_eq!(seeds(&store, 2, 10), [12, 14]);
    // One that has expired may be anyone's.
    assert_eq!(
        add(4, 29, 13, 50).map(drop),
        Err(RunError::Invalid {
            reason: "this device key acts for another caller".to_owned(),
        })
    );
    assert_eq!(add(4, 30, 13, 50), Ok(()));
    assert_eq!(seeds(&store, 3, 30), [0_u8; 0]);
    let removed = by(&store, 2, 30, &settings, &remove(14)).unwrap();
    assert_eq!(removed, json!({ "removed": false }), "it was over");
    // Nothing is left of those that made room.
    let keys = |prefix: &[u8]| begin(&store).own_keys(prefix, 99).unwrap().len();
    assert_eq!((keys(b"d"), keys(b"D")), (2, 2));
}

#[test]
fn the_caller_is_told_of_their_device_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut run = begin(&store);
    let mut perform = |procedure: Procedure| {
        let caller = Caller::Key(key(2));
        procedure.perform(&mut run, &caller, Timestamp::UNIX_EPOCH, &SETTINGS)
    };
    perform(add(11, "play", 100)).unwrap();
    perform(remove(11)).unwrap();
    perform(remove(11)).unwrap();
    let told = run.events().iter().map(|event| {
        assert_eq!(event.to, Some(key(2)));
        let data: Json = circled_json::parse(&event.data).unwrap();
        assert_eq!(data, json!({ "pubkey": device(11) }));
        event.topic.to_string()
    });
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        ["circle.device_key_added", "circle.device_key_removed"]
    );
    let mut nobody = begin(&store);
    for procedure in [add(11, "play", 100), remove(11), Procedure::ListDeviceKeys] {
        let now = Timestamp::UNIX_EPOCH;
        let refused = procedure.perform(&mut nobody, &Caller::Anyone, now, &SETTINGS);
        assert!(matches!(refused, Err(RunError::Forbidden { .. })));
    }
}
