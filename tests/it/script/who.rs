//! Callers and members, as scripts know them, and events for one caller alone.

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{add, assert_refused, ok, put, remove, submit, subscribe, until},
    server::{TestServer, Ws, key},
};

async fn value(session: &mut Ws, script: &str) -> Value {
    session.play(script).await.unwrap()["value"].take()
}

async fn a_script_knows_its_callers_role_and_the_members() {
    let toml = format!(
        "[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]",
        key(1).public(),
        key(4).public()
    );
    let server = TestServer::builder().toml(toml).start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(2)).await;
    let script = "fn role() { CALLER_ROLE } [CALLER_ROLE, role()]";
    for (seed, role) in [(1, "owner"), (2, "member"), (3, "guest"), (4, "member")] {
        let mut session = server.log_in(&key(seed)).await;
        // Compiled first, and then on the session's thread.
        for _ in 0..3 {
            assert_eq!(value(&mut session, script).await, json!([role, role]));
        }
        let has = format!("members.has(\"0x{}\")", key(seed).public());
        assert_eq!(value(&mut owner, &has).await, role != "guest", "{role}");
    }
    let mut members: Vec<_> = [(1, "owner"), (2, "member"), (4, "member")]
        .map(|(seed, role)| json!({ "key": key(seed).public(), "role": role }))
        .into();
    members.sort_by_key(|member| member["key"].as_str().unwrap().to_owned());
    let list = "fn all() { members.list() } all()";
    assert_eq!(value(&mut owner, list).await, json!(members));
    remove(&mut owner, &key(2)).await;
    members.retain(|member| member["key"] != json!(key(2).public()));
    assert_eq!(value(&mut owner, list).await, json!(members));
    assert_eq!(value(&mut owner, "members.has(\"nobody\")").await, false);
    put(
        &mut owner,
        "lib",
        "fn role() { CALLER_ROLE } export let mine = CALLER_ROLE;",
    )
    .await;
    let imported = "import \"lib\" as lib; [lib::role(), lib::mine]";
    assert_eq!(value(&mut owner, imported).await, json!(["owner", "owner"]));
}

async fn a_script_may_require_a_role_and_none_can_catch_that() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(2)).await;
    let mut member = server.log_in(&key(2)).await;
    let mut guest = server.log_in(&key(3)).await;
    let script =
        "store.set(\"done\", CALLER_ID); try { require(\"member\") } catch { } `${CALLER_ROLE}`";
    for _ in 0..3 {
        assert_eq!(value(&mut member, script).await, "member");
        let needs = json!({ "needs": "member" });
        assert_refused("a guest", guest.play(script).await, -32003, needs);
        assert_eq!(
            value(&mut guest, "store.get(\"done\")").await,
            json!(key(2).public())
        );
    }
    let job = submit(&mut guest, json!({ "script": script })).await;
    let job = until(&mut guest, &job, "dead").await;
    assert_eq!(job["tries"], 0, "{job}");
    remove(&mut owner, &key(2)).await;
    let needs = json!({ "needs": "member" });
    assert_refused("no member", member.play(script).await, -32003, needs);
}

async fn a_thrown_value_reaches_the_caller() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (script, thrown) in [
        (
            "throw #{ code: 7, why: [1.0, ()] }",
            Some(json!({ "code": 7, "why": [1.0, null] })),
        ),
        ("fn f() { throw 7 } f()", Some(json!(7))),
        (
            "try { throw [1] } catch (e) { throw [e] }",
            Some(json!([[1]])),
        ),
        ("throw \"no\"", None),
        ("throw", None),
        ("throw || 1", None),
        ("let s = \"\"; s.pad(900_000, 'x'); throw [s, s, s]", None),
        ("1 / 0", None),
    ] {
        let error = session.play(script).await.unwrap_err();
        assert_eq!(error["code"], -32000, "{script}");
        assert_eq!(error["data"].get("thrown"), thrown.as_ref(), "{script}");
    }
    let error = session
        .play("throw #{ message: \"no\", code: 7 }")
        .await
        .unwrap_err();
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("code"), "{told}");
}

async fn an_event_to_one_caller_is_seen_by_nobody_else() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    for session in [&mut owner, &mut one, &mut two] {
        subscribe(session, json!({})).await;
    }
    let to_one = format!(
        "emit_to(\"{}\", \"news\", ARGS); emit(\"all\", ARGS)",
        key(2).public()
    );
    for n in 1..3 {
        ok(&mut two, "play", json!({ "script": to_one, "args": n })).await;
    }
    for session in [&mut owner, &mut two] {
        for (id, n) in [(2, 1), (4, 2)] {
            let event = session.event().await;
            assert_eq!((&event["id"], &event["topic"]), (&json!(id), &json!("all")));
            assert_eq!(event["data"], n);
        }
        session.assert_silent().await;
    }
    let mut again = server.log_in(&key(2)).await;
    subscribe(&mut again, json!({ "since": 2 })).await;
    for (session, ids) in [(&mut one, &[1, 2, 3, 4][..]), (&mut again, &[3, 4])] {
        for id in ids {
            assert_eq!(session.event().await["id"], *id);
        }
    }
    let told = two.play("emit_to(\"me\", \"news\", 1)").await.unwrap_err();
    assert!(
        told["message"].as_str().unwrap().contains("public key"),
        "{told}"
    );
}

on_both!(
    a_script_knows_its_callers_role_and_the_members,
    a_script_may_require_a_role_and_none_can_catch_that,
    a_thrown_value_reaches_the_caller,
    an_event_to_one_caller_is_seen_by_nobody_else,
);
