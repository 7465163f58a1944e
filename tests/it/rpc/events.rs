//! Events: sessions of a circle receive them as they happen, or from an earlier one.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{
        add, assert_invalid, assert_refused, closed, ok, put, refused, submit, subscribe, until,
    },
    server::{Received, TestServer, Ws, eventually, key, within},
};

/// Emits so many counted events about `topic`, in one run, beginning with `from`.
async fn emit(session: &mut Ws, topic: &str, from: u64, count: u64) {
    let script = format!(
        "for n in {from}..{} {{ emit(\"{topic}\", n) }}",
        from + count
    );
    session.play(&script).await.unwrap();
}

/// Returns the ids and data of the next events of a session with one subscription.
async fn told(session: &mut Ws, count: usize) -> Vec<(u64, Value)> {
    let mut told = Vec::new();
    for _ in 0..count {
        let mut event = session.event().await;
        assert!(event["id"].is_u64(), "{event}");
        told.push((event["id"].as_u64().unwrap(), event["data"].take()));
    }
    told
}

/// Checks the id and topic of the next event.
async fn assert_next(session: &mut Ws, id: u64, topic: &str) {
    let event = session.event().await;
    assert_eq!(
        (&event["id"], &event["topic"]),
        (&json!(id), &json!(topic)),
        "{event}"
    );
}

async fn an_event_reaches_whoever_is_subscribed() {
    let server = TestServer::start().await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    let before = Timestamp::now();
    assert_eq!(subscribe(&mut one, json!({})).await, ("1".to_owned(), 0));
    for (n, (written, data)) in [
        ("()", json!(null)),
        ("7", json!(7)),
        ("1.5", json!(1.5)),
        ("\"grüße 🦀\"", json!("grüße 🦀")),
        ("[1, #{ a: [true, ()] }]", json!([1, { "a": [true, null] }])),
    ]
    .into_iter()
    .enumerate()
    {
        let script = format!("emit(\"news/{n}\", {written}); 0");
        two.play(&script).await.unwrap();
        let event = one.event().await;
        assert_eq!(event.as_object().unwrap().len(), 5, "{event}");
        let id = n + 1;
        let expected = json!({ "subscription": "1", "id": id, "topic": format!("news/{n}"), "data": data, "at": event["at"] });
        assert_eq!(event, expected);
        let at: Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        assert!(before <= at && at <= Timestamp::now(), "{event}");
    }
    // The emitter gets the event, too.
    let (name, since) = subscribe(&mut two, json!({})).await;
    assert_eq!((name.as_str(), since), ("1", 5));
    emit(&mut two, "own", 0, 1).await;
    assert_next(&mut one, 6, "own").await;
    assert_next(&mut two, 6, "own").await;
    // Nobody in another circle gets it, and events there have numbers of their own.
    let mut elsewhere = server.connect_to(key(5).public()).await;
    elsewhere.login(&key(2)).await;
    assert_eq!(subscribe(&mut elsewhere, json!({})).await.1, 0);
    emit(&mut elsewhere, "there", 0, 1).await;
    assert_next(&mut elsewhere, 1, "there").await;
    emit(&mut two, "last", 0, 1).await;
    assert_next(&mut one, 7, "last").await;
}

