//! JSON-RPC 2.0 to the letter, <https://www.jsonrpc.org/specification>.

mod activity;
mod deliveries;
mod events;
mod openrpc;
mod resume;
pub(crate) mod watches;

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    backend::on_both,
    server::{ENDLESS, TestServer, Ws, busy, circle, key},
};

/// Returns a reply without the members that every reply has.
fn of(mut reply: Value) -> Value {
    assert_eq!(reply["jsonrpc"], "2.0", "{reply}");
    let members = reply.as_object_mut().unwrap();
    members.remove("jsonrpc");
    if let Some(error) = reply.get_mut("error") {
        *error = error["code"].take();
    }
    reply
}

/// Returns a batch's replies by their ids.
fn of_batch(replies: Value) -> Vec<Value> {
    let mut replies: Vec<Value> = match replies {
        Value::Array(replies) => replies.into_iter().map(of).collect(),
        other => panic!("no batch: {other}"),
    };
    replies.sort_by_key(|reply| reply["id"].to_string());
    replies
}

#[tokio::test]
async fn the_examples_of_the_specification_hold() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;

    let positional = r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#;
    assert_eq!(
        of(session.ask(positional).await),
        json!({ "error": -32601, "id": 1 })
    );
    let named = r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#;
    assert_eq!(
        of(session.ask(named).await),
        json!({ "error": -32601, "id": 3 })
    );

    for notification in [
        r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#,
        r#"{"jsonrpc": "2.0", "method": "foobar"}"#,
    ] {
        session.send_text(notification).await;
        session.assert_silent().await;
    }

    let unknown = session
        .ask(r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#)
        .await;
    assert_eq!(unknown["error"]["message"], "Method not found");
    assert_eq!(of(unknown), json!({ "error": -32601, "id": "1" }));

    let no_json = session
        .ask(r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#)
        .await;
    assert_eq!(no_json["error"]["message"], "Parse error");
    assert_eq!(of(no_json), json!({ "error": -32700, "id": null }));

    let no_request = session
        .ask(r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#)
        .await;
    assert_eq!(no_request["error"]["message"], "Invalid Request");
    assert_eq!(of(no_request), json!({ "error": -32600, "id": null }));

    let half_a_batch = r#"[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]"#;
    assert_eq!(
        of(session.ask(half_a_batch).await),
        json!({ "error": -32700, "id": null })
    );

    let invalid = json!({ "error": -32600, "id": null });
    assert_eq!(of(session.ask("[]").await), invalid);
    assert_eq!(of_batch(session.ask("[1]").await), vec![invalid.clone()]);
    assert_eq!(
        of_batch(session.ask("[1,2,3]").await),
        [invalid.clone(), invalid.clone(), invalid.clone()]
    );

    let mixed = r#"[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]"#;
    let not_found = |id| json!({ "error": -32601, "id": id });
    assert_eq!(
        of_batch(session.ask(mixed).await),
        [
            not_found("1"),
            not_found("2"),
            not_found("5"),
            not_found("9"),
            invalid
        ]
    );

    let notifications = r#"[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]"#;
    session.send_text(notifications).await;
    session.assert_silent().await;
}

async fn the_examples_of_the_specification_hold_for_methods_that_there_are() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (params, id) in [
        (json!(["42 - 23"]), json!(1)),
        (json!({ "script": "42 - 23" }), json!(2)),
        (
            json!({ "args": [42, 23], "script": "ARGS[0] - ARGS[1]" }),
            json!(3),
        ),
        (json!(["ARGS[0] - ARGS[1]", [42, 23]]), json!(4)),
        (json!(["ARGS[0] - ARGS[1]", [42, 23], 1000]), json!("4")),
    ] {
        let call = json!({ "jsonrpc": "2.0", "method": "play", "params": params, "id": id });
        let reply = session.ask(call.to_string()).await;
        assert_eq!(reply["result"]["value"], 19, "{call}");
        assert_eq!(reply["id"], id);
    }

    let batch = json!([
        { "jsonrpc": "2.0", "method": "play", "params": ["1 + 2 + 4"], "id": "1" },
        { "jsonrpc": "2.0", "method": "play", "params": ["7"] },
        { "jsonrpc": "2.0", "method": "play", "params": ["42 - 23"], "id": "2" },
        { "foo": "boo" },
        { "jsonrpc": "2.0", "method": "foo.get", "params": { "name": "myself" }, "id": "5" },
        { "jsonrpc": "2.0", "method": "whoami", "id": "9" },
    ]);
    let replies = of_batch(session.ask(batch.to_string()).await);
    let ids: Vec<&Value> = replies.iter().map(|reply| &reply["id"]).collect();
    assert_eq!(
        ids,
        [
            &json!("1"),
            &json!("2"),
            &json!("5"),
            &json!("9"),
            &Value::Null
        ]
    );
    assert_eq!(replies[0]["result"]["output"], "7");
    assert_eq!(replies[1]["result"]["output"], "19");
    assert_eq!(replies[2]["error"], -32601);
    assert_eq!(replies[3]["result"]["pubkey"], json!(key(2).public()));
    assert_eq!(replies[4]["error"], -32600);
}

async fn an_id_comes_back_as_it_was_written() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for id in [
        "1",
        "0",
        "-7",
        "1.50",
        "1e3",
        "1E+3",
        "-0",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "null",
        "\"\"",
        "\"one\"",
        r#""\u00e4\n\"\\\/""#,
        "\"\u{1f980}\"",
    ] {
        for method in [
            r#""whoami""#,
            r#""play","params":["40 + 2"]"#,
            r#""play","params":["throw 1"]"#,
            r#""nothing""#,
            r#""whoami","params":[1]"#,
        ] {
            session
                .send_text(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#
                ))
                .await;
            let reply = session.text().await;
            assert!(
                reply.ends_with(&format!(r#","id":{id}}}"#)),
                "{id}: {reply}"
            );
        }
    }
}

#[tokio::test]
async fn invalid_requests_get_an_error_with_their_id_if_readable() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    for (code, text) in [
        (-32700, ""),
        (-32700, " "),
        (-32700, "nonsense"),
        (-32700, "{"),
        (-32700, r#"{"jsonrpc":"2.0","method":"whoami","id":1} x"#),
        (-32700, "[] []"),
        (-32700, "\u{feff}{}"),
        (-32700, r#"{'jsonrpc':'2.0'}"#),
        (-32700, &"[".repeat(100_000)),
        (-32600, "1"),
        (-32600, "null"),
        (-32600, "\"whoami\""),
        (-32600, "{}"),
        (-32600, r#"{"method":"whoami"}"#),
        (
            -32600,
            r#"{"jsonrpc":"2.0","method":"whoami","params":"x"}"#,
        ),
        (-32600, r#"{"jsonrpc":"2.0","method":"whoami","params":7}"#),
        (-32600, r#"{"jsonrpc":"2.0","method":"whoami","id":{}}"#),
        (-32600, r#"{"jsonrpc":"2.0","method":"whoami","id":[1]}"#),
        (-32600, r#"{"jsonrpc":"2.0","method":"whoami","id":true}"#),
    ] {
        let reply = session.ask(text).await;
        let reason = reply["error"]["data"]["reason"]
            .as_str()
            .unwrap_or_default();
        assert!(!reason.is_empty(), "{reply}");
        assert_eq!(of(reply), json!({ "error": code, "id": null }), "{text:?}");
    }
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for (n, rest) in [
        r#""method":"whoami""#,
        r#""jsonrpc":"1.0","method":"whoami""#,
        r#""jsonrpc":2.0,"method":"whoami""#,
        r#""jsonrpc":"2.0""#,
        r#""jsonrpc":"2.0","method":null"#,
        r#""jsonrpc":"2.0","method":{"a":1}"#,
        r#""jsonrpc":"2.0","method":"whoami","params":"x""#,
        r#""jsonrpc":"2.0","method":"whoami","params":true"#,
        r#""jsonrpc":"2.0","method":"whoami","method":"whoami""#,
        &format!(r#""jsonrpc":"2.0","method":"whoami","params":"x","more":{deep}"#),
        &format!(r#""jsonrpc":{deep},"method":{deep},"params":{deep}"#),
    ]
    .iter()
    .enumerate()
    {
        for text in [
            format!("{{\"id\":{n},{rest}}}"),
            format!("{{{rest},\"id\":{n}}}"),
        ] {
            let invalid = json!({ "error": -32600, "id": n });
            assert_eq!(of(session.ask(&*text).await), invalid, "{text}");
            batch.push(text);
            expected.push(invalid);
        }
    }
    expected.sort_by_key(|reply| reply["id"].to_string());
    let replies = of_batch(session.ask(format!("[{}]", batch.join(","))).await);
    assert_eq!(replies, expected);
    session.assert_silent().await;
}

#[tokio::test]
async fn null_is_no_parameters_and_for_one_that_may_be_left_away_it_is_absent() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(1)).await;
    for params in ["null", "{}", "[]"] {
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"whoami","params":{params}}}"#);
        let reply = session.ask(call).await;
        assert_eq!(reply["result"]["role"], "owner", "{reply}");
    }
    let document = session.call("rpc.discover", json!(null)).await.unwrap();
    let mut checked = 0;
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        let (mut given, mut nulls) = (serde_json::Map::new(), serde_json::Map::new());
        for param in method["params"].as_array().unwrap() {
            let what = param["name"].as_str().unwrap();
            // Of some, one must be given.
            let is_needed = matches!(
                (name, what),
                ("submit_job" | "watch", "script")
                    | ("fetch_nonce" | "authenticate", "pubkey")
                    | ("authenticate", "signature")
            );
            if param["required"] == true || is_needed {
                let value = match what {
                    "pubkey" => json!(key(3).public()),
                    "job_id" => json!("00000000-0000-7000-8000-000000000000"),
                    "put" => json!([]),
                    _ => json!("a1"),
                };
                given.insert(what.to_owned(), value);
            } else {
                nulls.insert(what.to_owned(), Value::Null);
            }
        }
        if nulls.is_empty() {
            continue;
        }
        let mut codes = Vec::new();
        for nulls in [None, Some(nulls.clone())] {
            // A call leaves nothing for the next one to find.
            let mut session = server.log_in(&key(1)).await;
            let params: serde_json::Map<_, _> = given
                .clone()
                .into_iter()
                .chain(nulls.into_iter().flatten())
                .collect();
            let answer = session.call(name, params.into()).await;
            codes.push(answer.err().map(|mut error| error["code"].take()));
        }
        assert_eq!(codes[0], codes[1], "{name} {nulls:?}");
        assert!(
            codes[0].as_ref().is_none_or(|code| *code != -32602),
            "{name}: {codes:?}"
        );
        checked += nulls.len();
    }
    assert!(checked >= 15, "{checked}");
}

async fn whole_numbers_may_be_written_as_floats() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(1)).await;
    for (method, params, refused) in [
        ("play", r#"{"script":"1","timeout_ms":N}"#, "1000.5"),
        ("call", r#"{"name":"one","timeout_ms":N}"#, "1e300"),
        ("list_jobs", r#"{"limit":N}"#, "-1.0"),
        ("list_deliveries", r#"{"limit":N}"#, "0.5"),
        ("subscribe", r#"{"since":N}"#, "1.5"),
    ] {
        let _ = session.call("put_script", json!(["one", "1"])).await;
        for (number, taken) in [
            ("100", true),
            ("100.0", true),
            ("1e2", true),
            (refused, false),
        ] {
            let params = params.replace('N', number);
            let call =
                format!(r#"{{"jsonrpc":"2.0","id":"n","method":"{method}","params":{params}}}"#);
            let mut reply = session.ask(call).await;
            while reply["id"] != "n" {
                // A subscription that begins after the last event gets a notice.
                reply = session.json().await;
            }
            assert_eq!(reply.get("result").is_some(), taken, "{params}: {reply}");
            if !taken {
                assert_eq!(reply["error"]["code"], -32602);
                let reason = reply["error"]["data"]["reason"].as_str().unwrap();
                assert!(reason.contains("a whole number"), "{reply}");
            }
        }
    }
}

async fn halves_of_surrogate_pairs_are_replaced_and_the_rest_is_as_it_was() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let call = r#"{"jsonrpc":"2.0","id":"\udc00","method":"play","params":["ARGS + \"\ud83e\udd80\ud83e\"","\\ud800 \ud800"]}"#;
    session.send_text(call).await;
    let text = session.text().await;
    assert!(text.contains(r#""id":"\udc00""#), "{text}");
    let reply = circled_json::parse(text.replace(r"\udc00", "")).unwrap();
    assert_eq!(reply["result"]["value"], "\\ud800 \u{fffd}🦀\u{fffd}");
}

#[tokio::test]
async fn a_parameter_that_is_there_twice_is_refused() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"play","params":{"script":"1","script":"2"}}"#;
    assert_eq!(
        of(session.ask(call).await),
        json!({ "error": -32602, "id": 1 })
    );
}

async fn a_notification_is_never_answered() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for notification in [
        json!({ "jsonrpc": "2.0", "method": "whoami" }),
        json!({ "jsonrpc": "2.0", "method": "nothing" }),
        json!({ "jsonrpc": "2.0", "method": "whoami", "params": { "unknown": 1 } }),
        json!({ "jsonrpc": "2.0", "method": "fetch_nonce" }),
        json!({ "jsonrpc": "2.0", "method": "authenticate", "params": ["02", "00"] }),
        json!({ "jsonrpc": "2.0", "method": "play", "params": ["40 + 2"] }),
        json!({ "jsonrpc": "2.0", "method": "play", "params": ["throw 1"] }),
        json!({ "jsonrpc": "2.0", "method": "play", "params": ["let x ="] }),
        json!({ "jsonrpc": "2.0", "method": "play", "params": { "script": "1", "timeout_ms": 0 } }),
        json!([{ "jsonrpc": "2.0", "method": "play", "params": ["1"] }, { "jsonrpc": "2.0", "method": "nothing" }]),
    ] {
        session.send_text(notification.to_string()).await;
    }
    // With one thread, the script that is played last ends last.
    let last = session.begin_play("let last = 1; last").await;
    let reply = session.json().await;
    assert_eq!(reply["id"], last, "an answer to a notification: {reply}");
    session.assert_silent().await;
}

#[tokio::test]
async fn a_notification_is_done_all_the_same() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let me = key(2);
    let text = session.fetch_nonce(me.public()).await;
    let signature = circled_protocol::sign(circled_protocol::Scheme::Sha256, &me, &text).unwrap();
    let notification = json!({ "jsonrpc": "2.0", "method": "authenticate", "params": [me.public(), signature, "sha256"] });
    session.send_text(notification.to_string()).await;
    crate::harness::server::eventually("the login", async || {
        session.whoami().await["authenticated"] == true
    })
    .await;
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_told() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (method, params, told) in [
        ("whoami", json!({ "verbose": true }), "verbose"),
        ("whoami", json!([1]), "too many parameters: there are none"),
        (
            "unsubscribe",
            json!([]),
            "the parameter `subscription` is missing: by position, they are `subscription`",
        ),
        (
            "unsubscribe",
            json!(["1", "2"]),
            "too many parameters: by position, they are `subscription`",
        ),
        ("rpc.discover", json!([1]), ""),
        ("fetch_nonce", json!({}), "pubkey"),
        ("fetch_nonce", json!([]), ""),
        ("fetch_nonce", json!([circle(), 1]), ""),
        ("fetch_nonce", json!({ "pubkey": 7 }), ""),
        (
            "fetch_nonce",
            json!({ "pubkey": circle(), "key": 1 }),
            "key",
        ),
        ("authenticate", json!({}), "pubkey"),
        ("authenticate", json!({ "pubkey": circle() }), "signature"),
        ("authenticate", json!([circle()]), ""),
        ("authenticate", json!([circle(), "00", "rot13"]), "rot13"),
        ("authenticate", json!([circle(), "00", "sha256", 4]), ""),
        (
            "authenticate",
            json!({ "credentials": { "pubkey": circle(), "signature": "00" } }),
            "credentials",
        ),
        (
            "authenticate",
            json!([{ "pubkey": circle(), "signature": "00" }]),
            "",
        ),
        ("play", json!({}), "script"),
        ("play", json!({ "script": 7 }), ""),
        ("play", json!({ "script": "1", "argv": [] }), "argv"),
        (
            "play",
            json!({ "script": "1", "timeout_ms": -1 }),
            "`timeout_ms`: ",
        ),
        (
            "play",
            json!({ "script": "1", "timeout_ms": 1.5 }),
            "`timeout_ms`: invalid value: floating point `1.5`, expected a whole number from 0",
        ),
        (
            "submit_job",
            json!({ "script": "1", "run_at": "now" }),
            "`run_at`: ",
        ),
        ("play", json!(["1", null, "x"]), "`[2]`: "),
        (
            "play",
            json!(["1", null, 1000, "id", true, "more"]),
            "too many parameters: by position, they are `script`, `args`, `timeout_ms`, `request_id`, `effects`",
        ),
        (
            "play",
            json!([]),
            "the parameter `script` is missing: by position, they are `script`, `args`",
        ),
        ("play", json!(["1", null, 1000, "no id"]), "`request_id`"),
    ] {
        let error = session.call(method, params.clone()).await.unwrap_err();
        assert_eq!(error["code"], -32602, "{method} {params}: {error}");
        let reason = error["data"]["reason"].as_str().unwrap_or_default();
        assert!(
            !reason.is_empty() && reason.contains(told),
            "{method} {params}: {error}"
        );
    }
}

#[tokio::test]
async fn errors_repeat_a_part_of_the_sent_values() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let long = "é".repeat(100_000);
    let fake = format!("x`, expected {long}");
    for (method, params) in [
        ("whoami", json!({ &long: 1 })),
        ("whoami", json!({ &fake: 1 })),
        ("submit_job", json!({ &long: 1 })),
        ("play", json!({ "script": "1", &fake: 1 })),
        ("list_jobs", json!({ "status": long })),
        ("list_jobs", json!({ "status": fake })),
        ("play", json!({ "script": "1", "timeout_ms": long })),
        ("submit_job", json!({ "script": "1", "run_at": long })),
        ("fetch_nonce", json!({ "pubkey": long })),
        (
            "authenticate",
            json!({ "pubkey": circle(), "signature": "00", "scheme": long }),
        ),
        ("get_job", json!({ "job_id": long })),
        ("call", json!({ "name": long })),
        ("subscribe", json!({ "topic": long })),
    ] {
        let error = session.call(method, params).await.unwrap_err();
        let size = error.to_string().len();
        assert!(size < 1000, "{method}: {size} bytes");
    }
}

async fn depth_is_no_trouble() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [100, 1_000, 100_000] {
        let args = nested(depth);
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{depth},"method":"play","params":["type_of(ARGS)",{args}]}}"#
        );
        let reply = session.ask(call).await;
        assert_eq!(reply["id"], depth, "{reply}");
        let is_read = reply["result"]["value"] == "array";
        assert!(
            is_read || reply["error"]["code"] == -32602,
            "{depth}: {reply}"
        );
        for place in ["jsonrpc", "id", "method", "params"] {
            let reply = session.ask(format!(r#"{{"{place}":{args}}}"#)).await;
            assert_eq!(reply["error"]["code"], -32600, "{depth}: {reply}");
        }
        assert_eq!(session.ask(&args).await[0]["error"]["code"], -32600);
    }
    session.assert_silent().await;
}

#[tokio::test]
async fn a_binary_frame_is_answered_and_the_session_lives() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"whoami"}"#;
    for bytes in [call.as_bytes(), &[0xff, 0x00], b""] {
        session.send(Message::binary(bytes.to_vec())).await;
        let reply = session.json().await;
        assert!(reply["error"]["data"]["reason"].is_string(), "{reply}");
        assert_eq!(of(reply), json!({ "error": -32600, "id": null }));
    }
    session.assert_silent().await;
}

