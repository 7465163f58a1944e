//! Keys that expire: they are there before that time and not from then on, for all that reads them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{failure, starts_over, value};
use crate::harness::{
    backend::{on_both, on_other_servers},
    redis::RedisServer,
    server::{ENDLESS, TestServer, eventually, key},
};

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

async fn a_key_is_there_until_it_expires() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let set = "store.set(\"k\", [ARGS], #{ ttl: 50 }); now()";
    let get = "[store.get(\"k\"), store.ttl(\"k\"), store.has(\"k\"), store.keys(\"\"), store.scan(#{}), store.count(\"\")]";
    for n in 0..20 {
        let params = json!({ "script": set, "args": n });
        let run = session.call("play", params).await.unwrap();
        let expiry = run["value"].as_i64().unwrap() + 50;
        let mut looks = 0;
        loop {
            let asked = now();
            let seen = value(&mut session, get).await;
            let answered = now();
            if seen[0].is_null() {
                assert_eq!(seen, json!([null, null, false, [], [], 0]));
                assert!(answered >= expiry, "it was there until {expiry}");
                break;
            }
            let left = seen[1].as_i64().unwrap();
            assert!((1..=50).contains(&left), "{left}");
            let there = json!([[n], left, true, ["k"], [{ "key": "k", "value": [n] }], 1]);
            assert_eq!(seen, there);
            assert!(asked < expiry, "{asked}: it expired at {expiry}");
            looks += 1;
        }
        assert!(looks < 10_000);
    }
}

async fn what_a_ttl_may_be() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (options, millis) in [
        ("#{ ttl: 1500 }", json!(1500)),
        ("#{ ttl: \"1h\" }", json!(3_600_000)),
        ("#{ ttl: \"1h 30m\" }", json!(5_400_000)),
        ("#{ ttl: \"3650d\" }", json!(315_360_000_000_i64)),
        ("#{}", json!(null)),
        ("#{ ttl: () }", json!(null)),
    ] {
        // As the run sees it itself, and as it is kept.
        let set = format!("store.set(\"k\", 1, {options}); [now(), store.ttl(\"k\")]");
        let run = value(&mut session, &set).await;
        assert_eq!(run[1], millis, "{options}");
        let kept = value(&mut session, "[now(), store.ttl(\"k\")]").await;
        let at = |run: &Value| run[1].as_i64().map(|left| run[0].as_i64().unwrap() + left);
        assert_eq!(at(&kept), at(&run), "{options}");
    }
    for (options, says) in [
        ("#{ tll: 1 }", "there is no \"tll\": set has the option ttl"),
        ("#{ ttl: 0 }", "\"ttl\" must be a text like"),
        ("#{ ttl: -1 }", "\"ttl\" must be"),
        ("#{ ttl: 1.0 }", "\"ttl\" must be"),
        ("#{ ttl: \"1\" }", "\"ttl\" must be"),
        ("#{ ttl: \"-1s\" }", "\"ttl\" must be"),
        ("#{ ttl: \"\" }", "\"ttl\" must be"),
        ("#{ ttl: \"0s\" }", "\"ttl\" must be"),
        ("#{ ttl: \"3651d\" }", "\"ttl\" must be"),
        ("#{ ttl: 9223372036854775807 }", "\"ttl\" must be"),
    ] {
        let (kind, message) =
            failure(&mut session, &format!("store.set(\"k\", 2, {options})")).await;
        assert_eq!(kind, "runtime", "{options}: {message}");
        assert!(message.contains(says), "{options}: {message}");
    }
    assert_eq!(value(&mut session, "store.get(\"k\")").await, json!(1));
    let caught = "let n = 0; try { store.set(\"k\", 2, #{ ttl: 0 }) } catch { n = 7 } n";
    assert_eq!(value(&mut session, caught).await, json!(7));
}

