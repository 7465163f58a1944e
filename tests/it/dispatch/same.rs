//! The same scripts and deliveries, in the same order, with the same settings but for the backend: results, errors and
//! job records are the same, except for ids and times.

use std::fmt::Debug;

use axum::http::HeaderMap;
use circled::webhooks::Preset;
use serde_json::{Value, json};

use crate::harness::{
    redis::RedisServer,
    server::{Answer, Builder, ENDLESS, TestServer, Ws, eventually, key, post},
    webhooks::{Webhook, scripted, taking_stripes},
};

/// A server of each backend.
struct Both {
    servers: [TestServer; 2],
    _redis: RedisServer,
}

impl Both {
    async fn start(settings: impl Fn() -> Builder) -> Self {
        let redis = RedisServer::start().await;
        let servers = [
            settings().start().await,
            settings().redis(redis.url()).start().await,
        ];
        Self {
            servers,
            _redis: redis,
        }
    }

    async fn log_in(&self) -> [Ws; 2] {
        let [embedded, redis] = &self.servers;
        [embedded.log_in(&key(2)).await, redis.log_in(&key(2)).await]
    }

    /// Returns the result of both servers.
    async fn same<T: Debug + PartialEq>(
        &self,
        what: &str,
        ask: impl AsyncFn(&TestServer) -> T,
    ) -> T {
        let [embedded, redis] = &self.servers;
        let answers = [ask(embedded).await, ask(redis).await];
        same(what, answers)
    }
}

/// Returns the value that both are.
fn same<T: Debug + PartialEq>(what: &str, [embedded, redis]: [T; 2]) -> T {
    assert_eq!(embedded, redis, "embedded, then Redis: {what}");
    embedded
}

/// Returns the end of a play, without its job's id.
async fn play(session: &mut Ws, params: &Value) -> Answer {
    let mut answer = session.call("play", params.clone()).await;
    if let Ok(run) = &mut answer {
        assert!(run["job_id"].take().is_string(), "{run}");
    }
    answer
}

/// Returns the end of a play on both.
async fn same_play([embedded, redis]: &mut [Ws; 2], params: &Value) -> Answer {
    let what = params.to_string();
    let what = what.get(..1000).unwrap_or(&what);
    same(
        what,
        [play(embedded, params).await, play(redis, params).await],
    )
}

