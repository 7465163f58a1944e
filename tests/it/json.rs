//! Values come back as they were sent, whatever their keys, on every way through a circle.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use circled_client::{Client, Notice, Options};
use circled_json::Json;
use circled_protocol::{
    JobStatus, Scheme,
    methods::{ListJobs, SubmitJob},
};
use futures_util::StreamExt;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::harness::{
    backend::on_both,
    command::circled_command,
    server::{TestServer, Ws, circle, eventually, key, within},
    webhooks::{Webhook, scripted, taking_stripes},
};

/// A key that serde_json itself treats specially.
const SIGN: &str = "$serde_json::private::RawValue";

/// A script that stores a delivery and emits it.
const HOOK: &str = "store.set(\"payload\", EVENT.payload); emit(\"hook\", EVENT.payload);";

/// Returns values with the special key in all places, with many texts beside it, and with any other key.
fn values() -> Vec<Value> {
    let mut values: Vec<Value> = ["no JSON", "1", "{\"a\":1}", "[[[", "\"", ""]
        .iter()
        .map(|text| json!({ SIGN: text }))
        .collect();
    values.extend([
        json!({ SIGN: { SIGN: "[" } }),
        json!({ SIGN: 1, "b": 2 }),
        json!({ "a": { SIGN: [] } }),
        json!({ "$serde_json::private::Number": "1" }),
        json!({ "$serde_json::private::Number": "x", "": 0 }),
        json!({ SIGN: "[".repeat(500) }),
    ]);
    let mut deep = json!({ SIGN: "no JSON" });
    for _ in 0..50 {
        deep = json!({ SIGN: deep });
    }
    values.push(deep);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    values.extend((0..30).map(|_| any_value().new_tree(&mut runner).unwrap().current()));
    values
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["1", "{", "nonsense"]).prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![SIGN, "$serde_json::private::Number", "", "a"]);
    let key = prop_oneof![keys.prop_map(str::to_owned), "\\PC{0,8}"];
    leaf.prop_recursive(5, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|all| Value::Object(all.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

async fn ok(session: &mut Ws, method: &str, params: Value) -> Value {
    match session.call(method, params).await {
        Ok(result) => result,
        Err(error) => panic!("{method}: {error}"),
    }
}

async fn value(session: &mut Ws, script: &str, args: &Value) -> Value {
    let params = json!({ "script": script, "args": args });
    ok(session, "play", params).await["value"].take()
}

async fn ended(session: &mut Ws, id: &Value) -> Value {
    let mut job = Value::Null;
    eventually("the job to be done", async || {
        job = ok(session, "get_job", json!([id])).await;
        job["status"] == "finished"
    })
    .await;
    job
}

async fn values_of_plays_stores_events_and_jobs_come_back_unchanged() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    ok(&mut owner, "put_script", json!(["echo", "ARGS"])).await;
    ok(&mut owner, "subscribe", json!(["told"])).await;
    for sent in values() {
        assert_eq!(value(&mut owner, "ARGS", &sent).await, sent);
        value(&mut owner, "store.set(\"kept\", ARGS)", &sent).await;
        assert_eq!(
            value(&mut owner, "store.get(\"kept\")", &json!(null)).await,
            sent
        );
        assert_eq!(
            value(&mut owner, "parse_json(ARGS)", &json!(sent.to_string())).await,
            sent
        );
        let written = value(&mut owner, "to_json(#{ v: ARGS })", &sent).await;
        let written = circled_json::parse(written.as_str().unwrap()).unwrap();
        assert_eq!(written, json!({ "v": sent }));
        value(&mut owner, "emit(\"told\", ARGS)", &sent).await;
        assert_eq!(owner.event().await["data"], sent);
        let called = ok(&mut owner, "call", json!({ "name": "echo", "args": sent })).await;
        assert_eq!(called["value"], sent);
        for params in [
            json!({ "script": "ARGS", "args": sent }),
            json!({ "name": "echo", "args": sent }),
        ] {
            let id = ok(&mut owner, "submit_job", params).await["job_id"].take();
            assert_eq!(ended(&mut owner, &id).await["value"], sent);
            let listed = ok(&mut owner, "list_jobs", json!({ "limit": 1 })).await;
            assert_eq!(listed["jobs"][0]["value"], sent);
        }
    }
    // Everything once more, from the log.
    ok(
        &mut owner,
        "subscribe",
        json!({ "topic": "told", "since": 0 }),
    )
    .await;
    for sent in values() {
        assert_eq!(owner.event().await["data"], sent);
    }
}

async fn bodies_of_providers_come_unchanged() {
    let (_folder, settings) = scripted(HOOK);
    let server = taking_stripes().toml(settings).start().await;
    let mut owner = server.log_in(&key(1)).await;
    ok(&mut owner, "subscribe", json!(["hook"])).await;
    for (n, sent) in values().into_iter().enumerate() {
        let body = json!({
            SIGN: "no JSON",
            "id": format!("evt_{n}"), "object": "event", "type": "invoice.paid",
            "data": { "object": { SIGN: sent, "object": "invoice" } },
        });
        let (id, _) = Webhook::stripe(body.to_string()).kept(&server).await;
        assert_eq!(owner.event().await["data"], body);
        assert_eq!(
            value(&mut owner, "store.get(\"payload\")", &json!(null)).await,
            body
        );
        let delivery = ok(&mut owner, "get_delivery", json!([id])).await;
        assert_eq!(delivery["payload"], body);
        ok(&mut owner, "redeliver", json!([id])).await;
        assert_eq!(owner.event().await["data"], body);
    }
}

async fn a_delivery_with_half_a_surrogate_pair_is_taken() {
    let (_folder, settings) = scripted(HOOK);
    let server = taking_stripes().toml(settings).start().await;
    let mut owner = server.log_in(&key(1)).await;
    ok(&mut owner, "subscribe", json!(["hook"])).await;
    let body = |half: &str| {
        format!(
            "\u{feff}{}",
            r#"{"id":"evt_HALF","object":"event","type":"t","data":{"object":{"\HALF":"a\HALF","pair":"\ud83e\udd80"}}}"#
                .replace("HALF", half)
        )
    };
    for half in ["ud800", "udfff"] {
        Webhook::stripe(body(half)).kept(&server).await;
        let said = json!({ "\u{fffd}": "a\u{fffd}", "pair": "🦀" });
        assert_eq!(owner.event().await["data"]["data"]["object"], said);
    }
}

async fn the_client_reads_what_comes_as_it_is() {
    let (_folder, settings) = scripted(HOOK);
    let server = taking_stripes().toml(settings).start().await;
    let client = Client::connect(&server.url(circle())).await.unwrap();
    client.authenticate(&key(1), Scheme::Eip191).await.unwrap();
    let mut events = client.subscribe("told", None).await.unwrap();
    for (n, sent) in values().into_iter().enumerate() {
        let options = Options {
            args: sent.clone(),
            ..Options::default()
        };
        let script = "emit(\"told\", ARGS); ARGS";
        let played = client.play_with(script, &options).await.unwrap();
        assert_eq!(played.value, sent);
        let event = within("an event", events.next()).await;
        match event {
            Some(Ok(Notice::Event(event))) => assert_eq!(event.data, sent),
            other => panic!("{other:?}"),
        }
        let params = json!({ "script": "ARGS", "args": sent });
        let Json(any) = client.call("play", params).await.unwrap();
        assert_eq!(any["value"], sent);
        let submission = SubmitJob {
            args: sent.clone(),
            ..SubmitJob::script("ARGS")
        };
        let id = client.submit_job(&submission).await.unwrap().job_id;
        eventually("the job to be done", async || {
            client.get_job(&id).await.unwrap().status == JobStatus::Finished
        })
        .await;
        let wanted = ListJobs {
            limit: Some(1),
            ..ListJobs::default()
        };
        let page = client.list_jobs(&wanted).await.unwrap();
        assert_eq!(page.jobs[0].value.clone().unwrap_or_default(), sent);
        let body = json!({ "id": format!("evt_{n}"), "object": "event", "type": "t", "data": { "object": { SIGN: sent } } });
        let (id, _) = Webhook::stripe(body.to_string()).kept(&server).await;
        let delivery = client.get_delivery(&id).await.unwrap();
        assert_eq!(delivery.payload, body);
    }
    client.close().await;
}

/// Runs a command as the owner, and returns its output.
fn run(folder: &Path, args: &[&str]) -> String {
    let ran = circled_command()
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{args:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test]
async fn commands_print_what_comes_as_it_is() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owner.key");
    std::fs::write(&file, key(1).to_hex()).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let url = server.url(circle());
    let mut all = values();
    all.truncate(8);
    for sent in &all {
        let args = sent.to_string();
        let script = "emit(\"told\", ARGS); ARGS";
        let printed = run(
            folder.path(),
            &[
                "play",
                &url,
                "--key",
                "owner.key",
                "--args",
                &args,
                "--json",
                script,
            ],
        );
        assert_eq!(circled_json::parse(&printed).unwrap()["value"], *sent);
    }
    let printed = run(
        folder.path(),
        &["events", &url, "--key", "owner.key", "told", "--json"],
    );
    let told: Vec<Value> = printed
        .lines()
        .map(|line| circled_json::parse(line).unwrap()["data"].take())
        .collect();
    assert_eq!(told, all);
}

/// Returns a text with so many levels of nested lists.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

async fn accepted_values_can_be_read_everywhere() {
    let (_folder, settings) = scripted("store.incr(\"n\", 1)");
    let server = taking_stripes().toml(settings).start().await;
    let mut owner = server.log_in(&key(1)).await;
    let client = Client::connect(&server.url(circle())).await.unwrap();
    client.authenticate(&key(1), Scheme::Eip191).await.unwrap();
    let mut submitted = 0;
    for levels in (110..=130).chain([1000, 50_000]) {
        // A call accepts them or refuses them; accepted ones run.
        for (method, script) in [("play", "type_of(ARGS)"), ("submit_job", "type_of(ARGS)")] {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{levels},"method":"{method}","params":{{"script":"{script}","args":{}}}}}"#,
                nested(levels)
            );
            let reply = owner.ask(call).await;
            assert_eq!(reply["id"], levels, "{reply}");
            assert_eq!(
                reply.get("result").is_some(),
                levels <= 126,
                "{levels}: {reply}"
            );
            match reply["result"].get("value") {
                Some(value) => assert_eq!(value, "array"),
                None if levels <= 126 => {
                    submitted += 1;
                    let job = ended(&mut owner, &reply["result"]["job_id"]).await;
                    assert_eq!(job["value"], "array");
                }
                None => assert_eq!(reply["error"]["code"], -32602, "{reply}"),
            }
        }
        let body = format!(
            r#"{{"id":"evt_{levels}","object":"event","type":"t","data":{{"object":{{"deep":{}}}}}}}"#,
            nested(levels)
        );
        let webhook = Webhook::stripe(&body);
        let response = webhook.send(&server).await;
        assert_eq!(
            response.status == 200,
            levels <= 123,
            "{levels}: {response:?}"
        );
        if response.status == 200 {
            let id = response.json()["job_id"].as_str().unwrap().to_owned();
            let delivery = client.get_delivery(&id).await.unwrap();
            assert_eq!(delivery.payload, circled_json::parse(&body).unwrap());
        }
    }
    assert_eq!(submitted, 17);
    eventually("all deliveries to have run", async || {
        value(&mut owner, "store.get(\"n\")", &json!(null)).await == 14
    })
    .await;
}

