//! Limits of a circle's data, and of a job's writes. A job beyond them fails, and nothing of it is committed.

use serde_json::json;

use super::{failure, value};
use crate::harness::{
    backend::on_both,
    server::{TestServer, Ws, key},
};

/// Checks that a script fails for its size, wherever it runs, and that nothing of it is committed.
async fn assert_too_large(session: &mut Ws, script: &str, named: &str) {
    let before = value(session, "store.keys(\"\")").await;
    for _ in 0..3 {
        let script = format!("store.set(\"!before\", 1); {script}");
        let (kind, message) = failure(session, &script).await;
        assert_eq!(kind, "size", "{script}: {message}");
        assert!(message.contains(named), "{script}: {message}");
    }
    assert_eq!(value(session, "store.keys(\"\")").await, before, "{script}");
}

/// Checks that the circle has no space for the write, and nothing of it is committed.
async fn assert_over_quota(session: &mut Ws, script: &str) {
    let before = value(session, "store.keys(\"\")").await;
    for _ in 0..3 {
        let script = format!("store.set(\"!before\", 1); {script}");
        let error = session.play(&script).await.unwrap_err();
        assert_eq!(error["code"], -32005, "{script}: {error}");
        assert_eq!(error["data"]["limit"], "store.quota", "{script}: {error}");
        assert!(error["data"]["retry_after_ms"].is_u64(), "{error}");
    }
    assert_eq!(value(session, "store.keys(\"\")").await, before, "{script}");
}

async fn keys_are_as_long_as_they_may_be() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let named = "a key must have from 1 to 512 bytes";
    for (letter, fits) in [("k", 512), ("é", 256), ("🦀", 128)] {
        let longest = letter.repeat(fits);
        let script = format!("store.set(\"{longest}\", 1); store.get(\"{longest}\")");
        assert_eq!(value(&mut session, &script).await, json!(1));
        for key in [format!("{longest}k"), String::new()] {
            for call in [
                format!("store.set(\"{key}\", 1)"),
                format!("store.get(\"{key}\")"),
                format!("store.get(\"{key}\", 1)"),
                format!("store.has(\"{key}\")"),
                format!("store.delete(\"{key}\")"),
                format!("store.incr(\"{key}\", 1)"),
            ] {
                assert_too_large(&mut session, &call, named).await;
            }
        }
        let listed = format!("store.keys(\"{longest}\")");
        assert_eq!(value(&mut session, &listed).await, json!([longest]));
        let longer = format!("store.keys(\"{longest}k\")");
        assert_eq!(value(&mut session, &longer).await, json!([]));
    }
}

async fn values_are_as_long_as_they_may_be_as_json() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__MAX_VALUE", "100B")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for (longest, longer) in [
        // Two quotes; each line break is two bytes as JSON, and so is each of these letters.
        (json!("x".repeat(98)), json!("x".repeat(99))),
        (json!("\n".repeat(49)), json!("\n".repeat(50))),
        (json!("é".repeat(49)), json!("é".repeat(50))),
        (json!(vec![1; 49]), json!(vec![1; 50])),
    ] {
        let script = format!("store.set(\"a\", {longest}); store.get(\"a\")");
        assert_eq!(value(&mut session, &script).await, longest);
        let script = format!("store.set(\"a\", {longer})");
        assert_too_large(&mut session, &script, "a value must have at most 100 bytes").await;
        assert_eq!(value(&mut session, "store.get(\"a\")").await, longest);
    }
    // Not even a script that catches all errors.
    let caught = format!(
        "try {{ store.set(\"b\", \"{}\") }} catch {{ }}",
        "x".repeat(99)
    );
    assert_too_large(&mut session, &caught, "at most 100 bytes").await;
}

async fn the_default_limits_are_those_that_are_documented() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let text = |length: usize| format!("let t = \"\"; t.pad({length}, 'x'); store.set(\"a\", t)");
    value(&mut session, &text((64 << 10) - 2)).await;
    let longer = text((64 << 10) - 1);
    assert_too_large(
        &mut session,
        &longer,
        "a value must have at most 65536 bytes",
    )
    .await;
    value(&mut session, "for n in 0..1000 { store.set(`n/${n}`, n) }").await;
    let more = "for n in 0..1000 { store.set(`m/${n}`, n) }";
    assert_too_large(&mut session, more, "a job may write at most 1000 keys").await;
}

async fn a_job_writes_as_many_keys_as_it_may() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__MAX_WRITES", 3)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    // Writing the same key again adds no key.
    value(
        &mut session,
        "for n in 0..9 { store.set(\"a\", n); store.incr(\"b\", 1); store.delete(\"c\") }",
    )
    .await;
    for call in [
        "store.set(\"d\", 1)",
        "store.delete(\"d\")",
        "store.incr(\"d\", 1)",
    ] {
        let script = format!("store.delete(\"a\"); store.incr(\"b\", 1); {call}");
        assert_too_large(&mut session, &script, "a job may write at most 3 keys").await;
    }
    let kept = value(&mut session, "[store.get(\"a\"), store.get(\"b\")]").await;
    assert_eq!(kept, json!([8, 9]));
}

