//! Several scripts that change as one.

use std::time::Duration;

use circled_client::{
    Caller,
    protocol::methods::{DeployScripts, ScriptToPut},
};
use circled_protocol::CallRule;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{self, assert_invalid, assert_refused, closed, ok, refused},
    counting::{ORIGIN, named},
    redis::Proxy,
    server::{TestServer, Ws, circle, key},
};

/// Returns the newest version and the rule of each script.
async fn listed(session: &mut Ws) -> Vec<Value> {
    let list = ok(session, "list_scripts", json!({})).await;
    let scripts = list["scripts"].as_array().unwrap().iter();
    let told = |script: &Value| json!([script["name"], script["version"], script["call"]]);
    scripts.map(told).collect()
}

/// Returns the state of a script, as a deployment names it.
async fn state(session: &mut Ws, name: &str) -> Value {
    let script = ok(session, "get_script", json!([name])).await;
    match script.get("call") {
        None => json!({ "version": script["version"] }),
        Some(call) => json!({ "version": script["version"], "call": call }),
    }
}

async fn several_scripts_change_as_one() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    calls::put(&mut owner, "kept", "1").await;
    calls::put(&mut owner, "old", "2").await;
    let version = calls::put(&mut owner, "main", "3").await;
    let (_, since) = calls::subscribe(&mut owner, json!({})).await;
    let deployment = json!({
        // Each needs what comes after it.
        "put": [
            { "name": "main", "source": "import \"lib/a\" as a; a::f()", "was": state(&mut owner, "main").await },
            { "name": "lib/a", "source": "import \"kept\" as k; fn f() { 7 }", "call": "owner" },
        ],
        "delete": [{ "name": "old", "was": state(&mut owner, "old").await }],
        "request_id": "one",
    });
    let deployed = ok(&mut owner, "deploy_scripts", deployment.clone()).await;
    assert_eq!(deployed["deleted"], json!(["old"]));
    for (put, name) in deployed["put"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["main", "lib/a"])
    {
        assert_eq!(
            (&put["name"], &put["created"]),
            (&json!(name), &json!(true))
        );
        assert_eq!(state(&mut owner, name).await["version"], put["version"]);
    }
    assert_ne!(deployed["put"][0]["version"], json!(version));
    assert_eq!(state(&mut owner, "lib/a").await["call"], "owner");
    assert_eq!(listed(&mut owner).await.len(), 3);
    let called = ok(&mut owner, "call", json!(["main"])).await;
    assert_eq!(called["value"], 7);
    for (n, (topic, name)) in (1..).zip([("deleted", "old"), ("put", "main"), ("put", "lib/a")]) {
        let event = owner.event().await;
        assert_eq!(event["topic"], format!("circle.script_{topic}"));
        assert_eq!(
            (&event["id"], &event["data"]["name"]),
            (&json!(since + n), &json!(name))
        );
    }
    // Asked again, it is what was done, whatever has changed since.
    calls::put(&mut owner, "main", "8").await;
    owner.event().await;
    let again = ok(&mut owner, "deploy_scripts", deployment.clone()).await;
    assert_eq!(again, deployed);
    owner.assert_silent().await;
    let mut other = deployment;
    other["put"] = json!([]);
    let answer = owner.call("deploy_scripts", other).await;
    assert_invalid("another request", answer, "request_id_reused");
    // A rule may change alone.
    let rule = |was| json!([[{ "name": "main", "source": "8", "call": "member", "was": was }]]);
    let was = state(&mut owner, "main").await;
    let deployed = ok(&mut owner, "deploy_scripts", rule(was.clone())).await;
    assert_eq!(deployed["put"][0]["created"], false);
    let is = state(&mut owner, "main").await;
    assert_eq!(is["call"], "member");
    // It is a change that somebody else may have missed.
    let outdated = json!({ "version": was["version"], "script": "main" });
    assert_refused(
        "rule",
        owner.call("deploy_scripts", rule(was)).await,
        -32009,
        outdated,
    );
    ok(&mut owner, "deploy_scripts", rule(is)).await;
    let mut member = server.log_in(&key(2)).await;
    let needs = json!({ "needs": "owner" });
    assert_refused(
        "member",
        member.call("deploy_scripts", json!([[]])).await,
        -32003,
        needs,
    );
}

