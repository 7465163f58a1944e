//! Workers are killed while they work, or asked to end.

use super::faults;

use crate::harness::{
    load::Load,
    redis::{Fleet, RedisServer},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_lose_nothing_to_those_that_take_over() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let mut workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for n in faults(5) {
        // At a different stage of the work each time.
        load.progress(5 + n % 7).await;
        workers.remove(0).kill();
        if n % 2 == 0 {
            load.progress(5).await;
        }
        workers.push(fleet.worker().await);
    }
    load.finish_after_kills(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_worker_is_killed_and_the_next_one_goes_on() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(1).await;
    let mut worker = fleet.worker().await;
    let load = Load::on(&gateways, 2);
    for n in faults(5) {
        load.progress(5 + n % 7).await;
        worker.kill();
        worker = fleet.worker().await;
    }
    load.finish_after_kills(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_asked_to_end_are_not_missed() {
    let redis = RedisServer::start().await;
    // Anything that waits for the lease would be noticed.
    let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__LEASE", "60s");
    let gateways = fleet.gateways(2).await;
    let mut workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for n in faults(4) {
        load.progress(5 + n % 7).await;
        workers.push(fleet.worker().await);
        let mut old = workers.remove(0);
        old.sigterm();
        assert!(old.wait().await.success());
    }
    load.progress(5).await;
    assert_eq!(load.refused(), 0);
    load.finish(&gateways[0]).await;
}
