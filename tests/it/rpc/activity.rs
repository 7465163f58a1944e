//! What happens in a circle, watched: the view `activity`.

use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{add, assert_invalid, assert_refused, closed, ok, put, remove, submit, until},
    devices::{ALL, add_device, connected, device},
    redis::{Fleet, RedisServer, fleet},
    server::{ENDLESS, TestServer, Ws, busy, key, within},
    webhooks::{Webhook, event, taking_stripes},
};

/// The counts, in the order of the server.
const COUNTS: [&str; 9] = [
    "plays",
    "calls",
    "errors",
    "deliveries",
    "duplicates",
    "refused",
    "jobs",
    "failures",
    "conflicts",
];

fn view() -> Value {
    json!({ "view": "activity" })
}

/// Begins to watch, and waits until the circle is counted everywhere: `player` plays until that is seen.
async fn watch(session: &mut Ws, players: &mut [Ws]) {
    let begun = ok(session, "watch", view()).await;
    assert_eq!(counts(&begun["value"]), [0; 9], "{begun}");
    let all = players.len() as u64;
    let counted = async {
        loop {
            let before = next(session).await[0];
            for player in &mut *players {
                player.play("1").await.unwrap();
            }
            let mut after = before;
            // Each server tells within about a second.
            for _ in 0..3 {
                after = next(session).await[0];
            }
            if after == before + all {
                return;
            }
        }
    };
    within("all servers to count", counted).await;
}

fn counts(value: &Value) -> [u64; 9] {
    let since: jiff::Timestamp = value["since"].as_str().unwrap().parse().unwrap();
    let at: jiff::Timestamp = value["at"].as_str().unwrap().parse().unwrap();
    assert!(since <= at, "{value}");
    COUNTS.map(|name| value[name].as_u64().unwrap())
}

/// Returns the counts of the next notification.
async fn next(session: &mut Ws) -> [u64; 9] {
    counts(&session.value().await["value"])
}

/// Waits until so much more is counted, and no more than that.
async fn assert_counted(session: &mut Ws, before: [u64; 9], more: [u64; 9]) {
    let expected: Vec<u64> = before.iter().zip(more).map(|(a, b)| a + b).collect();
    let told = async { while next(session).await != expected[..] {} };
    within(&format!("{COUNTS:?} to be {expected:?}"), told).await;
    for _ in 0..2 {
        assert_eq!(next(session).await, expected[..]);
    }
}

async fn what_happens_is_counted() {
    let server = taking_stripes()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", 1)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut players = [server.log_in(&key(2)).await];
    // Nobody looks yet.
    players[0].play("1").await.unwrap();
    watch(&mut owner, &mut players).await;
    let before = next(&mut owner).await;

    let mut session = server.log_in(&key(2)).await;
    for _ in 0..3 {
        session.play("store.get(\"a\")").await.unwrap();
    }
    session.play("throw 1").await.unwrap_err();
    put(&mut owner, "hello", "ARGS").await;
    for args in 0..2 {
        ok(&mut session, "call", json!(["hello", args])).await;
    }
    session.call("call", json!(["missing"])).await.unwrap_err();
    let webhook = Webhook::stripe(event("evt_1"));
    webhook.kept(&server).await;
    webhook.kept(&server).await;
    let mut unsigned = Webhook::stripe(event("evt_2"));
    unsigned.headers.clear();
    assert_eq!(unsigned.send(&server).await.status, 401);
    for (script, status) in [("1", "finished"), ("throw 1", "dead")] {
        let job = submit(&mut session, json!({ "script": script })).await;
        until(&mut session, &job, status).await;
    }
    // What happens elsewhere doesn't count.
    let mut elsewhere = server.connect_to(key(3).public()).await;
    elsewhere.login(&key(2)).await;
    elsewhere.play("1").await.unwrap();
    let elsewhere = Webhook::stripe(event("evt_3")).to(key(3).public());
    elsewhere.kept(&server).await;
    assert_counted(&mut owner, before, [4, 3, 2, 1, 1, 1, 3, 1, 0]).await;
}

async fn conflicts_are_counted() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut players = [server.log_in(&key(2)).await];
    watch(&mut owner, &mut players).await;
    let before = next(&mut owner).await;
    let (mut one, mut two) = join(server.log_in(&key(3)), server.log_in(&key(4))).await;
    let wait = busy(Duration::from_millis(500), "store.set(\"n\", n + 1)");
    let script = format!("let n = store.get(\"n\", 0); {wait}");
    let (first, second) = join(one.play(&script), two.play(&script)).await;
    first.unwrap();
    second.unwrap();
    let counted = async { while next(&mut owner).await[8] == before[8] {} };
    within("a conflict to be counted", counted).await;
}

async fn only_who_manages_may_look_and_only_as_long() {
    let server = closed("manage = \"member\"\nplay = \"guest\"")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    add_device(&mut owner, &device(1), ALL).await;

    let mut guest = server.log_in(&key(70)).await;
    let answer = guest.call("watch", view()).await;
    assert_refused("a guest", answer, -32003, json!({ "needs": "member" }));
    let mut by_device = connected(&server, &device(1)).await;
    let answer = by_device.call("watch", view()).await;
    assert_refused("a device", answer, -32003, json!({ "scope": null }));
    let both = json!({ "view": "activity", "script": "1" });
    let answer = owner.call("watch", both).await;
    assert_invalid("both", answer, "either");
    let answer = owner.call("watch", json!({ "view": "weather" })).await;
    assert_invalid("an unknown view", answer, "weather");

    let mut member = server.log_in(&key(60)).await;
    ok(&mut member, "watch", view()).await;
    next(&mut member).await;
    remove(&mut owner, &key(60)).await;
    let ended = async {
        loop {
            let told = member.value().await;
            if told["ended"] == true {
                return told;
            }
        }
    };
    let ended = within("the end of the watch", ended).await;
    assert_eq!(ended["needs"], "member");

    let begun = ok(&mut owner, "watch", view()).await;
    next(&mut owner).await;
    let name = json!([begun["subscription"]]);
    assert_eq!(ok(&mut owner, "unsubscribe", name).await, true);
    let others = ok(&mut owner, "watch", json!({ "script": "1" })).await;
    assert_ne!(others["subscription"], begun["subscription"]);
    // It would be told within a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    owner.assert_silent().await;
}

#[tokio::test]
async fn all_servers_count_together() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let mut owner = gateways[0].connect_to(fleet::circle(0)).await;
    owner.login(&key(100)).await;
    let mut players = Vec::new();
    for gateway in &gateways {
        let mut player = gateway.connect_to(fleet::circle(0)).await;
        player.login(&key(101)).await;
        players.push(player);
    }
    watch(&mut owner, &mut players).await;
    let before = next(&mut owner).await;
    for player in &mut players {
        for _ in 0..5 {
            player.play("1").await.unwrap();
        }
        let job = submit(player, json!({ "script": "1" })).await;
        until(player, &job, "finished").await;
    }
    assert_counted(&mut owner, before, [10, 0, 0, 0, 0, 0, 2, 0, 0]).await;
}

on_both!(
    what_happens_is_counted,
    conflicts_are_counted,
    only_who_manages_may_look_and_only_as_long,
);
