//! Permissions: each rule against each kind of caller, in real sessions.

use std::collections::BTreeSet;

use circled_protocol::{Role, Vocabulary};
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{add, assert_refused, closed, ok, put, refused},
    devices::device,
    server::{Answer, TestServer, Ws, eventually, key},
};

/// Callers and rules, in the order of power: each may do what those before it may.
const ROLES: [&str; 4] = ["anyone", "guest", "member", "owner"];
/// An id that no job has.
const NO_JOB: &str = "00000000-0000-7000-8000-000000000000";

/// A method with its rule.
struct Called {
    method: &'static str,
    params: Value,
    rule: &'static str,
    /// True if it needs a login whatever the rule.
    login: bool,
}

fn called(method: &'static str, params: Value, rule: &'static str, login: bool) -> Called {
    Called {
        method,
        params,
        rule,
        login,
    }
}

/// Returns the methods that run and change scripts.
fn of_scripts() -> Vec<Called> {
    vec![
        called("play", json!(["1"]), "play", false),
        called("call", json!(["hello"]), "call", false),
        called("watch", json!({ "script": "1" }), "play", false),
        called("watch", json!({ "name": "hello" }), "call", false),
        called("list_scripts", json!([]), "call", false),
        called("put_script", json!(["other", "2"]), "manage", false),
        called("check_script", json!(["2"]), "manage", false),
        called("get_script", json!(["hello"]), "manage", false),
        called("delete_script", json!(["other"]), "manage", false),
        called("deploy_scripts", json!([[]]), "manage", false),
        called("list_members", json!([]), "manage", false),
        called("add_member", json!([key(90).public()]), "owner", true),
        called("remove_member", json!([key(90).public()]), "owner", true),
        called("list_device_keys", json!([]), "anyone", true),
        called(
            "remove_device_key",
            json!([device(1).public()]),
            "anyone",
            true,
        ),
    ]
}

/// Returns the methods about events, jobs and deliveries.
fn of_jobs() -> Vec<Called> {
    vec![
        called("subscribe", json!([]), "subscribe", false),
        called("submit_job", json!({ "script": "1" }), "play", true),
        called("submit_job", json!({ "name": "hello" }), "call", true),
        called("list_deliveries", json!([]), "manage", false),
        called("redeliver", json!([NO_JOB]), "manage", false),
        called("get_delivery", json!([NO_JOB]), "owner", true),
        called("list_jobs", json!([]), "anyone", true),
        called("get_job", json!([NO_JOB]), "anyone", true),
        called("stop_job", json!([NO_JOB]), "anyone", true),
        called("retry_job", json!([NO_JOB]), "anyone", true),
        called("retry_dead", json!([]), "owner", true),
        called("usage", json!([]), "manage", false),
        called("store_list", json!([]), "manage", false),
        called("store_get", json!(["a"]), "manage", false),
        called("unsubscribe", json!(["7"]), "anyone", false),
        called("whoami", json!([]), "anyone", false),
    ]
}

/// Returns the index in [`ROLES`].
fn rank(role: &str) -> usize {
    ROLES.iter().position(|one| *one == role).unwrap()
}

/// Checks that a caller of this role gets the result that the rule says.
fn check(what: &str, answer: Answer, rule: usize, login: bool, role: usize) {
    let rule = rule.max(usize::from(login));
    if role >= rule {
        match answer {
            Ok(_) => {}
            // The job or delivery was looked for.
            Err(error) => assert_eq!(error["code"], -32006, "{what}: {error}"),
        }
    } else if role == 0 {
        assert_refused(what, answer, -32001, Value::Null);
    } else {
        assert_refused(what, answer, -32003, json!({ "needs": ROLES[rule] }));
    }
}

/// Opens one session of each kind of caller in a circle: its rank, its name, and the session.
async fn callers(server: &TestServer, circle: u8) -> Vec<(usize, &'static str, Ws)> {
    let name = key(circle).public();
    let mut sessions = Vec::new();
    for (seed, role, told) in [
        (None, "anyone", "without a login"),
        (Some(50), "guest", "a guest"),
        (Some(51), "member", "a member by the settings"),
        (Some(52), "member", "a member by the circle's list"),
        (Some(circle), "owner", "the owner"),
    ] {
        let mut session = server.connect_to(name).await;
        if let Some(seed) = seed {
            session.login(&key(seed)).await;
        }
        sessions.push((rank(role), told, session));
    }
    let tried: BTreeSet<usize> = sessions.iter().map(|(rank, ..)| *rank).collect();
    assert_eq!(tried.len(), ROLES.len(), "callers of every role");
    let (_, _, owner) = sessions.last_mut().unwrap();
    put(owner, "hello", "[CALLER_ID, CONTEXT_ID]").await;
    add(owner, &key(52)).await;
    sessions
}