#[tokio::test]
async fn scripts_end_the_same() {
    let both = Both::start(|| {
        TestServer::builder()
            .env("CIRCLED_SCRIPT__MAX_MEMORY", "4MiB")
            .env("CIRCLED_SCRIPT__MAX_ARRAY", 1000)
            .env("CIRCLED_STORE__MAX_KEY", "32B")
            .env("CIRCLED_STORE__MAX_VALUE", "1KiB")
            .env("CIRCLED_STORE__MAX_WRITES", 10)
            .env("CIRCLED_STORE__QUOTA", "4KiB")
    })
    .await;
    let mut sessions = both.log_in().await;
    for script in [
        // Values.
        "",
        "40 + 2",
        "[(), true, 1, 1.0, -0.0, 'c', \"s\", [], #{}, #{ b: 1, a: [2] }]",
        "[9223372036854775807, -9223372036854775807 - 1, 0.1 + 0.2, 1.0e300, 5.0e-324, 1.0e23]",
        "[0.0 / 0.0, 1.0 / 0.0, -1.0 / 0.0]",
        "\"grüße \\\"🦀\\\"\\n\\t\\x00\\x7f \u{2028}\"",
        "#{ \"\": 1, \"ключ\": 2, \"a b\": #{ deep: [#{}] } }",
        "timestamp() - timestamp() < 1.0",
        "blob(3, 7)",
        "(1..5).map(|n| n * n).filter(|n| n > 3)",
        "let s = \"\"; s.pad(900_000, 'x'); s",
        "[CALLER_ID, CONTEXT_ID, ARGS, type_of(JOB_ID)]",
        // Logs.
        "print(\"one\\ntwo\"); debug([1, \"a\"]); print(\"\"); print(\"grüße 🦀\"); 1",
        "for n in 0..20_000 { print(n) } \"many\"",
        "print(\"before\"); throw \"after\"",
        // Errors and their places.
        "let x =",
        "40 +\r\n+ * 2",
        "let x = \"open",
        "\n\nnothing",
        "let grüße = \"🦀\"; nothing(grüße)",
        "fn f(n) {\n  1 / n\n}\nprint(f(1));\nf(0)",
        "throw #{ code: 7, why: [\"so\"] }",
        "[JOB, now() > 1_700_000_000_000, iso(0), parse_time(\"1970-01-01T00:00:01Z\"), uuid().len(), random(3, 3)]",
        "[CALLER_ROLE, members.list().len(), members.has(CALLER_ID), members.has(CONTEXT_ID), members.has(\"\")]",
        "fn f() { [CALLER_ROLE, members.has(CONTEXT_ID)] } f()",
        "try { require(\"owner\") } catch { } 1",
        "require(\"guest\"); require(\"king\")",
        "throw #{ message: \"no\", code: 7 }",
        "emit_to(\"me\", \"t\", 1)",
        "iso(9223372036854775807)",
        "parse_time(\"yesterday\")",
        "random(2, 1)",
        "from_hex(\"0x\")",
        "from_base64(\"?\")",
        "[sha256(\"a\"), hmac_sha256(\"k\", \"a\"), base64(\"a\"), hex(\"a\"), verify(\"\", \"\", \"\")]",
        "throw",
        "let a = [1]; a[7]",
        "let m = #{}; m.a.b",
        "1 + ()",
        "EVENT",
        "CALLER_ID = 1",
        "eval(\"1\")",
        "import \"os\" as os; 1",
        "sleep(1)",
        "let s = \"x\"; s.pad(900_000, 'x'); throw s",
        // Limits.
        "loop {}",
        "print(\"so far\"); let n = 0;\nloop { n += 1 }",
        "fn f(n) { f(n + 1) } f(0)",
        "let s = \"x\"; loop { s += s }",
        "let a = []; a.pad(1001, 0); a",
        "let a = []; for n in 0..500 { let s = \"\"; s.pad(100_000, 'x'); a.push(s) } 0",
        "let d = 1; for n in 0..100 { d = [d] } d",
        // The store, and its content for those that follow.
        "[store.get(\"a\"), store.get(\"a\", 7), store.has(\"a\"), store.keys(\"\")]",
        "store.set(\"a\", 1)",
        "[store.set(\"b\", #{ x: [1.0, ()] }), store.get(\"b\"), store.incr(\"a\", 2), store.incr(\"c\", 0.5)]",
        "[store.get(\"a\"), store.get(\"b\"), store.get(\"c\"), store.keys(\"\")]",
        "store.set(\"a\", 9); store.delete(\"b\"); throw \"all of it is void\"",
        "try { store.set(\"d\", 1); throw 1 } catch { store.incr(\"d\", 1) }",
        "store.delete(\"b\"); [store.keys(\"\"), store.get(\"b\", \"none\")]",
        "for k in [\"é\", \"z\", \"🦀\", \"A\", \"a/2\", \"a/10\"] { store.set(k, k) } store.keys(\"\")",
        "[store.keys(\"\"), store.keys(\"a\"), store.keys(\"a/\"), store.keys(\"é\"), store.keys(\"none\")]",
        "store.set(\"a\", ()); [store.has(\"a\"), store.get(\"a\", 1)]",
        "let n = store.get(\"d\"); n += 1; store.set(\"d\", n); store.get(\"d\")",
        "store.keys(\"\").map(|k| [k, store.get(k)])",
        "store.set(\"f\", 0.0 / 0.0)",
        "store.set(\"f\", || 1)",
        "store.incr(\"é\", 1)",
        "store.set(\"a\", 9223372036854775807); store.incr(\"a\", 1)",
        "store.set(\"\", 1)",
        "for v in [\"\", (), 0, false, [], #{}, \"nil\", \"null\", \"-\", \"=\", \"#\", \"-1\"] { store.set(`s/${v}`, v) }",
        "store.keys(\"s/\").map(|k| [k, store.has(k), store.get(k), store.get(k, \"none\")])",
        "for v in [\"\", ()] { store.set(\"s/nil\", v) } [store.has(\"s/nil\"), store.get(\"s/nil\", 1)]",
        "for k in [\" \", \"\\x00\", \"-\", \"0\", \"a b\", \"a:b\", \"{a}\", \"(\", \"[\", \"+\"] { store.set(k, k) } store.keys(\"\")",
        "store.keys(\"\").filter(|k| k.len() < 4).map(|k| [k, store.get(k)])",
        "for k in store.keys(\"\") { if k.len() < 4 { store.delete(k) } } store.keys(\"\")",
        "emit(\"\", 1)",
        "emit(\"t\", \"\"); emit(\"t\", ()); emit(\" \", 0)",
        "store.get(\"123456789012345678901234567890123\")",
        "let s = \"\"; s.pad(1023, 'x'); store.set(\"f\", s)",
        "print(1); for n in 0..11 { store.set(`w/${n}`, n) }",
        "for n in 0..11 { store.delete(`w/${n}`) }",
        "print(\"too much\"); for n in 0..5 { let s = \"\"; s.pad(1000, 'x'); store.set(`q/${n}`, s) }",
        "for n in 0..3 { let s = \"\"; s.pad(1000, 'x'); store.set(`q/${n}`, s) } store.keys(\"q\")",
        "for k in store.keys(\"q\") { store.delete(k) } store.keys(\"\")",
        "let d = 1; for n in 0..100 { d = [d] } store.set(\"f\", d)",
        "for n in 0..5 { store.set(`r/${n}`, n) } store.set(\"r/3\", \"long \" + ARGS)",
        "[store.scan(#{ prefix: \"r/\" }), store.scan(#{ prefix: \"r/\", limit: 2, reverse: true }), store.count(\"r/\")]",
        "store.set(\"r/2\", 7); store.delete(\"r/3\"); [store.scan(#{ start: \"r/1\", end: \"r/4\" }), store.count(#{ start: \"r/1\" })]",
        "[store.keys(#{ after: \"r/1\", limit: 2 }), store.count(#{ limit: 3 })]",
        "store.set(\"r/4\", 1, #{ ttl: \"1h\" }); store.set(\"r/5\", [2], #{ ttl: 3_600_000 }); [store.ttl(\"r/4\"), store.ttl(\"r/1\"), store.ttl(\"r/9\")]",
        "store.add(\"r/4\", 1); store.incr(\"r/4\", 1); [store.scan(#{ prefix: \"r/\" }), store.ttl(\"r/4\") > 3_000_000, store.has(\"r/5\")]",
        "store.set(\"r/5\", 1, #{ tt: 1 })",
        "store.set(\"r/5\", 1, #{ ttl: \"long\" })",
        "store.scan(#{ of: 1 })",
        "store.count(#{ limit: 1001 })",
        "loop { store.incr(\"a\", 1) }",
        "for k in store.keys(\"\") { store.delete(k) }",
        "[store.keys(\"\"), store.has(\"a\")]",
    ] {
        // First new to the server, and then known.
        for _ in 0..3 {
            let _ = same_play(&mut sessions, &json!({ "script": script })).await;
        }
    }
}