on_both!(
    values_of_plays_stores_events_and_jobs_come_back_unchanged,
    bodies_of_providers_come_unchanged,
    a_delivery_with_half_a_surrogate_pair_is_taken,
    the_client_reads_what_comes_as_it_is,
    accepted_values_can_be_read_everywhere,
);

/// Checks code that `derive` writes, which the lints don't see.
#[test]
fn no_field_is_read_as_serde_json_reads_its_value() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates")];
    let (mut checked, mut wrong) = (0, Vec::new());
    // The lints don't see which type is meant, either.
    let ways = [
        "Value::deserialize(",
        "parse::<Value>",
        "from_str::<Value>",
        "from_slice::<Value>",
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("circled-json/src/lib.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let found = fields_of_any_value(&text);
                checked += found.len();
                let unread = found.into_iter().filter(|(attributes, _)| {
                    !attributes.contains("deserialize_with = \"circled_json::")
                        && !attributes.contains("serde(skip)")
                });
                wrong.extend(unread.map(|(_, field)| (path.clone(), field)));
                let found = ways.into_iter().filter(|way| text.contains(way));
                wrong.extend(found.map(|way| (path.clone(), way.to_owned())));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "say `deserialize_with = \"circled_json::value\"`: {wrong:?}"
    );
    assert!(checked >= 5, "{checked}");
}

/// Returns the fields of type `Value` in types that derive `Deserialize`, each with its attributes.
fn fields_of_any_value(text: &str) -> Vec<(String, String)> {
    let (mut found, mut attributes, mut derived) = (Vec::new(), String::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[derive(") {
            derived = line.contains("Deserialize");
        } else if line == "}" {
            derived = false;
        }
        let names_value = |kind: &str| {
            kind.split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "Value")
        };
        match line.split_once(": ") {
            Some((name, kind)) if !name.contains(['/', '#', '(', '"']) => {
                if derived && names_value(kind) && kind.ends_with(',') {
                    found.push((attributes.clone(), line.to_owned()));
                }
                attributes.clear();
            }
            _ => attributes.push_str(line),
        }
    }
    found
}