async fn a_deployment_changes_all_or_nothing() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__MAX_SCRIPTS", "3")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    for name in ["a", "b"] {
        calls::put(&mut owner, name, "1").await;
    }
    let was = state(&mut owner, "a").await;
    let before = listed(&mut owner).await;
    let good = || json!({ "name": "c", "source": "import \"b\" as b; 1" });
    let a = |source: &str| json!({ "name": "a", "source": source, "was": was });
    let failed = |message: &str, data: Value| (message.to_owned(), data);
    let refusals = [
        (
            json!([[good(), a("1\n\n  let = 2")]]),
            failed(
                "",
                json!({ "script": "a", "kind": "compile", "line": 3, "column": 3 }),
            ),
        ),
        (
            json!([[good(), a("import \"d\" as d; 1")]]),
            failed(
                "\"d\"",
                json!({ "script": "a", "kind": "compile", "line": 1 }),
            ),
        ),
        (
            json!([[good()], [{ "name": "b", "was": was }]]),
            failed(
                "\"b\"",
                json!({ "script": "c", "kind": "compile", "line": 1, "column": 8 }),
            ),
        ),
        (
            json!([[good(), a("nobody(1)")]]),
            failed(
                "nobody",
                json!({ "script": "a", "kind": "compile", "line": 1 }),
            ),
        ),
        (
            json!([[good(), { "name": "a", "source": "2" }]]),
            failed("", json!({ "script": "a", "version": was["version"] })),
        ),
        (
            json!([[good(), { "name": "d", "source": "2", "was": was }]]),
            failed("", json!({ "script": "d", "version": null })),
        ),
        (
            json!([[good()], [{ "name": "a", "was": { "version": "aa" } }]]),
            failed("", json!({ "script": "a", "version": was["version"] })),
        ),
        (
            json!([[good(), good()]]),
            failed("", json!({ "reason": "the script \"c\" is there twice" })),
        ),
        (
            json!([[good(), a("2")], [{ "name": "a", "was": was }]]),
            failed("", json!({ "reason": "the script \"a\" is there twice" })),
        ),
        (
            json!([[good(), { "name": "d", "source": "2" }]]),
            failed("", json!({ "limit": "circles.max_scripts" })),
        ),
        (
            json!([[good(), { "name": "../d", "source": "2" }]]),
            failed("", json!({})),
        ),
    ];
    for (deployment, (message, data)) in refusals {
        let error = owner
            .call("deploy_scripts", deployment.clone())
            .await
            .unwrap_err();
        assert!(
            error["message"].as_str().unwrap().contains(&message),
            "{error}"
        );
        for (name, value) in data.as_object().unwrap() {
            assert_eq!(&error["data"][name], value, "{deployment}: {error}");
        }
        assert_eq!(listed(&mut owner).await, before, "{deployment}");
    }
    // What is deleted makes room.
    let both = json!([[good(), { "name": "d", "source": "2" }], [{ "name": "a", "was": was }]]);
    ok(&mut owner, "deploy_scripts", both).await;
    assert_eq!(listed(&mut owner).await.len(), 3);
    ok(
        &mut owner,
        "deploy_scripts",
        json!({ "put": [], "delete": null }),
    )
    .await;
    let (code, _) = refused("none", owner.call("deploy_scripts", json!({})).await);
    assert_eq!(code, -32602);
}