/// Returns the end of a call, without values that always differ.
async fn call(session: &mut Ws, method: &str, params: &Value) -> Answer {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match &**name {
                        "job_id" | "put_at" | "submitted_at" | "ended_at" | "at" => {
                            assert!(member.take().is_string());
                        }
                        _ => forget(member),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    let mut answer = session.call(method, params.clone()).await;
    if let Ok(result) = &mut answer {
        forget(result);
    }
    answer
}

#[tokio::test]
async fn empty_values_have_no_special_meaning() {
    let both = Both::start(|| {
        TestServer::builder()
            .env("CIRCLED_STORE__QUOTA", "4KiB")
            .env("CIRCLED_CIRCLES__SCRIPT_VERSIONS", 2)
    })
    .await;
    let [embedded, redis] = &both.servers;
    let mut sessions = [embedded.log_in(&key(1)).await, redis.log_in(&key(1)).await];
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut answers = Vec::new();
    for (method, params) in [
        ("subscribe", json!([""])),
        ("put_script", json!(["e", ""])),
        ("put_script", json!(["e", ""])),
        ("get_script", json!(["e"])),
        ("list_scripts", json!({})),
        ("call", json!(["e"])),
        ("play", json!(["import \"e\" as e; 1"])),
        ("submit_job", json!({ "name": "e" })),
        ("put_script", json!(["e", "1"])),
        ("get_script", json!({ "name": "e", "version": empty })),
        ("call", json!({ "name": "e", "version": empty })),
        ("put_script", json!(["e", ""])),
        ("call", json!(["e"])),
        ("put_script", json!(["e", "2"])),
        ("put_script", json!(["e", "3"])),
        ("get_script", json!({ "name": "e", "version": empty })),
        ("get_script", json!({ "name": "e", "version": "" })),
        ("call", json!({ "name": "e", "version": "" })),
        ("put_script", json!(["", ""])),
        ("get_script", json!([""])),
        ("call", json!([""])),
        ("delete_script", json!([""])),
        ("delete_script", json!(["e"])),
        ("delete_script", json!(["e"])),
        ("list_scripts", json!({})),
        ("play", json!([""])),
        ("play", json!(["ARGS", ""])),
        ("submit_job", json!([""])),
        ("submit_job", json!({ "name": "" })),
        (
            "submit_job",
            json!({ "script": "1", "idempotency_key": "" }),
        ),
        ("submit_job", json!({ "script": "ARGS", "args": "" })),
        ("submit_job", json!({ "script": "1", "version": "" })),
        ("get_job", json!([""])),
        ("list_jobs", json!({ "cursor": "" })),
        ("list_deliveries", json!({ "provider": "" })),
        ("unsubscribe", json!([""])),
        ("add_member", json!([""])),
        ("list_device_keys", json!([])),
        ("remove_device_key", json!([""])),
    ] {
        let [embedded, redis] = &mut sessions;
        let what = format!("{method} {params}");
        let answered = [
            call(embedded, method, &params).await,
            call(redis, method, &params).await,
        ];
        answers.push(same(&what, answered));
    }
    assert_eq!(answers[1].as_ref().unwrap()["created"], true);
    assert_eq!(answers[2].as_ref().unwrap()["created"], false);
    assert_eq!(answers[3].as_ref().unwrap()["source"], "");
    assert_eq!(answers[4].as_ref().unwrap()["scripts"][0]["version"], empty);
    for run in [5, 10, 12] {
        assert_eq!(answers[run].as_ref().unwrap()["output"], "");
    }
    // Nothing of it counts twice, or is left.
    for session in &mut sessions {
        for _ in 0..40 {
            for source in ["", "1", "", "2"] {
                session
                    .call("put_script", json!(["e", source]))
                    .await
                    .unwrap();
            }
            session.call("delete_script", json!(["e"])).await.unwrap();
        }
    }
    let mut kept = 0;
    for length in (3000..4200).step_by(25) {
        let script = format!("let s = \"\"; s.pad({length}, 'x'); store.set(\"k\", s)");
        if same_play(&mut sessions, &json!({ "script": script }))
            .await
            .is_ok()
        {
            kept = length;
        }
    }
    assert!(kept > 4000, "{kept}");
}

#[tokio::test]
async fn arguments_come_the_same() {
    let both = Both::start(TestServer::builder).await;
    let mut sessions = both.log_in().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut all: Vec<String> = [
        "null",
        "true",
        "-0",
        "-0.0",
        "1e3",
        "1.0",
        "0.1000000000000000055511151231257827",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "123456789012345678901234567890",
        "-9223372036854775808",
        "1.7976931348623157e308",
        "5e-324",
        r#""grüße 🦀 \u0000 \ud83e\udd80 \u2028""#,
        r#"{"b":1,"a":{"":[]},"b":2}"#,
        r#"[[],{},[{"a":[null]}]]"#,
    ]
    .map(str::to_owned)
    .into();
    all.extend((100..130).step_by(3).map(nested));
    for args in all {
        for script in ["[type_of(ARGS), ARGS]", "type_of(ARGS)"] {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"play","params":["{script}",{args}]}}"#
            );
            let mut answers = Vec::new();
            for session in &mut sessions {
                let mut reply = session.ask(&*call).await;
                if let Some(run) = reply.get_mut("result") {
                    run["job_id"].take();
                }
                answers.push(reply.to_string());
            }
            same(&call, [answers.remove(0), answers.remove(0)]);
        }
    }
}

