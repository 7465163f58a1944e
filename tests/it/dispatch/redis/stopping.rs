//! Servers that are asked to end.

use std::time::{Duration, Instant};

use crate::harness::{
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{busy, key},
};

/// A time without a wait for any lease.
const SOON: Duration = Duration::from_secs(5);

fn slow_to_take_over(redis: &RedisServer) -> Fleet {
    Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__LEASE", "60s")
        .with("SCRIPT__THREADS", 1)
}

#[tokio::test]
async fn a_worker_finishes_what_runs_and_gives_back_the_rest() {
    let redis = RedisServer::start().await;
    let fleet = slow_to_take_over(&redis);
    let (gateway, mut first) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    let long = session.begin_play(&busy(Duration::from_secs(1), "1")).await;
    redis.until_held(1).await;
    let waiting = [
        session.begin_play("store.incr(\"n\", 1)").await,
        session.begin_play("store.incr(\"n\", 1); 3").await,
    ];
    redis.until_held(3).await;
    let mut second = fleet.worker().await;
    first.sigterm();
    let since = Instant::now();
    assert_eq!(session.answer(long).await.unwrap()["value"], 1);
    for id in waiting {
        session.answer(id).await.unwrap();
    }
    assert!(first.wait().await.success());
    assert!(since.elapsed() < SOON);
    assert_eq!(session.play("store.get(\"n\")").await.unwrap()["value"], 2);
    // An idle one ends as well.
    second.sigterm();
    assert!(second.wait().await.success());
    redis.until_keys("*:alive:*", 0).await;
}

#[tokio::test]
async fn jobs_given_back_by_the_last_worker_run_on_the_next() {
    let redis = RedisServer::start().await;
    let fleet = slow_to_take_over(&redis);
    let (gateway, mut first) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    let long = session
        .begin_play(&busy(Duration::from_millis(500), "1"))
        .await;
    redis.until_held(1).await;
    let waiting = session.begin_play("2 + 2").await;
    redis.until_held(2).await;
    first.sigterm();
    assert!(first.wait().await.success());
    let since = Instant::now();
    let _second = fleet.worker().await;
    assert_eq!(session.answer(waiting).await.unwrap()["value"], 4);
    // On a busy machine it may not have begun yet.
    assert_eq!(session.answer(long).await.unwrap()["value"], 1);
    assert!(since.elapsed() < SOON);
}

#[tokio::test]
async fn jobs_longer_than_the_grace_go_to_another_worker() {
    let redis = RedisServer::start().await;
    let fleet = slow_to_take_over(&redis).with("SERVER__SHUTDOWN_GRACE", "200ms");
    let (gateway, mut first) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    let long = busy(Duration::from_secs(2), "store.incr(\"n\", 1)");
    let long = session.begin_play(&long).await;
    redis.until_held(1).await;
    let _second = fleet.worker().await;
    first.sigterm();
    assert!(first.wait().await.success());
    assert_eq!(session.answer(long).await.unwrap()["value"], 1);
}

#[tokio::test]
async fn a_gateway_answers_what_is_under_way_and_leaves_no_inbox() {
    let redis = RedisServer::start().await;
    let fleet = slow_to_take_over(&redis);
    let (mut gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    redis.until_keys("*:inbox:*", 1).await;
    let mut session = gateway.log_in(&key(1)).await;
    let long = session
        .begin_play(&busy(Duration::from_millis(500), "1"))
        .await;
    redis.until_held(1).await;
    gateway.sigterm();
    assert_eq!(session.answer(long).await.unwrap()["value"], 1);
    assert_eq!(session.closed().await, 1001);
    assert!(gateway.wait().await.success());
    redis.until_keys("*:inbox:*", 0).await;
}
