//! Jobs that callers submit: stored, run without a session, listed, stopped and retried.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{
        assert_invalid, assert_not_found, assert_refused, closed, get_job, ok, put, refused,
        submit, subscribe, until,
    },
    server::{Builder, ENDLESS, TestServer, Ws, busy, eventually, key},
};

/// An id that no job has.
const NO_JOB: &str = "00000000-0000-7000-8000-000000000000";

/// Builds a server that runs one job at a time, without a tight time limit.
fn one_at_a_time() -> Builder {
    TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "50ms")
}

fn quick_to_give_up() -> Builder {
    TestServer::builder()
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "3")
}

fn soon(by: Duration) -> String {
    (Timestamp::now() + by).to_string()
}

fn time(job: &Value, name: &str) -> Timestamp {
    job[name].as_str().unwrap().parse().unwrap()
}

/// Checks that a job has exactly these members.
fn assert_members(job: &Value, names: &[&str]) {
    let members: HashSet<&str> = job
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(members, HashSet::from_iter(names.iter().copied()), "{job}");
}

/// Returns the value under a key of the store, asked for by the owner.
async fn kept(server: &TestServer, name: &str) -> Value {
    let mut owner = server.log_in(&key(1)).await;
    let script = format!("store.get(\"{name}\")");
    owner.play(&script).await.unwrap()["value"].take()
}

async fn a_job_is_kept_and_done() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let version = put(
        &mut owner,
        "greet",
        "store.incr(\"n\", 1); \"hello \" + ARGS",
    )
    .await;
    let mut guest = server.log_in(&key(2)).await;
    let before = Timestamp::now();
    let script = "store.incr(\"n\", 1); [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS]";
    let played = submit(&mut guest, json!({ "script": script, "args": [1] })).await;
    let called = submit(&mut guest, json!({ "name": "greet", "args": "you" })).await;
    // By position.
    let third = submit(&mut guest, json!([null, "greet", "all"])).await;

    let mut shown = Vec::new();
    for id in [&played, &called, &third] {
        let job = until(&mut guest, id, "finished").await;
        assert_eq!(job["job_id"], json!(id));
        assert_eq!(job["caller"], json!(key(2).public()));
        assert_eq!(job["tries"], 1);
        let (submitted, ended) = (time(&job, "submitted_at"), time(&job, "ended_at"));
        assert!(before <= submitted && submitted <= ended, "{job}");
        shown.push(job);
    }
    let of_all = [
        "job_id",
        "circle",
        "caller",
        "status",
        "submitted_at",
        "ended_at",
        "tries",
        "output",
        "value",
    ];
    assert_members(&shown[0], &of_all);
    let expected = json!([key(2).public(), key(1).public(), played, [1]]);
    assert_eq!(shown[0]["value"], expected);
    assert_members(&shown[1], &[&of_all[..], &["name", "version"]].concat());
    assert_eq!(
        (&shown[1]["name"], &shown[1]["version"]),
        (&json!("greet"), &json!(version))
    );
    assert_eq!(
        (&shown[1]["value"], &shown[1]["output"]),
        (&json!("hello you"), &json!("hello you"))
    );
    assert_eq!(shown[2]["value"], "hello all");
    assert_eq!(kept(&server, "n").await, 3);

    server.kill();
    let server = start().await;
    let mut guest = server.log_in(&key(2)).await;
    for job in &shown {
        assert_eq!(
            get_job(&mut guest, job["job_id"].as_str().unwrap()).await,
            *job
        );
    }
    assert_eq!(kept(&server, "n").await, 3);
}

