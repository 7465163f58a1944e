//! `store`: the data of a circle, as its scripts see it.

mod adds;
mod contention;
mod delete_range;
pub(crate) mod disk;
mod durability;
mod event_log;
mod failures;
mod flood;
mod limits;
mod ranges;
mod ttl;

use serde_json::{Value, json};

use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{TestServer, Ws, key},
};

/// Returns the value of a script.
pub(crate) async fn value(session: &mut Ws, script: &str) -> Value {
    match session.play(script).await {
        Ok(mut run) => run["value"].take(),
        Err(error) => panic!("{script}: {error}"),
    }
}

/// Returns the kind and message of a script's failure.
async fn failure(session: &mut Ws, script: &str) -> (String, String) {
    let error = session.play(script).await.unwrap_err();
    assert_eq!(error["code"], -32000, "{script}: {error}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&error["data"]["kind"]), text(&error["message"]))
}

/// Returns how many runs have conflicted so far, and started over. The server must log at debug level.
async fn starts_over(server: &mut TestServer, session: &mut Ws) -> usize {
    // What was logged before is there once this is.
    let fence = session.play("1").await.unwrap();
    let ended = |line: &Value| line["message"] == "a job ended" && line["job"] == fence["job_id"];
    server.logged("the fence", ended).await;
    server.count_logged(|line| line["message"] == "a run conflicted, and starts over")
}

async fn values_keep_their_kind_and_their_precision() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (n, written) in [
        "()",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "-1",
        "9223372036854775807",
        "-9223372036854775807 - 1",
        "9007199254740993",
        "0.1",
        "-0.0",
        "0.1 + 0.2",
        "1.7976931348623157e308",
        "5.0e-324",
        "9007199254740992.0",
        "1.0e23",
        "\"\"",
        "\"null\"",
        "\"1\"",
        r#""grüße 🦀 \"\\\n\t\x00\x7f""#,
        "[]",
        "[()]",
        "[1, 1.0, \"1\", true, (), [[]], #{}]",
        "#{}",
        "#{ \"\": 1, \"a b\": #{ \"ключ\": [1.0, 2] } }",
        // Shared with a function, and still a number.
        "{ let x = 41; let f = || x; x += 1; x }",
    ]
    .into_iter()
    .enumerate()
    {
        let told = |value: &str| format!("{{ let v = {value}; [type_of(v), v] }}");
        let expected = session.play(&told(written)).await;
        let expected = expected.unwrap_or_else(|error| panic!("{written}: {error}"));
        let set = format!("store.set(\"{n}\", {written}); ");
        let get = told(&format!("store.get(\"{n}\")"));
        // Values that the run itself wrote, and values from the disk.
        for script in [format!("{set}{get}"), get] {
            let read = session.play(&script).await;
            let read = read.unwrap_or_else(|error| panic!("{written}: {error}"));
            for member in ["value", "output"] {
                assert_eq!(read[member], expected[member], "{member} of {script}");
            }
        }
    }
}

async fn values_without_a_json_form_are_refused() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (written, named) in [
        ("|x| x", "a function"),
        ("Fn(\"len\")", "a function"),
        ("0.0 / 0.0", "isn't finite"),
        ("1.0 / 0.0", "isn't finite"),
        ("-1.0 / 0.0", "isn't finite"),
        ("[1, [0.0 / 0.0]]", "isn't finite"),
        ("#{ a: #{ b: || 1 } }", "a function"),
        ("timestamp()", "of this type"),
        ("store", "of this type"),
    ] {
        let script = format!("store.set(\"before\", 1); store.set(\"it\", {written});");
        let (kind, message) = failure(&mut session, &script).await;
        assert_eq!(kind, "runtime", "{written}: {message}");
        assert!(message.contains(named), "{written}: {message}");
        assert_eq!(value(&mut session, "store.keys(\"\")").await, json!([]));
    }
    let (kind, _) = failure(
        &mut session,
        "let deep = 1; for n in 0..100 { deep = [deep] } store.set(\"it\", deep)",
    )
    .await;
    assert_eq!(kind, "depth");
    assert_eq!(value(&mut session, "store.has(\"it\")").await, json!(false));
}