#[tokio::test]
async fn scripts_that_take_too_long_end_the_same() {
    let both = Both::start(|| {
        TestServer::builder()
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "200ms")
            .env("CIRCLED_SCRIPT__THREADS", "1")
            .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "2s")
    })
    .await;
    let mut sessions = both.log_in().await;
    let endings = [
        "loop {}",
        "print(1); fn f() { loop {} } f()",
        "store.set(\"a\", 1); loop {}",
        "loop { store.incr(\"a\", 1) }",
        "loop { store.keys(\"\") }",
        "loop { store.get(\"none\") }",
    ];
    for script in endings {
        for timeout in [json!(null), json!(1), json!(2000), json!(2001), json!(0)] {
            let params = json!({ "script": script, "timeout_ms": timeout });
            let ended = same_play(&mut sessions, &params).await;
            assert!(ended.is_err(), "{params}: {ended:?}");
        }
    }
    let left = same_play(&mut sessions, &json!({ "script": "store.keys(\"\")" })).await;
    assert_eq!(left.unwrap()["value"], json!([]));

    // Waiting counts, too.
    let mut ends = Vec::new();
    for session in &mut sessions {
        let mut calls = vec![session.begin_play("loop {}").await];
        for timeout in [50, 100, 2000] {
            let params = json!({ "script": "\"new\"", "timeout_ms": timeout });
            calls.push(session.begin("play", params).await);
        }
        let mut end = Vec::new();
        for call in calls {
            let mut answer = session.answer(call).await;
            if let Ok(run) = &mut answer {
                run["job_id"].take();
            }
            end.push(answer);
        }
        ends.push(end);
    }
    let ends = same("what waits", [ends.remove(0), ends.remove(0)]);
    assert!(
        ends[..3].iter().all(Result::is_err) && ends[3].is_ok(),
        "{ends:?}"
    );
}