#[tokio::test]
async fn bad_messages_never_close_the_session() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for round in 0..500 {
        session
            .send_text(["}", "[1]", "{}", "nonsense"][round % 4])
            .await;
    }
    for round in 0..500 {
        let reply = session.json().await;
        let error = if round % 4 == 1 { &reply[0] } else { &reply };
        assert!(error["error"]["code"].is_i64(), "{reply}");
    }
    assert_eq!(session.play("40 + 2").await.unwrap()["output"], "42");
}

async fn a_long_request_holds_no_short_one_back() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "20s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let long = session
        .begin_play(&busy(Duration::from_secs(1), "\"long\""))
        .await;
    assert_eq!(session.whoami().await["authenticated"], true);
    assert_eq!(session.play("\"short\"").await.unwrap()["output"], "short");
    let batch = session
        .ask(r#"[{"jsonrpc":"2.0","id":"in a batch","method":"play","params":["1"]}]"#)
        .await;
    assert_eq!(batch[0]["id"], "in a batch");
    assert!(!session.has_answer(long), "everything waited for it");
    assert_eq!(session.answer(long).await.unwrap()["output"], "long");
}

#[tokio::test]
async fn a_server_describes_itself() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let document = session.call("rpc.discover", json!({})).await.unwrap();

    let version = document["openrpc"].as_str().unwrap();
    assert!(version.starts_with("1.3."), "{version}");
    for member in ["title", "version"] {
        assert!(document["info"][member].is_string(), "{member}");
    }
    let methods = document["methods"].as_array().unwrap();
    let mut signatures: Vec<String> = methods.iter().map(signature).collect();
    signatures.sort();
    insta::assert_snapshot!(signatures.join("\n"), @r"
    add_device_key(pubkey, label, expires_at, scope, proof)
    add_member(pubkey)
    authenticate(pubkey?, signature?, scheme?, address?, event?)
    call(name, args?, version?, timeout_ms?, request_id?, effects?)
    check_script(source)
    delete_script(name, if_version?)
    deploy_scripts(put, delete?, request_id?)
    fetch_nonce(pubkey?, scheme?, address?, chain_id?)
    get_delivery(job_id)
    get_job(job_id, wait?, input?)
    get_script(name, version?)
    list_deliveries(provider?, limit?, cursor?, status?)
    list_device_keys()
    list_jobs(status?, limit?, cursor?, kind?, name?)
    list_members()
    list_scripts()
    play(script, args?, timeout_ms?, request_id?, effects?)
    prove(challenge)
    put_script(name, source, if_version?, call?)
    redeliver(job_id)
    remove_device_key(pubkey)
    remove_member(pubkey, stop_jobs?)
    retry_dead(expect?, kind?, name?, cursor?)
    retry_job(job_id, version?)
    rpc.discover()
    stop_job(job_id)
    store_get(key)
    store_list(prefix?, cursor?, limit?)
    submit_job(script?, name?, args?, idempotency_key?, run_at?, version?)
    subscribe(topic?, since?)
    unsubscribe(subscription)
    usage()
    watch(script?, name?, args?, version?, since?, view?)
    whoami()
    ");

    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for method in methods {
        for error in method["errors"].as_array().into_iter().flatten() {
            assert!(error["code"].is_i64() && error["message"].is_string());
        }
        assert!(method["result"]["name"].is_string(), "{method}");
        assert!(is_schema(&method["result"]["schema"]), "{method}");
    }
}

