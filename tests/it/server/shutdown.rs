//! Stopping: calls that have begun are answered, nothing new begins, and every session is closed.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};

use crate::harness::{
    backend::on_both,
    server::{Builder, ENDLESS, Received, TestServer, Ws, busy, eventually, key, within},
};

fn patient() -> Builder {
    TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
}

#[tokio::test]
async fn idle_sessions_are_told_and_the_server_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = TestServer::start().await;
        let (known, stranger) = (server.log_in(&key(2)).await, server.connect().await);
        server.signal(signal);
        assert_eq!(known.closed().await, 1001);
        assert_eq!(stranger.closed().await, 1001);
        assert_eq!(server.wait().await.code(), Some(0));
    }
}

async fn running_calls_are_answered_and_nothing_new_begins() {
    let mut server = patient().start().await;
    let mut session = server.log_in(&key(2)).await;
    let idle = server.connect().await;
    let running = session
        .begin_play(&busy(Duration::from_secs(2), "\"finished\""))
        .await;
    session.fence().await;
    server.begin_to_stop().await;
    session.fence().await;

    assert!(!session.has_answer(running), "too late to see anything");
    // The listener closes in a task of its own.
    eventually("nobody to listen any more", async || {
        TcpStream::connect(server.address).await.is_err()
    })
    .await;
    assert_eq!(server.admin("/healthz").await.status, 200);
    assert_eq!(server.admin("/readyz").await.status, 503);
    let error = session.play("\"new\"").await.unwrap_err();
    assert_eq!(error["code"], -32007);
    assert_eq!(error["message"], "Unavailable");
    assert!(error["data"]["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(idle.closed().await, 1001, "nothing of its own is under way");

    assert_eq!(session.answer(running).await.unwrap()["output"], "finished");
    assert_eq!(session.closed().await, 1001);
    assert_eq!(server.wait().await.code(), Some(0));
}

async fn runs_that_outlast_the_grace_are_cancelled() {
    let mut server = patient()
        .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "500ms")
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    // One runs, the others wait for their turn.
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(session.begin_play("loop {}").await);
    }
    session.fence().await;
    let start = Instant::now();
    server.sigterm();
    for call in calls {
        let error = session.answer(call).await.unwrap_err();
        assert_eq!(error["code"], -32008, "{error}");
        assert_eq!(error["message"], "Cancelled");
    }
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!(session.closed().await, 1001);
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_listen_does_not_keep_the_server() {
    let mut server = patient()
        .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "500ms")
        .start()
        .await;
    let mut deaf = server.log_in(&key(2)).await;
    for _ in 0..20 {
        deaf.begin_play("let s = \"\"; s.pad(900_000, 'x'); s")
            .await;
    }
    let mut half = TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"GET /")
        .await
        .unwrap();
    server.connect().await.fence().await;
    server.sigterm();
    assert_eq!(server.wait().await.code(), Some(0));
}

/// Clients that see the server stop, and neither answer nor close.
async fn clients_that_say_nothing_more_delay_the_end_by_a_moment() {
    let mut server = TestServer::start().await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut session = server.log_in(&key(2)).await;
        session.fence().await;
        silent.push(session);
    }
    let begun = Instant::now();
    server.sigterm();
    assert_eq!(server.wait().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(silent);
}

/// Messages that are announced and never come: some have memory, and the others wait for it.
async fn under_a_flood_of_messages_that_never_come_the_server_ends_in_time() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SESSION__LOGIN_DEADLINE", "10m")
        .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "5s")
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..2000 {
        let mut stream = server.connect().await.into_stream();
        // The beginning of 128,000 bytes.
        let begun = [
            &[0x81, 0x80 | 127],
            &128_000_u64.to_be_bytes()[..],
            &[0; 5000],
        ]
        .concat();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &begun)
            .await
            .unwrap();
        open.push(stream);
    }
    let begun = Instant::now();
    server.sigterm();
    assert_eq!(server.wait().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}");
    drop(open);
}

async fn a_second_signal_ends_the_server_at_once() {
    let mut server = patient()
        .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "60s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    session.begin_play("loop {}").await;
    session.fence().await;
    server.begin_to_stop().await;
    server.sigterm();
    let status = server.wait().await;
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert_eq!(within("the end", session.next()).await, Received::Gone);
}

/// Reads to the end: the replies by their ids, each of which came once, and the close frame's code.
async fn replies(mut session: Ws) -> (BTreeMap<u64, Value>, Option<u16>) {
    let mut replies = BTreeMap::new();
    loop {
        match session.next().await {
            Received::Text(text) => {
                let reply: Value = circled_json::parse(&text).unwrap();
                let id = reply["id"].as_u64().unwrap();
                assert!(replies.insert(id, reply).is_none(), "{id} answered twice");
            }
            Received::Close(code, _) => {
                assert_eq!(session.next().await, Received::Gone);
                return (replies, Some(code));
            }
            Received::Gone => return (replies, None),
        }
    }
}

