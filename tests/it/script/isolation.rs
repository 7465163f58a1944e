//! No script takes the server from other callers.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    backend::on_both,
    server::{Builder, ENDLESS, TestServer, Ws, busy, eventually, key},
};

/// Builds a server whose scripts may take a minute: a reply to others didn't wait for them.
fn patient() -> Builder {
    TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        // A short script counts as short even if the machine is busy.
        .env("CIRCLED_SCRIPT__FAST_TIME", "5s")
}

/// Opens a session whose endless scripts have every thread, with more of them waiting.
async fn hog(server: &TestServer) -> (Ws, Vec<u64>) {
    let mut session = server.log_in(&key(13)).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(session.begin_play("loop {}").await);
    }
    session.fence().await;
    (session, calls)
}

async fn busy_threads_hold_nothing_else_back() {
    let server = patient().start().await;
    let mut early = server.log_in(&key(2)).await;
    let known = "let n = 40; n + 2";
    early.play(known).await.unwrap();
    let (mut hog, calls) = hog(&server).await;

    for round in 0..20 {
        let mut session = server.connect().await;
        assert_eq!(session.whoami().await["authenticated"], false);
        assert_eq!(session.play("1").await.unwrap_err()["code"], -32001);
        assert_eq!(session.ask("nonsense").await["error"]["code"], -32700);
        session.login(&key(20 + round)).await;
        assert_eq!(
            session.play(known).await.unwrap()["output"],
            "42",
            "a short script"
        );
        assert_eq!(early.play(known).await.unwrap()["output"], "42");
    }
    hog.fence().await;
    assert!(
        calls.iter().all(|call| !hog.has_answer(*call)),
        "the threads were free"
    );
}

async fn pings_go_out_while_every_thread_is_busy() {
    let server = patient()
        .env("CIRCLED_SESSION__PING_INTERVAL", "100ms")
        .env("CIRCLED_SESSION__PONG_TIMEOUT", "5s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let (mut hog, calls) = hog(&server).await;
    let mut pings = 0;
    while pings < 5 {
        pings += usize::from(session.message().await.expect("a ping").is_ping());
    }
    hog.fence().await;
    assert!(
        calls.iter().all(|call| !hog.has_answer(*call)),
        "the threads were free"
    );
}

async fn a_script_that_waits_is_run_when_a_thread_is_free() {
    let server = patient().env("CIRCLED_SCRIPT__THREADS", "1").start().await;
    let (mut hog, mut session) = (server.log_in(&key(13)).await, server.log_in(&key(2)).await);
    let long = hog
        .begin_play(&busy(Duration::from_millis(700), "\"long\""))
        .await;
    hog.fence().await;
    assert_eq!(
        session.play("\"waited\"").await.unwrap()["output"],
        "waited"
    );
    assert_eq!(hog.answer(long).await.unwrap()["output"], "long");
}

async fn waiting_counts_as_time() {
    let server = patient().env("CIRCLED_SCRIPT__THREADS", "1").start().await;
    let (_hog, _calls) = hog(&server).await;
    // Scripts of other callers would not wait for these.
    let mut session = server.log_in(&key(13)).await;
    let params = json!({ "script": "\"never run\"", "timeout_ms": 300 });
    let error = session.call("play", params).await.unwrap_err();
    assert_eq!(error["code"], -32004);
    assert_eq!(error["data"], json!({ "timeout_ms": 300 }));
}

async fn circles_that_wait_take_turns() {
    let server = patient().env("CIRCLED_SCRIPT__THREADS", "1").start().await;
    let mut greedy = server.log_in(&key(13)).await;
    let mut calls = Vec::new();
    for n in 0..20 {
        calls.push(
            greedy
                .begin_play(&busy(Duration::from_millis(100), &n.to_string()))
                .await,
        );
    }
    greedy.fence().await;
    let mut other = server.connect_to(key(3).public()).await;
    other.login(&key(3)).await;
    other.play("\"its turn\"").await.unwrap();
    greedy.fence().await;
    let answered = calls
        .iter()
        .filter(|call| greedy.has_answer(**call))
        .count();
    assert!(answered < 15, "{answered} of the other circle's went first");
}

async fn callers_that_leave_leave_no_script_behind() {
    let server = patient().start().await;
    let mut session = server.log_in(&key(2)).await;
    for politely in [true, false] {
        let (hog, _calls) = hog(&server).await;
        if politely {
            hog.leave().await;
        } else {
            drop(hog.into_stream());
        }
        // The script is new, so it needs a thread.
        let run = session.play(&format!("\"{politely}\"")).await.unwrap();
        assert_eq!(run["output"], politely.to_string());
    }
}

async fn callers_that_leave_leave_room_in_the_queue() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .env("CIRCLED_SCRIPT__QUEUE", "2")
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__REDIS__QUEUE", "2")
        .start()
        .await;
    let mut hog = server.log_in(&key(13)).await;
    let call = hog.begin_play(&busy(Duration::from_secs(4), "1")).await;
    hog.fence().await;
    // The same caller's scripts wait for one another; those of others would not.
    let mut greedy = server.log_in(&key(13)).await;
    let mut accepted = 0;
    while accepted < 2 {
        let call = greedy.begin_play("1").await;
        greedy.fence().await;
        if greedy.has_answer(call) {
            greedy.answer(call).await.unwrap_err();
        } else {
            accepted += 1;
        }
    }
    greedy.leave().await;
    let mut other = server.log_in(&key(13)).await;
    eventually("sessions", async || {
        server.admin("/readyz").await.json()["sessions"] == 2
    })
    .await;
    // Nobody waits for those two any more, so this one gets a place; the thread itself is not free yet.
    let run = other.call("play", json!({"script":"42"})).await;
    assert!(run.is_ok(), "{run:?}");
    assert!(!hog.has_answer(call));
}

on_both!(
    busy_threads_hold_nothing_else_back,
    pings_go_out_while_every_thread_is_busy,
    a_script_that_waits_is_run_when_a_thread_is_free,
    waiting_counts_as_time,
    circles_that_wait_take_turns,
    callers_that_leave_leave_no_script_behind,
    callers_that_leave_leave_room_in_the_queue,
);
