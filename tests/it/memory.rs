//! Clients' memory in the server is counted in bytes, and comes back.

use std::time::Duration;

use circled_protocol::SecretKey;
use futures_util::{SinkExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::{
    Message,
    client::IntoClientRequest,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::harness::{
    backend::{Backend, backend, on_both},
    server::{Builder, ENDLESS, Received, TestServer, Ws, circle, eventually, key, within},
    webhooks::{Webhook, taking_stripes},
};

/// A script with a value of a million bytes.
const LARGE: &str = "let s = \"\"; s.pad(1_000_000, 'x'); s";
/// The memory that the server may have besides its budget, and once that is empty: running scripts, replies that are
/// being written, idle sessions, and the allocator's own.
pub(crate) const SLACK_KIB: u64 = 64 << 10;
/// The budget of a `bounded` server.
const BUDGET_KIB: u64 = 32 << 10;
/// The time that many large things may take on a busy machine.
const LONG: Duration = Duration::from_secs(240);

fn call(id: impl Into<Value>, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

fn batch(length: usize, script: &str) -> String {
    let all = (0..length).map(|n| call(n, "play", &json!({ "script": script })));
    Value::from_iter(all).to_string()
}

/// Builds a server with little unused memory, on machines of any size: the allocator keeps some of each thread's
/// memory, returns the rest at once, and uses no huge pages, of which one byte makes two megabytes resident.
pub(crate) fn measured() -> Builder {
    TestServer::builder()
        .env("TOKIO_WORKER_THREADS", 2)
        .env("MIMALLOC_PURGE_DELAY", 0)
        .env("MIMALLOC_ALLOW_THP", 0)
}

/// Builds a server with budgets that stand out from its usual memory.
fn bounded() -> Builder {
    measured()
        .env("CIRCLED_SERVER__MAX_BUFFERED", "32MiB")
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "32MiB")
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "2s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
}

async fn sessions(server: &TestServer) -> u64 {
    let ready = server.admin("/readyz").await.json();
    ready["sessions"].as_u64().unwrap()
}

/// Waits until the server has closed all sessions.
async fn until_all_are_gone(server: &TestServer) {
    let begun = Instant::now();
    while sessions(server).await > 0 {
        assert!(begun.elapsed() < LONG, "sessions that read nothing stay");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the limit that a refused call names.
fn limit(error: &Value) -> &str {
    assert_eq!(error["code"], -32005, "{error}");
    error["data"]["limit"].as_str().unwrap()
}

/// Opens a session through a proxy on this machine.
async fn connect_from(server: &TestServer, address: &str) -> Ws {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut request = server.url(circle()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", address.parse().unwrap());
    Ws::over(stream, request).await
}

/// Waits until the server has no more than `more_kib` above `before`.
pub(crate) async fn until_it_is_back(server: &TestServer, before: u64, more_kib: u64) {
    let mut session = server.log_in(&key(2)).await;
    let begun = Instant::now();
    loop {
        let now = server.memory_kib("VmRSS");
        if now < before + more_kib {
            return;
        }
        assert!(
            begun.elapsed() < LONG,
            "it doesn't come back: from {before} KiB to {now} KiB"
        );
        // Idle threads return nothing.
        for _ in 0..16 {
            session.play("40 + 2").await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sessions that read nothing, each with a batch whose results are 128 MiB.
async fn read_nothing(count: usize) {
    let server = bounded().start().await;
    let before = server.memory_kib("VmRSS");
    let mut all = Vec::new();
    for n in 0..count {
        let mut session = server.log_in(&key(2)).await;
        session.send_text(batch(64, LARGE)).await;
        all.push((n, session));
    }
    until_all_are_gone(&server).await;
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + BUDGET_KIB + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
    drop(all);
    until_it_is_back(&server, before, SLACK_KIB).await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
}

async fn batches_that_nobody_reads_stay_within_the_budget() {
    read_nothing(8).await;
}

async fn ten_times_as_many_do_too() {
    read_nothing(80).await;
}

/// Sessions of a circle's owner that call `method` many times without reading, one by one or in batches.
///
/// Returns by how much memory grew, in KiB.
async fn look_and_read_nothing(
    server: &TestServer,
    count: usize,
    method: &str,
    params: &Value,
) -> u64 {
    let before = server.memory_kib("VmRSS");
    let mut all = Vec::new();
    for n in 0..count {
        let mut session = server.log_in(&key(1)).await;
        let times = if count > 8 { 6 } else { 64 };
        let calls = (0..times).map(|id| call(id, method, params));
        if n % 2 == 0 {
            session.send_text(Value::from_iter(calls).to_string()).await;
        } else {
            for call in calls {
                session.send_text(call.to_string()).await;
            }
        }
        all.push(session);
    }
    until_all_are_gone(server).await;
    let most = server.memory_kib("VmHWM");
    println!("{method} of {count}: from {before} KiB to {most} KiB");
    drop(all);
    until_it_is_back(server, before, SLACK_KIB).await;
    most.saturating_sub(before)
}

async fn looks_at_large_jobs_stay_within_the_budget() {
    for count in [8, 80] {
        let server = bounded().start().await;
        let mut owner = server.log_in(&key(1)).await;
        let job = owner.call("submit_job", json!({ "script": LARGE })).await;
        let job = job.unwrap()["job_id"].take();
        let params = json!({ "job_id": job, "wait": 30_000 });
        let done = owner.call("get_job", params).await.unwrap();
        assert_eq!(done["output"].as_str().map(str::len), Some(1_000_000));
        owner.leave().await;
        let grown =
            look_and_read_nothing(&server, count, "get_job", &json!({ "job_id": job })).await;
        assert!(grown < BUDGET_KIB + SLACK_KIB, "by {grown} KiB");
    }
}

/// Whichever thread has read them keeps nothing of it while it is idle.
async fn pages_of_large_jobs_stay_within_the_budget() {
    // As the allocator is by default.
    let server = bounded().env("MIMALLOC_PURGE_DELAY", 10).start().await;
    let mut owner = server.log_in(&key(1)).await;
    let script = format!("/*{}*/ {LARGE}", "y".repeat(100_000));
    let mut job = Value::Null;
    for _ in 0..12 {
        let submitted = owner.call("submit_job", json!({ "script": script })).await;
        job = submitted.unwrap()["job_id"].take();
    }
    let params = json!({ "job_id": job, "wait": 30_000 });
    owner.call("get_job", params).await.unwrap();
    owner.leave().await;
    let grown = look_and_read_nothing(&server, 40, "list_jobs", &json!({ "limit": 500 })).await;
    // The allocator keeps for 10 ms what was freed: as much again as without that. Threads that keep it take four times
    // as much.
    assert!(grown < BUDGET_KIB + 2 * SLACK_KIB, "by {grown} KiB");
}

#[tokio::test]
async fn so_do_looks_at_long_scripts() {
    let server = bounded().start().await;
    let mut owner = server.log_in(&key(1)).await;
    let source = format!("/*{}*/ 1", "y".repeat(250_000));
    let params = json!({ "name": "long", "source": source });
    owner.call("put_script", params).await.unwrap();
    owner.leave().await;
    let params = json!({ "name": "long" });
    for count in [8, 80] {
        let grown = look_and_read_nothing(&server, count, "get_script", &params).await;
        assert!(grown < BUDGET_KIB + SLACK_KIB, "by {grown} KiB");
    }
}

/// Opens a session of the owner of one of many circles.
async fn log_in_at_home(server: &TestServer, n: u16) -> Ws {
    let bytes = (1000 + n).to_be_bytes().repeat(16);
    let me = SecretKey::from_hex(&hex::encode(bytes)).unwrap();
    let mut session = server.connect_to(me.public()).await;
    session.login(&me).await;
    session
}

/// They run at the same time, and each begins before the first one ends.
async fn set_large_jobs_aside(count: u16, values: usize) {
    let server = bounded()
        .env("CIRCLED_SCRIPT__THREADS", "2")
        .env("CIRCLED_SCRIPT__MAX_ASIDE", "1000")
        .env("CIRCLED_SCRIPT__MAX_ASIDE_MEMORY", "96MiB")
        .start()
        .await;
    let args = vec![1; values];
    server.forget_most_memory();
    let before = server.memory_kib("VmRSS");
    let run_at = Timestamp::now() + SignedDuration::from_secs(15);
    for n in 0..count {
        let mut session = log_in_at_home(&server, n).await;
        let script = "let n = 0; while n < 20_000 { n += 1 }";
        let params = json!({ "script": script, "args": args, "run_at": run_at.to_string() });
        session.call("submit_job", params).await.unwrap();
        session.leave().await;
    }
    let begun = Instant::now();
    while server.jobs("finished").await.len() < usize::from(count) {
        assert!(begun.elapsed() < LONG, "not all of them end");
        sleep(Duration::from_millis(50)).await;
    }
    let most = server.memory_kib("VmHWM");
    // Besides those that are set aside, and their threads: new jobs that wait in memory, and the two that run.
    let new_jobs = 16 << 10;
    assert!(
        most < before + (96 << 10) + new_jobs + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
}

async fn large_jobs_that_are_set_aside_count_with_what_they_run_on() {
    set_large_jobs_aside(40, 125_000).await;
}

async fn ten_times_as_many_are_set_aside_no_more() {
    set_large_jobs_aside(400, 25_000).await;
}

/// Each value takes many times as much once it is parsed: a quarter of a megabyte is nearly ten.
async fn run_large_jobs_again(count: u16, values: usize) {
    let server = bounded()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        // Nobody answers pings meanwhile.
        .env("CIRCLED_SESSION__PING_INTERVAL", "10m")
        .start()
        .await;
    let args = vec![1; values];
    let mut all = Vec::new();
    for n in 0..count {
        let mut session = log_in_at_home(&server, n).await;
        let params = json!({ "script": "throw 1", "args": args });
        let mut job = session.call("submit_job", params).await.unwrap();
        let params = json!({ "job_id": job["job_id"], "wait": 30_000 });
        let done = session.call("get_job", params).await.unwrap();
        assert_eq!(done["status"], "dead", "{done}");
        all.push((session, job["job_id"].take()));
    }
    server.forget_most_memory();
    let before = server.memory_kib("VmRSS");
    let again = all.iter_mut().map(async |(session, job)| {
        let params = json!({ "job_id": job });
        session.call("retry_job", params).await.unwrap()["retried"].take()
    });
    for retried in join_all(again).await {
        assert_eq!(retried, true);
    }
    eventually("all to have run again", async || {
        server.jobs("dead").await.len() == usize::from(count)
    })
    .await;
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (32 << 10) + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
}

async fn large_jobs_that_run_again_take_little_memory() {
    run_large_jobs_again(40, 125_000).await;
}

async fn ten_times_as_many_take_hardly_more() {
    run_large_jobs_again(400, 25_000).await;
}

/// Each has half of the memory that a session may hold.
async fn a_few_large_jobs_are_shown_at_once() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let job = owner.call("submit_job", json!({ "script": LARGE })).await;
    let job = job.unwrap()["job_id"].take();
    let params = json!({ "job_id": job, "wait": 30_000 });
    owner.call("get_job", params).await.unwrap();
    let params = json!({ "job_id": job });
    let calls = (0..3).map(|id| call(id, "get_job", &params));
    let replies = owner.ask(Value::from_iter(calls).to_string()).await;
    for reply in replies.as_array().unwrap() {
        let value = &reply["result"]["value"];
        assert_eq!(value.as_str().map(str::len), Some(1_000_000), "{reply}");
    }
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(owner.begin("get_job", params.clone()).await);
    }
    for id in all {
        let shown = owner.answer(id).await.unwrap();
        assert_eq!(shown["output"].as_str().map(str::len), Some(1_000_000));
    }
}

async fn a_batch_is_answered_as_far_as_there_is_room_and_says_what_is_full() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_REPLY", "256KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = "store.incr(\"n\", 1); let s = \"\"; s.pad(30_000, 'x'); s";
    let replies = session.ask(batch(32, script)).await;
    let replies = replies.as_array().unwrap();
    assert_eq!(replies.len(), 32);
    let (done, refused): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| reply.get("result").is_some());
    // Each has sixty thousand bytes: its output and its value.
    assert!((3..=4).contains(&done.len()), "{}", done.len());
    let (unknown, refused): (Vec<_>, Vec<_>) = refused
        .into_iter()
        .partition(|reply| reply["error"]["code"] == -32007);
    for reply in refused {
        assert_eq!(limit(&reply["error"]), "session.max_reply");
    }
    // A worker doesn't know how much memory there is.
    assert_eq!(unknown.is_empty(), backend() == Backend::Embedded);
    let landed = session.play("store.get(\"n\")").await.unwrap();
    assert_eq!(landed["value"], done.len() + unknown.len());
}

async fn an_honest_batch_is_not_refused() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let replies = session
        .ask(batch(64, "let s = \"\"; s.pad(50_000, 'x'); s"))
        .await;
    let replies = replies.as_array().unwrap();
    assert_eq!(replies.len(), 64);
    for reply in replies {
        assert_eq!(
            reply["result"]["output"].as_str().unwrap().len(),
            50_000,
            "{reply}"
        );
    }
}

async fn parameters_count_while_their_call_is_under_way() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BUFFERED", "1MiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    // 200 KB, and many times that as values.
    let zeros = vec![0; 100_000];
    let refused = session.call("play", json!({ "script": "1", "args": zeros }));
    assert_eq!(limit(&refused.await.unwrap_err()), "session.max_buffered");
    let text = "x".repeat(200_000);
    let taken = session.call("play", json!({ "script": "ARGS.len", "args": text }));
    assert_eq!(taken.await.unwrap()["value"], 200_000);
}

async fn so_do_the_ids_of_calls_that_are_under_way() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BUFFERED", "1MiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let job = session.call("submit_job", json!({ "script": "1", "run_at": later }));
    let job = job.await.unwrap()["job_id"].take();
    // About 600 KB as values.
    let zeros = json!({ "script": "ARGS.len", "args": vec![0; 8000] });
    let taken = session.call("play", zeros.clone()).await.unwrap();
    assert_eq!(taken["value"], 8000);
    let params = json!({ "job_id": job, "wait": 30_000 });
    for n in 0..3 {
        let id = format!("{n}{}", "i".repeat(240_000));
        let call = call(id, "get_job", &params);
        session.send_text(call.to_string()).await;
    }
    let refused = session.call("play", zeros).await.unwrap_err();
    assert_eq!(limit(&refused), "session.max_buffered");
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
}

async fn those_who_hold_little_are_served_while_others_hold_all_there_is() {
    let server = bounded()
        .env("CIRCLED_SERVER__MAX_BUFFERED", "1MiB")
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "60s")
        .start()
        .await;
    let mut greedy = Vec::new();
    for _ in 0..4 {
        // More than fits in the buffers.
        let mut session = server.log_in(&key(2)).await;
        let script = "let s = \"\"; s.pad(100_000, 'x'); s";
        for _ in 0..16 {
            session.send_text(batch(4, script)).await;
        }
        greedy.push(session);
    }
    // A circle of its own, so that only memory is scarce.
    let mut honest = server.connect_to(key(9).public()).await;
    honest.login(&key(3)).await;
    let begun = Instant::now();
    loop {
        let large = honest.play("let s = \"\"; s.pad(300_000, 'x'); s").await;
        let is_full = |error: Value| match backend() {
            Backend::Embedded => limit(&error) == "server.max_buffered",
            Backend::Redis => error["code"] == -32007,
        };
        if large.is_err_and(is_full) {
            break;
        }
        assert!(begun.elapsed() < LONG, "the budget isn't full");
    }
    for n in 0..20 {
        assert_eq!(honest.play(&format!("{n}")).await.unwrap()["value"], n);
    }
}

/// Has members hold all memory that a server may hold but for a few KiB, 1 MiB of it for each: everything but the end
/// of messages.
async fn fill(server: &TestServer, mib: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    // Each takes 64 KiB, of which 8 are its own.
    for _ in 0..mib * 1024 / 56 {
        let mut stream = server.log_in(&key(2)).await.into_stream();
        let sent = [frame(WHOLE, 64 << 10), vec![b' '; 63 << 10]].concat();
        stream.write_all(&sent).await.unwrap();
        open.push(stream);
    }
    // Until those have been read, there is memory for more.
    let mut last = server.log_in(&key(2)).await;
    eventually("all to be held", async || {
        last.call("rpc.discover", json!({})).await.is_err()
    })
    .await;
    open
}

async fn without_room_what_is_long_is_refused_by_name_and_what_is_small_is_answered() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__MAX_BUFFERED", "1MiB")
        .start()
        .await;
    let _held = fill(&server, 1).await;
    let mut honest = server.log_in(&key(3)).await;
    for n in 0..20 {
        // In the fast lane, once it is known to be short.
        let large = honest.play("let s = \"\"; s.pad(30_000, 'x'); s").await;
        let error = large.unwrap_err();
        match backend() {
            Backend::Embedded => assert_eq!(limit(&error), "server.max_buffered"),
            Backend::Redis => assert_eq!(error["code"], -32007),
        }
        let document = honest.call("rpc.discover", json!({})).await;
        assert_eq!(limit(&document.unwrap_err()), "server.max_buffered");
        assert_eq!(honest.play(&format!("{n}")).await.unwrap()["value"], n);
    }
    // It may call any number at once: small calls are always accepted.
    let mut asked = Vec::new();
    for _ in 0..64 {
        asked.push(honest.begin_play("store.incr(\"n\", 1)").await);
    }
    for id in asked {
        honest.answer(id).await.unwrap();
    }
}

