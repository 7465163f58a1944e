//! Limits of a circle hold across gateways.

use std::time::Duration;

use crate::harness::{
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{busy, circle, eventually, key},
};

#[tokio::test]
async fn so_many_plays_of_a_circle_wait_whichever_gateway_they_came_by() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__PER_CIRCLE", 1)
        .with("DISPATCH__REDIS__QUEUE", 2);
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    // The plays of one caller: another one's would not wait for these.
    let mut one = gateways[0].log_in(&key(1)).await;
    let mut two = gateways[1].log_in(&key(1)).await;
    let waiting = async |count: &str| {
        let queue = format!("{{circled:00}}:waiting_plays:{}", circle());
        eventually("a play to wait", async || {
            redis.command(&["ZCARD", &queue]).await == count
        })
        .await;
    };
    let running = one.begin_play(&busy(Duration::from_secs(1), "1")).await;
    redis.until_held(1).await;
    let first = two.begin_play("store.incr(\"n\", 1)").await;
    waiting("1").await;
    let second = one.begin_play("store.incr(\"n\", 1)").await;
    waiting("2").await;
    // One more waits at its gateway.
    let third = two.begin_play("store.incr(\"n\", 1)").await;
    two.fence().await;
    assert!(!two.has_answer(third));
    waiting("2").await;
    // Another circle has limits of its own.
    let mut elsewhere = gateways[1].connect_to(key(5).public()).await;
    elsewhere.login(&key(5)).await;
    assert_eq!(elsewhere.play("5").await.unwrap()["value"], 5);

    assert_eq!(one.answer(running).await.unwrap()["value"], 1);
    // First in, first out, across gateways as well.
    assert_eq!(two.answer(first).await.unwrap()["value"], 1);
    assert_eq!(one.answer(second).await.unwrap()["value"], 2);
    assert_eq!(two.answer(third).await.unwrap()["value"], 3);
    assert_eq!(two.play("store.get(\"n\")").await.unwrap()["value"], 3);
}
