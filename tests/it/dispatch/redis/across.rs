//! Life in a circle whose callers and providers use several gateways.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    load::delivery,
    redis::{Fleet, Proxy, RedisServer, backlog::ONE_PARTITION, fleet::circle},
    server::{TestServer, Ws, busy, eventually, key},
    webhooks::Said,
};

/// Opens a session of the owner of [`circle`] 0.
async fn owner(gateway: &TestServer) -> Ws {
    let mut session = gateway.connect_to(circle(0)).await;
    session.login(&key(100)).await;
    session
}

async fn subscribed(gateway: &TestServer, since: u64) -> Ws {
    let mut session = owner(gateway).await;
    let params = json!({ "topic": "n", "since": since });
    session.call("subscribe", params).await.unwrap();
    session
}

/// Emits so many counted events.
async fn emit(session: &mut Ws, count: u64) {
    let script = "let n = store.incr(\"n\", 1); emit(\"n\", n)";
    for _ in 0..count {
        session.play(script).await.unwrap();
    }
}

/// Checks that these events come next, each of them once.
async fn assert_next(session: &mut Ws, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let event = session.event().await;
        assert_eq!((&event["id"], &event["data"]), (&json!(n), &json!(n)));
    }
}

#[tokio::test]
async fn events_come_to_every_gateway_in_order_though_inboxes_are_lost() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let mut one = subscribed(&gateways[0], 0).await;
    let mut two = subscribed(&gateways[1], 0).await;
    let mut emitter = owner(&gateways[0]).await;
    emit(&mut emitter, 20).await;
    assert_next(&mut one, 1..=20).await;
    assert_next(&mut two, 1..=20).await;
    let inboxes = redis.command(&["KEYS", "*:inbox:*"]).await;
    assert!(!inboxes.is_empty());
    for round in 1..=3 {
        let delete =
            "for _, key in ipairs(redis.call('KEYS', '*:inbox:*')) do redis.call('DEL', key) end";
        redis.command(&["EVAL", delete, "0"]).await;
        // Nobody gets those by an inbox, nor the play's outcome.
        let mut unheard = owner(&gateways[1]).await;
        let limited =
            json!({ "script": "let n = store.incr(\"n\", 1); emit(\"n\", n)", "timeout_ms": 2000 });
        let _ = unheard.call("play", limited).await;
        let last = 20 + round;
        assert_next(&mut one, last..=last).await;
        assert_next(&mut two, last..=last).await;
    }
    emit(&mut emitter, 5).await;
    assert_next(&mut one, 24..=28).await;
    assert_next(&mut two, 24..=28).await;
}

#[tokio::test]
async fn a_circle_is_watched_as_long_as_somebody_listens() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let (gateway, other) = tokio::join!(fleet.gateway(), fleet.gateway());
    let _workers = fleet.workers(1).await;
    let one = subscribed(&gateway, 0).await;
    let two = subscribed(&other, 0).await;
    let watchers = format!("{{circled:00}}:watchers:{}", circle(0));
    let count = async |count: &str| {
        eventually("gateways to watch", async || {
            redis.command(&["SCARD", &watchers]).await == count
        })
        .await;
    };
    count("2").await;
    one.leave().await;
    count("1").await;
    let _one = subscribed(&gateway, 0).await;
    count("2").await;
    // A killed gateway is forgotten with the first event after the end of its inbox.
    drop(two);
    other.kill();
    let mut emitter = owner(&gateway).await;
    eventually("the other gateway to be forgotten", async || {
        emit(&mut emitter, 1).await;
        redis.command(&["SCARD", &watchers]).await == "1"
    })
    .await;
}

#[tokio::test]
async fn subscribers_get_everything_though_their_gateway_was_cut_off() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let fleet = Fleet::on(redis.url());
    let cut_off = Fleet::on(proxy.url()).gateway().await;
    let gateway = fleet.gateway().await;
    let _workers = fleet.workers(1).await;
    let mut told = subscribed(&cut_off, 0).await;
    let mut emitter = owner(&gateway).await;
    emit(&mut emitter, 10).await;
    assert_next(&mut told, 1..=10).await;
    proxy.cut();
    emit(&mut emitter, 100).await;
    assert_next(&mut told, 11..=110).await;
}

#[tokio::test]
async fn a_jobs_end_is_told_once_though_the_answer_to_its_commit_was_lost() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let gateway = Fleet::on(redis.url()).gateway().await;
    let mut worker = Fleet::on(proxy.url())
        .with("DISPATCH__REDIS__LEASE", "30s")
        .with("DISPATCH__REDIS__TIMEOUT", "10s")
        .with("SCRIPT__TIMEOUT", "30s")
        .with("LOG__LEVEL", "debug")
        .worker()
        .await;
    let mut session = owner(&gateway).await;
    // Redis knows the Lua script that commits from then on.
    session.play("1").await.unwrap();
    let before = worker.processor_time();
    let params = json!({ "script": busy(Duration::from_secs(5), "1") });
    let job = session.call("submit_job", params).await.unwrap()["job_id"].take();
    // Its thread has all that it needs.
    eventually("it to run", async || {
        worker.processor_time() > before + Duration::from_millis(300)
    })
    .await;
    proxy.stall_replies();
    let params = json!({ "job_id": job });
    eventually("it to be committed", async || {
        let shown = session.call("get_job", params.clone()).await.unwrap();
        shown["status"] == "finished"
    })
    .await;
    proxy.cut();
    proxy.flow();
    let is_end = |line: &Value| line["message"] == "a job ended" && line["job"] == job;
    let told = worker.logged("the job's end", is_end).await;
    assert_eq!(told["ending"], "finished");
    // The same connection brings the next job.
    let params = json!({ "script": "2" });
    let next = session.call("submit_job", params).await.unwrap()["job_id"].take();
    let is_next = |line: &Value| line["message"] == "a job ended" && line["job"] == next;
    worker.logged("the next job's end", is_next).await;
    assert_eq!(worker.count_logged(is_end), 1);
}

