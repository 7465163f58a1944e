//! Requests with an id, sent again: what one has changed, it has changed once, and its reply stays the same.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use circled_client::Change;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{
    backend::{on_both, on_other_servers},
    counting::{caller, check, count, named},
    redis::Proxy,
    server::{Answer, Builder, TestServer, Ws, eventually, key},
};

const COUNT: &str = "print(`for ${ARGS}`); store.incr(\"n\", 1)";

async fn play(session: &mut Ws, id: &str, script: &str, args: Value) -> Answer {
    let params = json!({ "script": script, "args": args, "request_id": id });
    session.call("play", params).await
}

async fn counted(session: &mut Ws) -> Value {
    session.play("store.get(\"n\")").await.unwrap()["value"].take()
}

/// Returns an earlier reply as it is when it is replayed.
fn replayed(reply: &Value) -> Value {
    let mut reply = reply.clone();
    assert_eq!(reply.get("replayed"), None);
    reply["replayed"] = json!(true);
    reply
}

async fn the_same_request_again_gets_the_first_reply() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let first = play(&mut session, "one", COUNT, json!("me")).await.unwrap();
    assert_eq!(
        (&first["value"], &first["logs"]),
        (&json!(1), &json!(["for me"]))
    );
    // On another session, and with another time.
    let mut other = server.log_in(&key(2)).await;
    for session in [&mut session, &mut other] {
        let params =
            json!({ "script": COUNT, "args": "me", "request_id": "one", "timeout_ms": 20_000 });
        let again = session.call("play", params).await.unwrap();
        assert_eq!(again, replayed(&first));
    }
    assert_eq!(counted(&mut session).await, json!(1));
    // What reads nothing itself, too.
    let blind = "store.add(\"n\", 10); store.push(\"log/\", 1); emit(\"told\", 1)";
    let first = play(&mut session, "two", blind, json!(null)).await.unwrap();
    let again = play(&mut other, "two", blind, json!(null)).await.unwrap();
    assert_eq!(again, replayed(&first));
    let emits = play(&mut session, "three", "emit(\"told\", 1)", json!(null))
        .await
        .unwrap();
    let again = play(&mut other, "three", "emit(\"told\", 1)", json!(null))
        .await
        .unwrap();
    assert_eq!(again, replayed(&emits));
    assert_eq!(counted(&mut session).await, json!(11));
    // A named script, with the version that ran.
    let mut owner = server.log_in(&key(1)).await;
    let put = |source: &str| json!({ "name": "count", "source": source });
    owner.call("put_script", put(COUNT)).await.unwrap();
    let call = || json!({ "name": "count", "request_id": "four" });
    let first = owner.call("call", call()).await.unwrap();
    owner.call("put_script", put("throw 1")).await.unwrap();
    assert_eq!(owner.call("call", call()).await.unwrap(), replayed(&first));
    owner
        .call("delete_script", json!({ "name": "count" }))
        .await
        .unwrap();
    assert_eq!(owner.call("call", call()).await.unwrap(), replayed(&first));
    assert_eq!(counted(&mut session).await, json!(12));
}

async fn an_id_is_one_callers_for_one_request() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__PLAY", "anyone")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    play(&mut session, "one", COUNT, json!(1)).await.unwrap();
    let invalid = |answer: Answer, says: &str| {
        let error = answer.unwrap_err();
        assert_eq!(error["code"], -32602, "{error}");
        assert_eq!(error["data"]["reason"], says);
    };
    for (script, args) in [(COUNT, json!(2)), ("store.incr(\"n\", 1)", json!(1))] {
        let answer = play(&mut session, "one", script, args).await;
        invalid(answer, "request_id_reused");
    }
    let named = json!({ "name": "none", "args": 1, "request_id": "one" });
    invalid(session.call("call", named).await, "request_id_reused");
    let says = "`request_id` must be 1 to 64 of A-Za-z0-9_.:-";
    for id in ["", "a b", "é", &"a".repeat(65)] {
        invalid(play(&mut session, id, COUNT, json!(1)).await, says);
    }
    let longest = "aZ9_.:-0".repeat(8);
    play(&mut session, &longest, COUNT, json!(1)).await.unwrap();
    let mut other = server.log_in(&key(3)).await;
    let reply = play(&mut other, "one", COUNT, json!(1)).await.unwrap();
    assert_eq!(reply["value"], 3);
    let mut elsewhere = server.connect_to(key(9).public()).await;
    elsewhere.login(&key(2)).await;
    let reply = play(&mut elsewhere, "one", COUNT, json!(1)).await.unwrap();
    assert_eq!(reply["value"], 1);
    let mut anyone = server.connect().await;
    let answer = play(&mut anyone, "one", COUNT, json!(1)).await;
    invalid(answer, "`request_id` needs a login");
    assert_eq!(counted(&mut session).await, json!(3));
}

