//! Writes that conflict with nothing: what is added counts, however many add at the same time.

use std::collections::HashSet;

use serde_json::json;
use tokio::task::JoinSet;

use super::{failure, starts_over, value};
use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{TestServer, key},
};

/// Sessions of callers of their own, and the calls that each has under way.
const SESSIONS: u8 = 64;
const CALLS: usize = 40;

async fn many_write_to_the_same_and_none_starts_over() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let mut callers = JoinSet::new();
    for n in 0..SESSIONS {
        let mut session = server.log_in(&key(100 + n)).await;
        callers.spawn(async move {
            let script = "store.add(\"n\", 2); store.add(\"n\", -1); store.add(\"other\", ARGS); store.push(\"log/\", [CALLER_ID, ARGS])";
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
    let log = "store.scan(#{ prefix: \"log/\", limit: 65_536 })";
    let log = value(&mut session, log).await;
    let log = log.as_array().unwrap();
    let numbers: Vec<_> = (1..=calls).map(|n| json!(format!("log/{n:020}"))).collect();
    let keys: Vec<_> = log.iter().map(|entry| entry["key"].clone()).collect();
    assert_eq!(keys, numbers);
    let pushed: HashSet<_> = log.iter().map(|entry| entry["value"].to_string()).collect();
    assert_eq!(pushed.len(), calls, "each once");
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

async fn what_is_pushed_gets_the_next_keys() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let all = "store.scan(#{}).map(|entry| `${entry.key} ${entry.value}`)";
    let keys = |list: &[(&str, u64, &str)]| {
        let entry = |(prefix, n, value): &(&str, u64, &str)| format!("{prefix}{n:020} {value}");
        json!(list.iter().map(entry).collect::<Vec<_>>())
    };
    for (script, seen) in [
        ("store.push(\"a/\", 1)", json!(null)),
        (all, keys(&[("a/", 1, "1")])),
        // One sequence for all of the circle.
        ("store.push(\"b/\", 2); store.push(\"a/\", 3)", json!(null)),
        (all, keys(&[("a/", 1, "1"), ("a/", 3, "3"), ("b/", 2, "2")])),
        (
            "for key in store.keys(\"\") { store.delete(key) }",
            json!(null),
        ),
        // A run sees its own where it looks, with their keys.
        (
            &format!(
                "store.push(\"a/\", 4); let seen = {all}; store.push(\"a/\", 5); [store.count(\"a/\"), store.get(\"a/{:020}\"), seen]",
                5
            ),
            json!([2, 5, keys(&[("a/", 4, "4")])]),
        ),
        (all, keys(&[("a/", 4, "4"), ("a/", 5, "5")])),
        // It takes no key that a script has written.
        (
            &format!(
                "store.set(\"a/{:020}\", 0); store.set(\"a/{:020}\", 0)",
                6, 8
            ),
            json!(null),
        ),
        ("store.push(\"a/\", 7); store.push(\"a/\", 9)", json!(null)),
        (
            all,
            keys(&[
                ("a/", 4, "4"),
                ("a/", 5, "5"),
                ("a/", 6, "0"),
                ("a/", 7, "7"),
                ("a/", 8, "0"),
                ("a/", 9, "9"),
            ]),
        ),
        (
            "for key in store.keys(\"\") { store.delete(key) }",
            json!(null),
        ),
        (
            &format!("store.push(\"\", 7); store.set(\"{:020}\", 0)", 10),
            json!(null),
        ),
        (all, keys(&[("", 10, "0"), ("", 11, "7")])),
    ] {
        assert_eq!(value(&mut session, script).await, seen, "{script}");
    }
    // Nothing is left of a run that fails.
    let (kind, _) = failure(&mut session, "store.push(\"a/\", 1); throw 1").await;
    assert_eq!(kind, "runtime");
    assert_eq!(value(&mut session, "store.count(\"\")").await, json!(2));
    for (script, says) in [
        (
            "for n in 0..1001 { store.push(\"a/\", n) }",
            "at most 1000 keys",
        ),
        (
            "let s = \"\"; s.pad(493, 'x'); store.push(s, 1)",
            "from 1 to 512 bytes, this one has 513",
        ),
        (
            "let s = \"\"; s.pad(65535, 'x'); store.push(\"a\", s)",
            "at most 65536 bytes",
        ),
    ] {
        let (kind, message) = failure(&mut session, script).await;
        assert_eq!(kind, "size", "{message}");
        assert!(message.contains(says), "{message}");
    }
    let script = "for n in 0..1000 { store.push(\"a/\", n) } let s = \"\"; s.pad(492, 'x'); s";
    value(&mut session, script).await;
    assert_eq!(
        value(&mut session, "store.count(\"a/\")").await,
        json!(1000)
    );
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
    what_is_pushed_gets_the_next_keys,
    what_is_added_is_in_the_quota,
);

on_other_servers!(
    what_is_added_is_seen_as_if_it_were_written,
    what_cant_be_added_fails_the_run_and_nothing_of_it_is_left,
    what_is_pushed_gets_the_next_keys,
);
