//! Jobs that workers can't read, because they are damaged or of a newer version: the error is reported, or counts as a
//! try, and no other job waits behind them.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    load::{delivery, session::ask},
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle, resp::Reply},
    server::{OPEN, TestServer, eventually, key, post},
    webhooks::Said,
};

const JOBS: &str = "{circled:00}:jobs";

/// The number of jobs of each kind.
const EACH: usize = 10;

/// An id that no job has.
const NO_JOB: &str = "00000000-0000-7000-8000-000000000000";

fn fleet(redis: &RedisServer) -> Fleet {
    Fleet::running(redis.url(), "store.incr(EVENT.id, 1)")
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__JOB_TIMEOUT", "300s")
        .with("DISPATCH__REDIS__PER_CIRCLE", 1)
        .with("DISPATCH__DURABLE__MAX_TRIES", 3)
}

impl RedisServer {
    /// Returns the entries of the stream: their ids, and their fields as pairs.
    async fn entries(&self) -> Vec<(String, Vec<(String, String)>)> {
        let found = self.ask(&["XRANGE", JOBS, "-", "+"]).await;
        let entry = |entry: &Reply| {
            let fields = entry.items()[1].items().chunks_exact(2);
            let fields = fields.map(|pair| (pair[0].to_string(), pair[1].to_string()));
            (entry.items()[0].to_string(), fields.collect())
        };
        found.items().iter().map(entry).collect()
    }

    /// Replaces the entries of plays.
    async fn rewrite_plays(&self, rewrite: impl Fn(&str) -> String) {
        for (id, fields) in self.entries().await {
            if let [(kind, play)] = &fields[..] {
                self.command(&["XDEL", JOBS, &id]).await;
                self.command(&["XADD", JOBS, "*", kind, &rewrite(play)])
                    .await;
            }
        }
    }
}

async fn deliver(gateway: &TestServer, id: String) {
    let said = delivery(0, &id).offer(gateway.address).await;
    assert_eq!(said, Some(Said::Kept));
}

async fn jobs(gateway: &TestServer, status: &str) -> Vec<Value> {
    gateway.jobs(status).await
}

#[tokio::test]
async fn a_play_that_no_worker_can_read_is_answered_at_once() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis);
    let gateway = fleet.gateway().await;
    let mut session = gateway.connect_to(circle(0)).await;
    session.login(&key(3)).await;
    // The second waits in the circle's queue.
    let first = session.begin_play("1").await;
    eventually("the play to be there", async || {
        redis.entries().await.len() == 1
    })
    .await;
    let second = session.begin_play("2").await;
    redis.until_keys("*:waiting_plays:*", 1).await;
    redis
        .rewrite_plays(|play| play.replace("\"caller\":", "\"caller\":[],\"called\":"))
        .await;
    let _worker = fleet.worker().await;
    let unread = session.answer(first).await.unwrap_err();
    assert_eq!(unread["code"], -32007, "{unread}");
    assert_eq!(session.answer(second).await.unwrap()["value"], 2);
    redis.until_no_plays().await;
    redis.until_held(0).await;
}