async fn a_list_of_keys_is_as_long_as_an_array_may_be() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_ARRAY", 10)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    value(&mut session, "for n in 0..10 { store.set(`n/${n}`, n) }").await;
    assert_eq!(
        value(&mut session, "store.keys(\"n/\").len()").await,
        json!(10)
    );
    let named = "more than 10 such keys";
    assert_too_large(
        &mut session,
        "store.set(\"n/x\", 1); store.keys(\"n/\")",
        named,
    )
    .await;
    value(&mut session, "store.set(\"n/x\", 1)").await;
    let (kind, message) = failure(&mut session, "store.keys(\"n/\")").await;
    assert!(kind == "size" && message.contains(named), "{message}");
    assert_eq!(
        value(&mut session, "store.keys(\"n/x\")").await,
        json!(["n/x"])
    );
}

async fn a_circle_keeps_as_much_as_its_quota() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestServer::builder()
            .env("CIRCLED_STORE__QUOTA", "1000B")
            .data(folder.path())
            .start()
    };
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let put = |key: &str, bytes: usize| {
        // The key and the value, with its quotes, have so many bytes.
        let text = "x".repeat(bytes - key.len() - 2);
        format!("store.set(\"{key}\", \"{text}\")")
    };
    value(&mut session, &put("a", 600)).await;
    value(&mut session, &put("b", 400)).await;
    let all = json!(["a", "b"]);
    for script in [
        "store.set(\"c\", 1)".to_owned(),
        put("a", 601),
        format!("{}; {}", put("a", 500), put("b", 501)),
        format!("store.delete(\"b\"); {}", put("c", 401)),
    ] {
        assert_over_quota(&mut session, &script).await;
        assert_eq!(value(&mut session, "store.keys(\"\")").await, all);
    }
    // Writes that replace something, or make space themselves, fit.
    value(&mut session, &put("a", 600)).await;
    value(
        &mut session,
        &format!("{}; {}", put("a", 300), put("b", 700)),
    )
    .await;
    value(
        &mut session,
        &format!("store.delete(\"b\"); {}", put("c", 700)),
    )
    .await;
    // Another circle has its own limit.
    let mut other = server.connect_to(key(5).public()).await;
    other.login(&key(2)).await;
    value(&mut other, &put("a", 1000)).await;
    assert_over_quota(&mut other, "store.set(\"c\", 1)").await;

    // The count survives a restart.
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_over_quota(&mut session, "store.set(\"d\", 1)").await;
    value(&mut session, "store.delete(\"c\")").await;
    value(&mut session, &put("d", 700)).await;
    assert_over_quota(&mut session, "store.set(\"e\", 1)").await;
    server.kill();

    // With a smaller quota, deleting is still allowed.
    let server = TestServer::builder()
        .env("CIRCLED_STORE__QUOTA", "100B")
        .data(folder.path())
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    assert_over_quota(&mut session, &put("d", 701)).await;
    value(&mut session, &put("d", 500)).await;
    assert_eq!(
        value(&mut session, "store.get(\"d\").len()").await,
        json!(497)
    );
}

/// With the circle and the time when it expires, it just fits into a key of the database.
async fn the_longest_keys_that_may_be_set_work() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__MAX_KEY", "65000B")
        .start()
        .await;
    let mut session = server.log_in(&key(1)).await;
    let script = "
        let k = \"\"; k.pad(65000, 'k');
        store.set(k, 1, #{ ttl: \"1h\" });
        let p = \"\"; p.pad(64980, 'p');
        store.push(p, 2);
        store.add(k.sub_string(1) + \"z\", 3);
        k.len()";
    assert_eq!(value(&mut session, script).await, 65_000);
    let script = "
        let k = \"\"; k.pad(65000, 'k');
        let p = \"\"; p.pad(64980, 'p');
        [store.get(k), store.scan(#{ prefix: p })[0].value, store.get(k.sub_string(1) + \"z\")]";
    assert_eq!(value(&mut session, script).await, json!([1, 2, 3]));
}

on_both!(
    the_longest_keys_that_may_be_set_work,
    keys_are_as_long_as_they_may_be,
    values_are_as_long_as_they_may_be_as_json,
    the_default_limits_are_those_that_are_documented,
    a_job_writes_as_many_keys_as_it_may,
    a_list_of_keys_is_as_long_as_an_array_may_be,
    a_circle_keeps_as_much_as_its_quota,
);
