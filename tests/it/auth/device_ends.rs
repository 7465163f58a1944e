//! The ends of device keys: removal, expiry, another scope; in all sessions, runs, watches, subscriptions and jobs.

use jiff::{Timestamp, ToSpan};
use serde_json::json;

use crate::harness::{
    backend::on_both,
    calls::{assert_refused, ok, submit, subscribe, until},
    devices::{
        ALL, add_device, add_for, assert_no_login, claim, connected, device, end, log_in, proved,
        remove, removed,
    },
    redis::{Fleet, RedisServer},
    server::{ENDLESS, TestServer, eventually, key},
};

async fn a_removed_device_is_out_at_once() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    for seed in [1, 2] {
        add_device(&mut wallet, &device(seed), ALL).await;
    }
    let mut idle = connected(&server, &device(1)).await;
    let mut busy = connected(&server, &device(1)).await;
    let mut other = connected(&server, &device(2)).await;
    // The same session, as its caller by now.
    let mut moved = connected(&server, &device(1)).await;
    moved.login(&key(2)).await;
    subscribe(&mut busy, json!({ "topic": "news" })).await;
    let watched = json!({ "script": "store.get(\"n\", 0)" });
    ok(&mut busy, "watch", watched).await;
    remove(&mut wallet, &device(1)).await;
    // Nothing that happens from here on reaches it.
    wallet
        .play("store.set(\"n\", 1); emit(\"news\", 1)")
        .await
        .unwrap();
    removed(&mut idle).await;
    for text in removed(&mut busy).await {
        assert_eq!(text["params"]["ended"], true, "{text}");
    }
    other.fence().await;
    assert_eq!(moved.play("1").await.unwrap()["value"], 1);
    let mut again = server.connect().await;
    let answer = log_in(&mut again, &device(1)).await;
    assert_no_login("removed", answer, "unknown_device");
}

async fn a_run_of_a_removed_device_commits_nothing() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "20s")
        .start()
        .await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play").await;
    let mut session = connected(&server, &device(1)).await;
    // It runs until the store says so, and writes then.
    let script = "store.set(\"done\", true); let n = 0; while n < 3_000_000 { n += 1 }";
    let run = session.begin_play(script).await;
    session.fence().await;
    remove(&mut wallet, &device(1)).await;
    for text in removed(&mut session).await {
        assert_eq!(text["id"], run);
        let reason = &text["error"]["data"]["reason"];
        assert_eq!(reason, "unknown_device", "{text}");
    }
    eventually("nothing to run", async || {
        let found = wallet.play("store.get(\"done\", false)").await.unwrap();
        assert_eq!(found["value"], false);
        server.admin("/readyz").await.json()["sessions"] == 1
    })
    .await;
}

async fn a_call_that_waits_keeps_no_session_open() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        .start()
        .await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "jobs,play").await;
    let mut session = connected(&server, &device(1)).await;
    let later = json!({ "script": "1", "run_at": Timestamp::now() + 1.hours() });
    let job = submit(&mut session, later).await;
    let waits = json!({ "job_id": job, "wait": 60_000 });
    session.begin("get_job", waits).await;
    session.fence().await;
    remove(&mut wallet, &device(1)).await;
    assert!(removed(&mut session).await.is_empty());
}

async fn an_expired_device_is_out_at_its_time() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    let asked = claim(&device(1), key(2).public(), "play", 2);
    ok(&mut wallet, "add_device_key", proved(&device(1), &asked)).await;
    let mut session = connected(&server, &device(1)).await;
    let (_, code, reason) = end(&mut session).await;
    assert_eq!((code, reason.as_str()), (1008, "device key expired"));
    assert!(Timestamp::now() >= asked.expires);
    let mut again = server.connect().await;
    let answer = log_in(&mut again, &device(1)).await;
    assert_no_login("expired", answer, "unknown_device");
    let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
    assert_eq!(listed["device_keys"], json!([]));
}

async fn a_device_with_another_scope_logs_in_again() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play,jobs").await;
    let mut session = connected(&server, &device(1)).await;
    // More time, and it stays.
    add_for(&mut wallet, &device(1), "play,jobs", 7200).await;
    assert_eq!(session.play("1").await.unwrap()["value"], 1);
    add_device(&mut wallet, &device(1), "jobs").await;
    let (_, code, _) = end(&mut session).await;
    assert_eq!(code, 1012);
    let mut again = connected(&server, &device(1)).await;
    let answer = again.play("1").await;
    assert_refused("play", answer, -32003, json!({ "scope": "play" }));
}

async fn a_device_that_logs_in_takes_no_subscription_along() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    add_device(&mut session, &device(1), "play").await;
    let (name, _) = subscribe(&mut session, json!({ "topic": "news" })).await;
    assert_eq!(log_in(&mut session, &device(1)).await, Ok(json!(true)));
    let ended = session.event().await;
    assert_eq!(ended, json!({ "subscription": name, "ended": true }));
    session.play("emit(\"news\", 1)").await.unwrap();
    session.assert_silent().await;
}