async fn a_run_that_fails_tells_nothing() {
    let server = TestServer::start().await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    subscribe(&mut one, json!({})).await;
    let long = "t".repeat(257);
    for script in [
        "emit(\"a\", 1); throw 1".to_owned(),
        "emit(\"a\", 1); loop {}".to_owned(),
        "emit(\"a\", 1); store.set(\"\", 1)".to_owned(),
        "emit(\"a\", 1); emit(\"\", 1)".to_owned(),
        format!("emit(\"a\", 1); emit(\"{long}\", 1)"),
        "emit(\"a\", 1); emit(\"job.x\", 1)".to_owned(),
        "emit(\"a\", 1); emit(\"circle.x\", 1)".to_owned(),
        "emit(\"a\", 1); emit(\"webhook.stripe\", 1)".to_owned(),
        "emit(\"a\", 1); emit(\"presence\", 1)".to_owned(),
        "emit(\"a\", 1); emit(\"b\", |x| x)".to_owned(),
        "for n in 0..101 { emit(\"a\", n) }".to_owned(),
        "let s = \"\"; s.pad(20_000, 'x'); emit(\"a\", 1); emit(\"b\", s)".to_owned(),
    ] {
        for _ in 0..2 {
            let (code, _) = refused(&script, two.play(&script).await);
            assert_eq!(code, -32000, "{script}");
        }
    }
    emit(&mut two, &"t".repeat(256), 0, 100).await;
    emit(&mut two, "jobs.circles", 0, 1).await;
    for id in 1..=100 {
        assert_eq!(one.event().await["id"], id);
    }
    assert_next(&mut one, 101, "jobs.circles").await;
}

async fn a_subscription_is_to_what_topics_begin_with() {
    let server = TestServer::start().await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    for (n, topic) in ["", "news", "news/", "news/b", "News"].iter().enumerate() {
        let (name, _) = subscribe(&mut one, json!({ "topic": topic })).await;
        assert_eq!(name, (n + 1).to_string());
    }
    for (topic, names) in [
        ("news", vec!["1", "2"]),
        ("news/a", vec!["1", "2", "3"]),
        ("news/b", vec!["1", "2", "3", "4"]),
        ("n", vec!["1"]),
        ("News", vec!["1", "5"]),
    ] {
        emit(&mut two, topic, 0, 1).await;
        let mut told = Vec::new();
        for _ in &names {
            let event = one.event().await;
            assert_eq!(event["topic"], topic);
            told.push(event["subscription"].as_str().unwrap().to_owned());
        }
        told.sort();
        assert_eq!(told, names, "{topic}");
    }
    assert_eq!(ok(&mut one, "unsubscribe", json!(["1"])).await, true);
    assert_eq!(
        ok(&mut one, "unsubscribe", json!({ "subscription": "3" })).await,
        true
    );
    for gone in ["1", "3", "6", "", "nonsense"] {
        assert_eq!(ok(&mut one, "unsubscribe", json!([gone])).await, false);
    }
    emit(&mut two, "news/c", 0, 1).await;
    let event = one.event().await;
    assert_eq!(
        (&event["subscription"], &event["topic"]),
        (&json!("2"), &json!("news/c"))
    );
    // Names aren't used twice.
    assert_eq!(subscribe(&mut one, json!({})).await.0, "6");
    for gone in ["2", "4", "5", "6"] {
        assert_eq!(ok(&mut one, "unsubscribe", json!([gone])).await, true);
    }
    emit(&mut two, "news", 0, 1).await;
    assert_eq!(subscribe(&mut one, json!(["last"])).await.0, "7");
    emit(&mut two, "last", 0, 1).await;
    assert_eq!(one.event().await["subscription"], "7");
}

async fn parameters_are_what_they_must_be() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (method, params) in [
        ("subscribe", json!({ "topic": 7 })),
        ("subscribe", json!({ "since": "7" })),
        ("subscribe", json!({ "since": -1 })),
        ("subscribe", json!({ "since": 1.5 })),
        ("subscribe", json!({ "more": 1 })),
        ("subscribe", json!(["", 0, 1])),
        ("subscribe", json!({ "topic": "t".repeat(257) })),
        ("unsubscribe", json!({})),
        ("unsubscribe", json!([7])),
        ("unsubscribe", json!(["1", "2"])),
    ] {
        let what = format!("{method} {params}");
        assert_invalid(&what, session.call(method, params).await, "");
    }
    let (name, _) = subscribe(&mut session, json!({ "topic": "t".repeat(256) })).await;
    assert_eq!(name, "1");
}

