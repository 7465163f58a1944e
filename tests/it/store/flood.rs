//! A flood of large events takes no more memory than the settings say.

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    harness::server::{TestServer, Ws, key},
    memory::{SLACK_KIB, measured, until_it_is_back},
};

const MEMTABLES_KIB: u64 = 48 << 10;
const QUEUE_KIB: u64 = 16 << 10;
const CACHE_KIB: u64 = 8 << 10;
/// The values of one run.
const SCRIPT: &str = "let s = \"\"; s.pad(65_000, 'x'); for n in 0..20 { emit(\"large\", s) }";

async fn start() -> TestServer {
    measured()
        .env("CIRCLED_STORE__MAX_EVENT", "64KiB")
        .env(
            "CIRCLED_DISPATCH__EMBEDDED__MEMTABLES",
            format!("{MEMTABLES_KIB}KiB"),
        )
        .env(
            "CIRCLED_DISPATCH__EMBEDDED__WRITE_QUEUE",
            format!("{QUEUE_KIB}KiB"),
        )
        .env(
            "CIRCLED_DISPATCH__EMBEDDED__CACHE",
            format!("{CACHE_KIB}KiB"),
        )
        .env("CIRCLED_SESSION__PING_INTERVAL", "10m")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", "1000000000")
        .start()
        .await
}

/// One member emits so many times 1.3 MB.
async fn flood(runs: usize, meanwhile: Option<&str>) {
    const SESSIONS: usize = 4;

    let server = start().await;
    let mut sessions: Vec<Ws> = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(server.log_in(&key(2)).await);
    }
    server.forget_most_memory();
    let before = server.memory_kib("VmRSS");
    let mut other = server.log_in(&key(2)).await;
    if let Some(script) = meanwhile {
        let long =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "play", "params": { "script": script } });
        other.send_text(long.to_string()).await;
    }
    let floods = sessions.iter_mut().map(async |session| {
        for _ in 0..runs / SESSIONS {
            let params = json!({ "script": SCRIPT });
            session.call("play", params).await.unwrap();
        }
    });
    join_all(floods).await;
    let most = server.memory_kib("VmHWM");
    println!("{runs} runs: from {before} KiB to {most} KiB");
    let bound = MEMTABLES_KIB + QUEUE_KIB + CACHE_KIB;
    assert!(
        most < before + bound + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
    drop(sessions);
    until_it_is_back(&server, before, CACHE_KIB + SLACK_KIB).await;
}

#[tokio::test]
async fn large_events_of_one_member_take_no_more_memory_than_the_settings_say() {
    flood(150, None).await;
}

#[tokio::test]
async fn ten_times_as_many_do_neither() {
    flood(1500, None).await;
}

/// It sees the store as it was before the flood.
#[tokio::test]
async fn nor_do_they_while_a_run_goes_on_that_began_before() {
    flood(250, Some("store.get(\"a\"); while true { }")).await;
}