/// Does what the event says.
const ACTING: &str = r#"
    let object = EVENT.payload.data.object;
    print("nobody sees this");
    store.incr("runs of " + EVENT.type, 1);
    switch EVENT.type {
        "count" => store.incr("count", object.by),
        "tell" => [EVENT.provider, EVENT.id, EVENT.type, object, CALLER_ID, CONTEXT_ID, ARGS],
        "throw" => throw object,
        "wait" => if !store.has("open") { throw "not yet" },
        "loop" => { loop {} }
        "large" => { let s = ""; s.pad(5000, 'x'); store.set("large", s) }
        "deep" => { let d = 1; for n in 0..100 { d = [d] } d }
        "quiet" => (),
    }
"#;

/// Returns an event of Stripe's.
fn event(id: &str, kind: &str, object: &Value) -> String {
    // An object, like all of Stripe's.
    let object = json!({ "object": "thing", "by": 2, "is": object });
    json!({ "id": id, "object": "event", "type": kind, "data": { "object": object } }).to_string()
}

/// Returns the status, the body without the job's id, and the job's id.
async fn send(webhook: &Webhook, server: &TestServer) -> (u16, Value, String) {
    let response = webhook.send(server).await;
    assert_eq!(
        response.status == 503,
        response.header("retry-after").is_some()
    );
    let mut body = response.json();
    let job = body.as_object_mut().unwrap().remove("job_id");
    let job = job.and_then(|job| Some(job.as_str()?.to_owned()));
    (response.status, body, job.unwrap_or_default())
}

/// Returns a job's record, with a flag in place of each id or time.
fn record(mut job: Value) -> Value {
    for name in ["job_id", "submitted_at", "due", "ended_at"] {
        job[name] = json!(job[name].is_string());
    }
    job
}

/// Returns the records in this state.
async fn records(server: &TestServer, status: &str) -> Vec<Value> {
    let jobs = server.jobs(status).await;
    jobs.into_iter().map(record).collect()
}

