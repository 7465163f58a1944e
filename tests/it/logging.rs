//! The content of the log, and secrets that never appear in it.

use circled_protocol::{Scheme, sign};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    backend::on_both,
    server::{TestServer, key, within},
};

async fn nothing_that_was_said_is_ever_logged() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "trace")
        .env("CIRCLED_SESSION__MAX_MESSAGE", "16KiB")
        .start()
        .await;
    let me = key(2);
    let mut secrets = vec![me.to_hex()];
    let mut session = server.connect().await;
    for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
        for right in [false, true] {
            let text = session.fetch_nonce(me.public()).await;
            let signed = if right {
                text.clone()
            } else {
                format!("{text} ")
            };
            let signature = sign(scheme, &me, &signed).unwrap();
            let params = json!({ "pubkey": me.public(), "signature": signature, "scheme": scheme });
            assert_eq!(session.call("authenticate", params).await.is_ok(), right);
            secrets.push(text.split_once("nonce: ").unwrap().1.to_owned());
            // Not even a part, after any text.
            secrets.push(signature[8..40].to_owned());
        }
    }
    let mut secret = |what: &str| {
        let secret = format!("{what}_{}", hex::encode(what));
        secrets.push(secret.clone());
        secret
    };
    let id = session.whoami().await["session_id"]
        .as_str()
        .unwrap()
        .to_owned();

    let mut jobs = Vec::new();
    // The second and third time in the fast lane.
    for _ in 0..3 {
        let script = format!(
            "let {} = 1; print(\"{}\"); debug(\"{}\"); \"{}\" + \"-\" + ARGS.a",
            secret("variable"),
            secret("printed"),
            secret("debugged"),
            secret("output"),
        );
        let params = json!({ "script": script, "args": { "a": secret("argument") } });
        let run = session.call("play", params).await.unwrap();
        jobs.push(run["job_id"].as_str().unwrap().to_owned());
        let failing = [
            format!("throw \"{}\"", secret("thrown")),
            format!("{}(1)", secret("nothing")),
            format!("let x = {} {}", secret("uncompiled"), secret("mistake")),
            format!("print(\"{}\"); loop {{}}", secret("endless")),
            format!("let s = \"{}\"; loop {{ s += s }}", secret("large")),
        ];
        for script in failing {
            session.play(&script).await.unwrap_err();
        }
    }
    for (method, params) in [
        (secret("method"), json!({})),
        ("whoami".to_owned(), json!({ secret("member"): 1 })),
        (
            "play".to_owned(),
            json!({ "script": "1", "timeout_ms": secret("number") }),
        ),
        ("call".to_owned(), json!({ "name": secret("called") })),
        ("call".to_owned(), json!({ "name": secret("oddly called") })),
        (
            "fetch_nonce".to_owned(),
            json!({ "pubkey": secret("pubkey") }),
        ),
    ] {
        session.call(&method, params).await.unwrap_err();
    }
    for text in [
        secret("nonsense"),
        format!("{{\"{}\":1}}", secret("stranger")),
        format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"whoami"}}"#,
            secret("id")
        ),
    ] {
        session.ask(text).await;
    }
    session
        .send(Message::binary(secret("binary").into_bytes()))
        .await;
    session.json().await;
    session.send_text(secret("long").repeat(2000)).await;
    assert_eq!(session.closed().await, 1009);

    // In a URL, refused ones included.
    server
        .get(&format!("/{}?{}", secret("path"), secret("query")), &[])
        .await;
    server.sigterm();
    server.wait().await;
    let log = server.whole_log().await;
    assert!(log.lines().count() > 20, "{log}");
    assert!(log.contains(r#""level":"DEBUG""#), "{log}");
    for secret in secrets {
        let at = log.find(&secret);
        let line = at.map(|at| log[at.saturating_sub(200)..].lines().next());
        assert!(at.is_none(), "{secret} is in the log: {line:?}");
    }
    for known in [&id, &jobs[0]] {
        assert!(log.contains(known.as_str()), "{known} is not in the log");
    }
}

async fn the_life_of_a_session_is_logged() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let id = session.whoami().await["session_id"].clone();
    let run = session.play("40 + 2").await.unwrap();
    let of_session = |line: &Value| line["span"]["id"] == id;
    server
        .logged("the beginning", |line| {
            line["message"] == "session opened" && of_session(line)
        })
        .await;
    server
        .logged("the run", |line| {
            line.to_string().contains(run["job_id"].as_str().unwrap())
        })
        .await;
    within("the end", session.leave()).await;
    server
        .logged("the end", |line| {
            line["message"] == "session ended: the client left" && of_session(line)
        })
        .await;
}