#[tokio::test]
async fn strangers_from_everywhere_leave_room_for_others() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .env("CIRCLED_SERVER__MAX_BUFFERED", "8MiB")
        .start()
        .await;
    let mut open = Vec::new();
    for n in 0..100 {
        let session = connect_from(&server, &format!("192.0.2.{n}")).await;
        let mut stream = session.into_stream();
        // All but the end of it.
        let sent = [frame(WHOLE, 120 << 10), vec![b' '; 119 << 10]].concat();
        let _ = stream.write_all(&sent).await;
        open.push(stream);
    }
    // All together would hold 12 MiB.
    eventually("some to be closed", async || sessions(&server).await < 100).await;
    let mut member = connect_from(&server, "198.51.100.1").await;
    member.login(&key(2)).await;
    for _ in 0..3 {
        let large = member.play(LARGE).await.unwrap();
        assert_eq!(large["output"].as_str().map(str::len), Some(1_000_000));
    }
    // Strangers who send little are served, too.
    let mut stranger = connect_from(&server, "192.0.2.1").await;
    assert!(stranger.call("whoami", json!({})).await.is_ok());
    drop(open);
}

#[tokio::test]
async fn strangers_from_one_address_leave_room_for_those_from_others() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .env("CIRCLED_SERVER__MAX_BUFFERED", "64MiB")
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = connect_from(&server, "192.0.2.1").await.into_stream();
        stream.write_all(&frame(WHOLE, 120 << 10)).await.unwrap();
        open.push(stream);
    }
    // They would have 22 MiB; strangers have 16 of them, of which an eighth is for one address: 18 sessions.
    eventually("most to be closed", async || sessions(&server).await <= 18).await;
    let long = format!("{}{}", call(1, "whoami", &json!({})), " ".repeat(100 << 10));
    let mut other = connect_from(&server, "192.0.2.2").await;
    other.send_text(long).await;
    assert!(other.json().await["result"].is_object());
    drop(open);
}

