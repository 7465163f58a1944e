//! `dispatch.redis.durability`: nothing is acknowledged before it is as safe as that says.

use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{
    load::delivery,
    redis::{Fleet, Program, RedisServer, backlog::ONE_PARTITION, circle},
    server::{TestServer, Ws, busy, eventually, key, post, within},
    webhooks::Said,
};

/// Long enough for what is not waited for.
const A_MOMENT: Duration = Duration::from_millis(300);

const ALWAYS: [&str; 2] = ["--appendfsync", "always"];

fn synced(redis: &RedisServer) -> Fleet {
    Fleet::on(redis.url()).with("DISPATCH__REDIS__DURABILITY", "synced")
}

async fn owner(gateway: &TestServer) -> Ws {
    let mut session = gateway.connect_to(circle(0)).await;
    session.login(&key(100)).await;
    session
}

/// Has Redis sync its file, or not any more.
async fn set_sync(redis: &RedisServer, how: &str) {
    let set = ["CONFIG", "SET", "appendfsync", how];
    assert_eq!(redis.command(&set).await, "OK");
}

async fn until_ready(server: &TestServer, status: u16) {
    eventually(&format!("/readyz to say {status}"), async || {
        server.admin("/readyz").await.status == status
    })
    .await;
}

fn says(line: &Value, what: &str) -> bool {
    line["message"]
        .as_str()
        .is_some_and(|said| said.contains(what))
}

