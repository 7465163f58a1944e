//! Sharing of the script threads: a caller that has used less than its share gets one at once, whatever others run.

use std::time::{Duration, Instant};

use circled_protocol::SecretKey;
use futures_util::{
    SinkExt, StreamExt,
    future::{self, Either, join_all, select, select_all},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    backend::on_both,
    server::{Builder, ENDLESS, TestServer, Ws, busy, eventually, key, within},
};

const SPIN: &str = "loop {}";
/// The calls of a session that keeps calling.
const MANY: usize = 32;

/// Builds a server whose scripts may run for longer than any test.
fn patient() -> Builder {
    TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "120s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "120s")
        .env("CIRCLED_SCRIPT__THREADS", "2")
}

async fn log_in_to(server: &TestServer, circle: u8, me: &SecretKey) -> Ws {
    let mut session = server.connect_to(key(circle).public()).await;
    session.login(me).await;
    session
}

/// Opens a session in this circle with many scripts under way that don't end.
async fn flood(server: &TestServer, circle: u8, me: &SecretKey, calls: usize) -> Ws {
    let mut session = log_in_to(server, circle, me).await;
    for _ in 0..calls {
        session.begin_play(SPIN).await;
    }
    session.fence().await;
    session
}

/// Plays new scripts, so that each needs a thread, one after the other.
async fn assert_served(session: &mut Ws, what: &str) {
    for n in 0..20 {
        let script = format!("\"{what}\".len + {n}");
        let run = within(what, session.play(&script)).await.unwrap();
        assert_eq!(run["value"], json!(what.len() + n));
    }
}

async fn plays_that_do_not_end_keep_no_other_circle_waiting() {
    let server = patient().start().await;
    let _flood = flood(&server, 11, &key(2), MANY).await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside a flood").await;
}

async fn plays_that_do_not_end_keep_no_other_caller_of_the_circle_waiting() {
    let server = patient().start().await;
    let _flood = flood(&server, 11, &key(2), MANY).await;
    let mut victim = log_in_to(&server, 11, &key(3)).await;
    assert_served(&mut victim, "within a flood").await;
}

async fn more_plays_than_a_circle_may_have_keep_no_other_caller_of_it_waiting() {
    let server = patient()
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "8")
        .start()
        .await;
    let mut floods = Vec::new();
    for _ in 0..4 {
        floods.push(flood(&server, 11, &key(2), MANY).await);
    }
    let mut victim = log_in_to(&server, 11, &key(3)).await;
    assert_served(&mut victim, "within floods").await;
}

async fn one_caller_in_forty_circles_keeps_nobody_waiting() {
    let server = patient().start().await;
    let mut floods = Vec::new();
    for circle in 20..60 {
        floods.push(flood(&server, circle, &key(2), 4).await);
    }
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside forty circles").await;
}

async fn ten_callers_in_ten_circles_keep_nobody_waiting() {
    let server = patient().start().await;
    let mut floods = Vec::new();
    for n in 20..30 {
        floods.push(flood(&server, n, &key(n + 50), 16).await);
    }
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside ten callers").await;
}

/// Returns one of many keys.
fn nth(n: u16) -> SecretKey {
    let bytes = n.to_be_bytes().repeat(16);
    SecretKey::from_hex(&hex::encode(bytes)).unwrap()
}

/// Opens sessions that each play this, in the circles and with the keys of these numbers. They are more than may be set
/// aside.
async fn crowd(
    server: &TestServer,
    script: &str,
    who: impl Iterator<Item = (u16, u16)>,
) -> Vec<Ws> {
    let mut crowd = Vec::new();
    for (circle, me) in who {
        let mut session = server.connect_to(nth(circle).public()).await;
        session.login(&nth(me)).await;
        session.begin_play(script).await;
        session.fence().await;
        crowd.push(session);
    }
    crowd
}

async fn one_caller_in_four_hundred_circles_keeps_nobody_waiting() {
    let server = patient().start().await;
    let circles = (1000..1400).map(|circle| (circle, 999));
    let _crowd = crowd(&server, SPIN, circles).await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    for _ in 0..5 {
        assert_served(&mut victim, "beside four hundred circles").await;
    }
}

