//! Dead jobs that run again, all at once: once each.

use std::time::Duration;

use serde_json::{Value, json};

use super::lists::{deliver, walk, with_deliveries};
use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{assert_invalid, assert_refused, ok, put, submit, until},
    server::{TestServer, Ws, eventually, key},
    webhooks::taking_stripes,
};

const MANY: usize = 400;

/// Builds a circle with dead deliveries, whose script counts its runs once it is mended.
async fn with_dead(server: &TestServer, count: usize) -> Ws {
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "on_stripe", "throw \"no\"").await;
    deliver(server, "bad", count).await;
    owner
}

/// Mends the script: each run adds to the count of its own event.
async fn mend(owner: &mut Ws) {
    put(owner, "on_stripe", "store.add(\"runs/\" + EVENT.id, 1)").await;
}

/// Waits until nothing is dead and nothing is open, and returns how often the script has run for each event: the least,
/// the most, and for how many.
async fn runs(owner: &mut Ws) -> Value {
    eventually("all to be over", async || {
        let jobs = ok(owner, "usage", json!({})).await["jobs"].take();
        jobs["open"] == 0
    })
    .await;
    let script = r#"
        let all = store.scan(#{ prefix: "runs/", limit: 10000 }).map(|entry| entry.value);
        all.sort();
        if all.is_empty() { [] } else { [all[0], all[-1], all.len()] }
    "#;
    owner.play(script).await.unwrap()["value"].take()
}

fn counted(dead: usize) -> Value {
    json!({ "dead": dead, "retried": 0, "failed": 0, "cursor": null })
}

async fn dead_jobs_are_counted_and_then_run_again_once_each() {
    let (_folder, server) = with_deliveries();
    let server = server.start().await;
    let mut owner = with_dead(&server, 120).await;
    let mut guest = server.log_in(&key(2)).await;
    put(&mut owner, "report", "throw 1").await;
    let report = submit(&mut guest, json!({ "name": "report" })).await;
    until(&mut guest, &report, "dead").await;

    assert_refused(
        "a guest",
        guest.call("retry_dead", json!({})).await,
        -32003,
        json!({ "needs": "owner" }),
    );
    for (params, dead) in [
        (json!({}), 121),
        (json!({ "kind": "delivery" }), 120),
        (json!({ "kind": "submitted" }), 1),
        (json!({ "name": "report" }), 1),
        (json!({ "name": "other" }), 0),
    ] {
        assert_eq!(
            ok(&mut owner, "retry_dead", params.clone()).await,
            counted(dead),
            "{params}"
        );
    }
    let refused = owner.call("retry_dead", json!({ "expect": 120 })).await;
    assert_refused(
        "more than expected",
        refused,
        -32009,
        json!({ "dead": 121 }),
    );
    // It looks at fifty at a time, until they are more.
    let some = json!({ "expect": 3, "kind": "delivery" });
    let refused = owner.call("retry_dead", some).await;
    assert_refused("more of a kind", refused, -32009, json!({ "dead": 50 }));
    for params in [
        json!({ "expect": -1 }),
        json!({ "cursor": "1" }),
        json!({ "cursor": "x.y" }),
    ] {
        let what = params.to_string();
        assert_invalid(&what, owner.call("retry_dead", params).await, "");
    }
    assert_eq!(ok(&mut owner, "retry_dead", json!({})).await, counted(121));

    mend(&mut owner).await;
    ok(&mut owner, "delete_script", json!(["report"])).await;
    let mut done = ok(&mut owner, "retry_dead", json!({ "expect": 121 })).await;
    let error = done["error"].take();
    assert!(error.as_str().unwrap().starts_with(&report), "{error}");
    let expected =
        json!({ "dead": 121, "retried": 120, "failed": 1, "error": null, "cursor": null });
    assert_eq!(done, expected);
    assert_eq!(runs(&mut owner).await, json!([1, 1, 120]));
    assert_eq!(ok(&mut owner, "retry_dead", json!({})).await, counted(1));
    put(&mut owner, "report", "7").await;
    let done = ok(
        &mut owner,
        "retry_dead",
        json!({ "expect": 5, "name": "report" }),
    )
    .await;
    assert_eq!(done["retried"], 1, "{done}");
    assert_eq!(until(&mut guest, &report, "finished").await["value"], 7);
}

async fn whoever_is_cut_off_asks_again_and_each_runs_once() {
    let (_folder, server) = with_deliveries();
    let server = server.start().await;
    let mut owner = with_dead(&server, MANY).await;
    mend(&mut owner).await;
    // Each call is cut off half-way, by another time.
    let mut left = MANY as u64;
    for n in 0..20_u64 {
        let mut session = server.log_in(&key(1)).await;
        session.begin("retry_dead", json!({ "expect": MANY })).await;
        tokio::time::sleep(Duration::from_millis(15 + 10 * n)).await;
        session.leave().await;
        let dead = ok(&mut owner, "retry_dead", json!({})).await["dead"]
            .as_u64()
            .unwrap();
        assert!(dead <= left);
        left = dead;
        if left == 0 {
            break;
        }
    }
    // Several at once, for the rest.
    let mut other = server.log_in(&key(1)).await;
    let params = json!({ "expect": left });
    let ids = [
        other.begin("retry_dead", params.clone()).await,
        other.begin("retry_dead", params).await,
    ];
    for id in ids {
        assert_eq!(other.answer(id).await.unwrap()["failed"], 0);
    }
    assert_eq!(runs(&mut owner).await, json!([1, 1, MANY]));
    let dead = json!({ "kind": "delivery", "status": "dead" });
    assert!(walk(&mut owner, dead).await.is_empty());
}

async fn a_cursor_goes_on_with_those_that_were_dead_by_then() {
    let (_folder, server) = with_deliveries();
    let server = server.start().await;
    let mut owner = with_dead(&server, 3).await;
    let dead = json!({ "kind": "delivery", "status": "dead" });
    let ids = walk(&mut owner, dead).await;
    let before = jiff::Timestamp::now().as_millisecond();
    deliver(&server, "bad-later", 2).await;
    mend(&mut owner).await;
    // As if the oldest one were done.
    let cursor = json!({ "cursor": format!("{before}.{}", ids[2]) });
    let done = ok(&mut owner, "retry_dead", cursor).await;
    assert_eq!(done, json!({ "retried": 2, "failed": 0, "cursor": null }));
    assert_eq!(runs(&mut owner).await, json!([1, 1, 2]));
    assert_eq!(ok(&mut owner, "retry_dead", json!({})).await, counted(3));
}

async fn a_call_that_takes_too_long_ends_and_goes_on() {
    let (_folder, server) = with_deliveries();
    let data = tempfile::tempdir().unwrap();
    let mut server = server.data(data.path()).start().await;
    let mut owner = with_dead(&server, MANY).await;
    mend(&mut owner).await;
    server.sigterm();
    assert!(server.wait().await.success());

    let hurried = taking_stripes()
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60ms")
        .data(data.path());
    let server = hurried.start().await;
    let mut owner = server.log_in(&key(1)).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let (mut calls, mut retried) = (0, 0);
    // Some may have had no time to be compiled: they are dead still.
    while retried < MANY as u64 {
        let mut cursor = json!(format!("{now}.00000000-0000-7000-8000-000000000000"));
        while !cursor.is_null() {
            let mut done = ok(&mut owner, "retry_dead", json!({ "cursor": cursor })).await;
            calls += 1;
            retried += done["retried"].as_u64().unwrap();
            cursor = done["cursor"].take();
        }
    }
    assert!(calls > 1, "{calls}");
    drop(server);
    let server = TestServer::builder().data(data.path()).start().await;
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(runs(&mut owner).await, json!([1, 1, MANY]));
}

on_both!(
    a_call_that_takes_too_long_ends_and_goes_on,
    dead_jobs_are_counted_and_then_run_again_once_each,
    whoever_is_cut_off_asks_again_and_each_runs_once,
    a_cursor_goes_on_with_those_that_were_dead_by_then,
);

on_other_servers!(dead_jobs_are_counted_and_then_run_again_once_each);
