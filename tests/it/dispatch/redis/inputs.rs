//! Workers' fetching of large jobs.

use serde_json::json;

use crate::harness::{
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle},
    server::{eventually, key},
};

#[tokio::test]
async fn large_jobs_are_fetched_as_there_is_room_and_keep_no_other_circle_waiting() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__HOLD_BYTES", "2MiB")
        .with("SCRIPT__TIMEOUT", "120s")
        .with("SCRIPT__THREADS", "2");
    let gateway = fleet.gateway().await;
    let mut owner = gateway.connect_to(circle(0)).await;
    owner.login(&key(100)).await;
    let large = json!({ "script": "loop {}", "args": "x".repeat(200 << 10) });
    for _ in 0..100 {
        owner.call("submit_job", large.clone()).await.unwrap();
    }
    let before = redis.sent().await;
    let worker = fleet.worker().await;
    redis.until_held(100).await;
    let mut other = gateway.connect_to(circle(1)).await;
    other.login(&key(101)).await;
    let args = json!({ "script": "ARGS.len", "args": "x".repeat(200 << 10) });
    for _ in 0..3 {
        let job = other.call("submit_job", args.clone()).await.unwrap();
        eventually("the other circle's job to end", async || {
            let job = other.call("get_job", json!([job["job_id"]])).await.unwrap();
            job["value"] == 200 << 10
        })
        .await;
    }
    // All of them are twenty megabytes.
    let sent = redis.sent().await - before;
    assert!(sent < 6 << 20, "{sent}");
    drop(worker);
}
