//! Lists of jobs for consoles: by status, kind and name, in pages that are full whatever lies between.

use std::collections::HashSet;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{assert_invalid, ok, put, submit, until},
    server::{Builder, TestServer, Ws, eventually, key},
    webhooks::{Webhook, scripted, taking_stripes},
};

/// More deliveries than one read looks at.
const MANY: usize = 2300;

fn delivery(id: &str) -> Webhook {
    let event = json!({
        "id": id, "object": "event", "type": "ping", "data": { "object": { "id": "a", "object": "charge" } },
    });
    Webhook::stripe(event.to_string())
}

/// Builds a server whose deliveries fail for good if their id says so.
pub(super) fn with_deliveries() -> (tempfile::TempDir, Builder) {
    let (folder, settings) =
        scripted("if EVENT.id.starts_with(\"bad\") && !store.has(\"mended\") { throw \"no\" }");
    let builder = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", 1)
        .env("CIRCLED_WEBHOOKS__STRIPE__WAIT", "10s");
    (folder, builder)
}

/// Has deliveries come, some at a time. Returns their jobs.
pub(super) async fn deliver(server: &TestServer, what: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for from in (0..count).step_by(32) {
        let some = (from..count.min(from + 32)).map(async |n| {
            let sent = delivery(&format!("{what}-{n}"));
            sent.kept(server).await.0
        });
        ids.extend(join_all(some).await);
    }
    ids
}

/// Returns the ids on a page, and its cursor.
async fn page(session: &mut Ws, params: Value) -> (Vec<String>, Value) {
    let mut page = ok(session, "list_jobs", params).await;
    let jobs = page["jobs"].as_array().unwrap().iter();
    let ids = jobs.map(|job| job["job_id"].as_str().unwrap().to_owned());
    (ids.collect(), page["cursor"].take())
}

/// Returns the ids on all pages, each of which must be full but for the last one.
pub(super) async fn walk(session: &mut Ws, mut params: Value) -> Vec<String> {
    let limit = params["limit"].as_u64().unwrap_or(50);
    let mut all = Vec::new();
    loop {
        let (ids, cursor) = page(session, params.clone()).await;
        let count = ids.len() as u64;
        all.extend(ids);
        if cursor.is_null() {
            return all;
        }
        assert_eq!(count, limit, "a page that isn't the last one");
        params["cursor"] = cursor;
    }
}

async fn pages_are_full_though_many_other_jobs_lie_between() {
    let (_folder, server) = with_deliveries();
    let server = server.start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    put(&mut owner, "report", "ARGS").await;
    let named = submit(&mut owner, json!({ "name": "report" })).await;
    let theirs = submit(&mut guest, json!({ "script": "throw 1" })).await;
    until(&mut guest, &theirs, "dead").await;
    let later = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let stopped = submit(&mut owner, json!({ "script": "1", "run_at": later })).await;
    ok(&mut owner, "stop_job", json!([stopped])).await;
    let waits = submit(&mut guest, json!({ "script": "1", "run_at": later })).await;
    put(&mut owner, "on_stripe", "1").await;
    let hooked = deliver(&server, "hook", 1).await;
    ok(&mut owner, "delete_script", json!(["on_stripe"])).await;
    let mut bad = deliver(&server, "bad", 3).await;
    bad.sort();
    bad.reverse();
    let many: HashSet<_> = deliver(&server, "good", MANY).await.into_iter().collect();
    assert_eq!(many.len(), MANY);
    let args = "x".repeat(1000);
    let last = submit(&mut owner, json!({ "name": "report", "args": args })).await;
    until(&mut owner, &last, "finished").await;

    let one = |id: &String| (vec![id.clone()], Value::Null);
    // Of the owner's, by status, kind and name. Each is one page, with the one before it as the cursor says.
    for (params, expected) in [
        (json!({}), vec![&last, &waits, &stopped, &theirs, &named]),
        (
            json!({ "kind": "submitted", "status": "finished" }),
            vec![&last, &named],
        ),
        (json!({ "status": "pending" }), vec![&waits]),
        (json!({ "status": "cancelled" }), vec![&stopped]),
        (json!({ "status": "dead" }), vec![&theirs]),
        (json!({ "name": "report" }), vec![&last, &named]),
        (json!({ "name": "report", "status": "dead" }), vec![]),
        (
            json!({ "kind": "delivery", "status": "dead" }),
            bad.iter().collect(),
        ),
        (
            json!({ "kind": "delivery", "name": "on_stripe" }),
            vec![&hooked[0]],
        ),
        (json!({ "kind": "delivery", "status": "cancelled" }), vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().cloned().collect();
        let found = page(&mut owner, params.clone()).await;
        assert_eq!(found, (expected.clone(), Value::Null), "{params}");
        let mut params = params;
        params["limit"] = json!(1);
        assert_eq!(walk(&mut owner, params.clone()).await, expected, "{params}");
    }
    for (params, expected) in [
        (json!({}), vec![&waits, &theirs]),
        (json!({ "status": "dead" }), vec![&theirs]),
        (json!({ "kind": "delivery" }), vec![]),
    ] {
        let expected = expected.into_iter().cloned().collect();
        let found = page(&mut guest, params.clone()).await;
        assert_eq!(found, (expected, Value::Null), "a guest: {params}");
    }
    let deliveries = walk(&mut owner, json!({ "kind": "delivery", "limit": 460 })).await;
    let all: HashSet<_> = deliveries.iter().cloned().collect();
    assert_eq!((deliveries.len(), all.len()), (MANY + 4, MANY + 4));
    assert!(all.is_superset(&many) && deliveries.is_sorted_by(|a, b| a > b));
    assert_eq!(
        page(&mut owner, json!({ "limit": 1, "cursor": named }))
            .await
            .0
            .len(),
        0
    );
    assert_eq!(
        page(&mut owner, json!({ "limit": 1, "cursor": theirs })).await,
        one(&named)
    );

    let list = ok(&mut owner, "list_jobs", json!({ "name": "report" })).await;
    let sizes = [0, 1].map(|n| list["jobs"][n]["input_bytes"].as_u64().unwrap());
    // The argument in quotation marks, and its name.
    assert!(
        sizes[0] > sizes[1] + 1000 && sizes[0] < sizes[1] + 1020,
        "{sizes:?}"
    );
    for params in [
        json!({ "kind": "letter" }),
        json!({ "kind": 1 }),
        json!({ "name": [] }),
    ] {
        let what = params.to_string();
        assert_invalid(&what, owner.call("list_jobs", params).await, "");
    }
}

async fn a_page_that_looks_for_too_long_ends_and_goes_on() {
    let (_folder, server) = with_deliveries();
    let data = tempfile::tempdir().unwrap();
    let mut server = server.data(data.path()).start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "on_stripe", "1").await;
    let hooked = deliver(&server, "hook", 1).await;
    ok(&mut owner, "delete_script", json!(["on_stripe"])).await;
    deliver(&server, "good", MANY).await;
    server.sigterm();
    assert!(server.wait().await.success());

    let hurried = TestServer::builder()
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "2ms")
        .data(data.path());
    let server = hurried.start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut params = json!({ "kind": "delivery", "name": "on_stripe" });
    let mut pages = Vec::new();
    loop {
        let (ids, cursor) = page(&mut owner, params.clone()).await;
        pages.push(ids);
        if cursor.is_null() {
            break;
        }
        params["cursor"] = cursor;
    }
    assert_eq!(pages.concat(), hooked);
    assert!((2..10).contains(&pages.len()), "{pages:?}");
}

