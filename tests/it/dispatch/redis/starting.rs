//! Starting gateways and workers: refused settings, and warnings.

use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{
    load::{Load, delivery},
    redis::{Fleet, RedisServer},
    server::{Builder, PATIENCE, TestServer, eventually, key},
    webhooks::Said,
};

#[tokio::test]
async fn a_gateway_says_that_no_worker_is_there() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let mut gateway = fleet.gateway().await;
    gateway
        .logged("that there are none", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("there is no worker")
        })
        .await;
    assert_eq!(gateway.admin("/readyz").await.json()["workers"], 0);
    let _worker = fleet.worker().await;
    eventually("the worker to be counted", async || {
        gateway.admin("/readyz").await.json()["workers"] == 1
    })
    .await;
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let redis = RedisServer::start().await;
    let _gateway = Fleet::on(redis.url()).gateway().await;
    let other = Fleet::on(redis.url()).with("DISPATCH__REDIS__PARTITIONS", 8);
    for builder in [other.builder(), other.builder().worker()] {
        let (status, said) = builder.give_up().await;
        assert!(!status.success());
        assert!(
            said.contains("set dispatch.redis.partitions = 16")
                && said.contains("has 16 partitions"),
            "{said}"
        );
    }
    // In another namespace, everything is new.
    let other = other.with("DISPATCH__REDIS__NAMESPACE", "other");
    other.gateway().await;
}

#[tokio::test]
async fn the_database_that_the_url_names_is_the_one() {
    let redis = RedisServer::start().await;
    for url in ["/1", "?db=1"] {
        redis.command(&["FLUSHALL"]).await;
        let fleet = Fleet::on(format!("{}{url}", redis.url()));
        let gateways = fleet.gateways(1).await;
        let _worker = fleet.worker().await;
        let load = Load::on(&gateways, 2);
        load.progress(10).await;
        load.finish(&gateways[0]).await;
        let keys = redis.command(&["INFO", "keyspace"]).await;
        assert!(keys.contains("db1:") && !keys.contains("db0:"), "{keys}");
    }
    let fleet = Fleet::on(format!("{}?database=1", redis.url()));
    let (status, said) = fleet.builder().give_up().await;
    assert!(!status.success());
    assert!(
        said.contains("has a query parameter, number 1, which is none of those for redis:// (db)"),
        "{said}"
    );
    assert!(
        !said.contains("has a query parameter \"database\""),
        "{said}"
    );
}

#[tokio::test]
async fn without_redis_they_begin_and_work_once_it_is_there() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let fleet = Fleet::on(redis.url());
    let (mut gateway, mut worker) = tokio::join!(fleet.gateway(), fleet.worker());
    for server in [&mut gateway, &mut worker] {
        server
            .logged("that it tries on", |line| {
                line["level"] == "WARN" && says(line, "starting without Redis")
            })
            .await;
        assert_eq!(server.admin("/readyz").await.status, 503);
        assert_eq!(server.admin("/healthz").await.status, 200);
    }
    let mut session = gateway.log_in(&key(1)).await;
    let refused = session.play("1").await.unwrap_err();
    assert_eq!(refused["code"], -32007, "{refused}");
    let said = delivery(0, "evt_1").offer(gateway.address).await;
    assert_eq!(said, Some(Said::ComeBack));

    redis.restart().await;
    for server in [&gateway, &worker] {
        eventually("them to be ready", async || {
            server.admin("/readyz").await.status == 200
        })
        .await;
    }
    assert_eq!(session.play("1 + 1").await.unwrap()["value"], 2);
    let said = delivery(0, "evt_1").offer(gateway.address).await;
    assert_eq!(said, Some(Said::Kept));
}

#[tokio::test]
async fn a_worker_needs_no_secrets() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let secrets = "[webhooks.github]\npreset = \"github\"\nsecrets = [\"file:missing\", \"env:GITHUB_SECRET\"]\n";
    let builder = || {
        let builder = fleet.builder().env("GITHUB_SECRET", " ");
        builder.toml(secrets)
    };
    let mut worker = builder().worker().start().await;
    worker.signal(Signal::HUP);
    worker
        .logged("that it has read them again", |line| {
            says(line, "the settings were read again")
        })
        .await;
    let (status, said) = builder().give_up().await;
    assert!(!status.success());
    assert!(
        said.contains("no such file") && said.contains("env:GITHUB_SECRET"),
        "{said}"
    );
}

#[tokio::test]
async fn with_fail_fast_servers_end_without_redis() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let fleet = Fleet::on(redis.url());
    let hurry = async |builder: Builder| {
        let since = Instant::now();
        let (status, said) = builder.flag("--fail-fast").give_up().await;
        assert!(!status.success());
        assert!(said.contains("Redis can't be reached"), "{said}");
        assert!(since.elapsed() < PATIENCE);
    };
    tokio::join!(hurry(fleet.builder()), hurry(fleet.builder().worker()));
}

#[tokio::test]
async fn a_redis_that_can_lose_what_it_acknowledged_is_warned_of() {
    let forgetful = [
        "--appendonly",
        "no",
        "--maxmemory",
        "100mb",
        "--maxmemory-policy",
        "allkeys-lru",
    ];
    let redis = RedisServer::start_with(&forgetful).await;
    let mut worker = Fleet::on(redis.url()).worker().await;
    for what in ["appendonly", "maxmemory-policy"] {
        warning(&mut worker, what).await;
    }
    let redis = RedisServer::start().await;
    let mut worker = Fleet::on(redis.url()).worker().await;
    worker.sigterm();
    let log = worker.whole_log().await;
    assert!(!log.contains("WARN"), "{log}");
}

async fn warning(server: &mut TestServer, what: &str) {
    server
        .logged(what, |line| line["level"] == "WARN" && says(line, what))
        .await;
}

fn says(line: &serde_json::Value, what: &str) -> bool {
    line["message"]
        .as_str()
        .is_some_and(|said| said.contains(what))
}

#[tokio::test]
async fn a_gateway_can_do_all_the_work_by_itself() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__WORKER", true);
    let gateways = fleet.gateways(1).await;
    let load = Load::on(&gateways, 2);
    load.progress(20).await;
    load.finish(&gateways[0]).await;
}

#[tokio::test]
async fn every_connection_has_a_name() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let (_gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut names = Vec::new();
    eventually("names for all connections", async || {
        let clients = redis.command(&["CLIENT", "LIST"]).await;
        // The connection of this query has none.
        let named = clients
            .lines()
            .filter(|line| !line.contains("cmd=client|list"));
        let name = |line: &str| {
            let name = line.split(' ').find_map(|word| word.strip_prefix("name="));
            name.unwrap_or_default().to_owned()
        };
        names = named.map(name).collect();
        names.len() == 4 && names.iter().all(|name| name.starts_with("circled-"))
    })
    .await;
    // Two of each server's, and no others.
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2);
}