/// Tries everything as every caller, in a circle with these rules: play, call, subscribe, manage.
async fn try_all(server: &TestServer, circle: u8, rules: [&str; 4], calls: &[Called]) {
    for (role, told, mut session) in callers(server, circle).await {
        // What a session may do is told as it is.
        let [play, call, subscribe, manage] = rules.map(|rule| rank(rule) <= role);
        let may = [
            ("call", call),
            ("jobs", role > 0),
            ("manage", manage),
            ("play", play),
            ("subscribe", subscribe),
        ];
        let may: Vec<_> = may
            .iter()
            .filter(|(_, may)| *may)
            .map(|(word, _)| word)
            .collect();
        let who = session.whoami().await;
        assert_eq!(who["permissions"], json!(may), "{told} in circle {circle}");
        for Called {
            method,
            params,
            rule,
            login,
        } in calls
        {
            let rule = match *rule {
                "play" => rules[0],
                "call" => rules[1],
                "subscribe" => rules[2],
                "manage" => rules[3],
                fixed => fixed,
            };
            let what = format!("{method} {params} by {told}, for {rule} in circle {circle}");
            let answer = session.call(method, params.clone()).await;
            check(&what, answer, rank(rule), *login, role);
        }
    }
}

/// Returns a circle's table with these rules, where they are not the common ones.
fn table(circle: u8, rules: &str) -> String {
    format!(
        "[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]\n{rules}\n",
        key(circle).public(),
        key(51).public(),
    )
}

fn written(rules: [&str; 4]) -> String {
    let [play, call, subscribe, manage] = rules;
    format!(
        "play = \"{play}\"\ncall = \"{call}\"\nsubscribe = \"{subscribe}\"\nmanage = \"{manage}\"\n"
    )
}

/// Tries everything as every caller: under each rule for a circle, under `auto`, and under common rules.
async fn everything(calls: &[Called]) {
    // Each circle has rules of its own, and those of the last are the server's.
    let own = [
        ["anyone"; 4],
        ["guest"; 4],
        ["member"; 4],
        ["owner"; 4],
        ["owner", "anyone", "member", "guest"],
    ];
    let circles: String = (101..)
        .zip(own)
        .map(|(circle, rules)| table(circle, &written(rules)))
        .collect();
    let toml = format!("[circles]\nopen = false\n{circles}{}", table(100, ""));
    let server = TestServer::builder().toml(toml).start().await;
    for (circle, rules) in (101..).zip(own) {
        try_all(&server, circle, rules, calls).await;
    }
    try_all(&server, 100, ["member", "member", "member", "owner"], calls).await;

    let toml = format!("[circles]\nopen = true\n{}", table(100, ""));
    let server = TestServer::builder().toml(toml).start().await;
    try_all(&server, 100, ["guest", "guest", "guest", "owner"], calls).await;

    let common = ["anyone", "member", "owner", "guest"];
    let toml = format!(
        "[circles]\nopen = true\n{}{}{}",
        written(common),
        table(100, ""),
        table(101, "call = \"auto\"\nmanage = \"member\"\n"),
    );
    let server = TestServer::builder().toml(toml).start().await;
    try_all(&server, 100, common, calls).await;
    try_all(&server, 101, ["anyone", "guest", "owner", "member"], calls).await;
}

#[test]
fn every_role_is_tried() {
    let roles = Role::ALL.iter().map(|role| role.name());
    assert!(roles.eq(ROLES[1..].iter().copied()));
}

#[test]
fn every_method_with_a_rule_is_tried() {
    let document = circled_json::parse(circled::rpc::discover().get()).unwrap();
    let methods = document["methods"].as_array().unwrap().iter();
    let ruled = methods.filter(|method| method["x-needs"] != "anyone");
    let mut ruled: BTreeSet<&str> = ruled
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    // Each caller needs a proof of their own: the tests of devices try it.
    assert!(ruled.remove("add_device_key"));
    let tried = of_scripts().into_iter().chain(of_jobs());
    let tried: BTreeSet<&str> = tried.map(|called| called.method).collect();
    let missing: Vec<_> = ruled.difference(&tried).collect();
    assert!(missing.is_empty(), "{missing:?} have no line here");
}

async fn rules_decide_who_runs_and_changes_scripts() {
    everything(&of_scripts()).await;
}

async fn rules_decide_who_is_told_and_who_has_jobs() {
    everything(&of_jobs()).await;
}

