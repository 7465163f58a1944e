//! `/metrics`, the alert rules, and the dashboard.

mod files;
mod scrape;

use std::time::Duration;

use axum::http::HeaderMap;
use circled_protocol::SecretKey;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::harness::{
    backend::{Backend, backend, on_both},
    calls::{ok, put, submit, subscribe, until},
    redis::{Fleet, RedisServer},
    server::{Builder, ENDLESS, TestServer, Ws, busy, eventually, key, post},
    webhooks::{Webhook, event, taking_stripes},
};
use scrape::{Scrape, promtool};

/// Circles of which none may add a series.
const CIRCLES: usize = 10_000;
/// Of so many circles, one has a login and a play.
const OF_LOGINS: usize = 10;
/// Sessions at once.
const AT_ONCE: usize = 50;

fn server() -> Builder {
    taking_stripes()
}

/// Does something of each kind that is counted. Returns the session that has done it.
async fn use_all(server: &TestServer) -> Ws {
    let owner = key(1);
    let mut session = server.log_in(&owner).await;
    session.play("store.set(\"a\", 1)").await.unwrap();
    for _ in 0..3 {
        session.play("1 + 1").await.unwrap();
    }
    session.play("throw \"no\"").await.unwrap_err();
    session.call("no_such_method", json!({})).await.unwrap_err();
    put(&mut session, "ends", "42").await;
    let job = submit(&mut session, json!({ "name": "ends" })).await;
    until(&mut session, &job, "finished").await;
    ok(
        &mut session,
        "watch",
        json!({ "script": "store.get(\"a\")" }),
    )
    .await;
    Webhook::stripe(event("evt_1")).kept(server).await;
    let unsigned = Webhook::stripe(event("evt_2")).with("stripe-signature", Some("t=1,v1=00"));
    assert_eq!(unsigned.send(server).await.status, 401);
    let mut stranger = server.connect().await;
    let text = stranger.fetch_nonce(key(3).public()).await;
    let signature = circled_protocol::sign(Default::default(), &key(4), &text).unwrap();
    let credentials = json!({ "pubkey": key(3).public(), "signature": signature });
    stranger
        .call("authenticate", credentials)
        .await
        .unwrap_err();
    stranger.leave().await;
    session
}

async fn what_happens_is_counted() {
    let server = server().start().await;
    let before = Scrape::of(&server).await;
    let session = use_all(&server).await;
    let after = Scrape::of(&server).await;
    let counted = |series: &str| after.since(&before, series);
    for (series, least, most) in [
        ("circled_sessions_opened_total", 2.0, 2.0),
        ("circled_sessions", 1.0, 1.0),
        ("circled_session_circles", 1.0, 1.0),
        ("circled_session_closes_total{code=\"left\"}", 1.0, 1.0),
        (
            "circled_logins_total{scheme=\"eip191\",outcome=\"ok\"}",
            1.0,
            1.0,
        ),
        (
            "circled_logins_total{scheme=\"eip191\",outcome=\"bad_signature\"}",
            1.0,
            1.0,
        ),
        ("circled_calls_total{method=\"play\",code=\"ok\"}", 4.0, 4.0),
        (
            "circled_calls_total{method=\"play\",code=\"-32000\"}",
            1.0,
            1.0,
        ),
        (
            "circled_calls_total{method=\"unknown\",code=\"-32601\"}",
            1.0,
            1.0,
        ),
        (
            "circled_calls_total{method=\"authenticate\",code=\"-32002\"}",
            1.0,
            1.0,
        ),
        (
            "circled_call_duration_seconds_count{method=\"play\"}",
            5.0,
            5.0,
        ),
        (
            "circled_call_duration_seconds_bucket{method=\"play\",le=\"+Inf\"}",
            5.0,
            5.0,
        ),
        (
            "circled_jobs_total{kind=\"submitted\",ending=\"finished\"}",
            1.0,
            1.0,
        ),
        (
            "circled_jobs_total{kind=\"delivery\",ending=\"finished\"}",
            1.0,
            1.0,
        ),
        (
            "circled_webhooks_total{provider=\"stripe\",status=\"200\"}",
            1.0,
            1.0,
        ),
        (
            "circled_webhooks_total{provider=\"stripe\",status=\"401\"}",
            1.0,
            1.0,
        ),
        ("circled_watches", 1.0, 1.0),
        ("circled_query_runs_total", 1.0, 3.0),
        // What is written: a play, a script, a job twice, a delivery, and maybe what has to do with them.
        ("circled_commits_total", 4.0, 30.0),
    ] {
        let counted = counted(series);
        assert!((least..=most).contains(&counted), "{series}: {counted}");
    }
    drop(session);
    // Short scripts run inline once they are known; the first runs are on a script thread.
    let runs = |lane: &str, outcome: &str| {
        let labels = format!("{{lane=\"{lane}\",outcome=\"{outcome}\"}}");
        counted(&format!(
            "circled_script_run_duration_seconds_count{labels}"
        ))
    };
    assert!(runs("thread", "finished") >= 2.0);
    assert!(runs("inline", "finished") >= 1.0);
    assert_eq!(runs("thread", "failed") + runs("inline", "failed"), 1.0);
    let seconds = counted("circled_call_duration_seconds_sum{method=\"play\"}");
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    match backend() {
        Backend::Embedded => {
            assert!(counted("circled_sync_duration_seconds_count") >= 3.0);
            assert!(after.value("circled_disk_free_bytes") > 0.0);
            assert!(!after.has("circled_redis_up"));
        }
        Backend::Redis => {
            assert_eq!(after.value("circled_redis_up"), 1.0);
            assert!(counted("circled_redis_command_duration_seconds_count") > 10.0);
            assert!(!after.has("circled_disk_free_bytes"));
        }
    }
}

