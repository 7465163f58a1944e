//! Callers who leave: nothing runs that nobody waits for.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::{
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{TestServer, busy, key},
};

/// A script that would run longer than any wait here.
const ENDLESS_LOOP: &str = "loop {}";

/// One script thread, so that a caller's runs wait for each other.
async fn one_thread(redis: &RedisServer, per_circle: &str) -> (TestServer, TestServer) {
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__PER_CIRCLE", per_circle)
        .with("DISPATCH__JOB_TIMEOUT", "60s")
        .with("SCRIPT__TIMEOUT", "60s")
        .with("SCRIPT__THREADS", 1);
    tokio::join!(fleet.gateway(), fleet.worker())
}

#[tokio::test]
async fn a_job_that_runs_is_ended_when_its_caller_leaves() {
    let redis = RedisServer::start().await;
    let (gateway, _worker) = one_thread(&redis, "64").await;
    let mut leaver = gateway.log_in(&key(1)).await;
    leaver.begin_play("store.set(\"ran\", true); loop {}").await;
    redis.until_held(1).await;
    // The same caller's scripts wait for one another; those of others would not.
    let mut other = gateway.log_in(&key(1)).await;
    let waits = other.begin_play("store.has(\"ran\")").await;
    redis.until_held(2).await;
    let since = Instant::now();
    leaver.leave().await;
    assert_eq!(other.answer(waits).await.unwrap()["value"], false);
    assert!(since.elapsed() < Duration::from_secs(5));
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_job_that_waits_in_a_worker_is_not_run_once_its_caller_has_left() {
    let redis = RedisServer::start().await;
    let (gateway, _worker) = one_thread(&redis, "64").await;
    let mut stayer = gateway.log_in(&key(1)).await;
    let long = stayer.begin_play(&busy(Duration::from_secs(1), "1")).await;
    redis.until_held(1).await;
    let mut leaver = gateway.log_in(&key(1)).await;
    leaver.begin_play("store.set(\"waited\", true)").await;
    redis.until_held(2).await;
    leaver.leave().await;
    redis.until_held(1).await;
    assert_eq!(stayer.answer(long).await.unwrap()["value"], 1);
    let seen = stayer.play("store.has(\"waited\")").await;
    assert_eq!(seen.unwrap()["value"], false);
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_job_that_waits_in_redis_is_not_run_once_its_caller_has_left() {
    let redis = RedisServer::start().await;
    let (gateway, _worker) = one_thread(&redis, "1").await;
    let mut stayer = gateway.log_in(&key(1)).await;
    let long = stayer.begin_play(&busy(Duration::from_secs(1), "1")).await;
    redis.until_held(1).await;
    let mut leaver = gateway.log_in(&key(1)).await;
    leaver.begin_play("store.set(\"waited\", true)").await;
    redis.until_keys("*:waiting_plays:*", 1).await;
    leaver.leave().await;
    redis.until_keys("*:waiting_plays:*", 0).await;
    assert_eq!(stayer.answer(long).await.unwrap()["value"], 1);
    let seen = stayer.play("store.has(\"waited\")").await;
    assert_eq!(seen.unwrap()["value"], false);
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_for_its_caller_is_ended() {
    let redis = RedisServer::start().await;
    let (gateway, _worker) = one_thread(&redis, "64").await;
    let mut session = gateway.log_in(&key(1)).await;
    let limited = json!({ "script": ENDLESS_LOOP, "timeout_ms": 300 });
    let late = session.call("play", limited).await.unwrap_err();
    assert_eq!(late["code"], -32004, "{late}");
    assert_eq!(session.play("1 + 1").await.unwrap()["value"], 2);
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_job_whose_gateway_is_gone_does_nothing_once_its_time_is_over() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__JOB_TIMEOUT", "60s");
    let (gateway, worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    // The script is known to be short, so it would run where it is taken.
    let script = "store.incr(\"ran\", 1)";
    for n in 1..4 {
        assert_eq!(session.play(script).await.unwrap()["value"], n);
    }
    worker.pause();
    let limited = json!({ "script": script, "timeout_ms": 4000 });
    let begun = Instant::now();
    session.begin("play", limited).await;
    redis.until_keys("*:job_counts:*", 1).await;
    gateway.kill();
    // Its time limit, plus the difference of two machines' clocks.
    let over = Duration::from_millis(4100);
    sleep(over.saturating_sub(begun.elapsed())).await;
    worker.signal(Signal::CONT);
    nothing_is_left(&redis).await;
    let gateway = fleet.gateway().await;
    let mut session = gateway.log_in(&key(1)).await;
    let ran = session.play("store.get(\"ran\")").await;
    assert_eq!(ran.unwrap()["value"], 3);
}

/// Checks that a play leaves nothing behind in Redis.
async fn nothing_is_left(redis: &RedisServer) {
    redis.until_no_plays().await;
    redis.until_held(0).await;
}
