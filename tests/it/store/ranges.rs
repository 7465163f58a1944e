//! Ranges: what scans, counts and lists find, and which writes of others have them start over.

use serde_json::{Value, json};

use super::{failure, starts_over, value};
use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{ENDLESS, TestServer, Ws, key, within},
};

async fn a_scan_returns_a_part_from_either_end() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    value(
        &mut session,
        "for n in 0..8 { store.set(`n/${n}`, #{ n: n }) } store.set(\"m\", 1); store.set(\"o\", \"é\")",
    )
    .await;
    let entries = |numbers: &[u32]| {
        let entry = |n: &u32| json!({ "key": format!("n/{n}"), "value": { "n": n } });
        numbers.iter().map(entry).collect::<Value>()
    };
    for (options, found) in [
        ("prefix: \"n/\"", &[0, 1, 2, 3, 4, 5, 6, 7][..]),
        ("prefix: \"n/\", limit: 3", &[0, 1, 2]),
        ("prefix: \"n/\", limit: 3, reverse: true", &[7, 6, 5]),
        ("prefix: \"n/\", limit: 3, after: \"n/2\"", &[3, 4, 5]),
        ("prefix: \"n/\", limit: 3, after: ()", &[0, 1, 2]),
        (
            "prefix: \"n/\", limit: 3, after: \"n/5\", reverse: true",
            &[4, 3, 2],
        ),
        ("start: \"n/2\", end: \"n/4\"", &[2, 3]),
        ("start: \"n/2\", end: \"n/4\", reverse: true", &[3, 2]),
        ("prefix: \"n/\", start: \"a\", end: \"n/1\"", &[0]),
        ("prefix: \"n/\", after: \"n/65\"", &[7]),
        ("prefix: \"n/\", limit: 0", &[]),
        ("start: \"n/4\", end: \"n/2\"", &[]),
        ("prefix: \"x\"", &[]),
    ] {
        let script = format!("store.scan(#{{{options}}})");
        assert_eq!(
            value(&mut session, &script).await,
            entries(found),
            "{script}"
        );
        let keys: Value = found.iter().map(|n| json!(format!("n/{n}"))).collect();
        let script = format!("store.keys(#{{{options}}})");
        assert_eq!(value(&mut session, &script).await, keys, "{script}");
        let script = format!("store.count(#{{{options}}})");
        assert_eq!(
            value(&mut session, &script).await,
            json!(found.len()),
            "{script}"
        );
    }
    for (script, found) in [
        ("store.scan(#{}).len()", json!(10)),
        ("store.count(\"\")", json!(10)),
        ("store.count(\"n/\")", json!(8)),
        ("store.scan(#{ start: \"o\" })", json!([{ "key": "o", "value": "é" }])),
        ("for n in 100..250 { store.set(`p/${n}`, n) } store.scan(#{ prefix: \"p/\" }).len()", json!(100)),
        ("[store.keys(#{ prefix: \"p/\" }).len(), store.keys(\"p/\").len(), store.count(\"p/\")]", json!([100, 150, 150])),
        ("store.count(#{ prefix: \"p/\", limit: 51 })", json!(51)),
        // Its own writes are there.
        (
            "store.set(\"n/x\", 1); store.delete(\"n/0\"); store.set(\"n/1\", 7); store.delete(\"n/y\");
            [store.count(\"n/\"), store.scan(#{ prefix: \"n/\", limit: 1 }), store.keys(#{ prefix: \"n/\", reverse: true, limit: 1 })]",
            json!([8, [{ "key": "n/1", "value": 7 }], ["n/x"]]),
        ),
        // A walk through all of it.
        (
            "let seen = []; let after = ();
            loop {
                let page = store.scan(#{ prefix: \"p/\", limit: 40, after: after });
                if page.is_empty() { break }
                after = page[-1].key;
                seen += page.map(|entry| entry.value);
            }
            [seen.len(), seen[0], seen[-1]]",
            json!([150, 100, 249]),
        ),
    ] {
        assert_eq!(value(&mut session, script).await, found, "{script}");
    }
}

async fn what_a_range_cant_have_is_refused_with_what_it_can() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (options, says) in [
        ("pefix: \"a\"", "there is no \"pefix\""),
        ("prefix: 1", "\"prefix\" can't be of type i64"),
        ("end: [\"a\"]", "\"end\" can't be of type array"),
        ("reverse: 1", "\"reverse\" can't be of type i64"),
        (
            "limit: -1",
            "\"limit\" must be a whole number from 0 to 65536",
        ),
        (
            "limit: 65537",
            "\"limit\" must be a whole number from 0 to 65536",
        ),
        (
            "limit: 1.5",
            "\"limit\" must be a whole number from 0 to 65536",
        ),
    ] {
        for function in ["scan", "keys", "count"] {
            let script = format!("store.{function}(#{{{options}}})");
            let (kind, message) = failure(&mut session, &script).await;
            assert_eq!(kind, "runtime", "{script}: {message}");
            assert!(message.contains(says), "{script}: {message}");
            if !says.contains("limit") {
                let names = "prefix, start, end, after (texts), limit";
                assert!(message.contains(names), "{script}: {message}");
            }
            let caught = format!("let n = 0; try {{ {script} }} catch {{ n = 7 }} n");
            assert_eq!(value(&mut session, &caught).await, json!(7), "{script}");
        }
    }
}

async fn more_than_an_array_has_is_counted_and_read_in_parts() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for n in 0..66 {
        let script = format!("for n in 0..1000 {{ store.set(`m/${{{n}000 + n}}`, n) }}");
        value(&mut session, &script).await;
    }
    assert_eq!(
        value(&mut session, "store.count(\"m/\")").await,
        json!(66_000)
    );
    let (kind, message) = failure(&mut session, "store.keys(\"m/\")").await;
    assert_eq!(kind, "size", "{message}");
    assert!(message.ends_with("store: there are more than 65536 such keys: read them in parts, with store.scan(#{prefix: ..., after: ...})"), "{message}");
    // As many as an array may have.
    for script in [
        "store.keys(#{ prefix: \"m/\", limit: 65_536 }).len()",
        "store.scan(#{ prefix: \"m/\", limit: 65_536 }).len()",
        "store.count(#{ prefix: \"m/\", limit: 65_536 })",
    ] {
        assert_eq!(value(&mut session, script).await, json!(65_536), "{script}");
    }
}