async fn runs_that_conflict_are_counted() {
    let server = server().start().await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(server.log_in(&key(1)).await);
    }
    let before = Scrape::of(&server).await;
    let slow = "let n = store.get(\"n\"); let start = timestamp(); while start.elapsed < 0.05 {} store.set(\"n\", n ?? 0 + 1)";
    let plays = sessions.iter_mut().map(|session| session.play(slow));
    for played in join_all(plays).await {
        played.unwrap();
    }
    let reruns = Scrape::of(&server)
        .await
        .value("circled_conflict_reruns_total")
        - before.value("circled_conflict_reruns_total");
    assert!(reruns >= 1.0, "{reruns}");
}

async fn a_gap_in_the_events_is_counted() {
    let server = server().env("CIRCLED_STORE__EVENT_LOG", 5).start().await;
    let mut session = server.log_in(&key(1)).await;
    for n in 0..20 {
        session.play(&format!("emit(\"t\", {n})")).await.unwrap();
    }
    let before = Scrape::of(&server).await;
    subscribe(&mut session, json!({ "since": 1 })).await;
    eventually("the gap", async || {
        Scrape::of(&server).await.value("circled_event_gaps_total")
            > before.value("circled_event_gaps_total")
    })
    .await;
}

async fn dead_letters_and_late_jobs_are_told() {
    let server = server().env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", 1);
    let server = server
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut session = server.log_in(&key(1)).await;
    put(&mut session, "fails", "throw 1").await;
    let job = submit(&mut session, json!({ "name": "fails" })).await;
    until(&mut session, &job, "dead").await;
    let next_year = Timestamp::now() + Duration::from_secs(300 * 24 * 3600);
    submit(&mut session, json!({ "script": "1", "run_at": next_year })).await;
    let scrape = Scrape::of(&server).await;
    let dead = "circled_jobs_total{kind=\"submitted\",ending=\"dead\"}";
    assert_eq!(scrape.value(dead), 1.0);
    assert_eq!(scrape.value("circled_jobs_dead"), 1.0);
    assert_eq!(scrape.value("circled_jobs_pending"), 1.0);
    // It isn't late: its time has not come.
    assert_eq!(scrape.value("circled_jobs_oldest_pending_seconds"), 0.0);
    let script = busy(Duration::from_secs(3), "1");
    submit(&mut session, json!({ "script": script })).await;
    eventually("a job that runs to age", async || {
        let scrape = Scrape::of(&server).await;
        let age = scrape.value("circled_jobs_oldest_pending_seconds");
        assert!(age < 60.0, "{age}");
        age > 0.0
    })
    .await;
}

