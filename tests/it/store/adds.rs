//! Writes that conflict with nothing: what is added counts, however many add at the same time.

use serde_json::json;
use tokio::task::JoinSet;

use super::{failure, starts_over, value};
use crate::harness::{
    backend::on_both,
    server::{TestServer, key},
};

/// Sessions of callers of their own, and the calls that each has under way.
const SESSIONS: u8 = 64;
const CALLS: usize = 40;

async fn many_write_to_the_same_and_none_starts_over() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "debug")
        // The calls are more than a circle's share.
        .env("CIRCLED_SCRIPT__QUEUE", 4096)
        .env("CIRCLED_DISPATCH__REDIS__QUEUE", 4096)
        .start()
        .await;
    let mut callers = JoinSet::new();
    for n in 0..SESSIONS {
        let mut session = server.log_in(&key(100 + n)).await;
        callers.spawn(async move {
            let script = "store.add(\"n\", 2); store.add(\"n\", -1); store.add(\"other\", ARGS)";
            let mut calls = Vec::new();
            for n in 0..CALLS {
                let params = json!({ "script": script, "args": n });
                calls.push(session.begin("play", params).await);
            }
            for call in calls {
                session.answer(call).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let mut session = server.log_in(&key(2)).await;
    let calls = usize::from(SESSIONS) * CALLS;
    let others = usize::from(SESSIONS) * (0..CALLS).sum::<usize>();
    assert_eq!(
        value(&mut session, "[store.get(\"n\"), store.get(\"other\")]").await,
        json!([calls, others])
    );
    assert_eq!(starts_over(&mut server, &mut session).await, 0);
}

async fn what_is_added_is_seen_as_if_it_were_written() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (script, seen) in [
        ("store.add(\"n\", 3)", json!(null)),
        ("store.get(\"n\")", json!(3)),
        (
            "store.add(\"n\", 3); store.add(\"n\", -1); store.get(\"n\")",
            json!(5),
        ),
        (
            "store.add(\"n\", 1); [store.incr(\"n\", 1), store.has(\"n\"), store.get(\"n\")]",
            json!([7, true, 7]),
        ),
        (
            "store.set(\"n\", 10); store.add(\"n\", 1); store.get(\"n\")",
            json!(11),
        ),
        (
            "store.delete(\"n\"); store.add(\"n\", 1); store.get(\"n\")",
            json!(1),
        ),
        (
            "store.add(\"n\", 1); store.set(\"n\", 7); store.get(\"n\")",
            json!(7),
        ),
        ("store.get(\"n\"); store.add(\"n\", 1)", json!(null)),
        (
            "store.add(\"n\", 1); store.add(\"new\", 4);
            [store.scan(#{}), store.keys(\"\"), store.count(\"\")]",
            json!([[{ "key": "n", "value": 9 }, { "key": "new", "value": 4 }], ["n", "new"], 2]),
        ),
        (
            "store.add(\"n\", 1); store.delete(\"n\"); store.keys(\"\")",
            json!(["new"]),
        ),
        // All 64 bits of it.
        (
            "store.set(\"most\", 9223372036854775806); store.set(\"least\", -9223372036854775807)",
            json!(null),
        ),
        (
            "store.add(\"most\", 1); store.add(\"least\", -1)",
            json!(null),
        ),
        (
            "store.add(\"exact\", 9007199254740993); store.add(\"exact\", -9223372036854775807 - 1)",
            json!(null),
        ),
        (
            "store.add(\"exact\", 1); [store.get(\"most\") == 9223372036854775807, store.get(\"least\") + 1 == -9223372036854775807, store.get(\"exact\") == -9214364837600034814]",
            json!([true, true, true]),
        ),
    ] {
        assert_eq!(value(&mut session, script).await, seen, "{script}");
    }
}

async fn what_cant_be_added_fails_the_run_and_nothing_of_it_is_left() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    value(
        &mut session,
        "store.set(\"n\", 5); store.set(\"most\", 9223372036854775807); store.set(\"least\", -9223372036854775807 - 1);
        store.set(\"half\", 0.5); store.set(\"text\", \"5\"); store.set(\"nothing\", ()); store.set(\"list\", [1])",
    )
    .await;
    let state = "store.scan(#{}).map(|entry| `${entry.key} ${entry.value}`)";
    let before = value(&mut session, state).await;
    let whole = |key: &str| format!("the value of \"{key}\" is not a whole number");
    let large =
        |key: &str| format!("the value of \"{key}\" would be too large for a number of 64 bits");
    for (by, key, says) in [
        ("1", "most", large("most")),
        ("-1", "least", large("least")),
        ("1", "half", whole("half")),
        ("1", "text", whole("text")),
        ("0", "nothing", whole("nothing")),
        ("1", "list", whole("list")),
    ] {
        // At the commit; and earlier, where the run looks.
        for look in [
            "",
            "store.get(KEY)",
            "store.incr(KEY, 1)",
            "store.scan(#{})",
        ] {
            let look = look.replace("KEY", &format!("\"{key}\""));
            let script = format!(
                "store.add(\"a\", 1); store.add(\"n\", 1); store.add(\"z\", 1); store.set(\"b\", 1); emit(\"t\", 1); store.add(\"{key}\", {by}); {look}"
            );
            let (kind, message) = failure(&mut session, &script).await;
            assert_eq!(kind, "runtime", "{script}: {message}");
            assert!(message.contains(&says), "{script}: {message}");
            assert_eq!(value(&mut session, state).await, before, "{script}");
        }
    }
    for (script, says) in [
        ("store.add(\"n\", 1.5)", "store.add adds whole numbers"),
        (
            "store.add(\"m\", 9223372036854775807); store.add(\"m\", 1)",
            "too large",
        ),
        (
            "store.set(\"m\", 1.0); store.add(\"m\", 1)",
            "not a whole number",
        ),
    ] {
        let (kind, message) = failure(&mut session, script).await;
        assert_eq!(kind, "runtime", "{script}: {message}");
        assert!(message.contains(says), "{script}: {message}");
    }
    assert_eq!(value(&mut session, state).await, before);
    // What others add meanwhile is theirs.
    value(&mut session, "store.add(\"n\", 1)").await;
    assert_eq!(value(&mut session, "store.get(\"n\")").await, json!(6));
}

async fn what_is_added_is_in_the_quota() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__QUOTA", "20B")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    value(&mut session, "store.add(\"n\", 999)").await;
    value(&mut session, "store.set(\"0123456789abcd\", 1)").await;
    let error = session
        .play("store.add(\"n\", 1); store.add(\"m\", 1)")
        .await;
    assert_eq!(error.unwrap_err()["data"]["limit"], "store.quota");
    assert_eq!(
        value(&mut session, "store.keys(\"\").len()").await,
        json!(2)
    );
    value(&mut session, "store.add(\"n\", 1)").await;
    assert_eq!(value(&mut session, "store.get(\"n\")").await, json!(1000));
    let error = session.play("store.add(\"n\", 9000)").await;
    assert_eq!(error.unwrap_err()["data"]["limit"], "store.quota");
    assert_eq!(value(&mut session, "store.get(\"n\")").await, json!(1000));
}

on_both!(
    many_write_to_the_same_and_none_starts_over,
    what_is_added_is_seen_as_if_it_were_written,
    what_cant_be_added_fails_the_run_and_nothing_of_it_is_left,
    what_is_added_is_in_the_quota,
);