async fn two_hundred_callers_of_a_circle_keep_no_other_circle_waiting() {
    let server = patient().start().await;
    let _crowd = crowd(&server, SPIN, (1000..1200).map(|me| (999, me))).await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside two hundred callers").await;
}

/// Each has one more under way, so that there is another when one has ended.
async fn two_hundred_callers_of_a_circle_keep_no_other_caller_of_it_waiting() {
    let server = patient().start().await;
    let mut crowd = crowd(&server, SPIN, (1000..1200).map(|me| (999, me))).await;
    for session in &mut crowd {
        session.begin_play(SPIN).await;
    }
    let mut victim = server.connect_to(nth(999).public()).await;
    victim.login(&nth(2000)).await;
    for _ in 0..3 {
        assert_served(&mut victim, "within two hundred callers").await;
    }
}

async fn runs_with_much_memory_keep_nobody_waiting() {
    let server = patient()
        .env("CIRCLED_SCRIPT__MAX_MEMORY", "4MiB")
        .env("CIRCLED_SCRIPT__MAX_ASIDE_MEMORY", "4MiB")
        .start()
        .await;
    let script = "let s = \"x\"; while s.len < 1_000_000 { s += s } loop {}";
    let others = (1000..1020).map(|n| (n, n));
    let _crowd = crowd(&server, script, others).await;
    let _one = crowd(&server, script, (2000..2020).map(|circle| (circle, 999))).await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside what holds much").await;
}

/// If nothing more may be set aside, the run that has used most ends.
async fn a_play_that_there_is_no_room_for_is_told_so_and_a_job_runs_again() {
    let server = patient()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .env("CIRCLED_SCRIPT__MAX_ASIDE", "1")
        .start()
        .await;
    let mut owner = log_in_to(&server, 12, &key(12)).await;
    let params = json!({ "script": busy(Duration::from_secs(2), "7") });
    let job = owner.call("submit_job", params).await.unwrap()["job_id"].clone();
    let mut floods = Vec::new();
    for n in 20..23 {
        floods.push(flood(&server, n, &key(n + 50), 1).await);
    }
    let mut victim = log_in_to(&server, 13, &key(3)).await;
    assert_served(&mut victim, "where there is no room").await;
    let answers = floods.iter_mut().map(|flood| Box::pin(flood.answer(1 + 2)));
    let (first, ..) = within("one to be ended", select_all(answers)).await;
    let error = first.unwrap_err();
    assert_eq!(error["code"], -32005, "{error}");
    assert_eq!(error["data"]["limit"], "script.max_aside", "{error}");
    for flood in floods {
        flood.leave().await;
    }
    eventually("the job to end", async || {
        let job = owner.call("get_job", json!([job])).await.unwrap();
        assert!(job["error"].is_null(), "{job}");
        job["value"] == 7
    })
    .await;
}

/// If the server dies, it blames the jobs in this file, and only those.
#[tokio::test]
async fn a_job_that_waits_half_way_is_not_noted_as_running() {
    let folder = tempfile::tempdir().unwrap();
    let server = patient()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .data(folder.path())
        .start()
        .await;
    let is_noted = || {
        let noted = std::fs::read(folder.path().join("running"));
        noted.unwrap().iter().any(|byte| *byte != 0)
    };
    let mut owner = log_in_to(&server, 12, &key(12)).await;
    let params = json!({ "script": SPIN });
    owner.call("submit_job", params).await.unwrap();
    eventually("it to run", async || is_noted()).await;
    let _crowd = crowd(&server, SPIN, (1000..1020).map(|n| (n, n))).await;
    eventually("it to wait", async || !is_noted()).await;
    eventually("it to run again", async || is_noted()).await;
}

/// Long runs have all the places of a worker, and it continues to take new ones.
async fn more_than_a_worker_holds_keeps_nobody_waiting() {
    let server = patient()
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "4")
        .env("CIRCLED_DISPATCH__REDIS__HOLD", "8")
        .start()
        .await;
    let mut floods = Vec::new();
    for circle in 20..40 {
        floods.push(flood(&server, circle, &key(2), 8).await);
    }
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    assert_served(&mut victim, "beside what is held").await;
}