async fn a_scan_finds_no_more_than_a_run_may_hold() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_MEMORY", "1MiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for n in 0..20 {
        let script = format!("let s = \"\"; s.pad(60_000, 'x'); store.set(\"long/{n}\", s)");
        value(&mut session, &script).await;
    }
    for _ in 0..3 {
        let (kind, message) = failure(&mut session, "store.scan(#{})").await;
        assert_eq!(kind, "size", "{message}");
        assert!(
            message
                .ends_with("store: what it finds has more than 1048576 bytes: use a smaller limit"),
            "{message}"
        );
    }
    let script = "store.scan(#{ limit: 5 }).len()";
    assert_eq!(value(&mut session, script).await, json!(5));
}

async fn counting_many_keys_costs_operations() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", 60_000)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for n in 0..4 {
        let script = format!("for n in 0..1000 {{ store.set(`m/${{{n}000 + n}}`, 1) }}");
        value(&mut session, &script).await;
    }
    let script = "let sum = 0; for n in 0..20 { sum += store.count(\"m/\") } sum";
    assert_eq!(value(&mut session, script).await, json!(80_000));
    let script = "let sum = 0; for n in 0..200 { sum += store.count(\"m/\") } sum";
    let (kind, message) = failure(&mut session, script).await;
    assert_eq!(kind, "operations", "{message}");
}

async fn who_reads_the_last_is_not_disturbed_by_who_writes_at_the_old_end() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let (mut reader, mut writer) = (server.log_in(&key(2)).await, server.log_in(&key(3)).await);
    value(
        &mut writer,
        "for n in 1000..1200 { store.set(`chat/${n}`, n) }",
    )
    .await;
    let reads = [
        "store.scan(#{ prefix: \"chat/\", limit: 50, reverse: true }).len()",
        "store.keys(#{ prefix: \"chat/\", limit: 50, reverse: true }).len()",
        "store.count(#{ start: \"chat/1100\", end: \"chat/9\" })",
        "store.count(#{ prefix: \"chat/\", limit: 50, reverse: true })",
    ];
    let write = |n: usize| {
        let old = 1000 + n % 50;
        format!(
            "store.delete(\"chat/{old}\"); store.set(\"chat/0{n}\", 1); store.set(\"chat/{old}\", {n})"
        )
    };
    for read in reads {
        for _ in 0..5 {
            read_beside(&mut reader, read, &mut writer, write).await;
        }
    }
    assert_eq!(starts_over(&mut server, &mut reader).await, 0);
    for (round, read) in reads.into_iter().enumerate() {
        let newest = |n: usize| format!("store.set(\"chat/1199/{round}/{n}\", {n})");
        let before = starts_over(&mut server, &mut reader).await;
        // On a busy machine, no write may come in between.
        let conflicts = async {
            while starts_over(&mut server, &mut reader).await == before {
                read_beside(&mut reader, read, &mut writer, newest).await;
            }
        };
        within(read, conflicts).await;
    }
}

