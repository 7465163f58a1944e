//! How much a circle has: the same as counting all of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::lists::{deliver, walk, with_deliveries};
use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{ok, put, submit, until},
    server::{TestServer, Ws, eventually, key},
};

async fn usage(owner: &mut Ws) -> Value {
    ok(owner, "usage", json!({})).await
}

/// Counts the keys and jobs, one by one.
async fn recount(owner: &mut Ws) -> Value {
    let (mut keys, mut params) = (0, json!({ "limit": 500 }));
    loop {
        let page = ok(owner, "store_list", params.clone()).await;
        keys += page["entries"].as_array().unwrap().len();
        if page["cursor"].is_null() {
            break;
        }
        params["cursor"] = page["cursor"].clone();
    }
    let mut count = async |statuses: &[&str]| {
        let mut count = 0;
        for kind in ["submitted", "delivery"] {
            for status in statuses {
                let params = json!({ "kind": kind, "status": status });
                count += walk(owner, params).await.len();
            }
        }
        count
    };
    json!({
        "keys": keys,
        "jobs": {
            "open": count(&["pending", "running", "failed"]).await,
            "ended": count(&["finished", "cancelled"]).await,
            "dead": count(&["dead"]).await,
        },
    })
}

/// Waits until nothing runs any more, and checks that the numbers are right then. Returns them.
async fn assert_counted(owner: &mut Ws, what: &str) -> Value {
    let (mut told, mut counted) = (Value::Null, Value::Null);
    eventually(&format!("{what}: the same as counting"), async || {
        told = usage(owner).await;
        counted = recount(owner).await;
        let again = usage(owner).await;
        told == again && told["keys"] == counted["keys"] && told["jobs"] == counted["jobs"]
    })
    .await;
    told
}

async fn usage_is_the_same_as_counting_after_every_change() {
    let data = tempfile::tempdir().unwrap();
    let start = async || {
        let (folder, server) = with_deliveries();
        (server.data(data.path()).start().await, folder)
    };
    let (mut server, _folder) = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    let empty = assert_counted(&mut owner, "an empty circle").await;
    assert_eq!(empty["keys"], 0);
    assert_eq!(empty["jobs"], json!({ "open": 0, "ended": 0, "dead": 0 }));
    assert_eq!(empty["quota"], 256 << 20);

    let script = r#"
        for n in 0..300 { store.set(`a${n}`, n); }
        store.push("log/", 1);
        store.push("log/", 2);
        store.add("sum", 1);
        emit("a", 1);
        emit("b", 2);
    "#;
    owner.play(script).await.unwrap();
    put(&mut owner, "own", "1").await;
    let full = assert_counted(&mut owner, "keys").await;
    // The third event tells the owner of the script.
    assert_eq!((&full["keys"], &full["events"]), (&json!(303), &json!(3)));
    assert_eq!(full["last_event"], 3);

    let script = r#"
        store.delete("a0");
        store.delete("none");
        store.set("a1", "again");
        store.delete_range(#{ prefix: "a2" });
        store.set("a22", "back");
        store.set("b", "xyz");
        store.delete("b");
    "#;
    owner.play(script).await.unwrap();
    // 300 without a0, and of the 111 that begin with a2, one is back.
    let before = assert_counted(&mut owner, "deletes").await;
    assert_eq!(before["keys"], 192);
    let expiring = "store.set(\"short\", 1, #{ ttl: \"300ms\" })";
    owner.play(expiring).await.unwrap();
    eventually("the key to be gone, and its bytes", async || {
        usage(&mut owner).await == before
    })
    .await;
    owner.play("store.set(\"key\", \"12345\")").await.unwrap();
    let bytes = usage(&mut owner).await["bytes"].as_u64().unwrap();
    assert_eq!(bytes, before["bytes"].as_u64().unwrap() + 3 + 7);

    let later = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let stopped = submit(&mut guest, json!({ "script": "1", "run_at": later })).await;
    submit(&mut guest, json!({ "script": "1", "run_at": later })).await;
    let done = submit(&mut guest, json!({ "script": "emit(\"c\", 1); 1" })).await;
    until(&mut guest, &done, "finished").await;
    deliver(&server, "good", 40).await;
    let bad = deliver(&server, "bad", 3).await;
    let jobs = assert_counted(&mut owner, "jobs").await["jobs"].take();
    assert_eq!(jobs, json!({ "open": 2, "ended": 41, "dead": 3 }));
    ok(&mut guest, "stop_job", json!([stopped])).await;
    owner.play("store.set(\"mended\", 1)").await.unwrap();
    ok(&mut owner, "retry_job", json!([bad[0]])).await;
    until(&mut owner, &bad[0], "finished").await;
    let jobs = assert_counted(&mut owner, "a retry").await["jobs"].take();
    assert_eq!(jobs, json!({ "open": 1, "ended": 43, "dead": 2 }));

    let told = usage(&mut owner).await;
    server.sigterm();
    assert!(server.wait().await.success());
    let (server, _folder) = start().await;
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(usage(&mut owner).await, told);
    assert_counted(&mut owner, "the next server").await;
}

async fn usage_is_right_though_others_write_while_it_is_counted() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    owner
        .play("for n in 0..900 { store.set(`${n}`, n); }")
        .await
        .unwrap();
    let mut writer = server.log_in(&key(2)).await;
    let mut submitter = server.log_in(&key(3)).await;
    let (mut written, mut told) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let script = format!(
            "for n in 0..20 {{ store.set(`new/{n}/${{n}}`, 1); store.delete(`${{n + {n} * 10}}`); }}"
        );
        written.push(writer.begin_play(&script).await);
        submitter
            .begin("submit_job", json!({ "script": "1" }))
            .await;
        told.push(owner.begin("usage", json!({})).await);
    }
    for (written, told) in written.into_iter().zip(told) {
        writer.answer(written).await.unwrap();
        owner.answer(told).await.unwrap();
    }
    submitter.fence().await;
    let told = assert_counted(&mut owner, "after the writes").await;
    assert_eq!(told["jobs"]["ended"], 40);
}

on_both!(
    usage_is_the_same_as_counting_after_every_change,
    usage_is_right_though_others_write_while_it_is_counted,
);

on_other_servers!(usage_is_the_same_as_counting_after_every_change);