#[tokio::test]
async fn every_method_that_is_described_is_there() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let document = session.call("rpc.discover", json!({})).await.unwrap();
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        let answer = session.call(name, json!({ "surely unknown": 1 })).await;
        let code = answer.unwrap_err()["code"].clone();
        assert!(code == -32602 || code == -32001, "{name}: {code}");
    }
}

/// Returns `name(required, optional?)`, and checks that the document describes it as OpenRPC requires.
fn signature(method: &Value) -> String {
    let mut names = HashSet::new();
    let mut optional = false;
    let params = method["params"].as_array().unwrap().iter().map(|param| {
        let name = param["name"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        assert!(is_schema(&param["schema"]), "{param}");
        let required = param["required"] == true;
        assert!(
            !(required && optional),
            "what is required stands before what isn't"
        );
        optional |= !required;
        format!("{name}{}", if required { "" } else { "?" })
    });
    let params: Vec<String> = params.collect();
    format!(
        "{}({})",
        method["name"].as_str().unwrap(),
        params.join(", ")
    )
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str));
            for member in members.values() {
                collect_references(member, into);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_references(item, into);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn nothing_but_a_login_lets_a_caller_play() {
    let server = TestServer::start().await;
    let mut session: Ws = server.connect().await;
    let error = session.play("40 + 2").await.unwrap_err();
    assert_eq!(error["code"], -32001);
    assert_eq!(error["message"], "Authentication Required");
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"play","params":["40 + 2"]}]"#;
    assert_eq!(session.ask(batch).await[0]["error"]["code"], -32001);
}

on_both!(
    whole_numbers_may_be_written_as_floats,
    halves_of_surrogate_pairs_are_replaced_and_the_rest_is_as_it_was,
    the_examples_of_the_specification_hold_for_methods_that_there_are,
    an_id_comes_back_as_it_was_written,
    a_notification_is_never_answered,
    depth_is_no_trouble,
    a_long_request_holds_no_short_one_back,
);