async fn submissions_are_checked() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let version = put(&mut owner, "a", "1").await;
    for (params, named) in [
        (json!({}), "either `script`, or `name`"),
        (json!([]), "either `script`, or `name`"),
        (json!({ "args": 1 }), "either `script`, or `name`"),
        (
            json!({ "script": "1", "name": "a" }),
            "either `script`, or `name`",
        ),
        (
            json!({ "script": "1", "version": version }),
            "either `script`, or `name`",
        ),
        (json!({ "version": version }), "either `script`, or `name`"),
        (json!({ "script": 1 }), ""),
        (json!({ "name": ["a"] }), ""),
        (json!({ "script": "1", "more": 1 }), "more"),
        (json!({ "script": "1", "run_at": "tomorrow" }), ""),
        (json!({ "script": "1", "run_at": 1_700_000_000 }), ""),
        (
            json!({ "script": "1", "run_at": "2026-01-01T00:00:00" }),
            "",
        ),
        (
            json!({ "script": "1", "run_at": soon(Duration::from_secs(367 * 24 * 3600)) }),
            "366 days",
        ),
        (json!({ "script": "1", "idempotency_key": "" }), "1 to 255"),
        (
            json!({ "script": "1", "idempotency_key": "k".repeat(256) }),
            "1 to 255",
        ),
        (json!({ "script": "1", "idempotency_key": 7 }), ""),
    ] {
        let what = format!("{params}");
        assert_invalid(&what, owner.call("submit_job", params).await, named);
    }
    for (params, what) in [
        (json!({ "name": "b" }), "script"),
        (json!({ "name": "" }), "script"),
        (json!({ "name": "b", "version": version }), "script"),
        (json!({ "name": "a", "version": "none" }), "version"),
    ] {
        let told = format!("{params}");
        assert_not_found(&told, owner.call("submit_job", params).await, what);
    }
    // A script that doesn't compile is refused, not stored.
    let answer = owner
        .call("submit_job", json!({ "script": "1 +\n  + * 2" }))
        .await;
    let (code, data) = refused("a bad script", answer);
    assert_eq!(
        (code, &data["kind"], &data["line"]),
        (-32000, &json!("compile"), &json!(2))
    );
    for method in ["get_job", "stop_job", "retry_job"] {
        for params in [
            json!({}),
            json!(["nonsense"]),
            json!([7]),
            json!([NO_JOB, 1, 2]),
        ] {
            let what = format!("{method} {params}");
            assert_invalid(&what, owner.call(method, params).await, "");
        }
        assert_not_found(method, owner.call(method, json!([NO_JOB])).await, "job");
    }
    for params in [
        json!({ "status": "lost" }),
        json!({ "status": 1 }),
        json!({ "limit": 0 }),
        json!({ "limit": 501 }),
        json!({ "limit": -1 }),
        json!({ "limit": "50" }),
        json!({ "cursor": "nonsense" }),
        json!({ "cursor": 7 }),
        json!({ "more": 1 }),
    ] {
        let what = format!("list_jobs {params}");
        assert_invalid(&what, owner.call("list_jobs", params).await, "");
    }
    let list = ok(&mut owner, "list_jobs", json!({})).await;
    assert_eq!(list, json!({ "jobs": [], "cursor": null }));
}

async fn the_same_key_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut one = server.log_in(&key(2)).await;
    let params = json!({ "script": "store.incr(\"n\", 1)", "idempotency_key": "k".repeat(255) });
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(server.log_in(&key(2)).await);
    }
    let mut calls = Vec::new();
    for session in &mut sessions {
        calls.push(session.begin("submit_job", params.clone()).await);
    }
    let (mut ids, mut fresh) = (HashSet::new(), 0);
    for (session, call) in sessions.iter_mut().zip(calls) {
        let answer = session.answer(call).await.unwrap();
        ids.insert(answer["job_id"].as_str().unwrap().to_owned());
        fresh += usize::from(answer["duplicate"] == false);
    }
    assert_eq!((ids.len(), fresh), (1, 1));
    let id = ids.into_iter().next().unwrap();
    let duplicate = json!({ "job_id": id, "duplicate": true });
    assert_eq!(ok(&mut one, "submit_job", params.clone()).await, duplicate);
    // Only the key counts.
    let other = json!({ "script": "2", "idempotency_key": "k".repeat(255) });
    assert_eq!(ok(&mut one, "submit_job", other).await, duplicate);
    until(&mut one, &id, "finished").await;
    assert_eq!(ok(&mut one, "submit_job", params.clone()).await, duplicate);

    server.kill();
    let server = start().await;
    let mut one = server.log_in(&key(2)).await;
    assert_eq!(ok(&mut one, "submit_job", params.clone()).await, duplicate);
    assert_eq!(kept(&server, "n").await, 1);
    // Others have keys of their own, and so has another circle.
    let mut two = server.log_in(&key(3)).await;
    let theirs = submit(&mut two, params.clone()).await;
    assert_ne!(theirs, id);
    let mut elsewhere = server.connect_to(key(5).public()).await;
    elsewhere.login(&key(2)).await;
    assert_ne!(submit(&mut elsewhere, params.clone()).await, id);
    // Without a key, every job is another.
    let script = json!({ "script": "1" });
    assert_ne!(
        submit(&mut one, script.clone()).await,
        submit(&mut one, script).await
    );
    until(&mut two, &theirs, "finished").await;
    assert_eq!(kept(&server, "n").await, 2);
}

async fn a_job_waits_for_its_time() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let run_at = soon(Duration::from_millis(600));
    let script = "store.incr(\"n\", 1)";
    let later = submit(&mut session, json!({ "script": script, "run_at": run_at })).await;
    let past = submit(
        &mut session,
        json!({ "script": script, "run_at": "1999-12-31T23:59:59+02:00" }),
    )
    .await;
    let distant = soon(Duration::from_secs(365 * 24 * 3600));
    let far = submit(&mut session, json!({ "script": script, "run_at": distant })).await;
    until(&mut session, &past, "finished").await;
    let job = get_job(&mut session, &later).await;
    assert_eq!(job["status"], "pending");
    let run_at: Timestamp = run_at.parse().unwrap();
    assert_eq!((time(&job, "run_at"), time(&job, "due")), (run_at, run_at));
    assert_members(
        &job,
        &[
            "job_id",
            "circle",
            "caller",
            "status",
            "submitted_at",
            "run_at",
            "due",
            "tries",
        ],
    );
    let job = until(&mut session, &later, "finished").await;
    assert!(time(&job, "ended_at") >= run_at, "{job}");
    assert_eq!(time(&job, "run_at"), run_at);
    assert!(job["due"].is_null(), "{job}");
    assert_eq!(get_job(&mut session, &far).await["status"], "pending");
    assert_eq!(kept(&server, "n").await, 2);
}