async fn without_a_required_login_callers_are_anonymous() {
    let toml = format!(
        "[[circle]]\nkey = \"{}\"\nplay = \"anyone\"\ncall = \"anyone\"\n[[circle]]\nkey = \"{}\"\n",
        key(1).public(),
        key(3).public(),
    );
    let server = TestServer::builder()
        .toml(toml)
        .env("CIRCLED_SESSION__LOGIN_DEADLINE", "300ms")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "who", "CALLER_ID").await;
    let mut session = server.connect().await;
    let elsewhere = server.connect_to(key(3).public()).await;
    let run = session.play("[CALLER_ID, CONTEXT_ID]").await.unwrap();
    assert_eq!(run["value"], json!(["anonymous", key(1).public()]));
    let run = ok(&mut session, "call", json!(["who"])).await;
    assert_eq!(run["value"], "anonymous");
    let who = session.whoami().await;
    assert_eq!(who["authenticated"], false);
    assert_eq!((&who["pubkey"], &who["role"]), (&Value::Null, &Value::Null));
    // The owner's things can't be seen.
    for (method, params) in [
        ("submit_job", json!({ "script": "1" })),
        ("list_jobs", json!({})),
        ("get_script", json!(["who"])),
    ] {
        let answer = session.call(method, params).await;
        assert_refused(method, answer, -32001, Value::Null);
    }
    // If everything needs a login, sessions without one end.
    assert_eq!(elsewhere.closed().await, 1008);
    let run = session.play("CALLER_ID").await.unwrap();
    assert_eq!(run["value"], "anonymous");
    // They may still log in.
    session.login(&key(7)).await;
    let run = session.play("CALLER_ID").await.unwrap();
    assert_eq!(run["value"], json!(key(7).public()));
}

async fn anonymous_callers_runs_are_committed_like_others() {
    let server = TestServer::builder()
        .toml("[circles]\nplay = \"anyone\"\n")
        .start()
        .await;
    let mut session = server.connect().await;
    session.play("store.set(\"by\", CALLER_ID)").await.unwrap();
    let mut other = server.log_in(&key(2)).await;
    let run = other.play("store.get(\"by\")").await.unwrap();
    assert_eq!(run["value"], "anonymous");
}

async fn a_closed_server_serves_no_other_circles() {
    let server = closed("play = \"anyone\"").start().await;
    let path = format!("/{}", key(9).public());
    let refused = server.upgrade(&path, &[]).await;
    assert_eq!(refused.status, 404, "{refused:?}");
    let body = refused.json();
    assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
    assert!(server.connect().await.play("1").await.is_ok());
}

/// Each call in a batch is permitted or refused by itself.
async fn a_batch_is_judged_call_by_call() {
    let server = closed("call = \"guest\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "7").await;
    let mut guest = server.log_in(&key(60)).await;
    let call = |id: u64, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let batch = json!([
        call(1, "play", json!(["1"])),
        call(2, "call", json!(["hello"])),
        call(3, "put_script", json!(["hello", "8"])),
        call(4, "add_member", json!([key(60).public()])),
    ]);
    let replies = guest.ask(batch.to_string()).await;
    let code = |id: u64| {
        let replies = replies.as_array().unwrap();
        let reply = replies.iter().find(|reply| reply["id"] == id).unwrap();
        reply["error"]["code"].as_i64()
    };
    assert_eq!(
        [1, 2, 3, 4].map(code),
        [Some(-32003), None, Some(-32003), Some(-32003)]
    );
    let (code, data) = refused("play", guest.play("1").await);
    assert_eq!((code, data), (-32003, json!({ "needs": "member" })));
}

async fn rules_hold_for_everyone_of_a_role_at_once() {
    // A member is added in one session, and their other sessions get the new role at once.
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(server.log_in(&key(60)).await);
    }
    for session in &mut sessions {
        let answer = session.play("1").await;
        assert_refused("play", answer, -32003, json!({ "needs": "member" }));
        assert_eq!(session.whoami().await["role"], "guest");
    }
    add(&mut owner, &key(60)).await;
    for session in &mut sessions {
        assert_eq!(session.play("1").await.unwrap()["value"], 1);
        assert_eq!(session.whoami().await["role"], "member");
    }
    // Nothing remains of the many sessions.
    drop(sessions);
    eventually("their places to be free", async || {
        server.admin("/readyz").await.json()["sessions"] == 1
    })
    .await;
}

on_both!(
    rules_decide_who_runs_and_changes_scripts,
    rules_decide_who_is_told_and_who_has_jobs,
    without_a_required_login_callers_are_anonymous,
    anonymous_callers_runs_are_committed_like_others,
    a_closed_server_serves_no_other_circles,
    a_batch_is_judged_call_by_call,
    rules_hold_for_everyone_of_a_role_at_once,
);
