//! The cost of listing jobs when there are many.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::dispatch::lists::walk;
use crate::harness::{
    calls::{submit, until},
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle},
    server::{TestServer, Ws, eventually, key},
};

const MANY: usize = 20_000;

/// Copies the only job so many times, in a circle of its own beside it, half of them dead.
const COPY: &str = r"
    local id, circle, other = ARGV[1], ARGV[2], ARGV[3]
    local name = id:gsub('%-', '%%-')
    local record = redis.call('HGET', '{circled:00}:job:' .. id, 'record')
    for n = 1, tonumber(ARGV[4]) do
        local copy = id:sub(1, 24) .. string.format('%012d', n)
        local where = n % 4 < 2 and circle or other
        local of = record:gsub(name, copy, 1):gsub(circle, where, 1)
        if n % 2 == 0 then
            of = of:gsub('finished', 'dead', 1)
            -- Ten of them ended together.
            redis.call('ZADD', '{circled:00}:dead', 1700000000000 + n - n % 20, copy)
        end
        redis.call('HSET', '{circled:00}:job:' .. copy, 'record', of)
        redis.call('ZADD', '{circled:00}:index', 0, where .. copy)
    end";

async fn page(gateway: &TestServer, query: &str) -> Value {
    gateway.admin(&format!("/jobs?{query}")).await.json()
}

#[tokio::test]
async fn a_page_of_jobs_costs_about_a_page_however_many_there_are() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let gateway = fleet.gateway().await;
    let worker = fleet.worker().await;
    let mut owner = gateway.connect_to(circle(0)).await;
    owner.login(&key(100)).await;
    let job = owner.call("submit_job", json!({ "script": "7" })).await;
    let job = job.unwrap()["job_id"].as_str().unwrap().to_owned();
    eventually("the job to end", async || {
        owner.call("get_job", json!([job])).await.unwrap()["value"] == 7
    })
    .await;
    worker.kill();
    let (circle, other) = (circle(0).to_string(), circle(1).to_string());
    let many = MANY.to_string();
    redis
        .command(&["EVAL", COPY, "0", &job, &circle, &other, &many])
        .await;

    for query in [
        "status=finished",
        "status=dead",
        &format!("status=finished&circle={other}"),
    ] {
        let before = redis.sent().await;
        let page = page(&gateway, &format!("{query}&limit=20")).await;
        let bytes = redis.sent().await - before;
        assert_eq!(page["jobs"].as_array().unwrap().len(), 20, "{query}");
        assert!(page["cursor"].is_string(), "{query}");
        assert!(bytes < 200_000, "{query}: {bytes}");
    }
    for (states, count) in [
        ("finished", MANY / 2 + 1),
        ("dead", MANY / 2),
        ("finished,dead", MANY + 1),
    ] {
        let jobs = gateway.jobs(states).await;
        let names: HashSet<_> = jobs.iter().map(|job| job["job_id"].to_string()).collect();
        assert_eq!((jobs.len(), names.len()), (count, count), "{states}");
    }
    // The same jobs for their owner. What an earlier version has noted of dead letters is made complete at the first look.
    let dead = json!({ "status": "dead", "limit": 20 });
    let count = async |index: &str| {
        let index = format!("{{circled:00}}:{index}");
        redis.command(&["ZCARD", &index]).await
    };
    for (removed, left) in [(0, MANY / 2), (100, MANY / 2 - 100), (0, MANY / 2 - 100)] {
        for _ in 0..removed {
            redis.command(&["ZPOPMIN", "{circled:00}:dead"]).await;
        }
        let before = redis.sent().await;
        let page = owner.call("list_jobs", dead.clone()).await.unwrap();
        let bytes = redis.sent().await - before;
        assert_eq!(page["jobs"].as_array().unwrap().len(), 20);
        assert!(bytes < 100_000, "{bytes}");
        let counts = [count("dead").await, count("dead_by_circle").await];
        assert!(
            counts.iter().all(|count| count.contains(&left.to_string())),
            "{counts:?}"
        );
    }
    // They are counted without reading them.
    let before = redis.sent().await;
    let counted = owner.call("retry_dead", json!({})).await.unwrap();
    let bytes = redis.sent().await - before;
    assert_eq!(counted["dead"], (MANY / 2 - 100) / 2);
    assert!(bytes < 20_000, "{bytes}");
    let error = gateway.admin("/jobs?status=dead&after=019ab1c2").await;
    assert_eq!(error.status, 400);
}