async fn jobs_that_wait_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let start = || one_at_a_time().data(folder.path()).start();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    // One runs, two wait behind it, and two are delayed.
    let slow = format!(
        "store.incr(\"n\", 1); {}",
        busy(Duration::from_secs(1), "7")
    );
    let mut jobs = vec![submit(&mut session, json!({ "script": slow })).await];
    until(&mut session, &jobs[0], "running").await;
    for n in 0..2 {
        let script = format!("store.incr(\"n\", 1); {n}");
        jobs.push(submit(&mut session, json!({ "script": script })).await);
    }
    for time in [Duration::from_millis(100), Duration::from_secs(3)] {
        let params = json!({ "script": "store.incr(\"n\", 1)", "run_at": soon(time) });
        jobs.push(submit(&mut session, params).await);
    }
    for id in &jobs[1..] {
        assert_eq!(get_job(&mut session, id).await["status"], "pending");
    }
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    for id in &jobs[..4] {
        until(&mut session, id, "finished").await;
    }
    let last = get_job(&mut session, &jobs[4]).await;
    if last["status"] == "pending" {
        assert!(last["run_at"].is_string() && last["due"].is_string());
    }
    let last = until(&mut session, &jobs[4], "finished").await;
    assert!(time(&last, "ended_at") >= time(&last, "run_at"));
    assert_eq!(kept(&server, "n").await, 5, "each of them once");
}

async fn jobs_wait_for_a_server_that_stops() {
    let folder = tempfile::tempdir().unwrap();
    let start = || one_at_a_time().data(folder.path()).start();
    let mut server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let slow = busy(Duration::from_millis(500), "store.incr(\"n\", 1)");
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit(&mut session, json!({ "script": slow })).await);
    }
    server.sigterm();
    server.wait().await;
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    for id in &jobs {
        until(&mut session, id, "finished").await;
    }
    assert_eq!(kept(&server, "n").await, 3);
}

async fn a_job_that_is_put_off_runs_the_newest_version_or_the_one_that_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut session = server.log_in(&key(2)).await;
    let run_at = soon(Duration::from_millis(1500));
    let one = put(&mut owner, "a", "1").await;
    let first = submit(&mut session, json!({ "name": "a", "run_at": run_at })).await;
    let two = put(&mut owner, "a", "2").await;
    let second = submit(&mut session, json!({ "name": "a", "run_at": run_at })).await;
    // Older versions are for callers who may manage.
    let params = json!({ "name": "a", "version": &one[..12], "run_at": run_at });
    let answer = session.call("submit_job", params.clone()).await;
    assert_refused(
        "an older version",
        answer,
        -32003,
        json!({ "needs": "owner" }),
    );
    let older = submit(&mut owner, params).await;
    let three = put(&mut owner, "a", "3").await;
    assert_ne!(two, three);
    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    for (id, version, value) in [(&first, &three, 3), (&second, &three, 3), (&older, &one, 1)] {
        let job = until(&mut owner, id, "finished").await;
        assert_eq!(
            (&job["version"], &job["value"]),
            (&json!(version), &json!(value))
        );
    }
}

/// A version that failed may be run again, too.
async fn a_job_that_was_put_off_tells_which_version_failed() {
    let server = quick_to_give_up()
        .env("CIRCLED_STORE__QUOTA", "5KiB")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "300ms")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let past_the_quota = "let s = \"\"; s.pad(10_000, 'x'); store.set(\"a\", s)";
    for source in ["throw 1", "loop {}", past_the_quota] {
        let broken = put(&mut owner, "a", source).await;
        let params = json!({ "name": "a", "run_at": soon(Duration::from_millis(100)) });
        let id = submit(&mut owner, params).await;
        let dead = until(&mut owner, &id, "dead").await;
        assert_eq!(dead["version"], json!(broken), "{dead}");
        put(&mut owner, "a", "1").await;
        let params = json!({ "job_id": id, "version": broken });
        ok(&mut owner, "retry_job", params).await;
        let dead = until(&mut owner, &id, "dead").await;
        assert_eq!(dead["version"], json!(broken), "{dead}");
    }
}

async fn a_job_that_is_put_off_runs_the_newest_version_though_it_was_stopped_and_retried() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "a", "1").await;
    let params = json!({ "name": "a", "run_at": soon(Duration::from_secs(4)) });
    let id = submit(&mut owner, params).await;
    ok(&mut owner, "stop_job", json!([id])).await;
    let answer = ok(&mut owner, "retry_job", json!([id])).await;
    assert_eq!(answer, json!({ "retried": true }));
    let two = put(&mut owner, "a", "2").await;
    let job = until(&mut owner, &id, "finished").await;
    assert_eq!((&job["version"], &job["value"]), (&json!(two), &json!(2)));
}

