//! Durable jobs that a server can't read, because they are damaged or of a newer version.

use std::{path::Path, time::Duration};

use circled::store::{Record, Table};
use circled_protocol::JobId;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    disk::with_store,
    server::{Builder, TestServer, circle, eventually, key, post},
};

/// Builds a server that runs one job at a time, so that a stuck job would block the others.
fn server(folder: &Path) -> Builder {
    TestServer::builder()
        .data(folder)
        .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", 1)
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", 3)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
}

fn key_of(id: JobId) -> Vec<u8> {
    hex::decode(id.to_string().replace('-', "")).unwrap()
}

#[tokio::test]
async fn jobs_that_cannot_be_read_go_to_the_dead_letters_and_those_behind_them_run() {
    let folder = tempfile::tempdir().unwrap();
    let running = server(folder.path()).start().await;
    let mut owner = running.log_in(&key(1)).await;
    let later = (Timestamp::now() + Duration::from_secs(3600)).to_string();
    let mut ids = Vec::new();
    for n in ["damaged", "newer", "input", "good"] {
        let params = json!({ "script": "store.incr(ARGS, 1)", "args": n, "run_at": later });
        let submitted = owner.call("submit_job", params).await.unwrap();
        let id = submitted["job_id"].as_str().unwrap().to_owned();
        ids.push(id.parse::<JobId>().unwrap());
    }
    running.kill();

    with_store(folder.path(), |store| {
        let due_now = |id: &JobId| {
            let record = store.read(Table::Jobs, &circle(), &key_of(*id)).unwrap();
            let mut record = circled_json::parse(record.unwrap()).unwrap();
            record["due"] = Value::Null;
            record
        };
        let mut newer = due_now(&ids[1]);
        newer["status"] = json!("resting");
        vec![
            Record::put(Table::Jobs, key_of(ids[0]), "{\"id\":"),
            Record::put(Table::Jobs, key_of(ids[1]), newer.to_string()),
            Record::put(Table::Jobs, key_of(ids[2]), due_now(&ids[2]).to_string()),
            Record::put(Table::Inputs, key_of(ids[2]), "no JSON"),
            Record::put(Table::Jobs, key_of(ids[3]), due_now(&ids[3]).to_string()),
        ]
    });
    let mut running = server(folder.path()).start().await;
    let mut owner = running.log_in(&key(1)).await;
    let mut dead = Vec::new();
    eventually("the others to run, and these to be given up", async || {
        let params = json!({ "status": "dead" });
        let page = owner.call("list_jobs", params).await.unwrap();
        dead = page["jobs"].as_array().unwrap().clone();
        let good = owner.play("store.get(\"good\")").await.unwrap();
        dead.len() == 3 && good["value"] == 1
    })
    .await;
    for (job, id) in dead.iter().rev().zip(&ids) {
        assert_eq!((&job["job_id"], &job["tries"]), (&json!(id), &json!(3)));
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains("can't be read"), "{job}");
        let caller = if *id == ids[0] {
            json!("unknown")
        } else {
            json!(key(1).public())
        };
        assert_eq!(job["caller"], caller);
        let params = json!([id]);
        let mut again = owner.call("get_job", params).await.unwrap();
        again["input_bytes"] = job["input_bytes"].clone();
        assert_eq!(again, *job);
    }
    // Nobody knows the script's source, so it can't be compiled anew.
    let refused = owner.call("retry_job", json!([ids[2]])).await.unwrap_err();
    assert_eq!(refused["code"], -32000, "{refused}");
    let path = format!("/jobs/{}/retry", ids[2]);
    let admin = running.admin_address().unwrap();
    let refused = post(admin, &path, &axum::http::HeaderMap::new(), b"").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "unreadable");
    running.sigterm();
    let log = running.whole_log().await;
    let said = log.matches("failed to read a durable job").count();
    assert_eq!(said, 3, "once for each: {log}");
}
