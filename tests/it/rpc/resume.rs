//! A subscriber that is killed, comes back and continues, over and over: each event comes once, in order.

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::subscribe,
    server::{Builder, TestServer, Ws, key},
};

/// The events of the whole stream.
const ALL: u64 = 10_000;
/// The events of one run.
const EACH: u64 = 10;

/// Reads the next events, `most` of them or up to the last, and checks that each has the number that it was given.
async fn read(session: &mut Ws, last: &mut u64, most: u64) {
    for _ in 0..most {
        if *last == ALL {
            return;
        }
        let event = session.event().await;
        *last += 1;
        let found = (&event["id"], &event["data"]);
        assert_eq!(found, (&json!(*last), &json!(*last)), "after {}", *last - 1);
    }
}

/// Returns the time of a connection, by its round: from hardly any to long.
fn stay(round: u64) -> u64 {
    [1, 400, 0, 37, 150, 64, 700, 7, 63, 65][usize::try_from(round % 10).unwrap()]
}

/// Emits a stream of counted events.
async fn stream(server: &TestServer) {
    let mut emitter = server.log_in(&key(3)).await;
    let script = format!(
        "let n = store.get(\"n\", 0); for i in 0..{EACH} {{ n += 1; emit(\"n\", n) }} store.set(\"n\", n)"
    );
    for _ in 0..ALL / EACH {
        emitter.play(&script).await.unwrap();
    }
}

async fn each_event_comes_once_to_whoever_is_killed_and_comes_back() {
    let server = TestServer::start().await;
    let (mut last, mut round) = (0, 0);
    let following = async {
        while last < ALL {
            let mut session = server.log_in(&key(2)).await;
            subscribe(&mut session, json!({ "topic": "n", "since": last })).await;
            read(&mut session, &mut last, stay(round)).await;
            round += 1;
            // The session ends without a close frame, with bytes on their way.
            drop(session.into_stream());
        }
    };
    // Another session that stays.
    let staying = async {
        let mut session = server.log_in(&key(4)).await;
        subscribe(&mut session, json!({ "since": 0 })).await;
        let mut last = 0;
        read(&mut session, &mut last, ALL).await;
        session.assert_silent().await;
    };
    tokio::join!(stream(&server), following, staying);
    assert!(round > 20, "killed {round} times");
    let mut session = server.log_in(&key(2)).await;
    let (_, since) = subscribe(&mut session, json!({})).await;
    assert_eq!(since, ALL, "there were no others");
}

/// The server is killed, too. Acknowledged events are in the stream, and nobody gets an event that isn't stored.
async fn each_event_comes_once_though_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || -> Builder { TestServer::builder().data(folder.path()) };
    let (mut last, mut emitted) = (0, 0);
    for round in 0..6 {
        let server = builder().start().await;
        let emitting = async {
            let mut emitter = server.log_in(&key(3)).await;
            let script = "let n = store.incr(\"n\", 1); emit(\"n\", n); n";
            for _ in 0..100 {
                let run = emitter.play(script).await.unwrap();
                emitted = run["value"].as_u64().unwrap();
            }
            // A play that nobody waits for.
            emitter.begin_play(script).await;
        };
        let following = async {
            let mut session = server.log_in(&key(2)).await;
            subscribe(&mut session, json!({ "since": last })).await;
            for _ in 0..50 + round {
                let event = session.event().await;
                last += 1;
                assert_eq!((&event["id"], &event["data"]), (&json!(last), &json!(last)));
            }
        };
        tokio::join!(emitting, following);
        server.kill();
    }
    let server = builder().start().await;
    let mut session = server.log_in(&key(2)).await;
    let run = session.play("store.get(\"n\")").await.unwrap();
    let all = run["value"].as_u64().unwrap();
    assert!(all >= emitted, "{all} of {emitted}");
    subscribe(&mut session, json!({ "since": last })).await;
    while last < all {
        let event = session.event().await;
        last += 1;
        assert_eq!((&event["id"], &event["data"]), (&json!(last), &json!(last)));
    }
    session.assert_silent().await;
    let again: Value = session.call("subscribe", json!({})).await.unwrap();
    assert_eq!(again["since"], all);
}

on_both!(
    each_event_comes_once_to_whoever_is_killed_and_comes_back,
    each_event_comes_once_though_the_server_is_killed,
);