/// A job of a deleted script ends at once.
async fn a_job_does_not_run_what_was_deleted() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut session = server.log_in(&key(2)).await;
    put(&mut owner, "a", "store.set(\"ran\", 1)").await;
    let params = json!({ "name": "a", "run_at": soon(Duration::from_millis(700)) });
    let id = submit(&mut session, params).await;
    ok(&mut owner, "delete_script", json!(["a"])).await;
    let answer = session.call("submit_job", json!({ "name": "a" })).await;
    assert_not_found("what is deleted", answer, "script");
    let job = until(&mut session, &id, "dead").await;
    assert_eq!(job["tries"], 0, "{job}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("no longer has a script \"a\""),
        "{message}"
    );
    assert_eq!(kept(&server, "ran").await, Value::Null);
}

async fn jobs_are_listed_page_by_page() {
    let server = closed("")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "600s")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    let (mut theirs, mut all) = (Vec::new(), Vec::new());
    for n in 0..120 {
        let id = submit(&mut member, json!({ "script": n.to_string() })).await;
        all.push(id.clone());
        theirs.push(id);
        if n % 10 == 0 {
            all.push(submit(&mut owner, json!({ "script": "throw 1" })).await);
        }
    }
    for id in &theirs {
        until(&mut member, id, "finished").await;
    }
    theirs.reverse();
    all.reverse();
    let pages = async |session: &mut Ws, mut params: Value| {
        let (mut ids, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = ok(session, "list_jobs", params.clone()).await;
            assert_eq!(page.as_object().unwrap().len(), 2);
            let jobs = page["jobs"].as_array().unwrap();
            let names = jobs
                .iter()
                .map(|job| job["job_id"].as_str().unwrap().to_owned());
            ids.extend(names);
            sizes.push(jobs.len());
            if page["cursor"].is_null() {
                return (ids, sizes);
            }
            params["cursor"] = page["cursor"].clone();
        }
    };
    assert_eq!(
        pages(&mut member, json!({})).await,
        (theirs.clone(), vec![50, 50, 20])
    );
    for limit in [1, 7, 40, 119, 120, 121, 500] {
        let (ids, sizes) = pages(&mut member, json!({ "limit": limit })).await;
        assert_eq!(ids, theirs, "{limit}");
        assert!(sizes.iter().all(|size| *size <= limit), "{sizes:?}");
    }
    assert_eq!(pages(&mut owner, json!({ "limit": 50 })).await.0, all);
    let finished = json!({ "status": "finished", "limit": 33 });
    assert_eq!(pages(&mut owner, finished).await.0, theirs);
    let failed = json!({ "status": "failed", "limit": 5 });
    assert_eq!(pages(&mut owner, failed).await.0.len(), 12);
    for status in ["pending", "running", "failed", "cancelled", "dead"] {
        let (ids, _) = pages(&mut member, json!({ "status": status })).await;
        assert!(ids.is_empty(), "{status}: {ids:?}");
    }
    // Lists show the same as `get_job`.
    let page = ok(&mut member, "list_jobs", json!({ "limit": 1 })).await;
    let mut shown = get_job(&mut member, &theirs[0]).await;
    shown["input_bytes"] = page["jobs"][0]["input_bytes"].clone();
    assert!(shown["input_bytes"].is_u64());
    assert_eq!(page["jobs"][0], shown);
    // Later jobs don't shift the pages.
    let page = ok(&mut member, "list_jobs", json!({ "limit": 2 })).await;
    submit(&mut member, json!({ "script": "1" })).await;
    let params = json!({ "limit": 2, "cursor": page["cursor"] });
    let next = ok(&mut member, "list_jobs", params).await;
    assert_eq!(next["jobs"][0]["job_id"], json!(theirs[2]));
}

async fn a_job_is_its_callers_and_the_owners_business() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let later = json!({ "script": "1", "run_at": soon(Duration::from_secs(600)) });
    let id = submit(&mut session, later).await;
    let mut other = server.log_in(&key(3)).await;
    for method in ["get_job", "stop_job", "retry_job"] {
        assert_not_found(method, other.call(method, json!([id])).await, "job");
    }
    let list = ok(&mut other, "list_jobs", json!({})).await;
    assert_eq!(list["jobs"], json!([]));
    // In another circle, there is no such job, even for its owner.
    let mut elsewhere = server.connect_to(key(2).public()).await;
    elsewhere.login(&key(2)).await;
    for method in ["get_job", "stop_job", "retry_job"] {
        assert_not_found(method, elsewhere.call(method, json!([id])).await, "job");
    }
    assert_eq!(get_job(&mut session, &id).await["status"], "pending");
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(
        get_job(&mut owner, &id).await["caller"],
        json!(key(2).public())
    );
    let stopped = ok(&mut owner, "stop_job", json!([id])).await;
    assert_eq!(stopped, json!({ "stopped": true }));
    let retried = ok(&mut owner, "retry_job", json!([id])).await;
    assert_eq!(retried, json!({ "retried": true }));
    // It is still theirs, and waits for its time.
    let job = get_job(&mut session, &id).await;
    assert_eq!(
        (&job["caller"], &job["status"], &job["due"]),
        (&json!(key(2).public()), &json!("pending"), &job["run_at"])
    );
}