#[tokio::test]
async fn deliveries_come_to_the_same() {
    let (_folder, settings) = scripted(ACTING);
    let both = Both::start(|| {
        taking_stripes()
            .toml(settings.clone() + "wait = \"10s\"\n")
            .env("CIRCLED_SCRIPT__TIMEOUT", "2s")
            .env("CIRCLED_STORE__QUOTA", "4KiB")
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "3")
            .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "10ms")
            .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "3")
    })
    .await;
    for (n, (kind, object)) in [
        ("count", json!(1)),
        ("count", json!(1)),
        ("tell", json!([1, 1.0, "grüße 🦀", null, { "a": [] }])),
        ("quiet", json!(null)),
        ("unheard of", json!(null)),
        ("throw", json!({ "why": ["so", 1] })),
        ("loop", json!(null)),
        ("large", json!(null)),
        ("deep", json!(null)),
    ]
    .into_iter()
    .enumerate()
    {
        let body = event(&format!("evt_{n}"), kind, &object);
        let first = both
            .same(kind, async |server| {
                let (status, body, _) = send(&Webhook::stripe(&body), server).await;
                (status, body)
            })
            .await;
        assert_eq!(first.0, 200, "{first:?}");
        // All its tries.
        for server in &both.servers {
            eventually("the job to be over", async || {
                let over = [
                    records(server, "finished").await,
                    records(server, "dead").await,
                ];
                over.concat().len() == n + 1
            })
            .await;
        }
        let again = both
            .same("the second time", async |server| {
                let (status, body, _) = send(&Webhook::stripe(&body), server).await;
                (status, body)
            })
            .await;
        // The dead job is tried again, and given up again.
        let status = match first.1["status"].as_str() {
            Some("failed") => "failed",
            _ => "duplicate",
        };
        assert_eq!(again, (200, json!({ "status": status })));
        // Those tries, too.
        for server in &both.servers {
            eventually("the job to be over", async || {
                let over = [
                    records(server, "finished").await,
                    records(server, "dead").await,
                ];
                over.concat().len() == n + 1
            })
            .await;
        }
    }
    for status in ["finished", "dead", "pending"] {
        let jobs = both
            .same(status, async |server| records(server, status).await)
            .await;
        let count = match status {
            "finished" => 5,
            "dead" => 4,
            _ => 0,
        };
        assert_eq!(jobs.len(), count, "{jobs:?}");
    }
    let mut sessions = [
        both.servers[0].log_in(&key(1)).await,
        both.servers[1].log_in(&key(1)).await,
    ];
    let kept = json!({ "script": "store.keys(\"\").map(|k| [k, store.get(k)])" });
    same_play(&mut sessions, &kept).await.unwrap();
}

/// Deliveries as deep as JSON is parsed, and a level more and less.
#[tokio::test]
async fn deep_deliveries_come_to_the_same() {
    let (_folder, settings) = scripted("store.incr(type_of(EVENT.payload), 1); 1");
    let both = Both::start(|| taking_stripes().toml(settings.clone() + "wait = \"2s\"\n")).await;
    let mut kept = 0;
    for depth in 120..=130 {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = event(&format!("evt_{depth}"), "x", &json!("deep")).replace("\"deep\"", &nested);
        let webhook = Webhook::stripe(body);
        let (status, answer) = both
            .same(&format!("{depth} deep"), async |server| {
                let (status, body, _) = send(&webhook, server).await;
                (status, body)
            })
            .await;
        if status == 200 {
            assert_eq!(answer, json!({ "status": "finished" }), "{depth} deep");
            kept += 1;
        }
    }
    assert!(kept > 0 && kept < 11, "{kept}");
    both.same("finished", async |server| records(server, "finished").await)
        .await;
}

