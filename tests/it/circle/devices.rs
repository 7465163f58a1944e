//! `add_device_key`, `list_device_keys` and `remove_device_key`, from outside.

use circled_protocol::{DeviceClaim, PublicKey};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{assert_invalid, assert_refused, closed, ok, subscribe},
    devices::{add_device, claim, device, proved},
    server::{TestServer, Ws, key},
};

fn me() -> PublicKey {
    key(2).public()
}

async fn devices(session: &mut Ws) -> Vec<Value> {
    let mut listed = ok(session, "list_device_keys", json!({})).await;
    match listed["device_keys"].take() {
        Value::Array(devices) => devices,
        other => panic!("{other}"),
    }
}

async fn device_keys_are_added_listed_and_removed() {
    let server = TestServer::start().await;
    let mut mine = server.log_in(&key(2)).await;
    let mut others = server.log_in(&key(3)).await;
    assert!(devices(&mut mine).await.is_empty());
    let asked = claim(&device(1), me(), "call:chat/send,subscribe", 3600);
    let before = Timestamp::now();
    let mut added = ok(&mut mine, "add_device_key", proved(&device(1), &asked)).await;
    assert_eq!(devices(&mut mine).await, [added.clone()]);
    let added_at: Timestamp = circled_json::from_value(added["added_at"].take()).unwrap();
    assert!(added_at >= before - 1.second() && added_at <= Timestamp::now() + 1.second());
    let expected = json!({
        "pubkey": device(1).public(),
        "label": "a phone",
        "scope": ["call:chat/send", "subscribe"],
        "expires_at": asked.expires,
        "added_at": null,
        "last_used_at": null,
    });
    assert_eq!(added, expected);
    // It is this caller's, in all of their sessions, and nobody else's.
    let mut again = server.log_in(&key(2)).await;
    assert_eq!(devices(&mut again).await.len(), 1);
    assert_eq!(devices(&mut others).await.len(), 0);
    let theirs = claim(&device(1), key(3).public(), "play", 3600);
    let answer = others
        .call("add_device_key", proved(&device(1), &theirs))
        .await;
    assert_invalid("another caller's device", answer, "another caller");
    for (session, removed) in [(&mut others, false), (&mut again, true), (&mut mine, false)] {
        let params = json!([device(1).public()]);
        let answer = ok(session, "remove_device_key", params).await;
        assert_eq!(answer, json!({ "removed": removed }));
    }
    assert_eq!(devices(&mut mine).await.len(), 0);
    add_device(&mut others, &device(1), "play").await;
}

async fn adding_a_key_again_replaces_it() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (scope, seconds) in [("play", 3600), ("call,jobs", 60)] {
        let asked = claim(&device(1), me(), scope, seconds);
        let added = ok(&mut session, "add_device_key", proved(&device(1), &asked)).await;
        assert_eq!(devices(&mut session).await, [added]);
    }
}

/// Returns claims that differ from `claim` in one fact each, and the name of that.
fn tampered(claim: &DeviceClaim) -> Vec<(&'static str, DeviceClaim)> {
    let with = |change: &dyn Fn(&mut DeviceClaim)| {
        let mut changed = claim.clone();
        change(&mut changed);
        changed
    };
    vec![
        ("circle", with(&|claim| claim.circle = key(9).public())),
        ("caller", with(&|claim| claim.caller = key(9).public())),
        ("key", with(&|claim| claim.key = device(9).public())),
        (
            "scope",
            with(&|claim| claim.scope = "call".parse().unwrap()),
        ),
        (
            "order",
            with(&|claim| claim.scope = "subscribe,call:a".parse().unwrap()),
        ),
        ("expires", with(&|claim| claim.expires += 1.second())),
    ]
}