/// Returns a new source of 200 KiB each time, so that it is compiled each time.
fn long_source(n: usize) -> String {
    format!("let x = {n};{}", "x += 1;".repeat(28_000))
}

/// With one thread, compiling for a caller who has left would keep the same caller waiting.
async fn scripts_of_callers_that_left_are_not_compiled() {
    let server = patient()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .env("CIRCLED_LIMITS__CALLER_JOBS", "0")
        .start()
        .await;
    let mut owner = log_in_to(&server, 11, &key(11)).await;
    for n in 0..MANY {
        let params = json!({ "script": long_source(n) });
        owner.begin("submit_job", params).await;
        let params = json!({ "name": "long", "source": long_source(n + MANY) });
        owner.begin("put_script", params).await;
    }
    owner.leave().await;
    let mut back = log_in_to(&server, 11, &key(11)).await;
    assert_served(&mut back, "after all that").await;
}

async fn compiling_takes_no_longer_than_a_run_may() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__TIMEOUT", "2ms")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let source = long_source(0);
    for (method, params) in [
        ("play", json!({ "script": source })),
        ("submit_job", json!({ "script": source })),
        ("put_script", json!({ "name": "long", "source": source })),
    ] {
        let error: Value = owner.call(method, params).await.unwrap_err();
        assert_eq!(
            (&error["code"], &error["data"]),
            (&json!(-32004), &json!({ "timeout_ms": 2 })),
            "{method}: {error}"
        );
    }
}

/// While it is set aside, no time passes for a script; but its caller waits no longer than the timeout.
async fn a_script_that_others_pass_still_ends_well() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "2s")
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .start()
        .await;
    let mut floods = Vec::new();
    for n in 20..24 {
        floods.push(flood(&server, n, &key(n + 50), 1).await);
    }
    let mut session = log_in_to(&server, 12, &key(3)).await;
    let script = "let n = 0; while n < 20_000 { n += 1 } n";
    let run = within("a script of some length", session.play(script)).await;
    assert_eq!(run.unwrap()["value"], 20_000);
    for mut flood in floods {
        let error = flood.answer(1 + 2).await.unwrap_err();
        assert_eq!(error["data"], json!({ "timeout_ms": 2000 }), "{error}");
    }
    // It would have run for longer than that.
    let params = json!({ "script": SPIN, "timeout_ms": 300 });
    let error = session.call("play", params).await.unwrap_err();
    assert_eq!(error["data"], json!({ "timeout_ms": 300 }), "{error}");
}