async fn missing_keys_are_unit_or_the_default() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (script, expected) in [
        ("store.get(\"a\")", json!(null)),
        ("type_of(store.get(\"a\"))", json!("()")),
        ("store.get(\"a\", [7])", json!([7])),
        ("store.has(\"a\")", json!(false)),
        ("store.delete(\"a\"); store.has(\"a\")", json!(false)),
        (
            "store.set(\"a\", ()); type_of(store.set(\"a\", ()))",
            json!("()"),
        ),
        // A stored nothing differs from a missing value.
        ("store.has(\"a\")", json!(true)),
        ("store.get(\"a\", 7)", json!(null)),
        ("store.set(\"a\", 1); store.get(\"a\")", json!(1)),
        ("store.get(\"a\", 7)", json!(1)),
        (
            "store.delete(\"a\"); [store.has(\"a\"), store.get(\"a\", 7)]",
            json!([false, 7]),
        ),
        ("[store.has(\"a\"), store.get(\"a\", 7)]", json!([false, 7])),
        (
            "store.set(\"a\", 2); store.delete(\"a\"); store.set(\"a\", 3); 0",
            json!(0),
        ),
        ("store.get(\"a\")", json!(3)),
        // A value that is read is a copy.
        (
            "let list = [1]; store.set(\"a\", list); list.push(2); store.get(\"a\")",
            json!([1]),
        ),
        (
            "let list = store.get(\"a\"); list.push(2); store.get(\"a\")",
            json!([1]),
        ),
        ("fn kept() { store.get(\"a\") } kept()", json!([1])),
    ] {
        assert_eq!(value(&mut session, script).await, expected, "{script}");
    }
}

async fn incr_adds_to_a_number() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (before, by, after) in [
        ("", "1", "1"),
        ("", "-3", "-3"),
        ("", "0.5", "0.5"),
        ("40", "2", "42"),
        ("40", "0", "40"),
        ("40", "2.0", "42.0"),
        ("40.0", "2", "42.0"),
        ("0.5", "0.25", "0.75"),
        ("9223372036854775806", "1", "9223372036854775807"),
        ("9007199254740993", "2", "9007199254740995"),
    ] {
        let before = match before {
            "" => "store.delete(\"n\")".to_owned(),
            number => format!("store.set(\"n\", {number})"),
        };
        let script = format!("{before}; [store.incr(\"n\", {by}), store.get(\"n\")]");
        let run = session.play(&script).await.unwrap();
        assert_eq!(run["output"], format!("[{after}, {after}]"), "{script}");
        let kept = session.play("store.get(\"n\")").await.unwrap();
        assert_eq!(kept["output"], after, "{script}");
    }
    for (before, by, named) in [
        ("\"1\"", "1", "not a number"),
        ("()", "1", "not a number"),
        ("[1]", "1.0", "not a number"),
        ("true", "1", "not a number"),
        ("9223372036854775807", "1", "too large for a number"),
        ("-9223372036854775807", "-2", "too large for a number"),
        (
            "1.7976931348623157e308",
            "1.7976931348623157e308",
            "isn't finite",
        ),
    ] {
        let set = format!("store.set(\"n\", {before})");
        value(&mut session, &set).await;
        let script = format!("store.set(\"half\", 1); store.incr(\"n\", {by})");
        let (kind, message) = failure(&mut session, &script).await;
        assert_eq!(kind, "runtime", "{script}: {message}");
        assert!(message.contains(named), "{script}: {message}");
        let unchanged = format!("[store.get(\"n\") == {before}, store.has(\"half\")]");
        assert_eq!(value(&mut session, &unchanged).await, json!([true, false]));
    }
    let (kind, _) = failure(&mut session, "store.incr(\"n\", \"1\")").await;
    assert_eq!(kind, "runtime");
}

