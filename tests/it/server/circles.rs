//! The operator's commands about circles: what they take, and their end.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::harness::{
    backend::{on_both, redis},
    calls::{add, ok, put, submit},
    command::circled_command,
    devices::end,
    redis::{Fleet, RedisServer, resp},
    server::{TestServer, Ws, circle, eventually, key, within},
    webhooks::{Webhook, ask, event, scripted, taking_stripes},
};

/// Returns the output of `circled circle`, and whether it succeeded.
async fn command(server: &TestServer, arguments: &[&str]) -> (bool, String) {
    let admin = format!("http://{}", server.admin_address().unwrap());
    let mut command = circled_command();
    command.arg("circle").args(arguments);
    command.args(["--url", &admin]);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let run = run.await.unwrap();
    let [out, said] = [run.stdout, run.stderr].map(|text| String::from_utf8(text).unwrap());
    (run.status.success(), format!("{out}{said}"))
}

/// Gives a circle some of everything. Returns a session of its owner.
async fn fill(server: &TestServer) -> Ws {
    let mut owner = server.log_in(&key(1)).await;
    let script = r#"
        for n in 0..300 { store.set(`a${n}`, n); }
        store.push("log/", 1);
        store.set("later", 1, #{ ttl: "1h" });
        emit("a", 1);
    "#;
    owner.play(script).await.unwrap();
    // A reply is kept only of what changes something. Those of guests are elsewhere.
    let request = json!({ "script": "store.set(\"a0\", 0)", "request_id": "once" });
    let mut guest = server.log_in(&key(4)).await;
    for session in [&mut owner, &mut guest] {
        ok(session, "play", request.clone()).await;
    }
    add(&mut owner, &key(3)).await;
    put(&mut owner, "own", "1").await;
    submit(&mut owner, json!({ "script": "1" })).await;
    submit(
        &mut owner,
        json!({ "script": "1", "run_at": (Timestamp::now() + 1.hour()).to_string() }),
    )
    .await;
    owner
}

fn port() -> Option<u16> {
    let url = redis()?;
    Some(url.rsplit(':').next().unwrap().parse().unwrap())
}

/// Returns the keys of Redis that name a circle, or that hold jobs, if Redis is there. The gateways' own lists of who
/// listens stay until they leave.
async fn keys_of_circle() -> Vec<String> {
    let Some(port) = port() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for pattern in [&format!("*{}*", circle()), "*:job:*"] {
        let keys = resp::ask(port, &["KEYS", pattern]).await.unwrap();
        let keys = keys.items().iter();
        found.extend(keys.map(|key| String::from_utf8_lossy(key.bytes()).into_owned()));
    }
    found.retain(|key| !key.contains("watchers:"));
    found
}

/// Waits until the first keys of the circle have been deleted from Redis, and some others haven't.
async fn until_begun() {
    let port = port().unwrap();
    let usage = format!("*:usage:{}", circle());
    let usage = resp::ask(port, &["KEYS", &usage]).await.unwrap();
    let usage = String::from_utf8_lossy(usage.items()[0].bytes()).into_owned();
    let lock = usage.replace(":usage:", ":lock:");
    let begun = async { while resp::ask(port, &["GET", &lock]).await.unwrap().bytes() != b"!" {} };
    within("the deletion to begin", begun).await;
}

async fn a_deleted_circle_is_gone_and_may_begin_anew() {
    let (_folder, settings) = scripted(r#"store.incr("deliveries", 1)"#);
    let server = taking_stripes().toml(settings);
    let server = server
        .env("CIRCLED_WEBHOOKS__STRIPE__WAIT", "10s")
        .start()
        .await;
    let mut owner = fill(&server).await;
    ask(&server, 5, r#"store.set("other", 1)"#).await;
    let delivery = || Webhook::stripe(event("evt_1"));
    assert_eq!(delivery().kept(&server).await.1, "finished");
    assert_eq!(delivery().kept(&server).await.1, "duplicate");
    let usage = ok(&mut owner, "usage", json!({})).await;
    assert_eq!(usage["keys"], 303, "{usage}");

    let (_, text) = command(&server, &["usage"]).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].starts_with(&circle().to_string()), "{text}");
    let (_, text) = command(&server, &["usage", "--json", "--limit", "1"]).await;
    let (line, remark) = text.split_once('\n').unwrap();
    let largest: Value = circled_json::parse(line).unwrap();
    assert_eq!(
        (&largest["circle"], &largest["keys"]),
        (&json!(circle()), &json!(303))
    );
    assert_eq!(remark, "", "a remark isn't JSON");

    // Nothing happens unless it is meant.
    let circle = circle().to_string();
    let (is_done, text) = command(&server, &["delete", &circle]).await;
    assert!(!is_done && text.contains("--yes"), "{text}");
    let refused = server.admin("/circles/02").await;
    assert_eq!(refused.status, 404);
    assert_eq!(ok(&mut owner, "usage", json!({})).await, usage);

    let (is_done, text) = command(&server, &["delete", &circle, "--yes"]).await;
    assert!(is_done && text.contains("begins anew"), "{text}");
    let (_, code, _) = end(&mut owner).await;
    assert_eq!(code, 1012);
    assert_eq!(keys_of_circle().await, Vec::<String>::new());

    // It is as one that never was.
    let mut owner = server.log_in(&key(1)).await;
    let usage = ok(&mut owner, "usage", json!({})).await;
    let none = json!({ "open": 0, "ended": 0, "dead": 0 });
    assert_eq!(
        (&usage["keys"], &usage["bytes"], &usage["jobs"]),
        (&json!(0), &json!(0), &none)
    );
    assert_eq!(
        (&usage["events"], &usage["last_event"]),
        (&json!(0), &json!(0))
    );
    for (method, list) in [
        ("list_members", "members"),
        ("list_scripts", "scripts"),
        ("list_jobs", "jobs"),
    ] {
        let listed = ok(&mut owner, method, json!({})).await;
        assert_eq!(listed[list], json!([]), "{method}");
    }
    let request = json!({ "script": "2", "request_id": "once" });
    let again = ok(&mut owner, "play", request).await;
    assert_eq!(
        (&again["value"], &again["replayed"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(
        delivery().kept(&server).await.1,
        "finished",
        "it was forgotten"
    );
    let value = owner.play(r#"store.get("deliveries")"#).await.unwrap();
    assert_eq!(value["value"], 1);
    // What is new is told to those who watch.
    let watching = json!({ "script": r#"store.get("new")"# });
    ok(&mut owner, "watch", watching).await;
    owner
        .play(r#"store.set("new", 1); emit("b", 1)"#)
        .await
        .unwrap();
    assert_eq!(owner.value().await["value"], 1);
    assert_eq!(ask(&server, 5, r#"store.get("other")"#).await, 1);
}

async fn a_circle_that_is_killed_while_it_is_deleted_is_there_or_gone() {
    let data = tempfile::tempdir().unwrap();
    let start = async || TestServer::builder().data(data.path()).start().await;
    if let Some(port) = port() {
        // It takes a while to search for the marks of deliveries among so many keys.
        let fill = "for n = 1, 300000 do redis.call('SET', 'other:' .. n, 1) end";
        resp::ask(port, &["EVAL", fill, "0"]).await.unwrap();
    }
    let waits: &[u64] = match redis() {
        // It is killed when it has begun.
        Some(_) => &[0],
        None => &[5, 25],
    };
    for wait in waits {
        let server = start().await;
        let mut owner = server.log_in(&key(1)).await;
        for _ in 0..18 {
            let script = r#"for n in 0..999 { store.push("a", n); }"#;
            owner.play(script).await.unwrap();
        }
        let circle = circle().to_string();
        let delete = ["delete", &circle, "--yes"];
        let killed = async {
            match redis() {
                Some(_) => until_begun().await,
                None => tokio::time::sleep(Duration::from_millis(30 + wait)).await,
            }
            server.signal(rustix::process::Signal::KILL);
        };
        tokio::join!(command(&server, &delete), killed);
        drop(server);

        let server = start().await;
        let found = server.admin(&format!("/circles/{circle}")).await.json();
        let keys = found["keys"].as_u64().unwrap();
        assert!(keys == 0 || keys == 18 * 999, "{keys} keys after {wait} ms");
        let (is_done, text) = command(&server, &delete).await;
        assert!(is_done, "{text}");
        let mut owner = server.log_in(&key(1)).await;
        let value = owner.play("store.count(#{})").await.unwrap();
        assert_eq!(value["value"], 0);
        assert_eq!(keys_of_circle().await, Vec::<String>::new());
    }
}

on_both!(
    a_deleted_circle_is_gone_and_may_begin_anew,
    a_circle_that_is_killed_while_it_is_deleted_is_there_or_gone,
);

#[tokio::test]
async fn no_gateway_serves_a_circle_that_a_worker_deletes() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let (gateways, worker) = tokio::join!(fleet.gateways(2), fleet.worker());
    let mut sessions = Vec::new();
    for gateway in &gateways {
        let mut session = gateway.log_in(&key(1)).await;
        session.play(r#"store.incr("plays", 1)"#).await.unwrap();
        sessions.push(session);
    }
    let circle = circle().to_string();
    let delete = ["delete", &circle, "--yes"];
    let refused = async {
        for session in &mut sessions {
            assert_eq!(end(session).await.1, 1012);
        }
        for gateway in &gateways {
            let response = gateway.upgrade(&format!("/{circle}"), &[]).await;
            assert_eq!(response.status, 503, "{response:?}");
        }
    };
    let ((is_done, text), ()) = tokio::join!(command(&worker, &delete), refused);
    assert!(is_done, "{text}");
    for gateway in &gateways {
        eventually("the circle to be served again", async || {
            gateway.upgrade(&format!("/{circle}"), &[]).await.status == 101
        })
        .await;
        let mut session = within("a session", gateway.log_in(&key(1))).await;
        let value = session.play(r#"store.get("plays")"#).await.unwrap();
        assert_eq!(value["value"], Value::Null);
    }
}