async fn stopped_jobs_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let start = || one_at_a_time().data(folder.path()).start();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let running = submit(
        &mut session,
        json!({ "script": "store.set(\"landed\", 1); loop {}" }),
    )
    .await;
    until(&mut session, &running, "running").await;
    let landing = json!({ "script": "store.set(\"landed\", 1)" });
    let waiting = submit(&mut session, landing.clone()).await;
    let mut params = landing.clone();
    params["run_at"] = json!(soon(Duration::from_millis(400)));
    let delayed = submit(&mut session, params).await;
    assert_eq!(get_job(&mut session, &waiting).await["status"], "pending");
    for id in [&waiting, &delayed, &running] {
        for stopped in [true, false] {
            let answer = ok(&mut session, "stop_job", json!([id])).await;
            assert_eq!(answer, json!({ "stopped": stopped }));
        }
        let job = get_job(&mut session, id).await;
        assert_eq!(job["status"], "cancelled", "{job}");
        assert!(job["ended_at"].is_string() && job["due"].is_null(), "{job}");
        assert!(job["output"].is_null() && job["value"].is_null(), "{job}");
    }
    // Its place is free at once.
    let next = submit(&mut session, json!({ "script": "7" })).await;
    until(&mut session, &next, "finished").await;
    let answer = ok(&mut session, "stop_job", json!([next])).await;
    assert_eq!(answer, json!({ "stopped": false }));
    assert_eq!(get_job(&mut session, &next).await["status"], "finished");
    // After the end of one job's delay.
    let past = submit(
        &mut session,
        json!({ "script": "8", "run_at": soon(Duration::from_millis(500)) }),
    )
    .await;
    until(&mut session, &past, "finished").await;
    assert_eq!(kept(&server, "landed").await, Value::Null);
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let last = submit(&mut session, json!({ "script": "9" })).await;
    until(&mut session, &last, "finished").await;
    for id in [&waiting, &delayed, &running] {
        assert_eq!(get_job(&mut session, id).await["status"], "cancelled");
    }
    assert_eq!(kept(&server, "landed").await, Value::Null);
}

/// Whichever comes first, the reply says what happened.
async fn stopping_beside_the_end_of_a_run_is_one_or_the_other() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut landed = 0;
    for n in 0..60 {
        let script = format!(
            "let x = 0; for i in 0..{} {{ x += i }} store.incr(\"n\", 1)",
            n * 300
        );
        let id = submit(&mut session, json!({ "script": script })).await;
        let stopped = ok(&mut session, "stop_job", json!([id])).await["stopped"] == true;
        let status = if stopped { "cancelled" } else { "finished" };
        assert_eq!(until(&mut session, &id, status).await["status"], status);
        landed += i64::from(!stopped);
    }
    let run = session.play("store.get(\"n\", 0)").await.unwrap();
    assert_eq!(run["value"], landed);
}

async fn failed_jobs_are_tried_again_then_dead_then_retried() {
    let folder = tempfile::tempdir().unwrap();
    let start = || quick_to_give_up().data(folder.path()).start();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let script = "store.set(\"before\", 1);\nif !store.has(\"give in\") { throw \"not yet\" } ARGS";
    let id = submit(&mut session, json!({ "script": script, "args": 7 })).await;
    let dead = until(&mut session, &id, "dead").await;
    assert_members(
        &dead,
        &[
            "job_id",
            "circle",
            "caller",
            "status",
            "submitted_at",
            "ended_at",
            "tries",
            "error",
        ],
    );
    assert_eq!(dead["tries"], 3);
    assert_eq!(
        (&dead["error"]["kind"], &dead["error"]["line"]),
        (&json!("runtime"), &json!(2))
    );
    assert!(
        dead["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not yet"),
        "{dead}"
    );
    assert_eq!(kept(&server, "before").await, Value::Null);
    let answer = ok(&mut session, "stop_job", json!([id])).await;
    assert_eq!(answer, json!({ "stopped": false }), "it is over");

    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(get_job(&mut session, &id).await, dead);
    // Nothing happens.
    assert_eq!(
        ok(&mut session, "retry_job", json!([id])).await,
        json!({ "retried": true })
    );
    assert_eq!(until(&mut session, &id, "dead").await["tries"], 3);
    session.play("store.set(\"give in\", true)").await.unwrap();
    assert_eq!(
        ok(&mut session, "retry_job", json!([id])).await,
        json!({ "retried": true })
    );
    let done = until(&mut session, &id, "finished").await;
    assert_eq!((&done["value"], &done["tries"]), (&json!(7), &json!(1)));
    assert!(done["error"].is_null(), "{done}");
    for _ in 0..2 {
        assert_eq!(
            ok(&mut session, "retry_job", json!([id])).await,
            json!({ "retried": false })
        );
    }
    assert_eq!(kept(&server, "before").await, 1);
}