async fn a_proof_is_for_one_circle_caller_key_scope_and_time() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let asked = claim(&device(1), me(), "call:a,subscribe", 3600);
    let bad = json!({ "reason": "bad_signature" });
    // The proof is about something else than the parameters.
    for (what, other) in tampered(&asked) {
        let mut params = proved(&device(1), &asked);
        params["proof"] = json!(device(1).sign(&other.text()));
        let answer = session.call("add_device_key", params).await;
        assert_refused(what, answer, -32002, bad.clone());
    }
    // The parameters ask for something else than the proof.
    let good = device(1).sign(&asked.text());
    for (param, value) in [
        ("pubkey", json!(device(9).public())),
        ("scope", json!(["call:a", "subscribe", "play"])),
        ("scope", json!(["call:a"])),
        ("scope", json!(["call", "subscribe"])),
        ("expires_at", json!(asked.expires + 1.second())),
        ("proof", json!(device(9).sign(&asked.text()))),
        (
            "proof",
            json!(device(1).sign(&asked.text().replace("v1", "v2"))),
        ),
        (
            "proof",
            json!(device(1).sign(&format!("{}\n", asked.text()))),
        ),
        ("proof", json!(good[2..])),
        ("proof", json!(format!("{good}1b"))),
        ("proof", json!("")),
        ("proof", json!("hello")),
    ] {
        let mut params = proved(&device(1), &asked);
        params[param] = value;
        let what = format!("{params}");
        let answer = session.call("add_device_key", params).await;
        assert_refused(&what, answer, -32002, bad.clone());
    }
    assert_eq!(devices(&mut session).await.len(), 0);
    // The label is not a part of it, and the proof may be written as hex is.
    let mut params = proved(&device(1), &asked);
    params["label"] = json!("another name");
    params["proof"] = json!(format!("0x{}", good.to_uppercase()));
    ok(&mut session, "add_device_key", params).await;
}

async fn what_no_device_key_can_be_is_refused() {
    let server = TestServer::builder()
        .toml("[auth]\ndevice_key_ttl = \"1d\"\n")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let asked = claim(&device(1), me(), "play", 3600);
    for (param, value, named) in [
        // A key of a caller is on another curve. Of its points, about half have an x that is on this one, too.
        ("pubkey", json!("02"), "P-256"),
        (
            "pubkey",
            json!(&device(1).public().to_string()[2..]),
            "P-256",
        ),
        ("label", json!(""), "label"),
        ("label", json!("x".repeat(65)), "label"),
        ("label", json!("a\nb"), "label"),
        ("scope", json!([]), "permissions"),
        ("scope", json!(["manage"]), "scope"),
        ("scope", json!(["call:"]), "scope"),
        ("scope", json!(["call:a,play"]), "scope"),
        ("scope", json!(["play", "play"]), "twice"),
        ("scope", json!("play"), "scope"),
        ("expires_at", json!("2027-02-27"), "expires_at"),
        (
            "expires_at",
            json!(Timestamp::now() - 1.second()),
            "expires_at",
        ),
        ("expires_at", json!("2020-01-01T00:00:00Z"), "future"),
        (
            "expires_at",
            json!("2999-01-01T00:00:00Z"),
            "auth.device_key_ttl",
        ),
        (
            "expires_at",
            json!("2999-01-01T00:00:00.5Z"),
            "whole seconds",
        ),
    ] {
        let mut params = proved(&device(1), &asked);
        params[param] = value;
        let what = format!("{params}");
        let answer = session.call("add_device_key", params).await;
        assert_invalid(&what, answer, named);
    }
    // A client whose clock is a little ahead asks for a little more.
    let day = 24 * 3600;
    let most = claim(&device(1), me(), "play", day + 60);
    ok(&mut session, "add_device_key", proved(&device(1), &most)).await;
    let more = claim(&device(1), me(), "play", day + 600);
    let answer = session
        .call("add_device_key", proved(&device(1), &more))
        .await;
    assert_invalid("longer", answer, "auth.device_key_ttl");
}