async fn keys_come_in_the_order_of_their_bytes_own_writes_among_them() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let ordered = [
        "!", "A", "Z", "a", "a/", "a/1", "a/10", "a/2", "a0", "b", "é", "🦀",
    ];
    let mut shuffled = ordered;
    shuffled.reverse();
    shuffled.swap(2, 9);
    let set = format!("for k in {} {{ store.set(k, 1) }}", json!(shuffled));
    // In one run, and then from the disk.
    let list = "store.keys(\"\")";
    assert_eq!(
        value(&mut session, &format!("{set} {list}")).await,
        json!(ordered)
    );
    assert_eq!(value(&mut session, list).await, json!(ordered));
    for (script, expected) in [
        (
            "store.keys(\"a\")",
            json!(["a", "a/", "a/1", "a/10", "a/2", "a0"]),
        ),
        ("store.keys(\"a/\")", json!(["a/", "a/1", "a/10", "a/2"])),
        ("store.keys(\"a/1\")", json!(["a/1", "a/10"])),
        ("store.keys(\"é\")", json!(["é"])),
        ("store.keys(\"none\")", json!([])),
        (
            "store.delete(\"a/1\"); store.set(\"a/11\", 1); store.set(\"a/3\", 1); store.delete(\"a/4\"); store.keys(\"a/\")",
            json!(["a/", "a/10", "a/11", "a/2", "a/3"]),
        ),
        (
            "store.keys(\"a/\")",
            json!(["a/", "a/10", "a/11", "a/2", "a/3"]),
        ),
        (
            "store.set(\"a/5\", 1); store.delete(\"a/5\"); store.keys(\"a/5\")",
            json!([]),
        ),
        (
            "for k in store.keys(\"\") { store.delete(k) } store.keys(\"\")",
            json!([]),
        ),
    ] {
        assert_eq!(value(&mut session, script).await, expected, "{script}");
    }
}

async fn circles_see_nothing_of_each_other() {
    let server = TestServer::start().await;
    let mut sessions = Vec::new();
    for circle in [1, 2, 3] {
        let mut session = server.connect_to(key(circle).public()).await;
        session.login(&key(9)).await;
        let script = format!("store.set(\"mine\", {circle}); store.set(\"only/{circle}\", 1)");
        value(&mut session, &script).await;
        sessions.push((circle, session));
    }
    for (circle, session) in &mut sessions {
        let seen = value(session, "[store.get(\"mine\"), store.keys(\"\")]").await;
        assert_eq!(seen, json!([*circle, ["mine", format!("only/{circle}")]]));
        value(session, "for k in store.keys(\"\") { store.delete(k) }").await;
    }
}

async fn closures_have_the_store_too() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    value(&mut session, "store.set(\"a\", 1); store.set(\"b\", 2)").await;
    let names = "let names = store.keys(\"\");";
    for (script, expected) in [
        ("names.map(|k| store.get(k))", json!([1, 2])),
        ("let n = 5; names.map(|k| store.get(k) + n)", json!([6, 7])),
        (
            "names.for_each(|| store.incr(this, 0)); names.filter(|k| store.has(k))",
            json!(["a", "b"]),
        ),
        (
            "names.map(|k| [k].map(|k| store.get(k)))",
            json!([[1], [2]]),
        ),
        (
            "fn getter() { |k| store.get(k) } names.map(getter())",
            json!([1, 2]),
        ),
        (
            "let f = |k| store.get(k); [f.call(\"a\"), store.get(\"b\"), f.call(\"b\")]",
            json!([1, 2, 2]),
        ),
        // A variable of that name hides it.
        (
            "let store = #{ a: 7 }; names.map(|k| store[k])",
            json!([7, null]),
        ),
        (
            "let n = 5; let store = 1; let f = || store + n; store += 1; f.call()",
            json!(7),
        ),
    ] {
        for _ in 0..3 {
            let script = format!("{names} {script}");
            assert_eq!(value(&mut session, &script).await, expected, "{script}");
        }
    }
}

on_both!(
    values_keep_their_kind_and_their_precision,
    values_without_a_json_form_are_refused,
    missing_keys_are_unit_or_the_default,
    incr_adds_to_a_number,
    keys_come_in_the_order_of_their_bytes_own_writes_among_them,
    circles_see_nothing_of_each_other,
    closures_have_the_store_too,
);

on_other_servers!(
    values_keep_their_kind_and_their_precision,
    keys_come_in_the_order_of_their_bytes_own_writes_among_them,
);