async fn a_session_has_as_many_subscriptions_as_it_may() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_SUBSCRIPTIONS", "3")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for _ in 0..3 {
        subscribe(&mut session, json!({})).await;
    }
    let (code, data) = refused("one more", session.call("subscribe", json!({})).await);
    assert_eq!(
        (code, &data["limit"]),
        (-32005, &json!("session.max_subscriptions"))
    );
    ok(&mut session, "unsubscribe", json!(["2"])).await;
    subscribe(&mut session, json!({})).await;
    // Concurrent ones are counted, too.
    let mut session = server.log_in(&key(2)).await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(session.begin("subscribe", json!({})).await);
    }
    let mut begun = 0;
    for call in calls {
        begun += usize::from(session.answer(call).await.is_ok());
    }
    assert_eq!(begun, 3);
    // Another session has its own limit.
    let mut other = server.log_in(&key(2)).await;
    subscribe(&mut other, json!({})).await;
}

async fn late_subscribers_catch_up_and_continue() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut emitter = server.log_in(&key(3)).await;
    for n in 0..5 {
        emit(&mut emitter, "a", n * 50, 50).await;
        emit(&mut emitter, "b", n, 1).await;
    }
    let last = 255;
    let check = async |server: &TestServer| {
        for since in [0, 1, 63, 64, 65, 128, 254, 255] {
            let mut session = server.log_in(&key(2)).await;
            let begun = subscribe(&mut session, json!({ "since": since })).await;
            assert_eq!(begun, ("1".to_owned(), since));
            for id in since + 1..=last {
                assert_eq!(session.event().await["id"], id);
            }
            session.assert_silent().await;
        }
        let mut session = server.log_in(&key(2)).await;
        assert_eq!(
            subscribe(&mut session, json!({ "topic": "b", "since": 52 }))
                .await
                .1,
            52
        );
        for n in 1..5 {
            assert_eq!(told(&mut session, 1).await, [((n + 1) * 51, json!(n))]);
        }
        // Without `since`, no past events come.
        let mut session = server.log_in(&key(2)).await;
        assert_eq!(subscribe(&mut session, json!({})).await.1, last);
        session.assert_silent().await;
    };
    check(&server).await;
    server.kill();
    let server = start().await;
    check(&server).await;
    let mut session = server.log_in(&key(2)).await;
    subscribe(&mut session, json!({ "since": 250 })).await;
    // Numbers continue.
    let mut emitter = server.log_in(&key(3)).await;
    emit(&mut emitter, "c", 0, 2).await;
    for id in 251..=257 {
        assert_eq!(session.event().await["id"], id);
    }
}

/// Each of a session's subscriptions misses nothing, whenever it begins, even if no new event reminds of missed ones.
async fn subscriptions_that_begin_in_the_middle_of_things_miss_nothing() {
    let server = TestServer::start().await;
    let mut emitter = server.log_in(&key(3)).await;
    for round in 0..8_u64 {
        let mut session = server.log_in(&key(2)).await;
        let last = (round + 1) * 60;
        let emitting = async {
            for n in 0..60 {
                emit(&mut emitter, "n", n, 1).await;
            }
        };
        let subscribing = async {
            let mut sinces = Vec::new();
            while sinces.len() < 16 {
                sinces.push(subscribe(&mut session, json!({})).await.1);
            }
            sinces
        };
        let ((), sinces) = tokio::join!(emitting, subscribing);
        let mut nexts: Vec<u64> = sinces.iter().map(|since| since + 1).collect();
        while nexts.iter().any(|next| *next <= last) {
            let event = session.event().await;
            let name: usize = event["subscription"].as_str().unwrap().parse().unwrap();
            assert_eq!(event["id"], nexts[name - 1], "{event}");
            nexts[name - 1] += 1;
        }
        session.assert_silent().await;
    }
}