/// Returns the median time of plays that come one after the other.
async fn middle_play(session: &mut Ws) -> Duration {
    let mut times = Vec::new();
    for _ in 0..41 {
        let begun = Instant::now();
        session.play("store.incr(\"n\", 1)").await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Shows false signatures on and on, with two batches of them under way.
async fn log_in_falsely(mut session: Ws) {
    let me = key(9).public();
    let call =
        |method, params| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let fetch = call("fetch_nonce", json!({ "pubkey": me }));
    let show = json!({ "pubkey": me, "signature": "11".repeat(64), "scheme": "sha256" });
    let show = call("authenticate", show);
    let batch = Value::from(vec![[fetch, show]; 16].concat()).to_string();
    session.send_text(&batch).await;
    loop {
        session.send_text(&batch).await;
        let replies = session.text().await;
        assert_eq!(replies.matches("bad_signature").count(), 16, "{replies}");
    }
}

async fn strangers_who_log_in_falsely_keep_nobody_who_has_logged_in_waiting() {
    let server = TestServer::start().await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    let alone = middle_play(&mut victim).await;
    let mut strangers = Vec::new();
    for _ in 0..MANY {
        strangers.push(server.connect_to(key(11).public()).await);
    }
    let flood = Box::pin(join_all(strangers.into_iter().map(log_in_falsely)));
    let beside = Box::pin(async {
        let beside = middle_play(&mut victim).await;
        // A real login from the same address has its turn, too.
        within("a login", log_in_to(&server, 13, &key(4))).await;
        beside
    });
    let Either::Right((beside, _)) = select(flood, beside).await else {
        panic!("the flood has ended");
    };
    println!("alone {alone:?}, beside the flood {beside:?}");
    let most = 4 * alone + Duration::from_millis(40);
    assert!(beside < most, "{beside:?}; alone {alone:?}");
}

/// Sends a message on and on, with two of them under way, and reads the replies.
async fn ask_on_and_on(session: Ws, message: &Message) {
    let (mut sink, mut replies) = session.split();
    let send = async { while sink.send(message.clone()).await.is_ok() {} };
    let read = async { while replies.next().await.is_some_and(|reply| reply.is_ok()) {} };
    future::join(send, read).await;
}

/// Has so many callers, each in a circle of its own, send this on and on, while another one plays.
async fn assert_heard_beside(what: &str, message: String, callers: u16) {
    let server = TestServer::start().await;
    let mut victim = log_in_to(&server, 12, &key(3)).await;
    let alone = middle_play(&mut victim).await;
    let mut flood = Vec::new();
    for n in 1000..1000 + callers {
        let mut session = server.connect_to(nth(n).public()).await;
        session.login(&nth(n)).await;
        flood.push(session);
    }
    let message = Message::text(message);
    let flood = flood
        .into_iter()
        .map(|session| ask_on_and_on(session, &message));
    let flood = Box::pin(join_all(flood));
    // The best of three: the machine may stand still for a moment.
    let beside = Box::pin(async {
        middle_play(&mut victim).await;
        let mut best = middle_play(&mut victim).await;
        for _ in 0..2 {
            best = best.min(middle_play(&mut victim).await);
        }
        best
    });
    let Either::Right((beside, _)) = select(flood, beside).await else {
        panic!("the flood has ended");
    };
    println!("{what} of {callers}: alone {alone:?}, beside them {beside:?}");
    let most = 4 * alone + Duration::from_millis(150);
    assert!(beside < most, "{what}: {beside:?}; alone {alone:?}");
}

fn calls(count: usize, method: &str) -> String {
    let call = |n| json!({ "jsonrpc": "2.0", "id": n, "method": method });
    Value::from_iter((0..count).map(call)).to_string()
}

async fn long_args_keep_nobody_waiting() {
    let args = vec![0; 65_000];
    let params = json!({ "script": "ARGS.len()", "args": args });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "play", "params": params });
    for callers in [8, 80] {
        assert_heard_beside("long args", call.to_string(), callers).await;
    }
}

#[tokio::test]
async fn long_batches_keep_nobody_waiting() {
    for callers in [8, 40] {
        assert_heard_beside("documents", calls(64, "rpc.discover"), callers).await;
        assert_heard_beside("too many", json!(vec![0; 60_000]).to_string(), callers).await;
    }
}

/// Builds a server with one place for logins.
fn with_one_login_at_a_time() -> Builder {
    TestServer::builder().env("CIRCLED_AUTH__CHECKS", 1)
}

/// Returns a batch that needs a turn to log in for each of its many requests.
fn many_logins() -> String {
    let params = json!({ "pubkey": key(9).public() });
    let call = |n| json!({ "jsonrpc": "2.0", "id": n, "method": "fetch_nonce", "params": params });
    Value::from_iter((0..64).map(call)).to_string()
}

/// Has a batch of many logins under way on and on, one after the other, and reads everything.
async fn wait_for_turns(mut session: Ws, first: Option<Value>) {
    if let Some(first) = first {
        session.send_text(first.to_string()).await;
    }
    let batch = many_logins();
    loop {
        session.send_text(&batch).await;
        while !session.text().await.starts_with('[') {}
    }
}

/// Emits so many long events.
async fn emit(server: &TestServer, pages: usize) {
    let mut session = server.log_in(&key(3)).await;
    for _ in 0..pages {
        let script = "let s = \"\"; s.pad(15_000, 'y'); for n in 0..4 { emit(\"news\", s) }";
        session.play(script).await.unwrap();
    }
}

fn since_the_first() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": { "since": 0 } })
}

