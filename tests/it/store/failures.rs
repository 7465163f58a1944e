//! A run that fails leaves nothing behind, and the store is no way around the sandbox's limits.

use std::time::Duration;

use serde_json::json;

use super::{failure, value};
use crate::harness::{
    backend::on_both,
    server::{Answer, ENDLESS, TestServer, busy, eventually, key},
};

async fn a_script_that_fails_leaves_nothing_behind() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__TIMEOUT", "2s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    value(&mut session, "store.set(\"kept\", 1)").await;
    let writes = "store.set(\"new\", 1); store.delete(\"kept\"); store.incr(\"count\", 1);";
    for (end, kind) in [
        ("throw 1", "runtime"),
        ("1 / 0", "runtime"),
        ("loop {}", "operations"),
        ("fn f(n) { f(n + 1) } f(0)", "depth"),
        ("let s = \"x\"; loop { s += s }", "size"),
        // The run is over, but its value can't be returned.
        ("let d = 1; for n in 0..100 { d = [d] } d", "depth"),
    ] {
        // First on a script thread, and then in the fast lane.
        for _ in 0..3 {
            let (told, message) = failure(&mut session, &format!("{writes} {end}")).await;
            assert_eq!(told, kind, "{end}: {message}");
        }
        assert_eq!(
            value(&mut session, "store.keys(\"\")").await,
            json!(["kept"])
        );
    }
    // An error that the script catches is no failure.
    value(
        &mut session,
        &format!("try {{ {writes} throw 1 }} catch {{ }}"),
    )
    .await;
    let kept = value(&mut session, "store.keys(\"\")").await;
    assert_eq!(kept, json!(["count", "new"]));
}

async fn a_script_that_takes_too_long_leaves_nothing_behind() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = format!(
        "store.set(\"late\", 1); {}",
        busy(Duration::from_millis(400), "1")
    );
    let params = json!({ "script": script, "timeout_ms": 100 });
    let error = session.call("play", params).await.unwrap_err();
    assert_eq!(error["code"], -32004, "{error}");
    // It has the only thread for as long as it runs.
    assert_eq!(
        value(&mut session, "store.has(\"late\")").await,
        json!(false)
    );
    // With enough time, its writes are kept.
    value(&mut session, &script).await;
    assert_eq!(
        value(&mut session, "store.has(\"late\")").await,
        json!(true)
    );
}

async fn a_caller_that_leaves_leaves_nothing_behind() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for politely in [true, false] {
        let mut leaving = server.log_in(&key(3)).await;
        let script = format!(
            "store.set(\"left\", 1); {}",
            busy(Duration::from_secs(2), "1")
        );
        leaving.begin_play(&script).await;
        leaving.fence().await;
        if politely {
            leaving.leave().await;
        } else {
            drop(leaving.into_stream());
        }
        eventually("the session to end", async || {
            server.admin("/readyz").await.json()["sessions"] == 1
        })
        .await;
        // The script is new, so it waits for the only thread.
        let script = format!("\"{politely}\"; store.has(\"left\")");
        assert_eq!(value(&mut session, &script).await, json!(false));
    }
}

async fn calls_of_the_store_count_as_work() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", 20_000)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    value(&mut session, "store.set(\"a\", 1)").await;
    for call in [
        "store.get(\"a\")",
        "store.get(\"none\", 1)",
        "store.has(\"a\")",
        "store.set(\"a\", 2)",
        "store.delete(\"a\")",
        "store.incr(\"a\", 1)",
        "store.keys(\"a\")",
    ] {
        let (kind, _) = failure(&mut session, &format!("loop {{ {call} }}")).await;
        assert_eq!(kind, "operations", "{call}");
        // They cost more than a step does.
        let (kind, _) = failure(&mut session, &format!("for n in 0..2500 {{ {call} }}")).await;
        assert_eq!(kind, "operations", "{call}");
    }
    assert_eq!(value(&mut session, "store.get(\"a\")").await, json!(1));

    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for call in [
        "store.get(\"a\")",
        "store.incr(\"a\", 1)",
        "store.keys(\"\")",
    ] {
        let params = json!({ "script": format!("loop {{ {call} }}"), "timeout_ms": 200 });
        let stopped: Answer = session.call("play", params).await;
        assert_eq!(stopped.unwrap_err()["code"], -32004, "{call}");
    }
    assert_eq!(value(&mut session, "store.keys(\"\")").await, json!([]));
}

on_both!(
    a_script_that_fails_leaves_nothing_behind,
    a_script_that_takes_too_long_leaves_nothing_behind,
    a_caller_that_leaves_leaves_nothing_behind,
    calls_of_the_store_count_as_work,
);