async fn jobs_that_wait_for_their_next_try_have_failed() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestServer::builder()
            .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "60s")
            .data(folder.path())
            .start()
    };
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let id = submit(&mut session, json!({ "script": "throw 1" })).await;
    let failed = until(&mut session, &id, "failed").await;
    assert_members(
        &failed,
        &[
            "job_id",
            "circle",
            "caller",
            "status",
            "submitted_at",
            "due",
            "tries",
            "error",
        ],
    );
    assert_eq!(failed["tries"], 1);
    assert!(time(&failed, "due") > Timestamp::now());
    let answer = ok(&mut session, "retry_job", json!([id])).await;
    assert_eq!(
        answer,
        json!({ "retried": false }),
        "it runs again by itself"
    );
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(get_job(&mut session, &id).await, failed);
    let answer = ok(&mut session, "stop_job", json!([id])).await;
    assert_eq!(answer, json!({ "stopped": true }));
    let job = get_job(&mut session, &id).await;
    assert_eq!(
        (&job["status"], &job["tries"]),
        (&json!("cancelled"), &json!(1))
    );
}

async fn stopped_jobs_can_be_retried() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut jobs = Vec::new();
    // The delays of two jobs are over when they are retried, and that of the third is not.
    let near = soon(Duration::from_millis(900));
    for run_at in [&near, &near, &soon(Duration::from_secs(600))] {
        let params = json!({ "script": "store.incr(\"n\", 1)", "run_at": run_at });
        let id = submit(&mut session, params).await;
        ok(&mut session, "stop_job", json!([id])).await;
        jobs.push(id);
    }
    assert_eq!(
        ok(&mut session, "retry_job", json!([jobs[2]])).await["retried"],
        true
    );
    let job = get_job(&mut session, &jobs[2]).await;
    assert_eq!(
        (&job["status"], &job["due"]),
        (&json!("pending"), &job["run_at"])
    );
    assert_eq!(
        ok(&mut session, "stop_job", json!([jobs[2]])).await["stopped"],
        true,
        "it is where what waits for its time is"
    );
    let near: Timestamp = near.parse().unwrap();
    eventually("the time to be over", async || Timestamp::now() > near).await;
    assert_eq!(
        ok(&mut session, "retry_job", json!([jobs[0]])).await["retried"],
        true
    );
    until(&mut session, &jobs[0], "finished").await;
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(get_job(&mut session, &jobs[1]).await["status"], "cancelled");
    assert_eq!(
        ok(&mut session, "retry_job", json!([jobs[1]])).await["retried"],
        true
    );
    until(&mut session, &jobs[1], "finished").await;
    assert_eq!(kept(&server, "n").await, 2);
}

/// Returns the statuses of one job that a session receives, in order, until the last one.
async fn told(session: &mut Ws, id: &str, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = session.event().await;
        assert_eq!(event["topic"], json!(format!("job.{id}")), "{event}");
        let job = &event["data"];
        assert_eq!(job["job_id"], json!(id));
        assert!(job["output"].is_null() && job["value"].is_null(), "{job}");
        assert!(
            job["caller"].is_string() && job["submitted_at"].is_string() && job["tries"].is_u64()
        );
        let status = job["status"].as_str().unwrap().to_owned();
        told.push(status.clone());
        if status == last {
            return told;
        }
    }
}

async fn submitters_get_events_of_their_jobs() {
    let server = quick_to_give_up().start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut session = server.log_in(&key(2)).await;
    let mut again = server.log_in(&key(2)).await;
    let mut other = server.log_in(&key(3)).await;
    for session in [&mut owner, &mut session, &mut again, &mut other] {
        subscribe(session, json!({})).await;
    }
    let done = submit(&mut session, json!({ "script": "7" })).await;
    for session in [&mut owner, &mut session, &mut again] {
        assert_eq!(
            told(session, &done, "finished").await,
            ["pending", "finished"]
        );
    }
    let failing = submit(
        &mut session,
        json!({ "script": "if !store.has(\"open\") { throw 1 }" }),
    )
    .await;
    for session in [&mut owner, &mut session, &mut again] {
        let told = told(session, &failing, "dead").await;
        assert_eq!(told, ["pending", "failed", "failed", "dead"]);
    }
    session.play("store.set(\"open\", 1)").await.unwrap();
    ok(&mut session, "retry_job", json!([failing])).await;
    let later = json!({ "script": "1", "run_at": soon(Duration::from_secs(600)) });
    for session in [&mut owner, &mut session, &mut again] {
        assert_eq!(
            told(session, &failing, "finished").await,
            ["pending", "finished"]
        );
    }
    let stopped = submit(&mut session, later).await;
    ok(&mut session, "stop_job", json!([stopped])).await;
    for session in [&mut owner, &mut session, &mut again] {
        assert_eq!(
            told(session, &stopped, "cancelled").await,
            ["pending", "cancelled"]
        );
    }
    ok(&mut owner, "retry_job", json!([stopped])).await;
    for session in [&mut owner, &mut session, &mut again] {
        assert_eq!(told(session, &stopped, "pending").await, ["pending"]);
    }
    // Nobody else gets any of these events.
    session.play("emit(\"last\", 1)").await.unwrap();
    assert_eq!(other.event().await["topic"], "last");
    // They are events like all others.
    let (_, _) = subscribe(
        &mut again,
        json!({ "topic": format!("job.{done}"), "since": 0 }),
    )
    .await;
    assert_eq!(again.event().await["topic"], "last");
    for status in ["pending", "finished"] {
        let event = again.event().await;
        assert_eq!(event["subscription"], "2");
        assert_eq!(event["data"]["status"], status);
    }
}