/// Each session gets every event once, in order, while others emit, whenever it begins.
async fn catching_up_goes_over_into_what_lands() {
    let server = TestServer::start().await;
    let mut emitter = server.log_in(&key(3)).await;
    let last = 2000_u64;
    let emitting = async {
        for n in 0..last / 10 {
            emit(&mut emitter, "n", n * 10, 10).await;
        }
    };
    let following = async |since: u64| {
        let mut session = server.log_in(&key(2)).await;
        // From about there on, it begins in the middle of the stream.
        let mut probe = server.log_in(&key(2)).await;
        eventually("it to come so far", async || {
            let (name, now) = subscribe(&mut probe, json!({})).await;
            ok(&mut probe, "unsubscribe", json!([name])).await;
            now >= since
        })
        .await;
        subscribe(&mut session, json!({ "since": since / 2 })).await;
        for id in since / 2 + 1..=last {
            let event = session.event().await;
            assert_eq!((&event["id"], &event["data"]), (&json!(id), &json!(id - 1)));
        }
        session.assert_silent().await;
    };
    let followers = join_all([0, 40, 300, 600, 900, 1500].map(following));
    tokio::join!(emitting, followers);
}

async fn lost_events_are_reported_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestServer::builder()
            .env("CIRCLED_STORE__EVENT_LOG", "5")
            .data(folder.path())
            .start()
    };
    let server = start().await;
    let mut emitter = server.log_in(&key(3)).await;
    for n in 1..=20 {
        emit(&mut emitter, "n", n, 1).await;
    }
    let check = async |server: &TestServer, last: u64| {
        for since in [0, 3, last - 6] {
            let mut session = server.log_in(&key(2)).await;
            subscribe(&mut session, json!({ "since": since })).await;
            let gap = session.event().await;
            let expected = json!({ "subscription": "1", "gap": true, "since": last - 5 });
            assert_eq!(gap, expected, "since {since}");
            for id in last - 4..=last {
                assert_eq!(told(&mut session, 1).await, [(id, json!(id))]);
            }
            session.assert_silent().await;
        }
        for since in [last - 5, last - 1, last] {
            let mut session = server.log_in(&key(2)).await;
            subscribe(&mut session, json!({ "since": since })).await;
            for id in since + 1..=last {
                assert_eq!(told(&mut session, 1).await, [(id, json!(id))]);
            }
            session.assert_silent().await;
        }
    };
    check(&server, 20).await;
    server.kill();
    let server = start().await;
    check(&server, 20).await;
    let mut session = server.log_in(&key(2)).await;
    subscribe(&mut session, json!({ "topic": "none", "since": 0 })).await;
    assert_eq!(
        session.event().await["gap"],
        true,
        "it may have missed some"
    );
    let mut emitter = server.log_in(&key(3)).await;
    emit(&mut emitter, "n", 21, 1).await;
    check(&server, 21).await;
    // A run emits more events than are kept: everybody who is there gets all of them.
    let mut session = server.log_in(&key(2)).await;
    subscribe(&mut session, json!({})).await;
    emit(&mut emitter, "n", 22, 50).await;
    for id in 22..72 {
        assert_eq!(told(&mut session, 1).await, [(id, json!(id))]);
    }
    check(&server, 71).await;
    server.kill();
    let server = start().await;
    check(&server, 71).await;
}

/// A caller who knows events that this server doesn't has seen another log: they get a gap and the present events.
async fn a_cursor_in_the_future_is_a_gap() {
    let server = TestServer::start().await;
    let mut emitter = server.log_in(&key(3)).await;
    for (before, since) in [
        (0, 1),
        (0, 1000),
        (0, u64::MAX),
        (3, 4),
        (3, 1000),
        (3, u64::MAX),
    ] {
        let mut session = server
            .connect_to(key(if before == 0 { 10 } else { 1 }).public())
            .await;
        session.login(&key(2)).await;
        if before > 0 && since == 4 {
            emit(&mut emitter, "n", 1, before).await;
        }
        subscribe(&mut session, json!({ "since": since })).await;
        let gap = session.event().await;
        let expected = json!({ "subscription": "1", "gap": true, "since": 0 });
        assert_eq!(gap, expected, "since {since} of {before}");
        for id in 1..=before {
            assert_eq!(told(&mut session, 1).await, [(id, json!(id))]);
        }
        session.assert_silent().await;
    }
    let mut session = server.connect_to(key(11).public()).await;
    session.login(&key(2)).await;
    subscribe(&mut session, json!({ "since": 7 })).await;
    assert_eq!(session.event().await["gap"], true);
    emit(&mut session, "n", 1, 1).await;
    assert_eq!(told(&mut session, 1).await, [(1, json!(1))]);
}

