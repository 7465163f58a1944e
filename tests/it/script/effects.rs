//! The effects of a run, told to who may manage.

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{add, assert_refused, closed, ok, put},
    devices::{ALL, add_device, connected, device},
    server::{TestServer, Ws, key},
};

/// Plays a script; returns its effects.
async fn effects(session: &mut Ws, script: &str) -> Value {
    let params = json!({ "script": script, "effects": true });
    let mut played = ok(session, "play", params).await;
    played["effects"].take()
}

async fn a_run_tells_what_it_has_read_and_changed() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    owner
        .play(r#"for n in 0..5 { store.set(`log/${n}`, n); }"#)
        .await
        .unwrap();
    let all = r#"
        store.get("a"); store.has("b"); store.keys("users/");
        store.scan(#{prefix: "log/", limit: 2});
        store.scan(#{prefix: "log/", limit: 2, reverse: true});
        store.set("x", 1); store.delete("y"); store.add("n", 2); store.push("chat/", "hello");
        store.delete_range(#{start: "old/", end: "old0"});
        emit("news", 1); emit("other", 2);
    "#;
    assert_eq!(
        effects(&mut owner, all).await,
        json!({
            "reads": [
                { "key": "a" },
                { "key": "b" },
                { "start": "log/", "end": "log/1\0" },
                { "start": "log/3", "prefix": "log/" },
                { "start": "users/", "prefix": "users/" },
            ],
            "writes": [
                { "op": "delete_range", "start": "old/", "end": "old0" },
                { "op": "add", "key": "n" },
                { "op": "set", "key": "x" },
                { "op": "delete", "key": "y" },
                { "op": "push", "key": "chat/" },
            ],
            "events": ["news", "other"],
            "jobs": 0,
        })
    );
    let none = json!({ "reads": [], "writes": [], "events": [], "jobs": 0 });
    // What is the circle's own is left out.
    assert_eq!(effects(&mut owner, "CALLER_ROLE").await, none);
    put(&mut owner, "hello", "store.get(ARGS)").await;
    let called = json!({ "name": "hello", "args": "z", "effects": true });
    let called = ok(&mut owner, "call", called).await;
    assert_eq!(called["effects"]["reads"], json!([{ "key": "z" }]));
    let plain = owner.play("store.get(\"a\")").await.unwrap();
    assert!(plain.get("effects").is_none(), "{plain}");
}

async fn of_many_effects_the_first_are_listed() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__MAX_EVENTS", 200)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let many = r#"for n in 0..150 { store.get(`r/${1000 + n}`); store.set(`w/${1000 + n}`, n); emit("t", n); }"#;
    let told = effects(&mut owner, many).await;
    for (kind, last) in [
        ("reads", json!({ "key": "r/1099" })),
        ("writes", json!({ "op": "set", "key": "w/1099" })),
        ("events", json!("t")),
    ] {
        let list = told[kind].as_array().unwrap();
        assert_eq!((list.len(), list.last().unwrap()), (100, &last));
        assert_eq!(told["more"][kind], 50);
    }
    // Long keys: no more than 32 KiB of them are told.
    let prefix = "k".repeat(498);
    let long = format!("for n in 10..100 {{ store.set(`{prefix}${{n}}`, n); }}");
    let told = effects(&mut owner, &long).await;
    let listed = told["writes"].as_array().unwrap().len();
    assert_eq!(listed, (32 << 10) / 500);
    assert_eq!(told["more"]["writes"], 90 - listed);
}

async fn only_who_manages_is_told() {
    let server = closed("manage = \"member\"\ncall = \"guest\"")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "store.get(\"a\")").await;
    let ruled = json!({ "name": "ruled", "source": "1", "call": "guest" });
    ok(&mut owner, "put_script", ruled).await;
    add(&mut owner, &key(60)).await;
    add_device(&mut owner, &device(1), ALL).await;

    let play = json!({ "script": "1", "effects": true });
    let call = |name: &str| json!({ "name": name, "effects": true });
    for member in [2, 60] {
        let mut member = server.log_in(&key(member)).await;
        ok(&mut member, "play", play.clone()).await;
        for name in ["hello", "ruled"] {
            let called = ok(&mut member, "call", call(name)).await;
            assert!(called["effects"].is_object(), "{called}");
        }
    }
    let mut guest = server.log_in(&key(70)).await;
    let needs = json!({ "needs": "member" });
    for name in ["hello", "ruled"] {
        ok(&mut guest, "call", json!([name])).await;
        let answer = guest.call("call", call(name)).await;
        assert_refused(name, answer, -32003, needs.clone());
    }
    let mut by_device = connected(&server, &device(1)).await;
    let own_key = json!({ "scope": null });
    let answer = by_device.call("play", play).await;
    assert_refused("play", answer, -32003, own_key.clone());
    let answer = by_device.call("call", call("hello")).await;
    assert_refused("call", answer, -32003, own_key);
    let mut stranger = server.connect().await;
    let answer = stranger.call("call", call("hello")).await;
    assert_refused("a stranger", answer, -32001, Value::Null);
}

/// A reply is kept without them.
async fn the_result_of_an_earlier_run_has_no_effects() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let params = json!({ "script": "store.set(\"a\", 1)", "request_id": "one", "effects": true });
    let first = ok(&mut owner, "play", params.clone()).await;
    let set = json!([{ "op": "set", "key": "a" }]);
    assert_eq!(first["effects"]["writes"], set);
    let again = ok(&mut owner, "play", params).await;
    assert_eq!(again["replayed"], true);
    assert!(again.get("effects").is_none(), "{again}");
}

on_both!(
    a_run_tells_what_it_has_read_and_changed,
    of_many_effects_the_first_are_listed,
    only_who_manages_is_told,
    the_result_of_an_earlier_run_has_no_effects,
);