async fn of_two_deployments_at_once_one_is_done() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    for round in 0..3 {
        let was = match round {
            0 => Value::Null,
            _ => state(&mut owner, "a").await,
        };
        let mut deploying = JoinSet::new();
        for n in 0..6 {
            let mut session = server.log_in(&key(1)).await;
            let put = ["a", "b"]
                .map(|name| json!({ "name": name, "source": format!("{round}{n}"), "was": was }));
            deploying.spawn(async move { session.call("deploy_scripts", json!([put])).await });
        }
        let mut done = 0;
        for answer in deploying.join_all().await {
            match answer {
                Ok(_) => done += 1,
                Err(error) => assert_eq!(error["data"]["script"], "a", "{error}"),
            }
        }
        assert_eq!(done, 1);
        assert_eq!(state(&mut owner, "a").await, state(&mut owner, "b").await);
    }
}

async fn a_server_that_is_killed_leaves_all_or_nothing_of_a_deployment() {
    const SCRIPTS: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let mut server = start().await;
    let mut was = vec![Value::Null; SCRIPTS as usize];
    for round in 0..5_u64 {
        let put: Vec<_> = (0..SCRIPTS)
            .zip(&was)
            .map(|(n, was)| json!({ "name": format!("s{n}"), "source": format!("{round}"), "was": was }))
            .collect();
        let deployment = json!({ "put": put, "request_id": format!("round-{round}") });
        let mut session = server.log_in(&key(1)).await;
        session.begin("deploy_scripts", deployment.clone()).await;
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        server.kill();
        server = start().await;
        let mut session = server.log_in(&key(1)).await;
        let mut versions: Vec<_> = listed(&mut session).await;
        versions
            .iter_mut()
            .for_each(|script| script[0] = Value::Null);
        versions.dedup();
        let least = usize::from(round > 0);
        assert!(
            (least..=1).contains(&versions.len()),
            "{round}: {versions:?}"
        );
        ok(&mut session, "deploy_scripts", deployment).await;
        for (n, was) in was.iter_mut().enumerate() {
            *was = state(&mut session, &format!("s{n}")).await;
        }
        let script = ok(&mut session, "get_script", json!(["s0"])).await;
        assert_eq!(script["source"], format!("{round}"));
        assert_eq!(
            script["versions"].as_array().unwrap().len() as u64,
            round + 1
        );
    }
}

async fn a_connection_that_is_cut_anywhere_has_no_deployment_happen_twice_or_not_at_all() {
    let server = named(TestServer::builder()).start().await;
    let port = server.address.port();
    let mut deploying = JoinSet::new();
    // The login has about 1,500 bytes, the deployment and its answer 600.
    for bytes in (0..2400).step_by(100) {
        let names = ["a", "b"].map(|name| format!("{name}{bytes}"));
        let put = names.map(|name| ScriptToPut {
            name,
            source: "1".to_owned(),
            call: Some(CallRule::Owner),
            was: None,
        });
        deploying.spawn(async move {
            let network = Proxy::cutting(port, bytes).await;
            let url = format!("ws://127.0.0.1:{}/{}", network.port(), circle());
            let caller = Caller::new(url, key(1)).origin(ORIGIN.parse().unwrap());
            let deployment = DeployScripts {
                put: put.into(),
                ..DeployScripts::default()
            };
            // If it were done twice, the second time would be refused.
            let deployed = caller.deploy_scripts(&deployment).await.unwrap();
            assert!(deployed.put.iter().all(|put| put.created));
        });
    }
    let deployed = deploying.join_all().await.len();
    let mut owner = server.log_in(&key(1)).await;
    let (_, since) = calls::subscribe(&mut owner, json!({})).await;
    assert_eq!(since, 2 * deployed as u64);
}

on_both!(
    several_scripts_change_as_one,
    a_deployment_changes_all_or_nothing,
    of_two_deployments_at_once_one_is_done,
    a_server_that_is_killed_leaves_all_or_nothing_of_a_deployment,
    a_connection_that_is_cut_anywhere_has_no_deployment_happen_twice_or_not_at_all,
);

on_other_servers!(several_scripts_change_as_one,);