/// Words that only developers of the server understand.
const DEBUG_TEXT: [&str; 8] = [
    "Some(", "None", "Os {", "kind:", "Fjall", "Lsm", "::", "Custom {",
];

/// Checks that a line is readable: no names of types, and durations as numbers of milliseconds.
fn assert_readable(line: &Value) {
    let Value::Object(fields) = line else {
        panic!("{line} is no line of the log");
    };
    for (name, value) in fields {
        if value.is_object() {
            assert_readable(value);
        }
        let Some(text) = value.as_str() else {
            continue;
        };
        let found = DEBUG_TEXT.iter().find(|part| text.contains(**part));
        assert!(found.is_none(), "{name} = {text:?} has {found:?}: {line}");
        let number = text.trim_end_matches(|c: char| c.is_alphabetic());
        let is_duration = number.parse::<f64>().is_ok()
            && ["ns", "µs", "ms", "s"].contains(&&text[number.len()..]);
        assert!(!is_duration, "{name} = {text:?}: {line}");
    }
}

async fn the_log_is_for_people_and_machines() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "debug")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "1ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "2")
        .env("STRIPE_WEBHOOK_SECRET", "whsec_of_this_test")
        .start()
        .await;
    let (me, owner) = (key(2), key(1));
    let mut session = server.log_in(&me).await;
    let id = session.whoami().await["session_id"].clone();
    let mut owner_session = server.log_in(&owner).await;
    let put = json!(["greet", "let n = 0; while n < 20_000 { n += 1 } n"]);
    owner_session.call("put_script", put).await.unwrap();
    let put = json!(["broken", "throw 1"]);
    owner_session.call("put_script", put).await.unwrap();
    let called = session.call("call", json!(["greet"])).await.unwrap();
    session.play("nothing()").await.unwrap_err();
    session.play("1 + 1").await.unwrap();
    let submitted = json!({ "name": "broken" });
    let job = session.call("submit_job", submitted).await.unwrap()["job_id"].clone();
    let dead = server
        .logged("that the job is dead", |line| {
            line["job"] == job && line["dead"] == true
        })
        .await;
    assert_eq!(
        (&dead["script"], &dead["kind"], &dead["tries"]),
        (&json!("broken"), &json!("runtime"), &json!(2)),
        "{dead}"
    );
    let ran = server
        .logged("the run", |line| {
            line["message"] == "ran" && line["span"]["id"] == called["job_id"]
        })
        .await;
    assert_eq!(ran["script"], "greet", "{ran}");
    assert!(ran["duration_ms"].as_f64().unwrap() > 0.0, "{ran}");
    within("the end", session.leave()).await;
    let end = server
        .logged("the end", |line| {
            line["message"] == "session ended: the client left" && line["span"]["id"] == id
        })
        .await;
    assert_eq!(end["span"]["caller"], me.public().to_string(), "{end}");
    server.sigterm();
    server.wait().await;
    let log = server.whole_log().await;
    for line in log.lines() {
        assert_readable(&circled_json::parse(line).unwrap());
    }
    assert!(log.contains(r#""grace_ms":10000}"#), "{log}");
}

on_both!(
    nothing_that_was_said_is_ever_logged,
    the_life_of_a_session_is_logged,
    the_log_is_for_people_and_machines,
);

#[tokio::test]
async fn errors_of_redis_are_logged_in_words() {
    let mut server = TestServer::builder()
        .redis("redis://me:canary1!@127.0.0.1:1")
        .start()
        .await;
    let line = server
        .logged("that Redis isn't there", |line| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("failed to use Redis")
        })
        .await;
    assert_eq!(line["error"], "Connection refused", "{line}");
    server.sigterm();
    server.wait().await;
    let log = server.whole_log().await;
    for line in log.lines() {
        assert_readable(&circled_json::parse(line).unwrap());
    }
    assert!(!log.contains("canary1!"), "{log}");
}
