//! Logging in by device keys: whose sessions these are, what they may do, and how they end.

use std::collections::BTreeSet;

use circled_protocol::{Scheme, sign};
use futures_util::future::select_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{assert_invalid, assert_refused, closed, ok, put},
    devices::{
        ALL, add_device, assert_no_login, claim, connected, device, log_in, proved, remove, removed,
    },
    server::{TestServer, Ws, eventually, key, within},
};

async fn a_device_logs_in_as_its_caller() {
    let server = closed("").start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), ALL).await;
    let mut session = connected(&server, &device(1)).await;
    let who = session.whoami().await;
    assert_eq!(who["authenticated"], true);
    assert_eq!(who["pubkey"], json!(key(2).public()));
    assert_eq!(who["device"], json!(device(1).public()));
    assert_eq!(who["role"], "member");
    assert_eq!(wallet.whoami().await["device"], Value::Null);
    let run = session.play("[CALLER_ID, CALLER_ROLE]").await.unwrap();
    assert_eq!(run["value"], json!([key(2).public(), "member"]));
    eventually("the use to be noted", async || {
        let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
        let used = &listed["device_keys"][0]["last_used_at"];
        used.as_str()
            .is_some_and(|used| used.parse::<Timestamp>().is_ok())
    })
    .await;
}

async fn what_follows_a_login_is_the_callers() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play").await;
    let pubkey = device(1).public();
    let asked = json!({ "pubkey": pubkey, "scheme": "es256" });
    for in_a_batch in [false, true] {
        let mut session = server.connect().await;
        let text = ok(&mut session, "fetch_nonce", asked.clone()).await;
        let signature = device(1).sign(text.as_str().unwrap());
        let shown = json!({ "pubkey": pubkey, "signature": signature, "scheme": "es256" });
        if in_a_batch {
            let call = |id: u64, method: &str, params: &Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
            let batch = json!([
                call(1, "authenticate", &shown),
                call(2, "play", &json!(["CALLER_ID"])),
            ]);
            let replies = session.ask(batch.to_string()).await;
            let replies = replies.as_array().unwrap();
            let run = replies.iter().find(|reply| reply["id"] == 2).unwrap();
            assert_eq!(run["result"]["value"], json!(key(2).public()));
        } else {
            // Nothing waits for the reply to the login.
            let login = session.begin("authenticate", shown).await;
            let run = session.begin_play("CALLER_ID").await;
            assert_eq!(session.answer(login).await, Ok(json!(true)));
            let run = session.answer(run).await.unwrap();
            assert_eq!(run["value"], json!(key(2).public()));
        }
    }
}

async fn a_login_is_the_devices_over_its_text() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play").await;
    let mut session = server.connect().await;
    let unknown = log_in(&mut session, &device(2)).await;
    assert_no_login("a key that acts for nobody", unknown, "unknown_device");
    let pubkey = device(1).public();
    let ask = json!({ "pubkey": pubkey, "scheme": "es256" });
    let good = |text: &str| device(1).sign(text);
    type Sign<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(&str, Value, &str, Sign<'_>, &str); 8] = [
        (
            "by another device",
            json!(pubkey),
            "es256",
            &|text| device(2).sign(text),
            "bad_signature",
        ),
        (
            "over another text",
            json!(pubkey),
            "es256",
            &|text| good(&format!("{text} ")),
            "bad_signature",
        ),
        (
            "over the proof",
            json!(pubkey),
            "es256",
            &|_| good(&claim(&device(1), key(2).public(), "play", 60).text()),
            "bad_signature",
        ),
        (
            "65 bytes",
            json!(pubkey),
            "es256",
            &|text| format!("{}1b", good(text)),
            "bad_signature",
        ),
        (
            "as another device",
            json!(device(2).public()),
            "es256",
            &|text| device(2).sign(text),
            "no_nonce",
        ),
        (
            "as the caller",
            json!(key(2).public()),
            "eip191",
            &|text| sign(Scheme::Eip191, &key(2), text).unwrap(),
            "no_nonce",
        ),
        (
            "as the caller, sha256",
            json!(key(2).public()),
            "sha256",
            &|text| sign(Scheme::Sha256, &key(2), text).unwrap(),
            "no_nonce",
        ),
        (
            "in another scheme",
            json!(pubkey),
            "sha256",
            &good,
            "no_nonce",
        ),
    ];
    for (what, shown, scheme, sign, reason) in cases {
        let text = ok(&mut session, "fetch_nonce", ask.clone()).await;
        let signature = sign(text.as_str().unwrap());
        let shown = json!({ "pubkey": shown, "signature": signature, "scheme": scheme });
        let answer = session.call("authenticate", shown.clone()).await;
        assert_no_login(what, answer, reason);
        // It is used up.
        let text = text.as_str().unwrap();
        let late = json!({ "pubkey": pubkey, "signature": good(text), "scheme": "es256" });
        assert_no_login(what, session.call("authenticate", late).await, "no_nonce");
    }
    // The text of a caller is not for a device, even for one of theirs.
    let text = session.fetch_nonce(key(2).public()).await;
    let shown = json!({ "pubkey": pubkey, "signature": good(&text), "scheme": "es256" });
    assert_no_login(
        "a caller's text",
        session.call("authenticate", shown).await,
        "no_nonce",
    );
    let answer = session
        .call("fetch_nonce", json!({ "pubkey": "02", "scheme": "es256" }))
        .await;
    assert_no_login("no key", answer, "bad_key");
    assert_eq!(session.whoami().await["authenticated"], false);
    // Each circle has its own.
    let mut elsewhere = server.connect_to(key(9).public()).await;
    let answer = log_in(&mut elsewhere, &device(1)).await;
    assert_no_login("in another circle", answer, "unknown_device");
    assert_eq!(log_in(&mut session, &device(1)).await, Ok(json!(true)));
}