/// The events of a script are committed with the end of its job.
async fn events_of_a_job_come_once() {
    let server = quick_to_give_up().start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut other = server.log_in(&key(3)).await;
    subscribe(&mut other, json!({})).await;
    let script = "emit(\"tried\", ()); if !store.has(\"open\") { throw 1 } emit(\"done\", JOB_ID)";
    let id = submit(&mut session, json!({ "script": script })).await;
    until(&mut session, &id, "dead").await;
    session.play("store.set(\"open\", 1)").await.unwrap();
    ok(&mut session, "retry_job", json!([id])).await;
    until(&mut session, &id, "finished").await;
    assert_eq!(other.event().await["topic"], "tried");
    let event = other.event().await;
    assert_eq!(
        (&event["topic"], &event["data"]),
        (&json!("done"), &json!(id))
    );
    session.play("emit(\"last\", ())").await.unwrap();
    assert_eq!(other.event().await["topic"], "last");
}

async fn a_backlog_is_as_long_as_it_may_be() {
    let server = one_at_a_time()
        // Half of it is for deliveries.
        .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "4")
        .start()
        .await;
    let mut session = server.log_in(&key(1)).await;
    let later = json!({ "script": "1", "run_at": soon(Duration::from_secs(600)) });
    let first = submit(&mut session, later.clone()).await;
    submit(&mut session, later.clone()).await;
    let (code, data) = refused("one more", session.call("submit_job", later.clone()).await);
    assert_eq!(
        (code, &data["limit"]),
        (-32005, &json!("dispatch.durable.backlog"))
    );
    // Waiting doesn't help: those wait for their time.
    assert!(data["retry_after_ms"].is_null(), "{data}");
    ok(&mut session, "stop_job", json!([first])).await;
    submit(&mut session, later).await;
}

async fn a_job_that_writes_past_the_quota_fails() {
    let server = quick_to_give_up()
        .env("CIRCLED_STORE__QUOTA", "200B")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = "let s = \"\"; s.pad(300, 'x'); store.set(\"a\", s)";
    let id = submit(&mut session, json!({ "script": script })).await;
    let dead = until(&mut session, &id, "dead").await;
    assert_eq!(dead["tries"], 3);
    assert!(
        dead["error"]["message"]
            .as_str()
            .unwrap()
            .contains("200 bytes"),
        "{dead}"
    );
}

/// After the script is mended, a retry runs the new version; callers who may manage may choose any stored version.
async fn a_retried_job_runs_the_script_as_it_is_now() {
    let server = quick_to_give_up().start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut session = server.log_in(&key(2)).await;
    let broken = put(&mut owner, "a", "throw \"broken\"").await;
    put(&mut owner, "lib", "fn f() { throw \"broken\" }").await;
    let named = submit(&mut session, json!({ "name": "a" })).await;
    let source = submit(
        &mut session,
        json!({ "script": "import \"lib\" as l; l::f() + ARGS", "args": 1 }),
    )
    .await;
    until(&mut session, &named, "dead").await;
    until(&mut session, &source, "dead").await;
    let mended = put(&mut owner, "a", "ARGS").await;
    put(&mut owner, "lib", "fn f() { 41 }").await;
    let params = json!({ "job_id": named, "version": broken });
    let answer = session.call("retry_job", params.clone()).await;
    assert_refused(
        "an older version",
        answer,
        -32003,
        json!({ "needs": "owner" }),
    );
    // The version that failed can be run again, too.
    let answer = ok(&mut owner, "retry_job", params).await;
    assert_eq!(answer, json!({ "retried": true, "version": broken }));
    let dead = until(&mut session, &named, "dead").await;
    assert_eq!(
        (&dead["version"], &dead["tries"]),
        (&json!(broken), &json!(3))
    );
    let answer = ok(&mut session, "retry_job", json!([named])).await;
    assert_eq!(answer, json!({ "retried": true, "version": mended }));
    let done = until(&mut session, &named, "finished").await;
    assert_eq!(
        (&done["version"], &done["name"]),
        (&json!(mended), &json!("a"))
    );
    let answer = ok(&mut session, "retry_job", json!([source])).await;
    assert_eq!(answer, json!({ "retried": true }));
    assert_eq!(until(&mut session, &source, "finished").await["value"], 42);
    // Only named scripts have versions, and only stored versions run.
    let one = submit(&mut session, json!({ "script": "throw 1" })).await;
    let two = submit(
        &mut session,
        json!({ "name": "a", "run_at": soon(Duration::from_secs(600)) }),
    )
    .await;
    until(&mut session, &one, "dead").await;
    ok(&mut session, "stop_job", json!([two])).await;
    let params = json!({ "job_id": one, "version": mended });
    assert_invalid(
        "a version of none",
        owner.call("retry_job", params).await,
        "only named scripts have versions",
    );
    let params = json!({ "job_id": two, "version": "0123" });
    assert_not_found(
        "no version",
        owner.call("retry_job", params).await,
        "version",
    );
    ok(&mut owner, "delete_script", json!(["a"])).await;
    let answer = session.call("retry_job", json!([two])).await;
    assert_not_found("a deleted script", answer, "script");
    assert_eq!(get_job(&mut session, &two).await["status"], "cancelled");
}