/// Has so many strangers ask for more than a gigabyte for each hundred and fifty of them, and read nothing.
async fn strangers_hold_little(count: usize) {
    let server = measured()
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "2s")
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "16MiB")
        .start()
        .await;
    let before = server.memory_kib("VmRSS");
    let ask = call(1, "rpc.discover", &json!({})).to_string();
    // 192 requests each, one by one or in batches.
    let flood = async |(n, session): (usize, Ws)| {
        let (mut sink, stream) = session.split();
        for _ in 0..if n.is_multiple_of(2) { 192 } else { 3 } {
            let text = match n % 2 {
                0 => ask.clone(),
                _ => format!("[{}]", vec![ask.as_str(); 64].join(",")),
            };
            if sink.send(Message::text(text)).await.is_err() {
                break;
            }
        }
        (sink, stream)
    };
    let mut strangers = Vec::new();
    for _ in 0..count {
        strangers.push(server.connect_narrow().await);
    }
    let strangers = join_all(strangers.into_iter().enumerate().map(flood)).await;
    // Somebody from the same address logs in meanwhile, and plays.
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
    session.leave().await;
    until_all_are_gone(&server).await;
    let most = server.memory_kib("VmHWM");
    let idle = 16 * count as u64;
    assert!(
        most < before + (16 << 10) + idle + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
    drop(strangers);
}