async fn under_load_every_call_that_was_accepted_is_answered_once() {
    const SESSIONS: u8 = 8;
    const CALLS: u64 = 40;
    let mut server = patient().start().await;
    let mut sessions = Vec::new();
    for seed in 0..SESSIONS {
        let mut session = server.connect_to(key(100 + seed % 3).public()).await;
        session.login(&key(20 + seed)).await;
        sessions.push(session);
    }
    for session in &mut sessions {
        for id in 1000..1000 + CALLS {
            let script = busy(Duration::from_millis(8), &id.to_string());
            let call = json!({ "jsonrpc": "2.0", "id": id, "method": "play", "params": [script] });
            session.send_text(call.to_string()).await;
        }
    }
    let first = join_all(
        sessions
            .iter_mut()
            .map(|session| session.begin("whoami", json!({}))),
    );
    let fences = first.await;
    // The first fence's reply is not waited for: it would be too late for some.
    server.sigterm();
    for (session, fence) in join_all(sessions.into_iter().map(replies))
        .await
        .into_iter()
        .zip(fences)
    {
        let (mut replies, code) = session;
        assert_eq!(code, Some(1001));
        replies.remove(&fence);
        // All that the server had read when it stopped reading: nothing in between is missing.
        for (index, (id, reply)) in replies.iter().enumerate() {
            assert_eq!(
                *id,
                1000 + index as u64,
                "a call before {id} was not answered"
            );
            let done = reply["result"]["value"] == *id;
            assert!(done || reply["error"]["code"] == -32007, "{reply}");
        }
    }
    assert_eq!(server.wait().await.code(), Some(0));
}

async fn every_call_before_the_signal_gets_its_result() {
    const SESSIONS: u8 = 4;
    const CALLS: u64 = 40;
    let mut server = patient().start().await;
    let mut sessions = Vec::new();
    for seed in 0..SESSIONS {
        let mut session = server.log_in(&key(20 + seed)).await;
        for id in 1000..1000 + CALLS {
            let script = busy(Duration::from_millis(10), &id.to_string());
            let call = json!({ "jsonrpc": "2.0", "id": id, "method": "play", "params": [script] });
            session.send_text(call.to_string()).await;
        }
        sessions.push(session);
    }
    // Each has read everything when its fence is answered; replies that came before are kept.
    let mut early = Vec::new();
    for session in &mut sessions {
        let mut before = BTreeMap::new();
        session
            .send_text(r#"{"jsonrpc":"2.0","id":"fence","method":"whoami"}"#)
            .await;
        loop {
            let reply = session.json().await;
            match reply["id"].as_u64() {
                Some(id) => assert!(before.insert(id, reply).is_none()),
                None => break,
            }
        }
        early.push(before);
    }
    server.sigterm();
    let late = join_all(sessions.into_iter().map(replies)).await;
    for (before, (after, code)) in early.iter().zip(late) {
        assert_eq!(code, Some(1001));
        assert!(!after.is_empty(), "over too soon to see anything");
        for id in 1000..1000 + CALLS {
            let found: Vec<&Value> = [before.get(&id), after.get(&id)]
                .into_iter()
                .flatten()
                .collect();
            assert_eq!(found.len(), 1, "{id}");
            assert_eq!(found[0]["result"]["value"], id, "{}", found[0]);
        }
    }
    assert_eq!(server.wait().await.code(), Some(0));
}

async fn late_readers_are_answered_before_the_end() {
    let mut server = patient()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .env("CIRCLED_SESSION__MAX_BUFFERED", "1GiB")
        .start()
        .await;
    let (mut late, mut other) = (server.log_in(&key(2)).await, server.log_in(&key(3)).await);
    let id = late.whoami().await["session_id"].clone();
    let mut calls = Vec::new();
    for _ in 0..12 {
        calls.push(
            late.begin_play("let s = \"\"; s.pad(900_000, 'x'); s")
                .await,
        );
    }
    late.fence().await;
    // With one thread, this is the last to run.
    other.play("\"last\"").await.unwrap();
    server.sigterm();
    server
        .logged("that it closes", |line| {
            line["code"] == 1001 && line["span"]["id"] == id
        })
        .await;
    for call in calls {
        let run = late.answer(call).await.unwrap();
        assert_eq!(run["output"].as_str().map(str::len), Some(900_000));
    }
    assert_eq!(late.closed().await, 1001);
    assert_eq!(other.closed().await, 1001);
    assert_eq!(server.wait().await.code(), Some(0));
}

on_both!(
    running_calls_are_answered_and_nothing_new_begins,
    runs_that_outlast_the_grace_are_cancelled,
    clients_that_say_nothing_more_delay_the_end_by_a_moment,
    under_a_flood_of_messages_that_never_come_the_server_ends_in_time,
    a_second_signal_ends_the_server_at_once,
    under_load_every_call_that_was_accepted_is_answered_once,
    every_call_before_the_signal_gets_its_result,
    late_readers_are_answered_before_the_end,
);