/// The order of the numbers is that of the commits.
async fn events_have_the_order_of_what_they_tell() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut session = server.log_in(&key(2)).await;
        subscribe(&mut session, json!({})).await;
        watchers.push(session);
    }
    let (emitters, each) = (8, 40);
    let emitting = join_all((0..emitters).map(async |_| {
        let mut session = server.log_in(&key(3)).await;
        let script = "let n = store.incr(\"n\", 1); emit(\"n\", n); emit(\"n\", n)";
        let mut landed = 0;
        while landed < each {
            match session.play(script).await {
                Ok(_) => landed += 1,
                Err(error) => assert_eq!(error["code"], -32009, "{error}"),
            }
        }
    }));
    let count = emitters * each * 2;
    let watching = join_all(watchers.iter_mut().map(|session| told(session, count)));
    let (_, seen) = tokio::join!(emitting, watching);
    let expected: Vec<_> = (1..)
        .map(|id: u64| (id, json!(id.div_ceil(2))))
        .take(count)
        .collect();
    for seen in seen {
        assert_eq!(seen, expected);
    }
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    subscribe(&mut session, json!({ "since": 0 })).await;
    assert_eq!(told(&mut session, count).await, expected);
}

/// The writes of an event's commit can be read when the event arrives.
async fn receivers_of_an_event_see_its_commit() {
    let server = TestServer::start().await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    subscribe(&mut one, json!({})).await;
    for n in 1..=50 {
        let call = two
            .begin_play(&format!("store.set(\"n\", {n}); emit(\"n\", {n})"))
            .await;
        assert_eq!(one.event().await["data"], n);
        let run = one.play("store.get(\"n\")").await.unwrap();
        assert_eq!(run["value"], n);
        two.answer(call).await.unwrap();
    }
}

async fn sessions_that_read_nothing_are_closed_and_slow_nobody() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "1s")
        .env("CIRCLED_STORE__MAX_EVENTS", "1000")
        .start()
        .await;
    let mut emitter = server.log_in(&key(3)).await;
    let mut quick = server.log_in(&key(2)).await;
    let mut slow = server.connect_narrow().await;
    slow.login(&key(4)).await;
    subscribe(&mut quick, json!({})).await;
    subscribe(&mut slow, json!({})).await;
    let before = server.memory_kib("VmRSS");
    // Much more than fits in the buffers: 24 MiB.
    let (runs, each) = (150_u64, 20_u64);
    let script = |from: u64| {
        format!(
            "let s = \"\"; s.pad(8000, 'x'); for n in {from}..{} {{ emit(\"n\", [n, s]) }}",
            from + each
        )
    };
    let emitting = async {
        for n in 0..runs {
            emitter.play(&script(n * each + 1)).await.unwrap();
        }
    };
    let watching = async {
        for id in 1..=runs * each {
            let event = quick.event().await;
            assert_eq!((&event["id"], &event["data"][0]), (&json!(id), &json!(id)));
        }
    };
    // It reads once it is closed: some events, in order, and the reason.
    let mut last = 0;
    let reading = async {
        server
            .logged("that it closes", |line| line["code"] == 1013)
            .await;
        loop {
            match slow.next().await {
                Received::Text(text) => {
                    let event: Value = circled_json::parse(&text).unwrap();
                    last += 1;
                    assert_eq!(event["params"]["id"], last);
                }
                Received::Close(code, _) => break Some(code),
                Received::Gone => break None,
            }
        }
    };
    let ((), (), code) = tokio::join!(emitting, watching, reading);
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (96 << 10),
        "from {before} KiB to {most} KiB"
    );
    assert_eq!(code, Some(1013));
    assert!(last < runs * each);
    // After a new connection, it gets the others.
    let mut slow = server.log_in(&key(4)).await;
    subscribe(&mut slow, json!({ "since": last })).await;
    let rest = async {
        for id in last + 1..=runs * each {
            assert_eq!(slow.event().await["id"], id);
        }
        slow.assert_silent().await;
    };
    within("the others", rest).await;
}