#[tokio::test]
async fn until_somebody_has_logged_in_little_is_held() {
    strangers_hold_little(150).await;
}

#[tokio::test]
async fn and_by_ten_times_as_many_hardly_more() {
    strangers_hold_little(1500).await;
}

#[tokio::test]
async fn a_stranger_may_send_and_begin_little() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__PLAY", "anyone")
        .env("CIRCLED_SESSION__ANONYMOUS_MESSAGE", "4KiB")
        .env("CIRCLED_SESSION__ANONYMOUS_IN_FLIGHT", "2")
        .start()
        .await;
    let mut session = server.connect().await;
    let busy = "let n = 0; while true { n += 1 }";
    let (one, two) = (
        session.begin_play(busy).await,
        session.begin_play(busy).await,
    );
    let refused = session.play("1").await.unwrap_err();
    assert_eq!(limit(&refused), "session.anonymous_in_flight");
    for begun in [one, two] {
        session.answer(begun).await.unwrap_err();
    }
    let padded = |length| format!("{}{}", call(1, "whoami", &json!({})), " ".repeat(length));
    session.send_text(padded(3 << 10)).await;
    assert!(session.json().await["result"].is_object());
    session.send_text(padded(4 << 10)).await;
    assert_eq!(session.closed().await, 1009);
    let mut session = server.log_in(&key(2)).await;
    session.send_text(padded(4 << 10)).await;
    assert!(session.json().await["result"].is_object());
}