#[tokio::test]
async fn jobs_that_no_worker_can_read_go_to_the_dead_letters_and_those_behind_them_run() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis);
    let gateway = fleet.gateway().await;
    let all = (0..EACH).flat_map(|n| {
        ["damaged", "newer", "input", "good"].map(|what| deliver(&gateway, format!("{what}-{n}")))
    });
    join_all(all).await;
    let mut named = Vec::new();
    for job in jobs(&gateway, OPEN).await {
        let id = job["job_id"].as_str().unwrap().to_owned();
        let key = format!("{{circled:00}}:job:{id}");
        let record = redis.command(&["HGET", &key, "record"]).await;
        let event = job["event_id"].as_str().unwrap().to_owned();
        let (field, value) = match event.split('-').next().unwrap() {
            "damaged" => ("record", "{\"id\":".to_owned()),
            "newer" => ("record", record.replace("\"pending\"", "\"resting\"")),
            "input" => ("input", "{\"event\":".to_owned()),
            _ => continue,
        };
        redis.command(&["HSET", &key, field, &value]).await;
        // The fields that are in the entry are the same.
        for (entry, fields) in redis.entries().await {
            if fields.contains(&("job".to_owned(), id.clone())) {
                let circle = circle(0).to_string();
                redis.command(&["XDEL", JOBS, &entry]).await;
                redis
                    .command(&[
                        "XADD", JOBS, "*", "job", &id, "circle", &circle, field, &value,
                    ])
                    .await;
            }
        }
        named.push((event, id));
    }
    assert_eq!(named.len(), 3 * EACH, "{named:?}");

    let mut worker = fleet.worker().await;
    eventually("the others to run, and these to be given up", async || {
        jobs(&gateway, OPEN).await.is_empty()
    })
    .await;
    let ran = ask(&gateway, 0, "store.keys(\"\")").await;
    assert_eq!(ran.as_array().unwrap().len(), EACH, "{ran}");
    let dead = jobs(&gateway, "dead").await;
    assert_eq!(dead.len(), 3 * EACH, "{dead:?}");
    for job in &dead {
        let (event, _) = named.iter().find(|(_, id)| job["job_id"] == **id).unwrap();
        assert_eq!(job["tries"], 3, "{job}");
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains("can't be read"), "{job}");
        let caller = if event.starts_with("damaged") {
            "unknown"
        } else {
            "webhook:stripe"
        };
        assert_eq!(job["caller"], caller);
    }
    redis.until_held(0).await;

    // Nobody knows the script's source, so it can't be compiled anew.
    let (_, input) = named.iter().find(|(event, _)| event == "input-0").unwrap();
    let path = format!("/jobs/{input}/retry");
    let admin = gateway.admin_address().unwrap();
    let refused = post(admin, &path, &axum::http::HeaderMap::new(), b"").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "unreadable");

    // A version that can read it finds all of it there.
    let (_, newer) = named.iter().find(|(event, _)| event == "newer-0").unwrap();
    let key = format!("{{circled:00}}:job:{newer}");
    let record = redis.command(&["HGET", &key, "record"]).await;
    let record = record.replace("resting", "pending");
    redis.command(&["HSET", &key, "record", &record]).await;
    let path = format!("/jobs/{newer}/retry");
    post(admin, &path, &axum::http::HeaderMap::new(), b"").await;
    eventually("it to run", async || {
        ask(&gateway, 0, "store.get(\"newer-0\")").await == 1
    })
    .await;

    worker.sigterm();
    let log = worker.whole_log().await;
    let said = log.matches("failed to read a durable job").count();
    assert_eq!(said, 3 * EACH, "once for each: {log}");
}

#[tokio::test]
async fn foreign_entries_are_dropped_and_keep_nobody_waiting() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis);
    let gateway = fleet.gateway().await;
    let circle = circle(0).to_string();
    for fields in [
        &["some", "thing"][..],
        &["play", "no JSON"],
        &["play", "{}"],
        &["waited", "[]"],
        &["job", "nonsense", "circle", &circle],
        &["job", NO_JOB, "circle", &circle],
        &["job", NO_JOB],
        &["job", NO_JOB, "circle", "nonsense"],
        &[
            "job", NO_JOB, "circle", &circle, "record", "{", "input", "{",
        ],
    ] {
        for _ in 0..10 {
            redis
                .command(&[&["XADD", JOBS, "*"], fields].concat())
                .await;
        }
    }
    let backlog = format!("{{circled:00}}:backlog:{circle}");
    let delayed = "{circled:00}:delayed";
    for n in 0..300 {
        let name = format!("nonsense {n}");
        redis.command(&["RPUSH", &backlog, &name]).await;
        redis.command(&["ZADD", delayed, "0", &name]).await;
    }
    let _worker = fleet.worker().await;
    deliver(&gateway, "good".to_owned()).await;
    eventually("it to run", async || {
        ask(&gateway, 0, "store.get(\"good\")").await == 1
    })
    .await;
    eventually("the rest to be gone", async || {
        redis.command(&["XLEN", JOBS]).await == "0"
            && redis.command(&["ZCARD", delayed]).await == "0"
            && redis.command(&["LLEN", &backlog]).await == "0"
    })
    .await;
    redis.until_held(0).await;
    redis.until_no_plays().await;
    assert_eq!(jobs(&gateway, OPEN).await, Vec::<Value>::new());
    assert_eq!(ask(&gateway, 0, "40 + 2").await, json!(42));
}