async fn printed_lines_are_kept_with_their_job() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        quick_to_give_up()
            .env("CIRCLED_DISPATCH__DURABLE__MAX_LOGS", "200B")
            .data(folder.path())
            .start()
    };
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    let well = submit(
        &mut session,
        json!({ "script": "print(\"one\"); debug(2); 3" }),
    )
    .await;
    let badly = submit(
        &mut session,
        json!({ "script": "print(\"before\"); throw 1" }),
    )
    .await;
    let much = submit(
        &mut session,
        json!({ "script": "for n in 0..100 { print(n) }" }),
    )
    .await;
    let mut shown = Vec::new();
    for (id, status) in [(&well, "finished"), (&badly, "dead"), (&much, "finished")] {
        shown.push(until(&mut session, id, status).await);
    }
    assert_eq!(shown[0]["logs"][0], "one");
    assert_eq!(shown[0]["logs"].as_array().unwrap().len(), 2);
    assert_eq!(shown[1]["logs"], json!(["before"]));
    let lines = shown[2]["logs"].as_array().unwrap();
    assert_eq!(lines.last().unwrap(), "(more was logged than is kept)");
    assert_eq!(lines.len(), 7, "{lines:?}");
    server.kill();
    let server = start().await;
    let mut session = server.log_in(&key(2)).await;
    for job in shown {
        assert_eq!(
            get_job(&mut session, job["job_id"].as_str().unwrap()).await,
            job
        );
    }
}

async fn get_job_may_wait_for_the_jobs_end() {
    let server = one_at_a_time()
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = busy(Duration::from_millis(500), "7");
    let id = submit(&mut session, json!({ "script": script })).await;
    let behind = submit(&mut session, json!({ "script": "8" })).await;
    for (id, value) in [(&behind, 8), (&id, 7)] {
        let job = ok(
            &mut session,
            "get_job",
            json!({ "job_id": id, "wait": 60_000 }),
        )
        .await;
        assert_eq!(
            (&job["status"], &job["value"]),
            (&json!("finished"), &json!(value))
        );
    }
    // A job that doesn't end in time is returned in its present state.
    let params = json!({ "script": "1", "run_at": soon(Duration::from_secs(600)) });
    let later = submit(&mut session, params).await;
    let job = ok(&mut session, "get_job", json!([later, 50])).await;
    assert_eq!(job["status"], "pending");
    // A stop is an end, too.
    let mut other = server.log_in(&key(2)).await;
    let waiting = session.begin("get_job", json!([later, 60_000])).await;
    session.fence().await;
    ok(&mut other, "stop_job", json!([later])).await;
    assert_eq!(
        session.answer(waiting).await.unwrap()["status"],
        "cancelled"
    );
}

on_both!(
    a_retried_job_runs_the_script_as_it_is_now,
    printed_lines_are_kept_with_their_job,
    get_job_may_wait_for_the_jobs_end,
    a_job_is_kept_and_done,
    submissions_are_checked,
    the_same_key_runs_once,
    a_job_waits_for_its_time,
    jobs_that_wait_outlive_the_server,
    jobs_wait_for_a_server_that_stops,
    a_job_that_is_put_off_runs_the_newest_version_or_the_one_that_was_named,
    a_job_that_was_put_off_tells_which_version_failed,
    a_job_that_is_put_off_runs_the_newest_version_though_it_was_stopped_and_retried,
    a_job_does_not_run_what_was_deleted,
    jobs_are_listed_page_by_page,
    a_job_is_its_callers_and_the_owners_business,
    stopped_jobs_leave_nothing,
    stopping_beside_the_end_of_a_run_is_one_or_the_other,
    failed_jobs_are_tried_again_then_dead_then_retried,
    jobs_that_wait_for_their_next_try_have_failed,
    stopped_jobs_can_be_retried,
    submitters_get_events_of_their_jobs,
    events_of_a_job_come_once,
    a_backlog_is_as_long_as_it_may_be,
    a_job_that_writes_past_the_quota_fails,
);

on_other_servers!(
    a_job_waits_for_its_time,
    stopped_jobs_leave_nothing,
    failed_jobs_are_tried_again_then_dead_then_retried,
);