/// A whole text frame, and one that other frames continue.
const WHOLE: u8 = 0x81;
const FRAGMENT: u8 = 0x01;
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Returns the beginning of a frame of so many bytes.
fn frame(kind: u8, length: usize) -> Vec<u8> {
    let mut header = vec![kind, 0x80 | 127];
    header.extend((length as u64).to_be_bytes());
    header.extend([0; 4]);
    header
}

#[tokio::test]
async fn messages_that_never_end_are_counted() {
    let server = measured()
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "2MiB")
        .start()
        .await;
    let before = server.memory_kib("VmRSS");
    let mut open = Vec::new();
    for n in 0..600 {
        let mut stream = server.connect().await.into_stream();
        let sent = if n % 2 == 0 {
            // All but the end of it.
            let frame = frame(WHOLE, 120 << 10);
            [frame, vec![b' '; 119 << 10]].concat()
        } else {
            // All but the last fragments, with a whole frame between them.
            let fragment = [frame(FRAGMENT, 60 << 10), vec![b' '; 60 << 10]].concat();
            let next = [frame(0, 59 << 10), vec![b' '; 59 << 10]].concat();
            [&fragment[..], &PONG, &next, &PONG].concat()
        };
        let _ = stream.write_all(&sent).await;
        open.push(stream);
    }
    // Sessions without memory are closed: there is memory for 17 at the most.
    eventually("most to be closed", async || sessions(&server).await <= 17).await;
    let most = server.memory_kib("VmHWM");
    // All of it would be 70 MiB.
    assert!(
        most < before + (32 << 10),
        "from {before} KiB to {most} KiB"
    );
    // Sessions that send little are served.
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
    drop(open);
    let large = format!("{}{}", call(1, "whoami", &json!({})), " ".repeat(100 << 10));
    eventually("room for a long one", async || {
        let mut session = server.connect().await;
        session.send_text(large.clone()).await;
        matches!(session.next().await, Received::Text(_))
    })
    .await;
}

/// Nothing else is kept of a message that came in fragments.
#[tokio::test]
async fn a_message_counts_until_all_that_it_asks_for_has_begun() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BUFFERED", "240KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let long = "x".repeat(60 << 10);
    // The scripts are new, so they have to wait for a thread.
    let calls = ["ARGS.len + 1", "ARGS.len + 2"].map(|script| {
        let params = json!({ "script": script, "args": long });
        call(script, "play", &params)
    });
    let calls = json!(calls).to_string();
    let mut pieces = calls.as_bytes().chunks(8 << 10).peekable();
    let mut kind = Data::Text;
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), is_last);
        session.send(Message::Frame(frame)).await;
        kind = Data::Continue;
    }
    let replies = session.json().await;
    let [one, other] = &replies.as_array().unwrap()[..] else {
        panic!("{replies}");
    };
    let refused = [one, other].map(|reply| reply["error"]["data"]["limit"].as_str());
    assert!(refused.contains(&Some("session.max_buffered")), "{replies}");
    assert!(refused.contains(&None), "{replies}");
    // It comes back.
    let params = json!({ "script": "ARGS.len", "args": long });
    assert_eq!(
        session.call("play", params).await.unwrap()["value"],
        60 << 10
    );
}

