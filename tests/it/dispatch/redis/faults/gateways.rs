//! Gateways are killed while they work.

use super::faults;

use crate::harness::{
    load::{Load, session::Session},
    redis::{Fleet, RedisServer, circle},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_are_killed_lose_nothing_and_leave_nothing() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__PARTITIONS", 2);
    let mut gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on_mortal(&gateways, 3);
    // This gateway is left alone.
    let spared = fleet.gateway().await;
    let mut session = Session::open(spared.address, circle(0)).await.unwrap();
    for n in faults(4) {
        load.progress(5 + n % 7).await;
        gateways.remove(0).kill();
        gateways.push(fleet.gateway().await);
        load.move_to(&gateways);
        let played = session.play("1 + 1", serde_json::json!(null)).await;
        assert_eq!(played.unwrap().unwrap()["value"], 2);
    }
    load.progress(5).await;
    load.finish(&gateways[0]).await;
    // Two for each gateway.
    redis.until_keys("*:inbox:*", 6).await;
    redis.until_no_plays().await;
    redis.until_keys("*:backlog:*", 0).await;
}
