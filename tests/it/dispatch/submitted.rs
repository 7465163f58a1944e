//! What was submitted, told to the job's caller and the owner.

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{assert_not_found, ok, put, submit, until},
    server::{Ws, key},
    webhooks::{Webhook, event, taking_stripes},
};

async fn input(session: &mut Ws, id: &str) -> Value {
    let job = ok(session, "get_job", json!({ "job_id": id, "input": true })).await;
    assert_eq!(job["job_id"], id);
    job.get("input").cloned().unwrap_or_default()
}

async fn what_was_submitted_is_told_to_who_asks() {
    let server = taking_stripes().start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "ARGS").await;
    let mut session = server.log_in(&key(2)).await;
    let args = json!({ "big": u64::MAX, "text": "<b>\u{202e}" });
    let source = submit(&mut session, json!({ "script": "ARGS.text", "args": args })).await;
    // Who may call a script need not be one who may read it.
    let named = submit(&mut session, json!({ "name": "hello", "args": [1, 2.0] })).await;
    for id in [&source, &named] {
        until(&mut session, id, "finished").await;
    }
    for who in [&mut session, &mut owner] {
        let told = input(who, &source).await;
        assert_eq!(told, json!({ "script": "ARGS.text", "args": args }));
        let told = input(who, &named).await;
        assert_eq!(told, json!({ "args": [1, 2.0] }));
    }
    let plain = ok(&mut session, "get_job", json!([source])).await;
    assert!(plain.get("input").is_none(), "{plain}");
    let waiting = json!({ "job_id": source, "wait": 1000, "input": true });
    let waited = ok(&mut session, "get_job", waiting).await;
    assert_eq!(waited["input"]["args"], args);

    let (delivery, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    assert_eq!(input(&mut owner, &delivery).await, Value::Null);
    let mut other = server.log_in(&key(3)).await;
    let asked = json!({ "job_id": source, "input": true });
    let answer = other.call("get_job", asked).await;
    assert_not_found("another caller's", answer, "job");
}

on_both!(what_was_submitted_is_told_to_who_asks);