async fn writes_say_whether_a_key_still_expires() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let hour = "#{ ttl: \"1h\" }";
    for (write, after, expires) in [
        ("store.set(\"k\", 7)", json!(7), false),
        ("store.incr(\"k\", 2)", json!(42), true),
        ("store.incr(\"k\", 0.5)", json!(40.5), true),
        ("store.add(\"k\", 2)", json!(42), true),
        ("store.delete(\"k\"); store.set(\"k\", 7)", json!(7), false),
        ("store.delete(\"k\"); store.add(\"k\", 7)", json!(7), false),
        (
            "store.delete_range(#{ prefix: \"k\" }); store.incr(\"k\", 7)",
            json!(7),
            false,
        ),
    ] {
        // In one run, and in another one.
        for between in ["; ", ""] {
            let set = format!("store.set(\"k\", 40, {hour})");
            let see = "[store.get(\"k\"), store.ttl(\"k\") != ()]";
            let seen = if between.is_empty() {
                value(&mut session, &set).await;
                value(&mut session, write).await;
                value(&mut session, see).await
            } else {
                value(&mut session, &format!("{set}; {write}; {see}")).await
            };
            assert_eq!(seen, json!([after, expires]), "{between}{write}");
        }
    }
    // A float isn't added to, whether it expires or not.
    let script = format!("store.set(\"k\", 1.5, {hour}); store.set(\"other\", 1)");
    value(&mut session, &script).await;
    let (kind, message) =
        failure(&mut session, "store.delete(\"other\"); store.add(\"k\", 1)").await;
    assert_eq!(kind, "runtime");
    assert!(message.contains("is not a whole number"), "{message}");
    let seen = "[store.get(\"k\"), store.ttl(\"k\") != (), store.get(\"other\")]";
    assert_eq!(value(&mut session, seen).await, json!([1.5, true, 1]));
}

/// Runs until the time says so, and not by an operation limit.
const UNTIL: &str =
    "fn wait(millis) { let t = timestamp(); while t.elapsed < millis / 1000.0 { } }";

async fn what_expires_before_the_commit_was_never_there() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let reads = [
        "store.has(\"k\")",
        "store.ttl(\"k\") != ()",
        "store.keys(\"\").len() > 0",
        "store.scan(#{ prefix: \"k\" }).len() > 0",
        "store.count(\"k\") > 0",
    ];
    for (n, read) in (1..).zip(reads) {
        value(
            &mut session,
            "store.delete(\"seen\"); store.set(\"k\", 1, #{ ttl: 300 })",
        )
        .await;
        let script = format!(
            "{UNTIL} let there = {read}; if there {{ wait(400) }} store.set(\"seen\", there); there"
        );
        assert_eq!(value(&mut session, &script).await, json!(false), "{read}");
        assert_eq!(
            value(&mut session, "store.get(\"seen\")").await,
            json!(false)
        );
        value(&mut session, "store.delete(\"seen\")").await;
        assert_eq!(starts_over(&mut server, &mut session).await, n, "{read}");
    }
    // One that it doesn't read is no matter.
    let script =
        format!("{UNTIL} store.set(\"k\", 1, #{{ ttl: 10 }}); wait(50); store.get(\"seen\")");
    assert_eq!(value(&mut session, &script).await, json!(null));
    assert_eq!(value(&mut session, "store.keys(\"\")").await, json!([]));
}

async fn what_has_expired_gives_its_room_back() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__QUOTA", "64KiB")
        .env("CIRCLED_STORE__MAX_VALUE", "64KiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let fill = |key: &str, options: &str| {
        format!("let s = \"\"; s.pad(60_000, 'x'); store.set(\"{key}\", s{options}); now()")
    };
    let written = value(&mut session, &fill("a", ", #{ ttl: 300 }")).await;
    let expiry = written.as_i64().unwrap() + 300;
    loop {
        match session.play(&fill("b", "")).await {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error["data"]["limit"], "store.quota", "{error}");
                // It needs no sweep in between.
                assert!(now() < expiry + 5_000);
            }
        }
    }
    assert!(now() >= expiry);
    assert_eq!(value(&mut session, "store.keys(\"\")").await, json!(["b"]));
}

on_both!(
    a_key_is_there_until_it_expires,
    what_a_ttl_may_be,
    writes_say_whether_a_key_still_expires,
    what_expires_before_the_commit_was_never_there,
    what_has_expired_gives_its_room_back,
);

on_other_servers!(
    a_key_is_there_until_it_expires,
    what_expires_before_the_commit_was_never_there,
);

/// Keys of one expiry time, and one that stays.
const FILL: &str =
    "for n in 0..900 { store.set(`k/${ARGS}/${n}`, n, #{ ttl: 1500 }) } store.set(\"stays\", 1)";

#[tokio::test]
async fn what_has_expired_is_swept_from_redis() {
    let redis = RedisServer::start().await;
    let server = TestServer::builder().redis(redis.url()).start().await;
    let mut session = server.log_in(&key(2)).await;
    for n in 0..3 {
        let params = json!({ "script": FILL, "args": n });
        session.call("play", params).await.unwrap();
    }
    let left = async |what: &str| {
        let keys = redis.command(&["KEYS", &format!("*{what}*")]).await;
        keys.lines().count()
    };
    eventually("all is swept", async || left("expiring").await == 0).await;
    assert_eq!(
        value(&mut session, "store.keys(\"\")").await,
        json!(["stays"])
    );
    let store = redis.command(&["KEYS", "*:store:*"]).await;
    let count = redis.command(&["HLEN", store.trim()]).await;
    assert_eq!(count.trim(), "1", "{store}");
}