/// The buffer of a message is made as soon as the message is announced.
#[tokio::test]
async fn messages_that_are_announced_and_never_come_are_counted() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "2MiB")
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut stream = server.connect().await.into_stream();
        stream.write_all(&frame(WHOLE, 120 << 10)).await.unwrap();
        open.push(stream);
    }
    // There is memory for 17 at the most.
    eventually("most to be closed", async || sessions(&server).await <= 17).await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
    let mut stream = server.connect().await.into_stream();
    stream.write_all(&frame(WHOLE, 200 << 10)).await.unwrap();
    let mut closing = Vec::new();
    let _ = within("its end", stream.read_to_end(&mut closing)).await;
    // It is closed at once, because nobody may send so much before a login.
    assert!(String::from_utf8_lossy(&closing).contains("session.anonymous_message"));
}

/// Messages that were answered leave nothing behind, however long they were.
#[tokio::test]
async fn sessions_that_have_sent_what_is_long_are_small_again() {
    let server = measured()
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "4MiB")
        .start()
        .await;
    let long = format!("{}{}", call(1, "whoami", &json!({})), " ".repeat(120 << 10));
    let mut strangers = Vec::new();
    let before = server.memory_kib("VmRSS");
    for _ in 0..300 {
        let mut session = server.connect().await;
        session.send_text(long.clone()).await;
        assert!(matches!(session.next().await, Received::Text(_)));
        // The same again, with a new buffer.
        assert!(session.call("whoami", json!({})).await.is_ok());
        strangers.push(session);
    }
    // 300 buffers would be 36 MiB.
    eventually("the buffers to come back", async || {
        server.memory_kib("VmRSS") < before + (20 << 10)
    })
    .await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(session.play("40 + 2").await.unwrap()["value"], 42);
    drop(strangers);
}

/// Reads until the whole reply to the call of this id has come.
async fn read_reply(stream: &mut TcpStream, id: u64) -> String {
    let end = format!(r#""id":{id}}}"#);
    let mut read = String::new();
    within("a reply", async {
        while !read.ends_with(&end) {
            let mut bytes = [0; 1024];
            let length = stream.read(&mut bytes).await.unwrap();
            assert!(length > 0, "the session ended: {read}");
            read += &String::from_utf8_lossy(&bytes[..length]);
        }
    })
    .await;
    read
}

/// The beginning of the next message is no reason to keep memory, either.
#[tokio::test]
async fn sessions_that_have_begun_another_message_are_small_again_too() {
    let server = measured()
        .env("CIRCLED_SESSION__MAX_BUFFERED_PER_ADDRESS", "4MiB")
        .start()
        .await;
    let whoami = |id: u64| call(id, "whoami", &json!({})).to_string();
    let long = format!("{}{}", whoami(1), " ".repeat(120 << 10));
    let next = [frame(WHOLE, whoami(2).len()), whoami(2).into_bytes()].concat();
    let mut strangers = Vec::new();
    let before = server.memory_kib("VmRSS");
    for n in 0..300 {
        let mut stream = server.connect().await.into_stream();
        // One byte of it, half its header, or all of that.
        let (begun, rest) = next.split_at([1, 5, 14][n % 3]);
        let sent = [&frame(WHOLE, long.len()), long.as_bytes(), begun].concat();
        stream.write_all(&sent).await.unwrap();
        assert!(read_reply(&mut stream, 1).await.contains("result"));
        strangers.push((stream, rest));
    }
    // 300 buffers would be 36 MiB, and there is memory for 33.
    eventually("the buffers to come back", async || {
        server.memory_kib("VmRSS") < before + (20 << 10)
    })
    .await;
    for (stream, rest) in &mut strangers {
        stream.write_all(rest).await.unwrap();
        assert!(read_reply(stream, 2).await.contains("result"));
    }
}

/// Replies that were read leave nothing behind, however long they were.
#[tokio::test]
async fn sessions_that_read_what_is_long_are_small_again() {
    let server = measured()
        .env("CIRCLED_SESSION__PING_INTERVAL", "10m")
        .start()
        .await;
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(server.log_in(&key(2)).await);
    }
    let before = server.memory_kib("VmRSS");
    for session in &mut sessions {
        let large = session.play(LARGE).await.unwrap();
        assert_eq!(large["output"].as_str().map(str::len), Some(1_000_000));
    }
    // A buffer of two megabytes for each would be two hundred.
    until_it_is_back(&server, before, SLACK_KIB).await;
}

#[tokio::test]
async fn strangers_are_counted_by_where_they_are() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__PLAY", "anyone")
        .env("CIRCLED_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .env("CIRCLED_LIMITS__CALLER_RATE", "3")
        .start()
        .await;
    let from = async |address| connect_from(&server, address).await;
    let mut one = from("192.0.2.1").await;
    let refused = async {
        loop {
            if let Err(error) = one.play("1").await {
                break error;
            }
        }
    };
    assert_eq!(limit(&refused.await), "limits.caller_rate");
    assert_eq!(from("192.0.2.2").await.play("1").await.unwrap()["value"], 1);
    // Logging in takes none of it.
    for _ in 0..5 {
        let mut session = from("192.0.2.1").await;
        session.login(&key(2)).await;
    }
}