/// Returns each method with parameters, and the scopes of which any permits it: `any` and `none` are all and no ones.
fn methods() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let job = "00000000-0000-7000-8000-000000000000";
    let hash = "0".repeat(64);
    vec![
        ("play", json!(["1"]), &["play"]),
        ("call", json!(["hello"]), &["call", "call:hello"]),
        ("call", json!(["other"]), &["call"]),
        (
            "call",
            json!({ "name": "hello", "version": hash }),
            &["none"],
        ),
        ("watch", json!({ "script": "1" }), &["play"]),
        ("watch", json!({ "name": "hello" }), &["call", "call:hello"]),
        (
            "watch",
            json!({ "name": "hello", "version": hash }),
            &["none"],
        ),
        ("subscribe", json!([]), &["subscribe"]),
        ("unsubscribe", json!(["7"]), &["any"]),
        ("list_scripts", json!([]), &["call"]),
        ("submit_job", json!({ "script": "1" }), &["jobs,play"]),
        (
            "submit_job",
            json!({ "name": "hello" }),
            &["jobs,call", "jobs,call:hello"],
        ),
        (
            "submit_job",
            json!({ "name": "hello", "version": hash }),
            &["none"],
        ),
        ("get_job", json!([job]), &["jobs"]),
        ("list_jobs", json!([]), &["jobs"]),
        ("stop_job", json!([job]), &["jobs"]),
        ("retry_job", json!([job]), &["jobs"]),
        ("retry_dead", json!([]), &["none"]),
        ("put_script", json!(["new", "1"]), &["none"]),
        ("check_script", json!(["1"]), &["none"]),
        ("get_script", json!(["hello"]), &["none"]),
        ("delete_script", json!(["other"]), &["none"]),
        ("deploy_scripts", json!([[]]), &["none"]),
        ("store_list", json!([]), &["none"]),
        ("store_get", json!(["a"]), &["none"]),
        ("usage", json!([]), &["none"]),
        ("add_member", json!([key(90).public()]), &["none"]),
        ("remove_member", json!([key(90).public()]), &["none"]),
        ("list_members", json!([]), &["none"]),
        ("list_deliveries", json!([]), &["none"]),
        ("get_delivery", json!([job]), &["none"]),
        ("redeliver", json!([job]), &["none"]),
        (
            "add_device_key",
            proved(
                &device(99),
                &claim(&device(99), key(1).public(), "play", 60),
            ),
            &["none"],
        ),
        ("list_device_keys", json!([]), &["any"]),
        ("remove_device_key", json!([device(99).public()]), &["none"]),
        ("prove", json!(["ab".repeat(32)]), &["any"]),
        ("whoami", json!([]), &["any"]),
        ("rpc.discover", json!([]), &["any"]),
        ("fetch_nonce", json!([key(1).public()]), &["any"]),
        ("authenticate", json!([key(1).public(), "00"]), &["any"]),
    ]
}

