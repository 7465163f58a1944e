//! Life in a circle whose sessions are on several gateways.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    redis::{Fleet, Proxy, RedisServer},
    server::{TestServer, Ws, eventually, key, within},
};

async fn ok(session: &mut Ws, method: &str, params: Value) -> Value {
    let answer = session.call(method, params).await;
    answer.unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// Opens a session that is subscribed to scripts' events after this one.
async fn subscribed(gateway: &TestServer, since: u64) -> Ws {
    let mut session = gateway.log_in(&key(2)).await;
    let params = json!({ "topic": "n", "since": since });
    ok(&mut session, "subscribe", params).await;
    session
}

/// Counts in the store, and emits the number.
const COUNT: &str = "let n = store.incr(\"n\", 1); emit(\"n\", n); n";

/// Emits events up to this number, whatever the errors. Those whose outcome is unknown may have been emitted, too.
async fn count(gateway: &TestServer, to: u64) {
    let mut session = gateway.log_in(&key(3)).await;
    loop {
        match session.play(COUNT).await {
            Ok(run) if run["value"].as_u64().unwrap() >= to => return,
            Ok(_) => {}
            // Out of reach, too late, or too many at once.
            Err(error) => assert!(
                [-32004, -32005, -32007, -32009].contains(&error["code"].as_i64().unwrap()),
                "{error}"
            ),
        }
    }
}

/// Checks that the events after `last` come in order, whatever was emitted.
async fn follow(session: &mut Ws, last: &mut u64, to: u64) {
    while *last < to {
        let event = session.event().await;
        *last += 1;
        let found = (&event["id"], &event["data"]);
        assert_eq!(found, (&json!(*last), &json!(*last)), "{event}");
    }
}

/// When a session leaves, its turn to read the log ends with the read.
#[tokio::test]
async fn a_read_of_the_log_is_waited_for_though_its_session_leaves() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with("DISPATCH__REDIS__TIMEOUT", "60s")
        .with("DISPATCH__REDIS__LEASE", "120s");
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut session = gateway.log_in(&key(2)).await;
    for _ in 0..90 {
        let emit = "for n in 0..100 { emit(\"news\", n) }";
        session.play(emit).await.unwrap();
    }
    // No event has this topic, so one page is read after the other.
    let params = json!({ "topic": "none", "since": 0 });
    let mut begun = Vec::new();
    for _ in 0..16 {
        begun.push(session.begin("subscribe", params.clone()).await);
    }
    for id in begun {
        session.answer(id).await.unwrap();
    }
    redis.pause();
    session.leave().await;
    let sessions = async || gateway.admin("/readyz").await.json()["sessions"].clone();
    for _ in 0..20 {
        assert_eq!(sessions().await, 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redis.resume();
    eventually("the read to be over", async || sessions().await == 0).await;
}

#[tokio::test]
async fn events_reach_the_sessions_of_all_gateways_in_one_order() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(3).await;
    let _workers = fleet.workers(2).await;
    let mut sessions = Vec::new();
    for gateway in gateways.iter().chain(&gateways) {
        sessions.push(subscribed(gateway, 0).await);
    }
    let all = 300;
    let emitting = join_all(gateways.iter().map(|gateway| count(gateway, all)));
    let following = join_all(sessions.iter_mut().map(async |session| {
        follow(session, &mut 0, all).await;
    }));
    tokio::join!(emitting, following);
}

#[tokio::test]
async fn a_member_removed_at_one_gateway_is_removed_at_all() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with("CIRCLES__PLAY", "member")
        .with("CIRCLES__SUBSCRIBE", "member");
    let gateways = fleet.gateways(2).await;
    let _worker = fleet.worker().await;
    let mut owner = gateways[0].log_in(&key(1)).await;
    let member = json!([key(2).public()]);
    for round in 0..5 {
        ok(&mut owner, "add_member", member.clone()).await;
        let mut sessions = Vec::new();
        for gateway in &gateways {
            let mut session = gateway.log_in(&key(2)).await;
            ok(&mut session, "subscribe", json!({})).await;
            assert_eq!(session.play("1").await.unwrap()["value"], 1);
            sessions.push(session);
        }
        ok(&mut owner, "remove_member", member.clone()).await;
        for session in &mut sessions {
            let error = session.play("1").await.unwrap_err();
            assert_eq!(error["code"], -32003, "round {round}: {error}");
            let event = session.event().await;
            assert_eq!(event["ended"], true, "round {round}: {event}");
        }
    }
}

#[tokio::test]
async fn subscribers_continue_at_another_gateway() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let steady = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let all = 600;
    let moving = async {
        let mut last = 0;
        while last < all {
            let gateway = fleet.gateway().await;
            let mut session = subscribed(&gateway, last).await;
            let to = (last + 70).min(all);
            follow(&mut session, &mut last, to).await;
            gateway.kill();
        }
    };
    tokio::join!(count(&steady, all), moving);
}

/// A gateway that was cut off from Redis reads the missed events; its sessions notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_miss_nothing_while_redis_is_out_of_reach() {
    let redis = RedisServer::start().await;
    let network = Proxy::to(redis.port()).await;
    let cut_off = Fleet::on(network.url()).gateway().await;
    let fleet = Fleet::on(redis.url());
    let steady = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut session = subscribed(&cut_off, 0).await;
    let mut last = 0;
    for round in 1..=12_u64 {
        let to = round * 40;
        let failing = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(40)).await;
                match round % 3 {
                    0 => {
                        network.refuse();
                        network.cut();
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        network.accept();
                    }
                    1 => network.cut(),
                    _ => {
                        network.stall();
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        network.flow();
                    }
                }
            }
        };
        let emitting = count(&steady, to);
        let following = follow(&mut session, &mut last, to);
        let round = Box::pin(async { tokio::join!(failing, emitting, following) });
        within("a round", round).await;
    }
    // It can still be used.
    eventually("a play there", async || session.play("1").await.is_ok()).await;
}

/// Redis comes back with the data on its disk.
#[tokio::test]
async fn subscribers_miss_nothing_when_redis_restarts() {
    let mut redis = RedisServer::start_with(&["--appendfsync", "always"]).await;
    let fleet = Fleet::on(redis.url());
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut session = subscribed(&gateway, 0).await;
    let mut last = 0;
    for round in 1..=3_u64 {
        count(&gateway, round * 20).await;
        redis.restart().await;
        let to = round * 20 + 5;
        let both = Box::pin(async {
            tokio::join!(count(&gateway, to), follow(&mut session, &mut last, to))
        });
        within("what comes after", both).await;
    }
}