/// Has a run read something, take its time and write something else, while others write.
async fn read_beside(
    reader: &mut Ws,
    read: &str,
    writer: &mut Ws,
    write: impl Fn(usize) -> String,
) {
    let script = format!(
        "let found = {read}; let start = timestamp(); while start.elapsed < 0.02 {{}} store.set(\"seen\", found)"
    );
    let call = reader.begin_play(&script).await;
    let writes = async {
        for n in 0.. {
            value(writer, &write(n)).await;
        }
    };
    tokio::select! {
        answer = reader.answer(call) => drop(answer.unwrap()),
        () = writes => {}
    }
}

async fn who_manages_the_circle_reads_its_store_in_pages() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let script = "for n in 0..7 { store.set(`a/${n}`, [n]) } store.set(\"b\", 1); store.set(\"c\", 2, #{ ttl: \"1h\" })";
    value(&mut owner, script).await;
    let mut params = json!({ "prefix": "a/", "limit": 3 });
    let mut keys = Vec::new();
    for length in [3, 3, 1] {
        let page = owner.call("store_list", params.clone()).await.unwrap();
        let entries = page["entries"].as_array().unwrap();
        assert_eq!(entries.len(), length, "{page}");
        keys.extend(entries.iter().map(|entry| entry["key"].clone()));
        params["cursor"] = page["cursor"].clone();
    }
    assert_eq!(params["cursor"], json!(null));
    let all: Vec<_> = (0..7).map(|n| json!(format!("a/{n}"))).collect();
    assert_eq!(keys, all);
    let page = owner
        .call("store_list", json!({ "cursor": "a/6" }))
        .await
        .unwrap();
    let entries = page["entries"].as_array().unwrap();
    assert_eq!((page.get("cursor"), entries.len()), (None, 2), "{page}");
    assert_eq!(entries[0], json!({ "key": "b", "value": 1 }));
    assert!(entries[1]["expires_at"].is_string(), "{page}");
    assert_eq!(
        owner.call("store_get", json!(["a/2"])).await.unwrap(),
        json!({ "key": "a/2", "value": [2] })
    );
    // Large values make a page shorter.
    let large = "let s = \"\"; s.pad(60_000, 'x'); for n in 0..7 { store.set(`d/${n}`, s) }";
    value(&mut owner, large).await;
    let page = owner
        .call("store_list", json!({ "prefix": "d/" }))
        .await
        .unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), 3);
    assert_eq!(page["cursor"], "d/2");
    for (method, params, code) in [
        ("store_get", json!(["none"]), -32006),
        ("store_list", json!({ "limit": 501 }), -32602),
        ("store_list", json!({ "limit": 0 }), -32602),
    ] {
        let error = owner.call(method, params).await.unwrap_err();
        assert_eq!(error["code"], code, "{method}: {error}");
    }
    let mut guest = server.log_in(&key(2)).await;
    for (method, params) in [("store_list", json!({})), ("store_get", json!(["b"]))] {
        let error = guest.call(method, params).await.unwrap_err();
        assert_eq!(error["code"], -32003, "{method}");
    }
}

on_both!(
    who_manages_the_circle_reads_its_store_in_pages,
    a_scan_returns_a_part_from_either_end,
    what_a_range_cant_have_is_refused_with_what_it_can,
    more_than_an_array_has_is_counted_and_read_in_parts,
    a_scan_finds_no_more_than_a_run_may_hold,
    counting_many_keys_costs_operations,
    who_reads_the_last_is_not_disturbed_by_who_writes_at_the_old_end,
);

on_other_servers!(
    a_scan_returns_a_part_from_either_end,
    who_reads_the_last_is_not_disturbed_by_who_writes_at_the_old_end,
);
