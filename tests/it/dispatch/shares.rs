//! Nobody fills a circle's backlog alone.

use std::time::Duration;

use circled_protocol::SecretKey;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{add, ok, refused, submit, until},
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{TestServer, Ws, circle, key},
};

const OF_CALLER: &str = "a caller's share of dispatch.durable.backlog";
const OF_GUESTS: &str = "the guests' share of dispatch.durable.backlog";
const OF_ALL: &str = "dispatch.durable.backlog";

/// A job that waits for its time.
fn later() -> Value {
    let run_at = (Timestamp::now() + Duration::from_secs(3600)).to_string();
    json!({ "script": "1", "run_at": run_at })
}

/// Submits so many jobs, and checks that one more is refused.
async fn fill(session: &mut Ws, jobs: usize, limit: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..jobs {
        ids.push(submit(session, later()).await);
    }
    assert_full(session, limit).await;
    ids
}

async fn assert_full(session: &mut Ws, limit: &str) {
    let (code, data) = refused("one more", session.call("submit_job", later()).await);
    // Waiting doesn't help.
    assert_eq!((code, &data), (-32005, &json!({ "limit": limit })));
}

async fn guests_leave_room_to_members_and_all_to_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestServer::builder()
            .data(folder.path())
            // 16 for callers: 4 at most of each, 8 of guests, 12 without the owner.
            .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "32")
            .start()
    };
    let log_in = async |server: &TestServer, who: &SecretKey| server.log_in(who).await;
    let server = start().await;
    let mut owner = log_in(&server, &key(1)).await;
    for member in [5, 6] {
        add(&mut owner, &key(member)).await;
    }
    let mut guest = log_in(&server, &key(2)).await;
    let jobs = fill(&mut guest, 4, OF_CALLER).await;
    let mut another = log_in(&server, &key(3)).await;
    fill(&mut another, 4, OF_CALLER).await;
    let mut third = log_in(&server, &key(4)).await;
    fill(&mut third, 0, OF_GUESTS).await;
    let mut member = log_in(&server, &key(5)).await;
    fill(&mut member, 4, OF_CALLER).await;
    let mut other_member = log_in(&server, &key(6)).await;
    fill(&mut other_member, 0, OF_ALL).await;
    let own = fill(&mut owner, 4, OF_ALL).await;

    // The next server knows whose they are.
    server.kill();
    let server = start().await;
    let mut guest = log_in(&server, &key(2)).await;
    let mut third = log_in(&server, &key(4)).await;
    let mut owner = log_in(&server, &key(1)).await;
    assert_full(&mut guest, OF_CALLER).await;
    assert_full(&mut third, OF_GUESTS).await;
    assert_full(&mut owner, OF_ALL).await;
    // What is stopped makes room.
    for job in jobs.iter().chain(&own) {
        ok(&mut owner, "stop_job", json!([job])).await;
    }
    fill(&mut third, 4, OF_CALLER).await;
    fill(&mut guest, 0, OF_GUESTS).await;
    let mut other_member = log_in(&server, &key(6)).await;
    fill(&mut other_member, 0, OF_ALL).await;
    fill(&mut owner, 4, OF_ALL).await;
}

async fn what_has_run_makes_room() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "8")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let mut guest = server.log_in(&key(2)).await;
    for n in 0..8 {
        let ends = ["finished", "dead"][n % 2];
        let script = ["1", "throw 1"][n % 2];
        let job = submit(&mut guest, json!({ "script": script })).await;
        until(&mut guest, &job, ends).await;
        if ends == "dead" {
            // It runs once more.
            ok(&mut guest, "retry_job", json!([job])).await;
            until(&mut guest, &job, ends).await;
        }
    }
    fill(&mut guest, 1, OF_CALLER).await;
}

/// A server of an earlier version ends jobs, and doesn't know that they were counted.
#[tokio::test]
async fn jobs_that_are_over_do_not_count_for_ever() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__DURABLE__BACKLOG", 8);
    let gateways = fleet.gateways(1).await;
    let _workers = fleet.workers(1).await;
    let guest = key(2).public();
    let open = format!("{{circled:00}}:open_jobs:{}", circle());
    let over = format!("g{guest}01923f5e-0000-7000-8000-000000000000");
    redis.command(&["ZADD", &open, "0", &over]).await;
    let mut session = gateways[0].log_in(&key(2)).await;
    assert_full(&mut session, OF_CALLER).await;
    let job = fill(&mut session, 1, OF_CALLER).await;
    assert_eq!(redis.command(&["ZCARD", &open]).await, "1");
    ok(&mut session, "stop_job", json!([job[0]])).await;
    assert_eq!(redis.command(&["EXISTS", &open]).await, "0");
}

on_both!(
    guests_leave_room_to_members_and_all_to_the_owner,
    what_has_run_makes_room,
);