async fn those_whose_messages_wait_keep_nobody_from_the_log() {
    const PAGES: usize = 40;
    let server = with_one_login_at_a_time()
        .env("CIRCLED_SESSION__LOG_READS", 1)
        .start()
        .await;
    emit(&server, PAGES).await;
    let mut victim = server.log_in(&key(4)).await;
    let mut waiting = Vec::new();
    for _ in 0..MANY {
        let session = server.log_in(&key(2)).await;
        waiting.push(wait_for_turns(session, Some(since_the_first())));
    }
    let waiting = Box::pin(join_all(waiting));
    let catching_up = Box::pin(within("what was missed", async {
        victim.send_text(since_the_first().to_string()).await;
        for id in 1..=4 * PAGES {
            assert_eq!(victim.event().await["id"], id);
        }
    }));
    let Either::Right(_) = select(waiting, catching_up).await else {
        panic!("the others have ended");
    };
}

async fn replies_are_sent_while_a_message_waits() {
    let server = with_one_login_at_a_time().start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut others = Vec::new();
    for _ in 0..MANY {
        let other = server.connect().await;
        others.push(wait_for_turns(other, None));
    }
    let others = Box::pin(join_all(others));
    let asking = Box::pin(async {
        for n in 0..3 {
            // The script is new, so it has to wait for a thread.
            let play = session.begin_play(&format!("40 + {n}")).await;
            session.send_text(many_logins()).await;
            let reply = session.json().await;
            assert_eq!(reply["id"], play, "{reply}");
            assert_eq!(reply["result"]["value"], 40 + n);
            // The session is also heard.
            session.send(Message::Ping("there?".into())).await;
            let heard = session.message().await.unwrap();
            assert!(heard.is_pong(), "{heard}");
            assert!(session.json().await.is_array());
        }
    });
    let Either::Right(_) = select(others, asking).await else {
        panic!("the others have ended");
    };
}

/// A session whose next message has always come already.
async fn busy_sessions_get_the_events_that_they_missed() {
    const PAGES: usize = 10;
    let server = TestServer::start().await;
    emit(&server, PAGES).await;
    let session = server.log_in(&key(2)).await;
    let (mut sink, mut replies) = session.split();
    let ask = Box::pin(async {
        let first = Message::text(since_the_first().to_string());
        sink.send(first).await.unwrap();
        let many = Message::text(calls(64, "whoami"));
        while sink.send(many.clone()).await.is_ok() {}
    });
    let read = Box::pin(within("what was missed", async {
        let mut told = 0;
        while told < 4 * PAGES {
            let text = replies.next().await.unwrap().unwrap().into_text().unwrap();
            told += usize::from(text.contains("\"method\":\"event\""));
        }
    }));
    let Either::Right(_) = select(ask, read).await else {
        panic!("the session has ended");
    };
}

on_both!(
    those_whose_messages_wait_keep_nobody_from_the_log,
    replies_are_sent_while_a_message_waits,
    busy_sessions_get_the_events_that_they_missed,
    long_args_keep_nobody_waiting,
    strangers_who_log_in_falsely_keep_nobody_who_has_logged_in_waiting,
    plays_that_do_not_end_keep_no_other_circle_waiting,
    plays_that_do_not_end_keep_no_other_caller_of_the_circle_waiting,
    more_plays_than_a_circle_may_have_keep_no_other_caller_of_it_waiting,
    one_caller_in_forty_circles_keeps_nobody_waiting,
    ten_callers_in_ten_circles_keep_nobody_waiting,
    one_caller_in_four_hundred_circles_keeps_nobody_waiting,
    two_hundred_callers_of_a_circle_keep_no_other_circle_waiting,
    two_hundred_callers_of_a_circle_keep_no_other_caller_of_it_waiting,
    runs_with_much_memory_keep_nobody_waiting,
    a_play_that_there_is_no_room_for_is_told_so_and_a_job_runs_again,
    more_than_a_worker_holds_keeps_nobody_waiting,
    scripts_of_callers_that_left_are_not_compiled,
    compiling_takes_no_longer_than_a_run_may,
    a_script_that_others_pass_still_ends_well,
);
