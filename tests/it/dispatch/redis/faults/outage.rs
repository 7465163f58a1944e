//! Redis is gone for a while, or accepts nothing.

use serde_json::json;

use super::{faults, pause::stand_still};
use crate::harness::{
    load::{Load, delivery, session::Session},
    redis::{Fleet, RedisServer, circle},
    server::{TestServer, eventually},
    webhooks::Said,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_goes_on_after_redis_was_gone() {
    // With a sync each second, it would answer before it has written while a sync is slow.
    let mut redis = RedisServer::start_with(&["--appendfsync", "always"]).await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for n in faults(2) {
        load.progress(20).await;
        redis.kill();
        // They stay, and so do the sessions: the load would notice.
        for server in gateways.iter().chain(&workers) {
            readiness(server, 503).await;
        }
        // New callers can log in.
        let gateway = &gateways[n % 2];
        let mut session = Session::open(gateway.address, circle(0)).await.unwrap();
        let refused = session.play("1", json!(null)).await.unwrap().unwrap_err();
        assert_eq!(refused["code"], -32007, "{refused}");
        assert!(refused["data"]["retry_after_ms"].is_u64(), "{refused}");
        let said = delivery(0, "refused").offer(gateway.address).await;
        assert_eq!(said, Some(Said::ComeBack));
        load.refusals(4).await;
        redis.restart().await;
        for server in gateways.iter().chain(&workers) {
            readiness(server, 200).await;
        }
        load.progress(5).await;
        let played = session.play("1 + 1", json!(null)).await.unwrap();
        assert_eq!(played.unwrap()["value"], 2);
    }
    load.finish(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_goes_on_after_redis_was_full() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    let limit_memory = async |bytes: &str| {
        redis.command(&["CONFIG", "SET", "maxmemory", bytes]).await;
    };
    for _ in faults(2) {
        load.progress(10).await;
        limit_memory("1").await;
        for server in gateways.iter().chain(&workers) {
            readiness(server, 503).await;
        }
        load.refusals(4).await;
        // Longer than a lease: workers stay registered.
        stand_still().await;
        limit_memory("0").await;
        for server in gateways.iter().chain(&workers) {
            readiness(server, 200).await;
        }
    }
    load.progress(5).await;
    load.finish(&gateways[0]).await;
}

async fn readiness(server: &TestServer, status: u16) {
    eventually(&format!("/readyz to say {status}"), async || {
        server.admin("/readyz").await.status == status
    })
    .await;
}