async fn a_run_that_fails_or_only_reads_leaves_nothing() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let fails = "store.incr(\"n\", 1); if store.get(\"n\") < 5 { throw \"no\" }";
    for _ in 0..2 {
        let error = play(&mut session, "one", fails, json!(1))
            .await
            .unwrap_err();
        assert_eq!(error["code"], -32000);
    }
    assert_eq!(counted(&mut session).await, json!(null));
    let reads = "store.get(\"n\")";
    for n in 1..3 {
        session.play("store.incr(\"n\", 1)").await.unwrap();
        let reply = play(&mut session, "one", reads, json!(1)).await.unwrap();
        assert_eq!((&reply["value"], reply.get("replayed")), (&json!(n), None));
    }
    // The id is free still. Once it isn't, a run that would fail isn't one.
    let done = "store.incr(\"n\", 1); if store.get(\"n\") > 3 { throw \"no\" } 7";
    let first = play(&mut session, "one", done, json!(1)).await.unwrap();
    let again = play(&mut session, "one", done, json!(1)).await.unwrap();
    assert_eq!(again, replayed(&first));
    assert_eq!(counted(&mut session).await, json!(3));
}

async fn of_many_at_once_one_changes_something() {
    let server = TestServer::start().await;
    let mut sessions = Vec::new();
    for _ in 0..16 {
        sessions.push(server.log_in(&key(2)).await);
    }
    for round in 0..5 {
        let mut asking = JoinSet::new();
        for mut session in sessions.drain(..) {
            asking.spawn(async move {
                let id = format!("round-{round}");
                let reply = play(&mut session, &id, COUNT, json!(round)).await.unwrap();
                (session, reply)
            });
        }
        let mut replies = Vec::new();
        for (session, reply) in asking.join_all().await {
            sessions.push(session);
            replies.push(reply);
        }
        let first = |reply: &&Value| reply.get("replayed").is_none();
        let ran: Vec<_> = replies.iter().filter(first).collect();
        let [ran] = ran[..] else {
            panic!("{} have run", ran.len());
        };
        let others = replies.iter().filter(|reply| !first(reply));
        for other in others {
            assert_eq!(*other, replayed(ran));
        }
        assert_eq!(counted(&mut sessions[0]).await, json!(round + 1));
    }
}

async fn replies_outlive_the_server_and_expire() {
    let folder = tempfile::tempdir().unwrap();
    let start = |kept: &str| -> Builder {
        TestServer::builder()
            .data(folder.path())
            .env("CIRCLED_DISPATCH__REQUESTS_FOR", kept)
    };
    let mut server = start("1h").start().await;
    let mut session = server.log_in(&key(2)).await;
    let first = play(&mut session, "one", COUNT, json!(1)).await.unwrap();
    drop(session);
    server.sigterm();
    server.wait().await;
    let server = start("300ms").start().await;
    let mut session = server.log_in(&key(2)).await;
    let again = play(&mut session, "one", COUNT, json!(1)).await.unwrap();
    assert_eq!(again, replayed(&first));
    let second = play(&mut session, "two", COUNT, json!(1)).await.unwrap();
    assert_eq!(second["value"], 2);
    eventually("it has expired", async || {
        let reply = play(&mut session, "two", COUNT, json!(1)).await.unwrap();
        reply.get("replayed").is_none()
    })
    .await;
    assert_eq!(counted(&mut session).await, json!(3));
}