async fn jobs_of_a_removed_device_end() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    for (seed, scope) in [(1, "jobs,play"), (2, "jobs,play"), (3, "jobs,play")] {
        add_device(&mut wallet, &device(seed), scope).await;
    }
    let later =
        || json!({ "script": "store.set(CALLER_ID, 1)", "run_at": Timestamp::now() + 2.seconds() });
    let mut jobs = Vec::new();
    for seed in [1, 2, 3] {
        let mut session = connected(&server, &device(seed)).await;
        jobs.push(submit(&mut session, later()).await);
    }
    remove(&mut wallet, &device(1)).await;
    add_device(&mut wallet, &device(2), "jobs").await;
    for (job, why) in [(0, "was removed"), (1, "lacks the scope")] {
        let dead = until(&mut wallet, &jobs[job], "dead").await;
        let message = dead["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert_eq!(dead["tries"], 0);
    }
    until(&mut wallet, &jobs[2], "finished").await;
}

async fn a_job_that_is_retried_runs_by_the_key_that_retries_it() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut wallet = server.log_in(&key(2)).await;
    for seed in [1, 2] {
        add_device(&mut wallet, &device(seed), "jobs,play").await;
    }
    add_device(&mut owner, &device(3), "jobs,play").await;
    let later = || json!({ "script": "CALLER_ID", "run_at": Timestamp::now() + 1.seconds() });
    let mut first = connected(&server, &device(1)).await;
    let mut of_owner = connected(&server, &device(3)).await;
    let jobs = [
        submit(&mut first, later()).await,
        submit(&mut first, later()).await,
        submit(&mut of_owner, later()).await,
    ];
    let shown = ok(&mut wallet, "get_job", json!([jobs[0]])).await;
    assert_eq!(shown["device"], json!(device(1).public()));
    remove(&mut wallet, &device(1)).await;
    remove(&mut owner, &device(3)).await;
    for job in &jobs {
        until(&mut owner, job, "dead").await;
    }
    // The owner's own one runs; the others are still those of a device that is gone.
    let all = json!({ "expect": 3 });
    assert_eq!(ok(&mut owner, "retry_dead", all).await["retried"], 3);
    let done = until(&mut owner, &jobs[2], "finished").await;
    assert_eq!(
        (&done["value"], done.get("device")),
        (&json!(key(1).public()), None)
    );
    for job in &jobs[..2] {
        eventually("the end of a job", async || {
            let shown = ok(&mut owner, "get_job", json!([job])).await;
            shown["status"] == "dead" && shown["device"] == json!(device(1).public())
        })
        .await;
    }
    // By the caller's own key, and by another of their devices.
    ok(&mut wallet, "retry_job", json!([jobs[0]])).await;
    let done = until(&mut wallet, &jobs[0], "finished").await;
    assert_eq!(
        (&done["value"], done.get("device")),
        (&json!(key(2).public()), None)
    );
    let mut second = connected(&server, &device(2)).await;
    ok(&mut second, "retry_job", json!([jobs[1]])).await;
    let done = until(&mut wallet, &jobs[1], "finished").await;
    assert_eq!(done["device"], json!(device(2).public()));
}

async fn a_device_that_retries_a_job_answers_for_it() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "jobs,play").await;
    let later = json!({ "script": "1", "run_at": Timestamp::now() + 1.hours() });
    let job = submit(&mut wallet, later).await;
    ok(&mut wallet, "stop_job", json!([job])).await;
    let mut session = connected(&server, &device(1)).await;
    ok(&mut session, "retry_job", json!([job])).await;
    let shown = ok(&mut wallet, "get_job", json!([job])).await;
    assert_eq!(shown["device"], json!(device(1).public()));
}

/// The session is closed, too; until then, and at other servers, what it watches is told nothing.
async fn a_watch_ends_with_the_scope_that_permits_it() {
    let server = TestServer::start().await;
    let mut wallet = server.log_in(&key(2)).await;
    add_device(&mut wallet, &device(1), "play,subscribe").await;
    let mut session = connected(&server, &device(1)).await;
    ok(
        &mut session,
        "watch",
        json!({ "script": "store.get(\"n\", 0)" }),
    )
    .await;
    add_device(&mut wallet, &device(1), "subscribe").await;
    wallet.play("store.set(\"n\", 1)").await.unwrap();
    let (texts, code, _) = end(&mut session).await;
    assert_eq!(code, 1012);
    for text in texts {
        assert_eq!(text["params"]["ended"], true, "{text}");
    }
}

#[tokio::test]
async fn a_device_removed_at_one_gateway_is_out_at_all() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(3).await;
    let _worker = fleet.worker().await;
    let mut wallet = gateways[0].log_in(&key(1)).await;
    for _ in 0..3 {
        let caller = key(1).public();
        let claim = circled_protocol::DeviceClaim {
            circle: caller,
            ..claim(&device(1), caller, "play", 3600)
        };
        ok(&mut wallet, "add_device_key", proved(&device(1), &claim)).await;
        let mut sessions = Vec::new();
        for gateway in &gateways {
            sessions.push(connected(gateway, &device(1)).await);
        }
        for session in &mut sessions {
            assert_eq!(session.play("1").await.unwrap()["value"], 1);
        }
        remove(&mut wallet, &device(1)).await;
        for session in &mut sessions {
            removed(session).await;
        }
    }
}

on_both!(
    a_removed_device_is_out_at_once,
    a_run_of_a_removed_device_commits_nothing,
    a_call_that_waits_keeps_no_session_open,
    an_expired_device_is_out_at_its_time,
    a_device_with_another_scope_logs_in_again,
    a_device_that_logs_in_takes_no_subscription_along,
    jobs_of_a_removed_device_end,
    a_job_that_is_retried_runs_by_the_key_that_retries_it,
    a_device_that_retries_a_job_answers_for_it,
    a_watch_ends_with_the_scope_that_permits_it,
);