/// A page of the log takes half of the memory that the session may hold.
async fn a_session_with_little_room_is_told_events() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BUFFERED", "128KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    session
        .play("for n in 0..50 { emit(\"news\", n) }")
        .await
        .unwrap();
    for _ in 0..20 {
        let subscribed = session.begin("subscribe", json!({ "since": 0 })).await;
        // While the log is read.
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(session.begin("whoami", json!({})).await);
        }
        for id in 1..=50 {
            assert_eq!(session.event().await["id"], id);
        }
        let name = session.answer(subscribed).await.unwrap()["subscription"].take();
        for other in others {
            session.answer(other).await.unwrap();
        }
        let ended = session.call("unsubscribe", json!({ "subscription": name }));
        ended.await.unwrap();
    }
}

/// Waits until circles' logs aren't read any more.
async fn until_the_logs_are_left_alone(server: &TestServer) {
    let reads = || server.count_logged(|line| line["message"] == "read missed events");
    let begun = Instant::now();
    let mut before = reads();
    loop {
        // Longer than the pauses between reads that find no memory.
        sleep(Duration::from_secs(2)).await;
        let now = reads();
        if now == before {
            return;
        }
        let read = now - before;
        assert!(begun.elapsed() < LONG, "they are read on and on: {read}");
        before = now;
    }
}

/// The memory of all is bounded, however many they are.
#[tokio::test]
async fn many_that_read_no_events_stay_within_the_budget() {
    let server = bounded()
        .env("CIRCLED_STORE__EVENTS_WAITING_IN_ALL", "1MiB")
        .env("CIRCLED_DISPATCH__EMBEDDED__CACHE", "1MiB")
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "300s")
        .start()
        .await;
    let mut all = Vec::new();
    for _ in 0..200 {
        let mut session = server.connect_narrow().await;
        session.login(&key(2)).await;
        session.call("subscribe", json!({})).await.unwrap();
        all.push(session);
    }
    let before = server.memory_kib("VmRSS");
    let mut emitter = server.log_in(&key(3)).await;
    for _ in 0..6 {
        let script = "let s = \"\"; s.pad(15_000, 'y'); for n in 0..60 { emit(\"news\", s) }";
        emitter.play(script).await.unwrap();
        sleep(Duration::from_millis(200)).await;
    }
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (32 << 10) + SLACK_KIB / 2,
        "from {before} KiB to {most} KiB"
    );
    drop(all);
    until_it_is_back(&server, before, SLACK_KIB).await;
}

/// Sessions get more events than they, the server and the system have memory for, and don't read; somebody plays in
/// another circle all the time.
async fn those_who_read_nothing_have_nothing_read_for_them_and_catch_up_once_they_do() {
    const SESSIONS: usize = 20;
    const EVENTS: u64 = 420;
    let server = bounded()
        .env("CIRCLED_SERVER__MAX_BUFFERED", "2MiB")
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "300s")
        .env("CIRCLED_LOG__LEVEL", "info,circled::rpc=debug")
        .start()
        .await;
    let mut all = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = server.connect_narrow().await;
        session.login(&key(2)).await;
        session.call("subscribe", json!({})).await.unwrap();
        all.push(session);
    }
    let before = server.memory_kib("VmRSS");
    let mut emitter = server.log_in(&key(3)).await;
    let mut other = server.connect_to(key(9).public()).await;
    other.login(&key(3)).await;
    for _ in 0..EVENTS / 60 {
        let script = "let s = \"\"; s.pad(15_000, 'y'); for n in 0..60 { emit(\"news\", s) }";
        emitter.play(script).await.unwrap();
        for _ in 0..20 {
            assert_eq!(other.play("40 + 2").await.unwrap()["value"], 42);
        }
    }
    until_the_logs_are_left_alone(&server).await;
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (2 << 10) + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
    let readers = all.into_iter().map(async |mut session| {
        for id in 1..=EVENTS {
            let event = session.event().await;
            assert_eq!(event["id"], id);
            assert_eq!(event["data"].as_str().map(str::len), Some(15_000));
        }
        session.assert_silent().await;
    });
    join_all(readers).await;
    // The log had to be read.
    assert!(server.count_logged(|line| line["message"] == "read missed events") > 0);
}

async fn pages_of_jobs_are_cut_by_bytes_and_go_on() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut submitted = Vec::new();
    for n in 0..6 {
        let script = format!(
            "let s = \"\"; s.pad({}, 'x'); s",
            if n == 3 { 1_000_000 } else { 150_000 }
        );
        let job = session
            .call("submit_job", json!({ "script": script }))
            .await;
        submitted.insert(0, job.unwrap()["job_id"].clone());
    }
    eventually("all to be done", async || {
        server.jobs("finished").await.len() == 6
    })
    .await;
    let (mut listed, mut pages) = (Vec::new(), 0);
    let mut cursor = Value::Null;
    loop {
        let mut params = json!({ "limit": 500 });
        if !cursor.is_null() {
            params["cursor"] = cursor;
        }
        let page = session.call("list_jobs", params).await.unwrap();
        let jobs = page["jobs"].as_array().unwrap();
        // One page, and one job that is larger than that.
        assert!(page.to_string().len() < 4 << 20);
        listed.extend(jobs.iter().map(|job| job["job_id"].clone()));
        pages += 1;
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(listed, submitted);
    assert!(pages > 1, "{pages}");
    let page = server.admin("/jobs?status=finished&limit=100000").await;
    let page = page.json();
    assert!(
        page["jobs"].as_array().unwrap().len() < 6,
        "a page has a bound"
    );
}