#[tokio::test]
async fn dead_jobs_are_found_though_an_index_is_as_long_as_if_it_were_right() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__DURABLE__MAX_TRIES", 1);
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut owner = gateway.connect_to(circle(0)).await;
    owner.login(&key(100)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(&mut owner, json!({ "script": "throw 1" })).await);
        until(&mut owner, ids.last().unwrap(), "dead").await;
    }
    // As if an earlier version had the first one die, and the last one run again.
    let first = format!("{}{}", circle(0), ids[0]);
    redis
        .command(&["ZREM", "{circled:00}:dead_by_circle", &first])
        .await;
    redis.command(&["ZREM", "{circled:00}:dead", &ids[2]]).await;
    let listed = async |owner: &mut Ws| walk(owner, json!({ "status": "dead" })).await;
    assert_eq!(listed(&mut owner).await, [&ids[2][..], &ids[1]]);
    let _next = fleet.worker().await;
    eventually("a worker to look at all of them", async || {
        listed(&mut owner).await == [&ids[1][..], &ids[0]]
    })
    .await;
}

#[tokio::test]
async fn usage_is_told_however_many_keys_have_expired() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut owner = gateway.connect_to(circle(0)).await;
    owner.login(&key(100)).await;
    owner.play("store.set(\"a\", 1)").await.unwrap();
    // They stay: nobody knows that some have expired in this circle.
    let expired = r"
        for n = 1, 25000 do
            local key = 'k' .. n
            redis.call('HSET', '{circled:00}:store:' .. ARGV[1], key, struct.pack('>BI8', 1, 1000000) .. '1')
            redis.call('ZADD', '{circled:00}:store_keys:' .. ARGV[1], 0, key)
            redis.call('ZADD', '{circled:00}:expiring:' .. ARGV[1], 1000000, key)
        end";
    let circle = circle(0).to_string();
    redis.command(&["EVAL", expired, "0", &circle]).await;
    let usage = owner.call("usage", json!({})).await.unwrap();
    assert_eq!(usage["keys"], 25_001);
}

/// Copies the only job so many times, for each of so many callers in turn.
const COPY_FOR_CALLERS: &str = r"
    local id, circle = ARGV[1], ARGV[2]
    local name = id:gsub('%-', '%%-')
    local record = redis.call('HGET', '{circled:00}:job:' .. id, 'record')
    redis.call('DEL', '{circled:00}:index', '{circled:00}:submitted')
    for n = 1, tonumber(ARGV[4]) do
        local copy = id:sub(1, 24) .. string.format('%012d', n)
        local caller = string.format('%064x', n % tonumber(ARGV[3]))
        redis.call('HSET', '{circled:00}:job:' .. copy, 'record', (record:gsub(name, copy, 1)))
        redis.call('ZADD', '{circled:00}:index', 0, circle .. copy)
        redis.call('ZADD', '{circled:00}:submitted', 0, circle .. caller .. copy)
    end";

#[tokio::test]
async fn a_page_of_submitted_jobs_costs_about_a_page_however_many_callers_there_are() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let gateway = fleet.gateway().await;
    let worker = fleet.worker().await;
    let mut owner = gateway.connect_to(circle(0)).await;
    owner.login(&key(100)).await;
    let job = owner.call("submit_job", json!({ "script": "7" })).await;
    let job = job.unwrap()["job_id"].as_str().unwrap().to_owned();
    eventually("the job to end", async || {
        owner.call("get_job", json!([job])).await.unwrap()["value"] == 7
    })
    .await;
    worker.kill();
    // Each has twenty. Those of few callers are merged, and those of many are found among all jobs.
    for callers in [50, 400, 600] {
        let ids: [String; 4] = [
            job.clone(),
            circle(0).to_string(),
            callers.to_string(),
            (20 * callers).to_string(),
        ];
        let copy = [
            &["EVAL", COPY_FOR_CALLERS, "0"],
            &ids.each_ref().map(String::as_str)[..],
        ];
        redis.command(&copy.concat()).await;
        let params = json!({ "kind": "submitted", "limit": 20 });
        let before = redis.sent().await;
        let page = owner.call("list_jobs", params).await.unwrap();
        let bytes = redis.sent().await - before;
        assert!(bytes < 700_000, "{callers}: {bytes}");
        let found = page["jobs"].as_array().unwrap().iter();
        let found: Vec<_> = found.map(|job| job["job_id"].clone()).collect();
        let newest = (0..20).map(|n| format!("{}{:012}", &job[..24], 20 * callers - n));
        let newest: Vec<_> = newest.map(Value::from).collect();
        assert_eq!(found, newest, "{callers}");
        let jobs = walk(&mut owner, json!({ "kind": "submitted", "limit": 500 })).await;
        let different: HashSet<_> = jobs.iter().collect();
        assert_eq!((jobs.len(), different.len()), (20 * callers, 20 * callers));
    }
}