#[tokio::test]
async fn deliveries_that_fail_wait_and_are_retried_the_same() {
    let (_folder, settings) = scripted(ACTING);
    let both = Both::start(|| {
        taking_stripes()
            .toml(settings.clone() + "wait = \"10s\"\n")
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "2")
            .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "1s")
            .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "3")
    })
    .await;
    let webhook = |n: usize| Webhook::stripe(event(&format!("evt_{n}"), "wait", &json!(n)));
    let mut ids = [Vec::new(), Vec::new()];
    let mut answers = [Vec::new(), Vec::new()];
    for (n, server) in both.servers.iter().enumerate() {
        // Three wait for their next try, which is the most; a known one needs no place.
        for webhook in [0, 1, 2, 3, 1, 0].map(webhook) {
            let (status, body, id) = send(&webhook, server).await;
            answers[n].push((status, body));
            ids[n].push(id);
        }
    }
    let answers = same("what waits", answers);
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 200, 200], "{answers:?}");
    both.same("pending", async |server| records(server, "pending").await)
        .await;
    for ids in &ids {
        assert_eq!(
            (&ids[4], &ids[5]),
            (&ids[1], &ids[0]),
            "the first job's name"
        );
    }
    for server in &both.servers {
        eventually("them to be dead", async || {
            records(server, "dead").await.len() == 3
        })
        .await;
    }
    both.same("dead", async |server| records(server, "dead").await)
        .await;

    let retry = async |server: &TestServer, id: &str| {
        let path = format!("/jobs/{id}/retry");
        let admin = server.admin_address().unwrap();
        let response = post(admin, &path, &HeaderMap::new(), b"").await;
        let mut body = response.json();
        if let Some(id) = body.get_mut("job_id") {
            *id = json!(id.is_string());
        }
        (response.status, body)
    };
    let mut sessions = [
        both.servers[0].log_in(&key(1)).await,
        both.servers[1].log_in(&key(1)).await,
    ];
    same_play(
        &mut sessions,
        &json!({ "script": "store.set(\"open\", true)" }),
    )
    .await
    .unwrap();
    let mut answers = [Vec::new(), Vec::new()];
    for (n, server) in both.servers.iter().enumerate() {
        for id in [
            &ids[n][0],
            "00000000-0000-7000-8000-000000000000",
            "nonsense",
        ] {
            answers[n].push(retry(server, id).await);
        }
        eventually("it to be finished", async || {
            records(server, "finished").await.len() == 1
        })
        .await;
        // It isn't dead any more.
        answers[n].push(retry(server, &ids[n][0]).await);
    }
    let answers = same("retrying", answers);
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 404, 404, 404], "{answers:?}");
    for status in ["finished", "dead", "pending"] {
        both.same(status, async |server| records(server, status).await)
            .await;
    }
}

#[tokio::test]
async fn deliveries_run_in_the_same_order() {
    let (_folder, settings) = scripted(
        r#"
            let start = timestamp(); while start.elapsed < 0.02 {}
            store.set("order", store.get("order", []) + [EVENT.id]);
        "#,
    );
    let both = Both::start(|| {
        taking_stripes()
            .toml(settings.clone() + "wait = \"0s\"\n")
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", "1")
            .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
    })
    .await;
    let mut sessions = Vec::new();
    for server in &both.servers {
        for n in 0..20 {
            let webhook = Webhook::stripe(event(&format!("evt_{n}"), "x", &json!(n)));
            let (status, body, _) = send(&webhook, server).await;
            assert_eq!((status, body), (200, json!({ "status": "accepted" })));
        }
        sessions.push(server.log_in(&key(1)).await);
    }
    for server in &both.servers {
        eventually("all of them", async || {
            records(server, "finished").await.len() == 20
        })
        .await;
    }
    let mut sessions = [sessions.remove(0), sessions.remove(0)];
    let order = json!({ "script": "store.get(\"order\")" });
    let order = same_play(&mut sessions, &order).await.unwrap();
    let expected: Vec<String> = (0..20).map(|n| format!("evt_{n}")).collect();
    assert_eq!(order["value"], json!(expected));
    both.same("finished", async |server| records(server, "finished").await)
        .await;
}

#[tokio::test]
async fn final_deliveries_stay_on_both() {
    let both = Both::start(|| {
        TestServer::builder().toml("[webhooks.idenfy]\nsecrets = [\"a secret\"]\nwait = \"10s\"\n")
    })
    .await;
    let result = |is_final: bool, overall: &str| {
        let body = json!({ "final": is_final, "status": { "overall": overall }, "scanRef": "one" });
        Webhook::signed(Preset::Idenfy, "a secret", body.to_string())
    };
    for (is_final, overall) in [
        (false, "SUSPECTED"),
        (false, "SUSPECTED"),
        (true, "APPROVED"),
        (false, "DENIED"),
        (true, "EXPIRED"),
        (false, "DENIED"),
    ] {
        let webhook = result(is_final, overall);
        both.same(overall, async |server| {
            let (status, body, _) = send(&webhook, server).await;
            (status, body)
        })
        .await;
    }
    both.same("finished", async |server| records(server, "finished").await)
        .await;
    let mut sessions = [
        both.servers[0].log_in(&key(1)).await,
        both.servers[1].log_in(&key(1)).await,
    ];
    let kept = json!({ "script": "let kept = store.get(\"webhook/idenfy/one\"); kept.remove(\"job_id\"); kept.remove(\"received_at\"); kept" });
    let kept = same_play(&mut sessions, &kept).await.unwrap();
    assert_eq!(kept["value"]["type"], "EXPIRED", "{kept}");
}
