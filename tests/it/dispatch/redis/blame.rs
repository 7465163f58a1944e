//! Jobs that kill their workers.

use serde_json::Value;

use crate::harness::{
    load::{delivery, session::ask},
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle},
    server::{OPEN, TestServer, eventually, key},
    webhooks::Said,
};

/// One delivery doesn't end until it is told to.
const SCRIPT: &str = r#"
    if EVENT.id == "long" && !store.has("give in") {
        loop {}
    }
    store.incr(EVENT.id, 1);
"#;

/// One thread, so that all but one wait.
fn fleet(redis: &RedisServer) -> Fleet {
    Fleet::running(redis.url(), SCRIPT)
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("SCRIPT__TIMEOUT", "60s")
        .with("SCRIPT__THREADS", 1)
}

async fn deliver(gateway: &TestServer, id: &str) {
    let said = delivery(0, id).offer(gateway.address).await;
    assert_eq!(said, Some(Said::Kept));
}

/// Returns the jobs in this state, by the names of their events.
async fn jobs(gateway: &TestServer, status: &str) -> Vec<Value> {
    gateway.jobs(status).await
}

#[tokio::test]
async fn a_job_that_three_workers_died_of_is_dead_and_those_behind_it_are_not() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis);
    let (gateway, mut worker) = tokio::join!(fleet.gateway(), fleet.worker());
    for id in ["long", "short", "other"] {
        deliver(&gateway, id).await;
    }
    redis.until_held(3).await;
    for begun in 1..=3 {
        redis.until_begun(begun).await;
        worker.kill();
        worker = fleet.worker().await;
    }
    eventually("the others to be done", async || {
        jobs(&gateway, OPEN).await.is_empty()
    })
    .await;
    let dead = jobs(&gateway, "dead").await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["event_id"], "long");
    assert_eq!(dead[0]["crashes"], 3);
    let script = r#"[store.get("long"), store.get("short"), store.get("other")]"#;
    let done = ask(&gateway, 0, script).await;
    assert_eq!(done, serde_json::json!([null, 1, 1]));
}

#[tokio::test]
async fn a_job_that_two_workers_died_of_is_run_by_a_third() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis).with("SCRIPT__THREADS", 2);
    let (gateway, mut worker) = tokio::join!(fleet.gateway(), fleet.worker());
    deliver(&gateway, "long").await;
    redis.until_begun(1).await;
    worker.kill();
    worker = fleet.worker().await;
    redis.until_begun(2).await;
    ask(&gateway, 0, r#"store.set("give in", true)"#).await;
    worker.kill();
    let _worker = fleet.worker().await;
    eventually("it to be done", async || {
        jobs(&gateway, "finished").await.len() == 1
    })
    .await;
    assert_eq!(ask(&gateway, 0, r#"store.get("long")"#).await, 1);
}

#[tokio::test]
async fn a_play_that_three_workers_died_of_is_given_up() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis).with("DISPATCH__JOB_TIMEOUT", "60s");
    let (gateway, mut worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    let deadly = session.begin_play("loop {}").await;
    for begun in 1..=3 {
        redis.until_begun(begun).await;
        worker.kill();
        worker = fleet.worker().await;
    }
    let given_up = session.answer(deadly).await.unwrap_err();
    assert_eq!(given_up["code"], -32007, "{given_up}");
    assert_eq!(session.play("1 + 1").await.unwrap()["value"], 2);
    redis.until_held(0).await;
}

#[tokio::test]
async fn a_job_that_waits_half_way_is_not_what_a_worker_dies_of() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis).with("DISPATCH__JOB_TIMEOUT", "60s");
    let (gateway, worker) = tokio::join!(fleet.gateway(), fleet.worker());
    deliver(&gateway, "long").await;
    redis.until_begun(1).await;
    worker.kill();
    let _worker = fleet.worker().await;
    redis.until_begun(2).await;
    let mut others = Vec::new();
    for n in 20..40 {
        let mut session = gateway.connect_to(circle(n)).await;
        session.login(&key(n)).await;
        session.begin_play("loop {}").await;
        others.push(session);
    }
    eventually("it not to count while it waits", async || {
        !redis.held().await.contains(&2)
    })
    .await;
    redis.until_begun(2).await;
}