#[tokio::test]
async fn a_script_for_a_provider_counts_at_all_gateways_at_once() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::running(redis.url(), "store.set(\"by\", \"settings\")");
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(1).await;
    let mut session = owner(&gateways[1]).await;
    let mut number = 0;
    let mut by = async |session: &mut Ws| {
        number += 1;
        let said = delivery(0, format!("evt_{number}"))
            .offer(gateways[0].address)
            .await;
        assert_eq!(said, Some(Said::Kept));
        let mut by = Value::Null;
        eventually("the delivery to be run", async || {
            by = session.play("store.get(\"by\")").await.unwrap()["value"].take();
            by != Value::Null
        })
        .await;
        session.play("store.delete(\"by\")").await.unwrap();
        by
    };
    assert_eq!(by(&mut session).await, "settings");
    for version in ["one", "two"] {
        let source = format!("store.set(\"by\", \"{version}\")");
        let put = json!(["on_stripe", source]);
        session.call("put_script", put).await.unwrap();
        assert_eq!(by(&mut session).await, version);
        assert_eq!(by(&mut session).await, version);
    }
    // Imports are checked, too.
    let module = async |session: &mut Ws, answer: &str| {
        let source = format!("fn by() {{ \"{answer}\" }}");
        let put = json!(["lib", source]);
        session.call("put_script", put).await.unwrap();
    };
    module(&mut session, "three").await;
    let source = "import \"lib\" as lib; store.set(\"by\", lib::by())";
    let put = json!(["on_stripe", source]);
    session.call("put_script", put).await.unwrap();
    assert_eq!(by(&mut session).await, "three");
    module(&mut session, "four").await;
    assert_eq!(by(&mut session).await, "four");
    let deleted = session.call("delete_script", json!(["on_stripe"])).await;
    assert_eq!(deleted.unwrap()["deleted"], true);
    assert_eq!(by(&mut session).await, "settings");
}

#[tokio::test]
async fn a_job_is_stopped_wherever_it_is_and_runs_again_by_any_gateway() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__PER_CIRCLE", 1)
        .with("SCRIPT__TIMEOUT", "60s");
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let mut one = owner(&gateways[0]).await;
    let mut two = owner(&gateways[1]).await;
    let submit = async |session: &mut Ws, params: Value| {
        let job = session.call("submit_job", params).await.unwrap();
        job["job_id"].as_str().unwrap().to_owned()
    };
    let status = async |session: &mut Ws, id: &str, status: &str| {
        eventually(&format!("{id} to be {status}"), async || {
            session.call("get_job", json!([id])).await.unwrap()["status"] == status
        })
        .await;
    };
    let endless = json!({ "script": "if !store.has(\"go\") { loop {} } 7" });
    let running = submit(&mut one, endless).await;
    status(&mut two, &running, "running").await;
    let waiting = submit(&mut two, json!({ "script": "8" })).await;
    redis.until_keys("*:backlog:*", 1).await;
    let hour = jiff::SignedDuration::from_hours(1);
    let late = json!({ "script": "9", "run_at": jiff::Timestamp::now() + hour });
    let late = submit(&mut one, late).await;
    for id in [&waiting, &late, &running] {
        let stopped = two.call("stop_job", json!([id])).await.unwrap();
        assert_eq!(stopped, json!({ "stopped": true }));
        let again = one.call("stop_job", json!([id])).await.unwrap();
        assert_eq!(again, json!({ "stopped": false }));
        status(&mut one, id, "cancelled").await;
    }
    redis.until_keys("*:job_counts:*", 0).await;
    redis.until_held(0).await;
    one.play("store.set(\"go\", true)").await.unwrap();
    for (id, value) in [(&running, 7), (&waiting, 8)] {
        let retried = one.call("retry_job", json!([id])).await.unwrap();
        assert_eq!(retried, json!({ "retried": true }));
        status(&mut two, id, "finished").await;
        let job = two.call("get_job", json!([id])).await.unwrap();
        assert_eq!(job["value"], value);
    }
    // A delayed job keeps its time.
    let retried = one.call("retry_job", json!([&late])).await.unwrap();
    assert_eq!(retried, json!({ "retried": true }));
    let job = two.call("get_job", json!([&late])).await.unwrap();
    assert_eq!(
        (&job["status"], &job["due"]),
        (&json!("pending"), &job["run_at"])
    );
    let stopped = two.call("stop_job", json!([&late])).await.unwrap();
    assert_eq!(stopped, json!({ "stopped": true }));
    redis.until_keys("*:job_counts:*", 0).await;
}

#[tokio::test]
async fn subscribers_get_a_gap_after_redis_was_emptied() {
    let redis = RedisServer::start().await;
    // Nobody knows any more of a play that was under way, so its caller waits for the whole timeout.
    let fleet = Fleet::on(redis.url()).with("DISPATCH__JOB_TIMEOUT", "2s");
    let gateway = fleet.gateway().await;
    let _workers = fleet.workers(1).await;
    let mut told = subscribed(&gateway, 0).await;
    let mut emitter = owner(&gateway).await;
    emit(&mut emitter, 3).await;
    assert_next(&mut told, 1..=3).await;
    assert_eq!(redis.command(&["FLUSHALL"]).await, "OK");
    eventually("a play to run", async || emitter.play("1").await.is_ok()).await;
    let gap = told.event().await;
    assert_eq!((&gap["gap"], &gap["since"]), (&json!(true), &json!(0)));
    emit(&mut emitter, 2).await;
    assert_next(&mut told, 1..=2).await;
}