async fn what_waits_for_a_script_thread_is_told() {
    let server = server().env("CIRCLED_SCRIPT__THREADS", 1).start().await;
    let mut session = server.log_in(&key(1)).await;
    let script = format!("for n in 0..{ENDLESS} {{}}");
    for _ in 0..4 {
        session.begin_play(&script).await;
    }
    eventually("runs that wait", async || {
        let scrape = Scrape::of(&server).await;
        // Runs that have begun may be set aside for those that wait.
        scrape.value("circled_queue_length{queue=\"script\"}") >= 1.0
            || (backend() == Backend::Redis
                && scrape.value("circled_queue_length{queue=\"redis\"}") >= 2.0)
    })
    .await;
}

async fn a_scrape_is_as_prometheus_wants_it() {
    let server = server().start().await;
    use_all(&server).await;
    let response = server.admin("/metrics").await;
    assert_eq!(response.status, 200);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(response.header("content-type"), Some(kind));
    let (passes, told) = promtool(&["check", "metrics"], &response.body);
    assert!(passes && told.is_empty(), "{told}");
}

async fn whatever_clients_send_there_are_no_more_series() {
    let server = server().start().await;
    use_all(&server).await;
    let provider = async |name: String| {
        let path = format!("/webhooks/{name}/{}", key(1).public());
        post(server.address, &path, &HeaderMap::new(), b"{}")
            .await
            .status
    };
    let client = async |number: usize| {
        let owner = SecretKey::generate().unwrap();
        let mut session = server.connect_to(owner.public()).await;
        let method = format!("method{number}");
        session.call(&method, json!({})).await.unwrap_err();
        if number.is_multiple_of(OF_LOGINS) {
            session.login(&owner).await;
            session.play("1 + 1").await.unwrap();
            let name = format!("script{number}");
            let called = session.call("call", json!({ "name": name })).await;
            called.unwrap_err();
        }
        session.leave().await;
    };
    assert_eq!(provider("none".to_owned()).await, 404);
    client(0).await;
    if backend() == Backend::Redis {
        eventually("the workers to be counted", async || {
            Scrape::of(&server).await.has("circled_workers")
        })
        .await;
    }
    let before = Scrape::of(&server).await;
    for first in (0..CIRCLES).step_by(AT_ONCE) {
        join_all((first..first + AT_ONCE).map(&client)).await;
        provider(format!("provider{first}")).await;
    }
    let after = Scrape::of(&server).await;
    assert_eq!(
        after.value("circled_sessions_opened_total") as usize,
        CIRCLES + 3
    );
    let unknown = "circled_calls_total{method=\"unknown\",code=\"-32601\"}";
    assert_eq!(after.value(unknown) as usize, CIRCLES + 2);
    assert_eq!(before.names(), after.names());
}

on_both!(
    what_happens_is_counted,
    runs_that_conflict_are_counted,
    a_gap_in_the_events_is_counted,
    dead_letters_and_late_jobs_are_told,
    what_waits_for_a_script_thread_is_told,
    a_scrape_is_as_prometheus_wants_it,
    whatever_clients_send_there_are_no_more_series,
);

#[tokio::test]
async fn workers_and_servers_that_have_lost_redis_are_scraped_too() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let (gateway, worker) = (fleet.gateway().await, fleet.worker().await);
    let mut session = gateway.log_in(&key(1)).await;
    session.play("store.set(\"a\", 1)").await.unwrap();
    let scrape = Scrape::of(&worker).await;
    assert!(!scrape.has("circled_sessions"));
    let run = "circled_script_run_duration_seconds_count{lane=\"thread\",outcome=\"finished\"}";
    assert_eq!(scrape.value(run), 1.0);
    eventually("the worker's commit to be counted", async || {
        Scrape::of(&worker).await.value("circled_commits_total") >= 1.0
    })
    .await;
    assert_eq!(
        Scrape::of(&gateway).await.value("circled_commits_total"),
        0.0
    );
    eventually("the gateway to see its worker", async || {
        let scrape = Scrape::of(&gateway).await;
        scrape.has("circled_workers") && scrape.value("circled_workers") == 1.0
    })
    .await;
    drop(redis);
    for server in [&gateway, &worker] {
        eventually("Redis to be down", async || {
            Scrape::of(server).await.value("circled_redis_up") == 0.0
        })
        .await;
        let scrape = Scrape::of(server).await;
        assert_eq!(scrape.value("circled_ready"), 0.0);
        assert!(!scrape.has("circled_jobs_pending"));
    }
}
