//! Processes that stand still for longer than a lease, and then continue as if nothing had happened.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::faults;
use crate::harness::{
    load::Load,
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{TestServer, busy, key},
};

/// Longer than a lease, and than the additional wait of others.
const STANDSTILL: Duration = Duration::from_millis(2500);

/// Waits, because only time has to pass.
pub(super) async fn stand_still() {
    sleep(STANDSTILL).await;
}

#[tokio::test]
async fn a_job_of_a_worker_that_stands_still_is_done_once_by_another() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("SCRIPT__TIMEOUT", "8s");
    let (gateway, first) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = gateway.log_in(&key(1)).await;
    let script = busy(Duration::from_millis(500), "store.incr(\"n\", 1)");
    let job = session.begin_play(&script).await;
    redis.until_held(1).await;
    first.pause();
    let _second = fleet.worker().await;
    redis.until_begun(2).await;
    assert_eq!(session.answer(job).await.unwrap()["value"], 1);
    first.signal(Signal::CONT);
    // It works again: with the other one stopped, nobody else could.
    _second.pause();
    for n in 2..5 {
        let script = format!("{script} + 0 * {n}");
        assert_eq!(session.play(&script).await.unwrap()["value"], n);
    }
    session.assert_silent().await;
    _second.signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_stand_still_under_load_do_nothing_twice() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for n in faults(2) {
        load.progress(10).await;
        let worker: &TestServer = &workers[n % 2];
        worker.pause();
        stand_still().await;
        load.progress(5).await;
        worker.signal(Signal::CONT);
    }
    load.progress(5).await;
    load.finish(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_loses_and_doubles_nothing() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for _ in faults(2) {
        load.progress(10).await;
        redis.pause();
        stand_still().await;
        redis.resume();
        load.progress(5).await;
    }
    load.finish(&gateways[0]).await;
}