async fn a_page_ends_with_the_job_that_it_has_no_room_for() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_PAGE", "1KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = "let s = \"\"; s.pad(5000, 'x'); s";
    for _ in 0..6 {
        let job = session.call("submit_job", json!({ "script": script }));
        job.await.unwrap();
    }
    // Some end while a page is read, and are larger than they were.
    eventually("all to be done", async || {
        let mut done = 0;
        let mut page = json!({ "jobs": [], "cursor": null });
        loop {
            let mut params = json!({ "status": "finished" });
            if let Some(cursor) = page["cursor"].as_str() {
                params["cursor"] = json!(cursor);
            }
            page = session.call("list_jobs", params).await.unwrap();
            let jobs = page["jobs"].as_array().unwrap().len();
            assert!(jobs <= 1, "{jobs}");
            done += jobs;
            if page["cursor"].is_null() {
                break;
            }
        }
        done == 6
    })
    .await;
    let page = server.admin("/jobs?status=finished&limit=500").await.json();
    assert_eq!(page["jobs"].as_array().map(Vec::len), Some(1));
}

/// Parsed, each takes a hundred times its length: only those that run are.
async fn webhooks_of_many_small_maps_stay_text_until_they_run() {
    let server = taking_stripes()
        .env("TOKIO_WORKER_THREADS", 2)
        .env("MIMALLOC_PURGE_DELAY", 0)
        .env("MIMALLOC_ALLOW_THP", 0)
        .env("CIRCLED_WEBHOOKS__MAX_BUFFERED_PER_ADDRESS", "64MiB")
        .env("CIRCLED_WEBHOOKS__MAX_BUFFERED_PER_CIRCLE", "64MiB")
        .start()
        .await;
    server.forget_most_memory();
    let before = server.memory_kib("VmRSS");
    let maps = format!("[{}]", [r#"{"a":0}"#; 100_000].join(","));
    let deliveries = (0..12).map(async |n| {
        let data = format!(r#"{{"object":{{"id":"many","object":"list","maps":{maps}}}}}"#);
        let body = format!(r#"{{"id":"evt_{n}","object":"event","type":"many","data":{data}}}"#);
        let response = Webhook::stripe(body).send(&server).await;
        assert_eq!(response.status, 200, "{response:?}");
    });
    join_all(deliveries).await;
    let most = server.memory_kib("VmHWM");
    // Two that run, with what the script has of it, and all bodies.
    assert!(
        most < before + (200 << 10) + SLACK_KIB,
        "from {before} KiB to {most} KiB"
    );
}

/// The allocator keeps what a thread has freed, unless the thread gives it back.
#[tokio::test]
async fn what_heavy_runs_have_held_is_given_back_once_they_are_over() {
    let threads = 8;
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__THREADS", threads)
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("TOKIO_WORKER_THREADS", 2)
        .start()
        .await;
    let heavy = "let all = []; for n in 0..50_000 { all.push(#{ a: n }) } all.len";
    let mut sessions = Vec::new();
    for n in 0..threads {
        let mut session = log_in_at_home(&server, n).await;
        session.play("1").await.unwrap();
        sessions.push(session);
    }
    let before = server.memory_kib("VmRSS");
    let mut most = 0;
    // They hold much if they run at the same time, which is up to the system.
    for round in 0..30 {
        if round >= 3 && most > before + (160 << 10) {
            break;
        }
        let plays = sessions.iter_mut().map(|session| session.play(heavy));
        for played in join_all(plays).await {
            assert_eq!(played.unwrap()["value"], 50_000);
        }
        most = server.memory_kib("VmHWM");
    }
    assert!(most > before + (160 << 10), "they held little: {most} KiB");
    // Nothing runs any more that would have a thread's memory used again.
    eventually("their memory to be given back", async || {
        server.memory_kib("VmRSS") < before + SLACK_KIB
    })
    .await;
}

on_both!(
    a_page_ends_with_the_job_that_it_has_no_room_for,
    webhooks_of_many_small_maps_stay_text_until_they_run,
    looks_at_large_jobs_stay_within_the_budget,
    pages_of_large_jobs_stay_within_the_budget,
    a_few_large_jobs_are_shown_at_once,
    large_jobs_that_are_set_aside_count_with_what_they_run_on,
    ten_times_as_many_are_set_aside_no_more,
    large_jobs_that_run_again_take_little_memory,
    ten_times_as_many_take_hardly_more,
    batches_that_nobody_reads_stay_within_the_budget,
    ten_times_as_many_do_too,
    a_batch_is_answered_as_far_as_there_is_room_and_says_what_is_full,
    an_honest_batch_is_not_refused,
    parameters_count_while_their_call_is_under_way,
    so_do_the_ids_of_calls_that_are_under_way,
    a_session_with_little_room_is_told_events,
    those_who_hold_little_are_served_while_others_hold_all_there_is,
    without_room_what_is_long_is_refused_by_name_and_what_is_small_is_answered,
    pages_of_jobs_are_cut_by_bytes_and_go_on,
    those_who_read_nothing_have_nothing_read_for_them_and_catch_up_once_they_do,
);