async fn the_oldest_replies_make_room() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__MAX_REQUESTS", "8KiB")
        .env("CIRCLED_STORE__QUOTA", "1KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let long = "store.incr(\"n\", 1); let s = \"\"; s.pad(1000, 'x'); s";
    for n in 0..20 {
        let reply = play(&mut session, &format!("r{n}"), long, json!(n))
            .await
            .unwrap();
        assert_eq!(reply.get("replayed"), None);
    }
    let again = play(&mut session, "r19", long, json!(19)).await.unwrap();
    assert_eq!(again["replayed"], true);
    // It is known that it has run, but not what the reply was.
    let again = play(&mut session, "r0", long, json!(0)).await.unwrap_err();
    assert_eq!(again["code"], -32602, "{again}");
    assert_eq!(again["data"]["reason"], "reply_dropped", "{again}");
    let other = play(&mut session, "r0", long, json!(1)).await.unwrap_err();
    assert_eq!(other["data"]["reason"], "request_id_reused", "{other}");
    assert_eq!(counted(&mut session).await, json!(20));
    // Nor that, once there are many more.
    for n in 20..100 {
        play(&mut session, &format!("r{n}"), long, json!(n))
            .await
            .unwrap();
    }
    let again = play(&mut session, "r0", long, json!(0)).await.unwrap();
    assert_eq!(again.get("replayed"), None);
    let short = play(&mut session, "r90", long, json!(90))
        .await
        .unwrap_err();
    assert_eq!(short["data"]["reason"], "reply_dropped", "{short}");
    assert_eq!(counted(&mut session).await, json!(101));
}

async fn who_keeps_few_replies_loses_none_to_who_keeps_many() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__MAX_REQUESTS", "16KiB")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    for member in [2, 3] {
        let member = json!({ "pubkey": key(member).public() });
        owner.call("add_member", member).await.unwrap();
    }
    let mut member = server.log_in(&key(2)).await;
    let first = play(&mut member, "kept", COUNT, json!("me")).await.unwrap();
    let long = "store.incr(\"n\", 1); let s = \"\"; s.pad(1000, 'x'); s";
    let mut other = server.log_in(&key(3)).await;
    for n in 0..150 {
        let reply = play(&mut other, &format!("r{n}"), long, json!(n)).await;
        assert_eq!(reply.unwrap().get("replayed"), None);
    }
    let again = play(&mut member, "kept", COUNT, json!("me")).await.unwrap();
    assert_eq!(again, replayed(&first));
    // All guests together are one more.
    for guest in 10..40 {
        let mut guest = server.log_in(&key(guest)).await;
        for n in 0..5 {
            let reply = play(&mut guest, &format!("r{n}"), long, json!(n)).await;
            assert_eq!(reply.unwrap().get("replayed"), None);
        }
    }
    let again = play(&mut member, "kept", COUNT, json!("me")).await.unwrap();
    assert_eq!(again, replayed(&first));
    assert_eq!(counted(&mut member).await, json!(301));
    // The others have lost what they kept first, and have what they kept last.
    let last = play(&mut other, "r149", long, json!(149)).await;
    assert_eq!(last.unwrap_err()["data"]["reason"], "reply_dropped");
    let again = play(&mut other, "r0", long, json!(0)).await.unwrap();
    assert_eq!(again.get("replayed"), None);
    assert_eq!(counted(&mut member).await, json!(302));
}

/// The number of callers that call at the same time, each over a connection that is cut at another byte.
const CALLERS: usize = 24;

/// Cuts at every 16th byte of the exchange, or at each if `CIRCLED_TEST_SECONDS` is set.
async fn a_connection_that_is_cut_anywhere_has_no_call_happen_twice_or_not_at_all() {
    let step = match std::env::var_os("CIRCLED_TEST_SECONDS") {
        Some(_) => 1,
        None => 16,
    };
    let server = named(TestServer::builder()).start().await;
    let port = server.address.port();
    let mut callers = JoinSet::new();
    for first in 0..CALLERS {
        callers.spawn(async move {
            let mut counts = Vec::new();
            for bytes in (first * step..).step_by(CALLERS * step) {
                let network = Proxy::cutting(port, bytes).await;
                let cut = Arc::new(AtomicBool::new(false));
                let lost = cut.clone();
                let caller = caller(&network).on_change(move |change| {
                    lost.fetch_or(matches!(change, Change::Lost { .. }), Ordering::Relaxed);
                });
                let (n, replayed) = count(&caller, format!("at-{bytes}"), 0).await;
                counts.push((n, replayed));
                if !cut.load(Ordering::Relaxed) {
                    // The exchange has fewer bytes.
                    break;
                }
            }
            counts
        });
    }
    let counts = callers.join_all().await.concat();
    let replayed = counts.iter().filter(|(_, replayed)| *replayed).count();
    assert!(replayed > 0, "no reply was cut");
    eprintln!(
        "{} calls, {replayed} of them answered by an earlier run",
        counts.len()
    );
    let network = Proxy::to(port).await;
    let counts = counts.into_iter().map(|(n, _)| n).collect();
    check(&caller(&network), counts).await;
}

on_both!(
    a_connection_that_is_cut_anywhere_has_no_call_happen_twice_or_not_at_all,
    the_same_request_again_gets_the_first_reply,
    an_id_is_one_callers_for_one_request,
    a_run_that_fails_or_only_reads_leaves_nothing,
    of_many_at_once_one_changes_something,
    replies_outlive_the_server_and_expire,
    the_oldest_replies_make_room,
    who_keeps_few_replies_loses_none_to_who_keeps_many,
);

on_other_servers!(the_same_request_again_gets_the_first_reply,);
