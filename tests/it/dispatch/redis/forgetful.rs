//! Redis is emptied, or forgets the scripts.

use crate::harness::{
    load::{Load, delivery, session::ask},
    redis::{Fleet, RedisServer},
    server::eventually,
    webhooks::Said,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_redis_forgot_the_scripts() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(1).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 2);
    for _ in 0..10 {
        load.progress(5).await;
        assert_eq!(redis.command(&["SCRIPT", "FLUSH"]).await, "OK");
    }
    load.progress(5).await;
    assert_eq!(load.refused(), 0);
    load.finish(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_goes_on_after_redis_was_emptied() {
    let redis = RedisServer::start().await;
    // Nobody knows any more of plays that were under way, so their callers wait for the whole timeout.
    let fleet = Fleet::on(redis.url()).with("DISPATCH__JOB_TIMEOUT", "2s");
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 2);
    for _ in 0..2 {
        load.progress(10).await;
        assert_eq!(redis.command(&["FLUSHALL"]).await, "OK");
    }
    load.progress(10).await;
    load.abandon().await;
    // The store is empty, and a delivery is done once.
    let said = delivery(0, "after").offer(gateways[0].address).await;
    assert_eq!(said, Some(Said::Kept));
    eventually("the delivery to be done", async || {
        ask(&gateways[1], 0, "store.get(\"delivery/after\", 0)").await == 1
    })
    .await;
}