async fn a_caller_has_as_many_as_the_settings_say() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for seed in 1..=32 {
        add_device(&mut session, &device(seed), "play").await;
    }
    let one_more = claim(&device(33), me(), "play", 3600);
    let answer = session
        .call("add_device_key", proved(&device(33), &one_more))
        .await;
    let full = json!({ "limit": "auth.max_device_keys", "retry_after_ms": 1000 });
    assert_refused("the 33rd", answer, -32005, full);
    add_device(&mut session, &device(32), "jobs").await;
    let mut other = server.log_in(&key(3)).await;
    add_device(&mut other, &device(33), "play").await;
    ok(
        &mut session,
        "remove_device_key",
        json!([device(7).public()]),
    )
    .await;
    add_device(&mut session, &device(34), "play").await;
    assert_eq!(devices(&mut session).await.len(), 32);
}

async fn strangers_can_not_fill_a_circle_with_device_keys() {
    let server = TestServer::builder()
        .env("CIRCLED_AUTH__MAX_GUEST_DEVICE_KEYS", 2)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    for seed in [2, 3] {
        let mut guest = server.log_in(&key(seed)).await;
        add_device(&mut guest, &device(seed), "play").await;
    }
    let mut guest = server.log_in(&key(4)).await;
    let asked = claim(&device(4), key(4).public(), "play", 3600);
    let answer = guest
        .call("add_device_key", proved(&device(4), &asked))
        .await;
    let full = json!({ "limit": "auth.max_guest_device_keys", "retry_after_ms": 1000 });
    assert_refused("the third guest", answer, -32005, full);
    add_device(&mut owner, &device(5), "play").await;
    ok(&mut owner, "add_member", json!([key(4).public()])).await;
    add_device(&mut guest, &device(4), "play").await;
}

async fn strangers_keep_nothing_in_a_closed_circle() {
    let server = closed("").start().await;
    let add = |caller: u8| {
        let asked = claim(&device(caller), key(caller).public(), "call:a", 3600);
        proved(&device(caller), &asked)
    };
    let mut nobody = server.connect().await;
    for (method, params) in [
        ("add_device_key", add(2)),
        ("list_device_keys", json!([])),
        ("remove_device_key", json!([device(2).public()])),
    ] {
        assert_refused(
            method,
            nobody.call(method, params).await,
            -32001,
            Value::Null,
        );
    }
    let mut guest = server.log_in(&key(50)).await;
    let answer = guest.call("add_device_key", add(50)).await;
    assert_refused("a guest", answer, -32003, json!({ "needs": "member" }));
    assert_eq!(devices(&mut guest).await.len(), 0);
    for caller in [1, 2] {
        let mut session = server.log_in(&key(caller)).await;
        ok(&mut session, "add_device_key", add(caller)).await;
    }
}

async fn the_caller_and_the_owner_are_told() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut mine = server.log_in(&key(2)).await;
    let mut other = server.log_in(&key(3)).await;
    for session in [&mut owner, &mut mine, &mut other] {
        subscribe(session, json!({ "topic": "circle." })).await;
    }
    let mut second = server.log_in(&key(2)).await;
    add_device(&mut second, &device(1), "play").await;
    ok(
        &mut second,
        "remove_device_key",
        json!([device(1).public()]),
    )
    .await;
    for session in [&mut owner, &mut mine] {
        for topic in ["circle.device_key_added", "circle.device_key_removed"] {
            let event = session.event().await;
            assert_eq!(event["topic"], topic);
            assert_eq!(event["data"], json!({ "pubkey": device(1).public() }));
        }
    }
    other.assert_silent().await;
}

on_both!(
    device_keys_are_added_listed_and_removed,
    adding_a_key_again_replaces_it,
    a_proof_is_for_one_circle_caller_key_scope_and_time,
    what_no_device_key_can_be_is_refused,
    a_caller_has_as_many_as_the_settings_say,
    strangers_can_not_fill_a_circle_with_device_keys,
    strangers_keep_nothing_in_a_closed_circle,
    the_caller_and_the_owner_are_told,
);