/// Checks that gateways and workers don't start, and say this.
async fn assert_refused(fleet: &Fleet, durability: &str, what: &[&str]) {
    for builder in [fleet.builder(), fleet.builder().worker()] {
        let (status, said) = builder.give_up().await;
        assert!(!status.success());
        let setting = format!("dispatch.redis.durability = \"{durability}\"");
        for what in what.iter().chain([&setting.as_str()]) {
            assert!(said.contains(what), "{what}: {said}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_cannot_tell_what_it_has_synced_is_refused() {
    for program in [Program::Redis6, Program::Installed] {
        let redis = RedisServer::start_program(program, &ALWAYS).await;
        if !redis
            .command(&["COMMAND", "INFO", "WAITAOF"])
            .await
            .is_empty()
        {
            eprintln!("skipped: the installed Redis has WAITAOF");
            continue;
        }
        for durability in ["synced", "replicated"] {
            let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__DURABILITY", durability);
            assert_refused(&fleet, durability, &["WAITAOF", "Redis 7.2 or later"]).await;
        }
        Fleet::on(redis.url()).gateway().await;
    }
}

#[tokio::test]
async fn a_redis_that_does_not_sync_is_refused() {
    for (setting, value, needed) in [
        ("--appendonly", "no", "set appendonly yes"),
        ("--appendfsync", "no", "set appendfsync always"),
        ("--appendfsync", "everysec", "set appendfsync always"),
    ] {
        let redis = RedisServer::start_program(Program::Valkey, &[setting, value]).await;
        assert_refused(&synced(&redis), "synced", &[needed]).await;
    }
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    for (command, needed) in [("-config|get", "+config|get"), ("-waitaof", "+waitaof")] {
        let forbid = ["ACL", "SETUSER", "default", command];
        assert_eq!(redis.command(&forbid).await, "OK");
        assert_refused(&synced(&redis), "synced", &[needed]).await;
    }
}

#[tokio::test]
async fn servers_say_when_they_acknowledge() {
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    for (durability, replicas, when) in [
        ("memory", 0, "once Redis has it in memory"),
        ("synced", 1, "once Redis has synced it"),
        ("replicated", 0, "once Redis and a replica have synced it"),
        ("replicated", 2, "once Redis and 2 replicas have synced it"),
    ] {
        let fleet = Fleet::on(redis.url())
            .with("DISPATCH__REDIS__DURABILITY", durability)
            .with("DISPATCH__REDIS__MIN_REPLICAS", replicas);
        for builder in [fleet.builder(), fleet.builder().worker()] {
            let mut server = builder.launch();
            server.logged(when, |line| says(line, when)).await;
            assert_eq!(
                server.count_logged(|line| line["level"] == "WARN" && says(line, "sync")),
                0
            );
        }
    }
}

/// Submits a job that runs in an hour.
async fn submit_late(session: &mut Ws) -> String {
    let run_at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let params = json!({ "script": "1", "run_at": run_at });
    let job = session.call("submit_job", params).await.unwrap();
    job["job_id"].as_str().unwrap().to_owned()
}

async fn stopped(session: &mut Ws) -> String {
    let job = submit_late(session).await;
    let stopped = session.call("stop_job", json!([job])).await;
    assert_eq!(stopped.unwrap(), json!({ "stopped": true }));
    job
}

#[tokio::test]
async fn nothing_is_acknowledged_that_is_not_synced() {
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    let fleet = synced(&redis);
    let (mut gateway, worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = owner(&gateway).await;
    let (late, over, other) = (
        submit_late(&mut session).await,
        stopped(&mut session).await,
        stopped(&mut session).await,
    );
    let (first, _) = delivery(0, "evt_1").kept(&gateway).await;
    session.play("store.set(\"n\", 1)").await.unwrap();

    set_sync(&redis, "no").await;
    // All of them at once: a server that has noticed takes nothing.
    let calls = [
        (
            "play",
            json!({ "script": "store.incr(\"n\", 1)", "request_id": "one" }),
        ),
        ("play", json!({ "script": "store.get(\"n\")" })),
        ("play", json!({ "script": "throw 1" })),
        ("play", json!({ "script": "loop {}", "timeout_ms": 100 })),
        ("put_script", json!(["named", "1"])),
        ("submit_job", json!({ "script": "1" })),
        (
            "submit_job",
            json!({ "script": "1", "idempotency_key": "k" }),
        ),
        ("stop_job", json!([late])),
        ("retry_job", json!([over])),
        ("get_job", json!([late])),
        ("list_jobs", json!({})),
        ("usage", json!({})),
        ("retry_dead", json!({})),
        ("retry_dead", json!({ "kind": "submitted" })),
        ("redeliver", json!([first])),
    ];
    let mut begun = Vec::new();
    for (method, params) in &calls {
        begun.push(session.begin(method, params.clone()).await);
    }
    let retry = format!("/jobs/{other}/retry");
    let deliveries = [delivery(0, "evt_1"), delivery(0, "evt_2")];
    let offers = join_all(deliveries.iter().map(|one| one.offer(gateway.address)));
    let admin = worker.admin_address().unwrap();
    let headers = HeaderMap::new();
    let retried = post(admin, &retry, &headers, b"");
    let (said, retried) = tokio::join!(offers, retried);
    assert_eq!(said, [Some(Said::ComeBack), Some(Said::ComeBack)]);
    assert_eq!(retried.status, 503, "{retried:?}");
    for (call, (method, params)) in begun.into_iter().zip(&calls) {
        let Err(refused) = session.answer(call).await else {
            panic!("{method} {params} was answered");
        };
        assert_eq!(refused["code"], -32007, "{method} {params}: {refused}");
        assert!(refused["data"]["retry_after_ms"].is_u64(), "{refused}");
    }
    until_ready(&gateway, 503).await;
    let is_warning = |line: &Value| line["level"] == "WARN" && says(line, "doesn't sync");
    assert_eq!(gateway.count_logged(is_warning), 1);

    set_sync(&redis, "always").await;
    until_ready(&gateway, 200).await;
    gateway
        .logged("that it syncs", |line| says(line, "synced again"))
        .await;
    let params = json!({ "script": "store.incr(\"n\", 1)", "request_id": "one" });
    let again = session.call("play", params).await.unwrap();
    assert_eq!(
        (&again["value"], &again["replayed"]),
        (&json!(2), &json!(true))
    );
    for job in [&over, &other] {
        eventually("the retried job to end", async || {
            let job = session.call("get_job", json!([job])).await.unwrap();
            job["status"] != "cancelled"
        })
        .await;
    }
    for id in ["evt_1", "evt_2"] {
        let (_, status) = delivery(0, id).kept(&gateway).await;
        assert_eq!(status, "duplicate");
    }
}

#[tokio::test]
async fn events_and_values_come_once_they_are_synced() {
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    // So that it waits for the sync until the end.
    let fleet = synced(&redis)
        .with("DISPATCH__REDIS__TIMEOUT", "8s")
        .with("DISPATCH__REDIS__LEASE", "30s")
        .with("DISPATCH__JOB_TIMEOUT", "30s");
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut told = owner(&gateway).await;
    let topic = json!({ "topic": "n" });
    told.call("subscribe", topic).await.unwrap();
    let watch = json!({ "script": "store.get(\"n\")" });
    assert_eq!(
        told.call("watch", watch).await.unwrap()["value"],
        json!(null)
    );
    let mut emitter = owner(&gateway).await;
    let mut late = owner(&gateway).await;

    set_sync(&redis, "no").await;
    let play = emitter
        .begin_play("store.set(\"n\", 1); emit(\"n\", 1)")
        .await;
    redis.until_keys("*:events:*", 1).await;
    // Whoever reads the log isn't told, either.
    let since = json!({ "topic": "n", "since": 0 });
    let subscribed = late.begin("subscribe", since).await;
    for session in [&mut told, &mut late, &mut emitter] {
        let early = timeout(A_MOMENT, session.message()).await;
        assert!(early.is_err(), "{early:?}");
    }

    set_sync(&redis, "always").await;
    assert!(emitter.answer(play).await.is_ok());
    assert_eq!(told.event().await["data"], 1);
    assert_eq!(told.value().await["value"], 1);
    late.answer(subscribed).await.unwrap();
    assert_eq!(late.event().await["data"], 1);
}

#[tokio::test]
async fn what_runs_is_answered_though_redis_is_full() {
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    let fleet = synced(&redis).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = owner(&gateway).await;
    let script = busy(Duration::from_millis(500), "store.incr(\"n\", 1)");
    let play = session.begin_play(&script).await;
    redis.until_held(1).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(session.answer(play).await.unwrap()["value"], 1);
}

#[tokio::test]
async fn a_server_that_was_fine_once_goes_on_when_redis_can_sync_again() {
    let redis = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    let mut gateway = synced(&redis).gateway().await;
    until_ready(&gateway, 200).await;
    redis.command(&["CONFIG", "SET", "appendonly", "no"]).await;
    // It prepares again, as after Redis was emptied.
    redis.command(&["FLUSHALL"]).await;
    let is_error = |line: &Value| line["level"] == "ERROR" && says(line, "set appendonly yes");
    gateway.logged("what to do", is_error).await;
    until_ready(&gateway, 503).await;
    let mut session = gateway.log_in(&key(1)).await;
    let refused = session.play("1").await.unwrap_err();
    assert_eq!(refused["code"], -32007, "{refused}");
    redis.command(&["CONFIG", "SET", "appendonly", "yes"]).await;
    until_ready(&gateway, 200).await;
    assert_eq!(gateway.count_logged(is_error), 1);
}

#[tokio::test]
async fn without_replicas_nothing_is_acknowledged() {
    // Otherwise it waits five seconds for more replicas.
    let options = [&ALWAYS[..], &["--repl-diskless-sync-delay", "0"]].concat();
    let redis = RedisServer::start_program(Program::Valkey, &options).await;
    let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__DURABILITY", "replicated");
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = owner(&gateway).await;
    let answer = within("an answer", session.play("store.set(\"n\", 1)")).await;
    assert_eq!(answer.unwrap_err()["code"], -32007);
    let said = delivery(0, "evt_1").offer(gateway.address).await;
    assert_eq!(said, Some(Said::ComeBack));

    let replica = RedisServer::start_program(Program::Valkey, &ALWAYS).await;
    let port = redis.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    // Until it has written its first file, it may be slow to tell.
    eventually("a play to be answered", async || {
        let answer = session.play("store.get(\"n\")").await;
        answer.is_ok_and(|answer| answer["value"] == 1)
    })
    .await;
    eventually("a delivery to be kept", async || {
        let said = delivery(0, "evt_1").offer(gateway.address).await;
        said == Some(Said::Kept)
    })
    .await;
}