/// A slow reader gets everything in the end: it is read from the log.
async fn late_readers_get_everything() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "60s")
        .start()
        .await;
    let mut emitter = server.log_in(&key(3)).await;
    let mut slow = server.connect_narrow().await;
    slow.login(&key(4)).await;
    subscribe(&mut slow, json!({})).await;
    let (runs, each) = (100_u64, 20_u64);
    for n in 0..runs {
        let from = n * each + 1;
        let script = format!(
            "let s = \"\"; s.pad(4000, 'x'); for n in {from}..{} {{ emit(\"n\", [n, s]) }}",
            from + each
        );
        emitter.play(&script).await.unwrap();
    }
    for id in 1..=runs * each {
        let event = slow.event().await;
        assert_eq!((&event["id"], &event["data"][0]), (&json!(id), &json!(id)));
    }
    emit(&mut emitter, "last", 0, 1).await;
    assert_next(&mut slow, runs * each + 1, "last").await;
    // Calls are answered beside it.
    assert_eq!(slow.play("40 + 2").await.unwrap()["value"], 42);
}

async fn without_a_login_all_that_is_for_all_is_told() {
    let server = closed("subscribe = \"anyone\"").start().await;
    let mut anonymous = server.connect().await;
    assert_eq!(subscribe(&mut anonymous, json!({})).await.1, 0);
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    emit(&mut owner, "news", 0, 1).await;
    assert_next(&mut anonymous, 2, "news").await;
    let answer = anonymous.play("1").await;
    assert_refused("play", answer, -32001, Value::Null);
}

/// Events from before a restart are sent after it; the numbers of later ones follow.
async fn numbers_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..4 {
        let mut server = TestServer::builder().data(folder.path()).start().await;
        let mut session = server.log_in(&key(2)).await;
        subscribe(&mut session, json!({ "since": 0 })).await;
        for id in 1..=last {
            assert_eq!(session.event().await["id"], id);
        }
        emit(&mut session, "n", 0, 3).await;
        last += 3;
        for id in last - 2..=last {
            assert_eq!(session.event().await["id"], id);
        }
        if round % 2 == 0 {
            server.kill();
        } else {
            server.sigterm();
            assert_eq!(session.closed().await, 1001);
            server.wait().await;
        }
    }
}

/// A session that has left gets nothing, and nothing of it remains.
async fn sessions_that_leave_are_forgotten() {
    let server = TestServer::start().await;
    let mut emitter = server.log_in(&key(3)).await;
    for _ in 0..20 {
        let mut session = server.log_in(&key(2)).await;
        subscribe(&mut session, json!({})).await;
        subscribe(&mut session, json!({ "since": 0 })).await;
        drop(session);
        emit(&mut emitter, "n", 0, 10).await;
    }
    eventually("their places to be free", async || {
        server.admin("/readyz").await.json()["sessions"] == 1
    })
    .await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(subscribe(&mut session, json!({})).await.1, 200);
    tokio::time::timeout(Duration::from_millis(100), session.event())
        .await
        .expect_err("nothing has happened");
}

