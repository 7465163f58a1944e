//! Calls in a circle, and checks of their replies.

use circled_protocol::SecretKey;
use serde_json::{Value, json};

use crate::harness::server::{Answer, Builder, TestServer, Ws, circle, eventually, key};

/// Returns the code and data of the error with which a call must have failed.
pub(crate) fn refused(what: &str, answer: Answer) -> (i64, Value) {
    match answer {
        Ok(result) => panic!("{what} was answered: {result}"),
        Err(mut error) => (error["code"].as_i64().unwrap(), error["data"].take()),
    }
}

/// Checks that a call fails with this code and data.
#[track_caller]
pub(crate) fn assert_refused(what: &str, answer: Answer, code: i64, data: Value) {
    assert_eq!(refused(what, answer), (code, data), "{what}");
}

/// Checks that the parameters are refused, with a reason that has this text.
#[track_caller]
pub(crate) fn assert_invalid(what: &str, answer: Answer, named: &str) {
    let (code, data) = refused(what, answer);
    assert_eq!(code, -32602, "{what}: {data}");
    let reason = data["reason"].as_str().unwrap();
    assert!(reason.contains(named), "{what}: {reason}");
}

#[track_caller]
pub(crate) fn assert_not_found(what: &str, answer: Answer, kind: &str) {
    assert_refused(what, answer, -32006, json!({ "what": kind }));
}

/// Builds a closed server with [`circle`], whose fixed member has `key(2)`; with these lines in its `[[circle]]`.
pub(crate) fn closed(lines: &str) -> Builder {
    TestServer::builder().toml(format!(
        "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]\n{lines}\n",
        circle(),
        key(2).public(),
    ))
}

/// Returns the result of a call that must succeed.
pub(crate) async fn ok(session: &mut Ws, method: &str, params: Value) -> Value {
    let told = format!("{method} {params}");
    match session.call(method, params).await {
        Ok(result) => result,
        Err(error) => panic!("{told}: {error}"),
    }
}

pub(crate) async fn add(owner: &mut Ws, member: &SecretKey) {
    let params = json!({ "pubkey": member.public() });
    let added = ok(owner, "add_member", params).await;
    assert_eq!(added, json!({ "added": true }));
}

pub(crate) async fn remove(owner: &mut Ws, member: &SecretKey) {
    let params = json!({ "pubkey": member.public() });
    let removed = ok(owner, "remove_member", params).await;
    assert_eq!(removed, json!({ "removed": true }));
}

/// Stores a script; returns its version.
pub(crate) async fn put(session: &mut Ws, name: &str, source: &str) -> String {
    let put = ok(session, "put_script", json!([name, source])).await;
    put["version"].as_str().unwrap().to_owned()
}

/// Subscribes; returns the subscription's name, and the event after which it begins.
pub(crate) async fn subscribe(session: &mut Ws, params: Value) -> (String, u64) {
    let begun = ok(session, "subscribe", params).await;
    assert_eq!(begun.as_object().unwrap().len(), 2, "{begun}");
    let name = begun["subscription"].as_str().unwrap().to_owned();
    (name, begun["since"].as_u64().unwrap())
}

/// Submits a job; returns its id.
pub(crate) async fn submit(session: &mut Ws, params: Value) -> String {
    let submitted = ok(session, "submit_job", params).await;
    assert_eq!(submitted["duplicate"], false, "{submitted}");
    submitted["job_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn get_job(session: &mut Ws, id: &str) -> Value {
    ok(session, "get_job", json!([id])).await
}

/// Waits until a job has this status.
pub(crate) async fn until(session: &mut Ws, id: &str, status: &str) -> Value {
    let mut job = Value::Null;
    eventually(&format!("job {id} to be {status}"), async || {
        job = get_job(session, id).await;
        job["status"] == status
    })
    .await;
    job
}