/// Each method, by the owner's devices of each scope: the owner may do everything, so that only the scope decides.
async fn a_scope_decides_on_every_method() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "1").await;
    put(&mut owner, "other", "2").await;
    let document = ok(&mut owner, "rpc.discover", json!([])).await;
    let served = document["methods"].as_array().unwrap().iter();
    let served: BTreeSet<&str> = served
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    let calls = methods();
    let tried: BTreeSet<&str> = calls.iter().map(|(method, ..)| *method).collect();
    assert_eq!(tried, served, "each method has a line here");
    for (seed, scope) in (1..).zip([
        "play",
        "subscribe",
        "jobs",
        "call",
        "call:hello",
        "jobs,play",
        "jobs,call:hello",
        "jobs,call",
        ALL,
    ]) {
        add_device(&mut owner, &device(seed), scope).await;
        let mut session = connected(&server, &device(seed)).await;
        let mut own: Vec<&str> = scope.split(',').collect();
        own.sort_unstable();
        assert_eq!(session.whoami().await["permissions"], json!(own));
        for (method, params, permits) in &calls {
            let has = |needed: &str| needed.split(',').all(|needs| own.contains(&needs));
            let permitted = permits.iter().any(|needs| *needs == "any" || has(needs));
            let what = format!("{method} {params} with {scope}");
            match session.call(method, params.clone()).await {
                Ok(_) => assert!(permitted, "{what}"),
                Err(error) if error["code"] == -32003 => {
                    assert!(!permitted, "{what}: {error}");
                    let data = error["data"].as_object().unwrap();
                    assert!(
                        data.contains_key("scope") && data.len() == 1,
                        "{what}: {error}"
                    );
                    // Jobs are asked for before the version is read.
                    let is_asked = *method != "submit_job" || own.contains(&"jobs");
                    let is_for_nobody = permits.contains(&"none") && is_asked;
                    assert_eq!(data["scope"].is_null(), is_for_nobody, "{what}: {error}");
                }
                // It was looked for, or read.
                Err(error) => {
                    assert!(permitted, "{what}: {error}");
                    assert!(
                        [-32006, -32002].contains(&error["code"].as_i64().unwrap()),
                        "{what}: {error}"
                    );
                }
            }
        }
    }
}

async fn a_device_lists_and_removes_itself_alone() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play").await;
    add_device(&mut wallet, &device(2), "play").await;
    let mut session = connected(&server, &device(1)).await;
    let listed = ok(&mut session, "list_device_keys", json!([])).await;
    let listed = listed["device_keys"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["pubkey"], json!(device(1).public()));
    let answer = session
        .call("remove_device_key", json!([device(2).public()]))
        .await;
    assert_refused("another device", answer, -32003, json!({ "scope": null }));
    // It gets the reply, and is out.
    remove(&mut session, &device(1)).await;
    removed(&mut session).await;
    let mut other = connected(&server, &device(2)).await;
    other.fence().await;
}

async fn a_role_counts_for_devices_as_for_their_callers() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let member = json!([key(60).public()]);
    ok(&mut owner, "add_member", member.clone()).await;
    let mut wallet = server.log_in(&key(60)).await;
    add_device(&mut wallet, &device(1), ALL).await;
    let mut session = connected(&server, &device(1)).await;
    assert_eq!(session.play("1").await.unwrap()["value"], 1);
    ok(&mut owner, "remove_member", member).await;
    let answer = session.play("1").await;
    assert_refused("play", answer, -32003, json!({ "needs": "member" }));
    assert_eq!(session.whoami().await["role"], "guest");
    // The device key of the owner's own manages nothing.
    add_device(&mut owner, &device(2), ALL).await;
    let mut session = connected(&server, &device(2)).await;
    assert_eq!(session.whoami().await["role"], "owner");
    let answer = session.call("put_script", json!(["a", "1"])).await;
    assert_refused("put_script", answer, -32003, json!({ "scope": null }));
    let answer = session
        .call("fetch_nonce", json!({ "scheme": "es256" }))
        .await;
    assert_invalid("fetch_nonce", answer, "pubkey");
}

/// A wrong proof costs as much as a login.
#[tokio::test]
async fn proofs_of_devices_take_turns_with_logins() {
    let server = TestServer::builder()
        .env("CIRCLED_AUTH__CHECKS", 1)
        .env("CIRCLED_AUTH__QUEUE", 1)
        .start()
        .await;
    let mut params = proved(&device(1), &claim(&device(1), key(2).public(), "play", 60));
    params["proof"] = json!(device(1).sign("something else"));
    let call =
        |n| json!({ "jsonrpc": "2.0", "id": n, "method": "add_device_key", "params": params });
    let batch = Value::from_iter((0..64).map(call)).to_string();
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(server.log_in(&key(2)).await);
    }
    let ask = |mut session: Ws| {
        let batch = batch.clone();
        Box::pin(async move {
            loop {
                session.send_text(&batch).await;
                let replies = session.text().await;
                assert!(replies.contains("bad_signature") || replies.contains("auth.queue"));
                if replies.contains("auth.queue") {
                    return;
                }
            }
        })
    };
    // One has its turn, one waits, and the others are told to come again.
    let asking = select_all(sessions.into_iter().map(ask));
    within("more proofs than may wait", asking).await;
}

on_both!(
    a_device_logs_in_as_its_caller,
    what_follows_a_login_is_the_callers,
    a_login_is_the_devices_over_its_text,
    a_scope_decides_on_every_method,
    a_device_lists_and_removes_itself_alone,
    a_role_counts_for_devices_as_for_their_callers,
);