/// Events under `webhook.<provider>` come only from that provider's deliveries.
async fn only_a_providers_deliveries_tell_of_it() {
    let server = crate::harness::webhooks::taking_stripes()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    subscribe(&mut guest, json!({ "topic": "webhook." })).await;
    let deliver = async |id: &str| {
        let event = json!({ "id": id, "object": "event", "type": "x", "data": { "object": {} } });
        let webhook = crate::harness::webhooks::Webhook::stripe(event.to_string());
        webhook.kept(&server).await
    };
    deliver("evt_1").await;
    let event = guest.event().await;
    assert_eq!(
        (&event["topic"], &event["data"]["id"]),
        (&json!("webhook.stripe"), &json!("evt_1"))
    );
    // The caller counts, also in named, submitted and imported scripts.
    put(&mut owner, "forge", "emit(\"webhook.stripe\", 1)").await;
    for (method, params) in [
        ("play", json!(["emit(\"webhook.stripe\", 1)"])),
        ("play", json!(["import \"forge\" as f;"])),
        ("call", json!(["forge"])),
    ] {
        let (code, _) = refused(method, guest.call(method, params.clone()).await);
        assert_eq!(code, -32000, "{method} {params}");
    }
    let job = submit(&mut guest, json!({ "name": "forge" })).await;
    until(&mut guest, &job, "dead").await;
    // A circle's own script for the provider may use its topics, and no other's.
    let own = "emit(\"webhook.stripe.\" + EVENT.type, 1); emit(\"webhook.stripe\", 2)";
    put(&mut owner, "on_stripe", own).await;
    assert_eq!(deliver("evt_2").await.1, "finished");
    for topic in ["webhook.stripe.x", "webhook.stripe"] {
        assert_eq!(guest.event().await["topic"], topic);
    }
    put(&mut owner, "on_stripe", "emit(\"webhook.idenfy\", 1)").await;
    assert_eq!(deliver("evt_3").await.1, "failed");
    put(&mut owner, "on_stripe", "emit(\"webhook.stripe\", 3)").await;
    deliver("evt_4").await;
    assert_eq!(guest.event().await["data"], 3);
}

/// A new caller of a session gets the events of their own subscriptions, and nothing of the earlier caller's.
async fn subscriptions_end_with_the_login() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(1)).await;
    let mut other = server.log_in(&key(3)).await;
    let (first, _) = subscribe(&mut session, json!({})).await;
    let (second, _) = subscribe(&mut session, json!({ "topic": "none" })).await;
    // A failed login changes nothing, nor does one of the same caller.
    session.fetch_nonce(key(2).public()).await;
    let params = json!([key(2).public(), "00".repeat(64)]);
    refused("authenticate", session.call("authenticate", params).await);
    session.login(&key(1)).await;
    emit(&mut other, "news", 0, 1).await;
    assert_eq!(session.event().await["data"], 0);
    session.login(&key(2)).await;
    let mut ended = Vec::new();
    for _ in 0..2 {
        let event = session.event().await;
        let name = event["subscription"].as_str().unwrap().to_owned();
        assert_eq!(event, json!({ "subscription": name, "ended": true }));
        ended.push(name);
    }
    assert_eq!(ended, [first.clone(), second]);
    assert_eq!(ok(&mut session, "unsubscribe", json!([first])).await, false);
    // Events for the owner don't come, and one's own do.
    let (name, _) = subscribe(&mut session, json!({})).await;
    submit(&mut other, json!({ "script": "1" })).await;
    emit(&mut other, "news", 1, 1).await;
    let event = session.event().await;
    assert_eq!(
        (&event["subscription"], &event["topic"]),
        (&json!(name), &json!("news"))
    );
}

on_both!(
    only_a_providers_deliveries_tell_of_it,
    subscriptions_end_with_the_login,
    an_event_reaches_whoever_is_subscribed,
    a_run_that_fails_tells_nothing,
    a_subscription_is_to_what_topics_begin_with,
    parameters_are_what_they_must_be,
    a_session_has_as_many_subscriptions_as_it_may,
    late_subscribers_catch_up_and_continue,
    subscriptions_that_begin_in_the_middle_of_things_miss_nothing,
    catching_up_goes_over_into_what_lands,
    lost_events_are_reported_as_a_gap,
    a_cursor_in_the_future_is_a_gap,
    events_have_the_order_of_what_they_tell,
    receivers_of_an_event_see_its_commit,
    sessions_that_read_nothing_are_closed_and_slow_nobody,
    late_readers_get_everything,
    without_a_login_all_that_is_for_all_is_told,
    numbers_go_on_after_a_restart,
    sessions_that_leave_are_forgotten,
);

on_other_servers!(late_subscribers_catch_up_and_continue,);