async fn a_walk_sees_each_job_once_while_others_come_and_end() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    let later = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let waiting = json!({ "script": "1", "run_at": later });
    let (mut stay, mut end) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let session = if n % 3 == 0 { &mut owner } else { &mut guest };
        stay.push(submit(session, waiting.clone()).await);
        end.push(submit(&mut guest, waiting.clone()).await);
    }
    for params in [
        json!({ "status": "pending" }),
        json!({ "kind": "submitted" }),
    ] {
        let mut params = params;
        params["limit"] = json!(4);
        let mut seen = Vec::new();
        loop {
            let (ids, cursor) = page(&mut owner, params.clone()).await;
            seen.extend(ids);
            submit(&mut owner, waiting.clone()).await;
            submit(&mut guest, json!({ "script": "1" })).await;
            if let Some(id) = end.pop() {
                ok(&mut guest, "stop_job", json!([id])).await;
            }
            if cursor.is_null() {
                break;
            }
            params["cursor"] = cursor;
        }
        let distinct: HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "{params}");
        assert!(stay.iter().all(|id| distinct.contains(id)), "{params}");
    }
}

async fn dead_jobs_leave_their_list_when_they_run_again() {
    let (_folder, server) = with_deliveries();
    let server = server.start().await;
    let mut owner = server.log_in(&key(1)).await;
    let bad = deliver(&server, "bad", 3).await;
    let dead = json!({ "kind": "delivery", "status": "dead" });
    let mut left: HashSet<_> = bad.iter().cloned().collect();
    let found = walk(&mut owner, dead.clone()).await;
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), left);
    owner.play("store.set(\"mended\", 1)").await.unwrap();
    ok(&mut owner, "retry_job", json!([bad[0]])).await;
    left.remove(&bad[0]);
    eventually("it has left the list", async || {
        let found = walk(&mut owner, dead.clone()).await;
        found.into_iter().collect::<HashSet<_>>() == left
    })
    .await;
    // A duplicate takes the place of the dead one.
    assert_eq!(
        delivery("bad-1").kept(&server).await,
        (bad[1].clone(), "finished".to_owned())
    );
    assert_eq!(walk(&mut owner, dead).await, [bad[2].clone()]);
}

on_both!(
    pages_are_full_though_many_other_jobs_lie_between,
    a_page_that_looks_for_too_long_ends_and_goes_on,
    a_walk_sees_each_job_once_while_others_come_and_end,
    dead_jobs_leave_their_list_when_they_run_again,
);

on_other_servers!(dead_jobs_leave_their_list_when_they_run_again);
