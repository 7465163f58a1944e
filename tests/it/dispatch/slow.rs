//! Slow runs are logged, with their times (`log.slow`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{ok, put, submit},
    server::{ENDLESS, TestServer, busy, circle, key},
    webhooks::{Webhook, event, taking_stripes},
};

const LONG: Duration = Duration::from_millis(150);

/// Returns the log line about a slow run of a kind.
async fn slow(server: &mut TestServer, kind: &str) -> Value {
    let line = server
        .logged(&format!("a slow {kind}"), |line| line["kind"] == kind)
        .await;
    assert_eq!(line["message"], "a slow run (log.slow)", "{line}");
    assert_eq!(line["circle"], circle().to_string(), "{line}");
    let running = line["running_ms"].as_f64().unwrap();
    assert!((150.0..10_000.0).contains(&running), "{line}");
    let committing = line["committing_ms"].as_f64().unwrap();
    let waiting = line["waiting_ms"].as_f64().unwrap();
    assert!(committing >= 0.0 && waiting >= 0.0, "{line}");
    assert_eq!(line["conflicts"], 0, "{line}");
    line
}

async fn slow_runs_of_all_kinds_are_logged() {
    let server = taking_stripes()
        .env("CIRCLED_LOG__SLOW", "100ms")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS);
    let mut server = server.start().await;
    let mut owner = server.log_in(&key(1)).await;
    let script = busy(LONG, r#"store.set("k", 1)"#);
    let version = put(&mut owner, "heavy", &script).await;

    owner.play("store.set(\"quick\", 1)").await.unwrap();
    owner.play(&script).await.unwrap();
    let line = slow(&mut server, "play").await;
    assert_eq!(
        (&line["script"], &line["version"]),
        (&Value::Null, &Value::Null),
        "{line}"
    );

    ok(&mut owner, "call", json!({ "name": "heavy" })).await;
    let line = slow(&mut server, "call").await;
    assert_eq!(
        (&line["script"], &line["version"]),
        (&json!("heavy"), &json!(version)),
        "{line}"
    );

    submit(&mut owner, json!({ "name": "heavy" })).await;
    let line = slow(&mut server, "job").await;
    assert_eq!(
        (&line["script"], &line["version"]),
        (&json!("heavy"), &json!(version)),
        "{line}"
    );

    let hook = put(&mut owner, "on_stripe", &script).await;
    Webhook::stripe(event("evt_1")).kept(&server).await;
    let line = slow(&mut server, "webhook").await;
    assert_eq!(
        (&line["script"], &line["version"]),
        (&json!("on_stripe"), &json!(hook)),
        "{line}"
    );

    ok(&mut owner, "watch", json!({ "script": busy(LONG, "1") })).await;
    slow(&mut server, "watch").await;
    let logged = server.count_logged(|line| line["message"] == "a slow run (log.slow)");
    assert_eq!(logged, 5, "the quick one isn't");
}

on_both!(slow_runs_of_all_kinds_are_logged);
