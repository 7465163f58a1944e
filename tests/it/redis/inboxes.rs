//! Gateways that stand still, and what comes for them meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle};
use crate::server::{TestServer, Ws, busy, eventually, key};

/// A session of the owner of [`circle`] 0.
async fn owner(gateway: &TestServer) -> Ws {
    let mut session = gateway.connect_to(circle(0)).await;
    session.login(&key(100)).await;
    session
}

/// Bytes that all inboxes hold in Redis.
async fn held(redis: &RedisServer) -> u64 {
    let sum = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', '*:inbox:*')) do
            sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
        end
        return sum";
    redis.command(&["EVAL", sum, "0"]).await.parse().unwrap()
}

#[tokio::test]
async fn an_inbox_that_nobody_reads_is_bounded_in_bytes_and_events_come_from_the_log() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__INBOX_BYTES", "16MiB")
        .with("DISPATCH__REDIS__LEASE", "10s");
    let (stopped, gateway) = tokio::join!(fleet.gateway(), fleet.gateway());
    let _worker = fleet.worker().await;
    let mut listener = owner(&stopped).await;
    let params = json!({ "topic": "n" });
    listener.call("subscribe", params).await.unwrap();
    let mut emitter = owner(&gateway).await;
    stopped.signal(Signal::STOP);
    // 24 MB of events.
    let script = "let s = \"\"; s.pad(16_000, 'x'); for n in 0..100 { emit(\"n\", s) }";
    let mut most = 0;
    for _ in 0..15 {
        emitter.play(script).await.unwrap();
        most = most.max(held(&redis).await);
    }
    assert!(most < 20 << 20, "{most}");
    stopped.signal(Signal::CONT);
    for id in 1..=1500 {
        assert_eq!(listener.event().await["id"], id);
    }
    // It is there again, with what comes from now on.
    emitter.play("emit(\"n\", 1)").await.unwrap();
    assert_eq!(listener.event().await["id"], 1501);
    listener.play("40 + 2").await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_stood_still_for_longer_than_its_inbox_is_kept_answers_at_once() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__JOB_TIMEOUT", "5m");
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = owner(&gateway).await;
    let script = busy(Duration::from_secs(1), "store.incr(\"n\", 1)");
    let job = session.begin_play(&script).await;
    redis.until_held(1).await;
    gateway.signal(Signal::STOP);
    eventually("its inbox to be gone", async || {
        redis.command(&["KEYS", "*:inbox:*"]).await.is_empty()
    })
    .await;
    gateway.signal(Signal::CONT);
    let error = session.answer(job).await.unwrap_err();
    assert_eq!(error["code"], -32007, "{error}");
    // It had landed all the same.
    let next = session.play("store.incr(\"n\", 1)").await.unwrap();
    assert_eq!(next["value"], 2);
}
