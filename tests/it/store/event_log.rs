//! The log of a circle's events, which is bounded by their number and by their bytes.

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{TestServer, key},
};

/// What the log of a server has.
#[derive(Debug)]
struct Kept {
    ids: Vec<u64>,
    bytes: usize,
}

/// Emits so many events, each with so many bytes of data, in one run.
async fn emit(server: &TestServer, count: usize, bytes: usize) {
    let mut session = server.log_in(&key(3)).await;
    let script = format!(
        "let data = \"\"; data.pad({}, 'x'); for n in 0..{count} {{ emit(\"n\", data) }}",
        bytes - 2
    );
    session.play(&script).await.unwrap();
    session.leave().await;
}

/// Returns what is told to whoever has missed all events up to the number `last`.
async fn kept(server: &TestServer, last: u64) -> Kept {
    let mut session = server.log_in(&key(2)).await;
    let params = json!({ "since": 0 });
    session.call("subscribe", params).await.unwrap();
    let mut kept = Kept {
        ids: Vec::new(),
        bytes: 0,
    };
    while kept.ids.last() != Some(&last) {
        let event = session.event().await;
        if let Value::String(data) = &event["data"] {
            kept.ids.push(event["id"].as_u64().unwrap());
            kept.bytes += data.len() + 2;
        }
    }
    session.leave().await;
    kept
}

async fn the_log_of_a_circle_is_bounded_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestServer::builder()
            .env("CIRCLED_STORE__EVENT_LOG", "100")
            .env("CIRCLED_STORE__EVENT_LOG_BYTES", "100KiB")
            .data(folder.path())
            .start()
    };
    let server = start().await;
    // Small ones are bounded by their number.
    emit(&server, 100, 500).await;
    emit(&server, 50, 500).await;
    assert_eq!(kept(&server, 150).await.ids, Vec::from_iter(51..=150));
    // One counts as ten and some: there is room for ten of them and nothing else.
    for _ in 0..8 {
        emit(&server, 1, 10_000).await;
    }
    // Eight of them, and twenty-one small ones.
    assert_eq!(kept(&server, 158).await.ids, Vec::from_iter(130..=158));
    emit(&server, 32, 10_000).await;
    let all = kept(&server, 190).await;
    assert_eq!(all.ids, Vec::from_iter(181..=190));
    server.kill();
    let server = start().await;
    // More than there is room for, at once, and one more.
    emit(&server, 100, 4000).await;
    emit(&server, 1, 4000).await;
    let all = kept(&server, 291).await;
    assert_eq!(all.ids.len(), 25, "{all:?}");
    assert!(all.bytes <= 100 << 10);
    // Once the large ones are gone, it is as before.
    for _ in 0..3 {
        emit(&server, 70, 500).await;
    }
    assert_eq!(kept(&server, 501).await.ids, Vec::from_iter(402..=501));
    emit(&server, 1, 16_000).await;
    let all = kept(&server, 502).await;
    assert_eq!(all.ids, Vec::from_iter(418..=502));
}

on_both!(the_log_of_a_circle_is_bounded_in_bytes);
