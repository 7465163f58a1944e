//! Deliveries of webhooks: listed for callers who may manage, shown whole to the owner, and delivered again.

use circled::webhooks::Preset;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{
        assert_invalid, assert_not_found, assert_refused, get_job, ok, put, submit, subscribe,
        until,
    },
    server::{Builder, OPEN, TestServer, Ws, circle, eventually, key},
    webhooks::{Webhook, taking_stripes},
};

const NO_JOB: &str = "00000000-0000-7000-8000-000000000000";

/// Builds a closed circle that accepts Stripe's and iDenfy's deliveries, and whose members manage it. Stripe's run this
/// script unless the circle has one of its own.
fn taking(folder: &std::path::Path, script: &str) -> Builder {
    let path = folder.join("stripe.rhai");
    std::fs::write(&path, script).unwrap();
    let toml = format!(
        "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]\nmanage = \"member\"\n\
         [webhooks.stripe]\nscript = {path:?}\nwait = \"10s\"\n\
         [webhooks.idenfy]\nsecrets = [\"a secret\"]\nwait = \"10s\"\n",
        circle(),
        key(2).public(),
    );
    taking_stripes()
        .toml(toml)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "2")
        .data(&folder.join("data"))
}

fn stripe(id: &str) -> Webhook {
    let object = json!({ "id": "pi_1", "object": "payment_intent", "secret": "what was sent" });
    let event = json!({ "id": id, "object": "event", "type": "payment_intent.succeeded", "data": { "object": object } });
    Webhook::stripe(event.to_string())
}

fn idenfy(scan: &str) -> Webhook {
    let body = json!({ "final": true, "status": { "overall": "APPROVED" }, "scanRef": scan });
    Webhook::signed(Preset::Idenfy, "a secret", body.to_string())
}

/// Lists deliveries, by their jobs.
async fn listed(session: &mut Ws, params: Value) -> Vec<String> {
    let list = ok(session, "list_deliveries", params).await;
    assert_eq!(list.as_object().unwrap().len(), 2);
    let deliveries = list["deliveries"].as_array().unwrap().iter();
    deliveries
        .map(|delivery| delivery["job_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn deliveries_are_listed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        taking(
            folder.path(),
            "if EVENT.id == \"evt_bad\" { throw \"no\" } 1",
        )
        .start()
    };
    let server = start().await;
    let before = Timestamp::now();
    let (one, status) = stripe("evt_1").kept(&server).await;
    assert_eq!(status, "finished");
    let (two, _) = idenfy("scan_1").kept(&server).await;
    let (bad, status) = stripe("evt_bad").kept(&server).await;
    assert_eq!(status, "failed");
    let mut member = server.log_in(&key(2)).await;
    // A submitted job is no delivery.
    let job = submit(&mut member, json!({ "script": "1" })).await;
    let mut owner = server.log_in(&key(1)).await;
    until(&mut owner, &bad, "dead").await;

    let check = async |server: &TestServer| {
        let mut member = server.log_in(&key(2)).await;
        let mut owner = server.log_in(&key(1)).await;
        let list = ok(&mut member, "list_deliveries", json!({})).await;
        assert!(!list.to_string().contains("what was sent"), "{list}");
        let all = ok(&mut owner, "list_deliveries", json!({})).await;
        // An error of a script may quote the body, so it is for the owner.
        let mut told = all.clone();
        let message = told["deliveries"][0]["error"]["message"].take();
        assert_eq!(message, "Runtime error: no");
        told["deliveries"][0]["error"]["message"] = json!("the script failed; the owner sees how");
        assert_eq!(list, told);
        let deliveries = all["deliveries"].as_array().unwrap();
        for (delivery, (id, provider, event_id, event_type, status, tries)) in
            deliveries.iter().zip([
                (
                    &bad,
                    "stripe",
                    "evt_bad",
                    "payment_intent.succeeded",
                    "dead",
                    2,
                ),
                (&two, "idenfy", "scan_1", "APPROVED", "finished", 1),
                (
                    &one,
                    "stripe",
                    "evt_1",
                    "payment_intent.succeeded",
                    "finished",
                    1,
                ),
            ])
        {
            assert_eq!(delivery["job_id"], json!(id));
            assert_eq!(delivery["provider"], provider);
            if provider == "stripe" {
                assert_eq!(delivery["event_id"], event_id);
                assert_eq!(delivery["event_type"], event_type);
            }
            assert_eq!(
                (&delivery["status"], &delivery["tries"]),
                (&json!(status), &json!(tries))
            );
            let at: Timestamp = delivery["received_at"].as_str().unwrap().parse().unwrap();
            assert!(before <= at && at <= Timestamp::now(), "{delivery}");
            let failed = status == "dead";
            assert_eq!(delivery["error"]["line"].is_u64(), failed, "{delivery}");

            let shown = ok(&mut owner, "get_delivery", json!([id])).await;
            let mut expected = delivery.clone();
            expected["payload"] = shown["payload"].clone();
            assert_eq!(shown, expected);
            let sent = &shown["payload"];
            match provider {
                "stripe" => assert_eq!(sent["data"]["object"]["secret"], "what was sent"),
                _ => assert_eq!(sent["scanRef"], "scan_1"),
            }
        }
        assert_eq!(deliveries.len(), 3);
        for (params, ids) in [
            (json!({ "provider": "stripe" }), vec![&bad, &one]),
            (json!({ "provider": "idenfy" }), vec![&two]),
            (json!({ "provider": "none" }), vec![]),
            (json!({ "limit": 1 }), vec![&bad]),
            (json!({ "limit": 2, "cursor": bad }), vec![&two, &one]),
            (json!({ "provider": "stripe", "cursor": bad }), vec![&one]),
            (json!(["stripe", 1]), vec![&bad]),
        ] {
            assert_eq!(json!(listed(&mut member, params).await), json!(ids));
        }
        // The owner's jobs are the submitted ones.
        let jobs = ok(&mut owner, "list_jobs", json!({})).await;
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
        assert_eq!(jobs["jobs"][0]["job_id"], json!(job));
    };
    check(&server).await;
    server.kill();
    let server = start().await;
    check(&server).await;
}

async fn payloads_are_for_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let server = taking(folder.path(), "1").start().await;
    let (id, _) = stripe("evt_1").kept(&server).await;
    for seed in [2, 60] {
        let mut session = server.log_in(&key(seed)).await;
        let answer = session.call("get_delivery", json!([id])).await;
        assert_refused("get_delivery", answer, -32003, json!({ "needs": "owner" }));
        // Only the owner may look at it.
        for method in ["get_job", "stop_job", "retry_job"] {
            assert_not_found(method, session.call(method, json!([id])).await, "job");
        }
    }
    let mut guest = server.log_in(&key(60)).await;
    for (method, params) in [("list_deliveries", json!({})), ("redeliver", json!([id]))] {
        let answer = guest.call(method, params).await;
        assert_refused(method, answer, -32003, json!({ "needs": "member" }));
    }
    let mut anonymous = server.connect().await;
    for (method, params) in [
        ("list_deliveries", json!({})),
        ("get_delivery", json!([id])),
        ("redeliver", json!([id])),
    ] {
        let answer = anonymous.call(method, params).await;
        assert_refused(method, answer, -32001, Value::Null);
    }
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(get_job(&mut owner, &id).await["caller"], "webhook:stripe");
}

async fn jobs_that_are_no_delivery_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let server = taking(folder.path(), "1").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let job = submit(&mut owner, json!({ "script": "1" })).await;
    for method in ["get_delivery", "redeliver"] {
        for id in [job.as_str(), NO_JOB] {
            let what = format!("{method} {id}");
            assert_not_found(&what, owner.call(method, json!([id])).await, "delivery");
        }
        for params in [json!({}), json!(["nonsense"]), json!([7]), json!([job, 1])] {
            let what = format!("{method} {params}");
            assert_invalid(&what, owner.call(method, params).await, "");
        }
    }
    for params in [
        json!({ "limit": 0 }),
        json!({ "limit": 501 }),
        json!({ "provider": 7 }),
        json!({ "cursor": "nonsense" }),
        json!({ "status": "gone" }),
    ] {
        let what = format!("list_deliveries {params}");
        assert_invalid(&what, owner.call("list_deliveries", params).await, "");
    }
}

async fn a_circles_own_script_comes_before_that_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let start = || taking(folder.path(), "store.set(\"by\", \"the settings\")").start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let by =
        async |session: &mut Ws| session.play("store.get(\"by\")").await.unwrap()["value"].take();
    stripe("evt_1").kept(&server).await;
    assert_eq!(by(&mut owner).await, "the settings");
    let own = "store.set(\"by\", [\"the circle\", CALLER_ID, EVENT.id, EVENT.payload.data.object.id, ARGS])";
    let version = put(&mut owner, "on_stripe", own).await;
    let (id, status) = stripe("evt_2").kept(&server).await;
    assert_eq!(status, "finished");
    let expected = json!(["the circle", "webhook:stripe", "evt_2", "pi_1", null]);
    assert_eq!(by(&mut owner).await, expected);
    let job = get_job(&mut owner, &id).await;
    assert_eq!(
        (&job["name"], &job["version"]),
        (&json!("on_stripe"), &json!(version))
    );
    // Only Stripe's are.
    idenfy("scan_1").kept(&server).await;
    assert_eq!(by(&mut owner).await, expected);

    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    stripe("evt_3").kept(&server).await;
    assert_eq!(by(&mut owner).await[2], "evt_3");
    ok(&mut owner, "delete_script", json!(["on_stripe"])).await;
    stripe("evt_4").kept(&server).await;
    assert_eq!(by(&mut owner).await, "the settings");
    // If it fails, the settings' script doesn't run instead.
    put(&mut owner, "on_stripe", "throw \"no\"").await;
    let (id, status) = stripe("evt_5").kept(&server).await;
    assert_eq!(status, "failed");
    until(&mut owner, &id, "dead").await;
}

/// A circle's own script that can't be run any more isn't replaced by another, either.
async fn a_circles_own_script_that_is_too_much_fails() {
    let folder = tempfile::tempdir().unwrap();
    let start = |source: &str| {
        taking(folder.path(), "store.set(\"by\", \"the settings\")")
            .env("CIRCLED_SCRIPT__MAX_SOURCE", source)
            .start()
    };
    let server = start("8KiB").await;
    let mut owner = server.log_in(&key(1)).await;
    let long = format!("// {}\nstore.set(\"by\", \"the circle\")", "x".repeat(2000));
    put(&mut owner, "on_stripe", &long).await;
    server.kill();
    let server = start("1KiB").await;
    let mut owner = server.log_in(&key(1)).await;
    let (id, status) = stripe("evt_1").kept(&server).await;
    assert_eq!(status, "failed");
    let dead = until(&mut owner, &id, "dead").await;
    assert_eq!(
        (&dead["name"], &dead["error"]["kind"]),
        (&json!("on_stripe"), &json!("size"))
    );
    let run = owner.play("store.keys(\"\")").await.unwrap();
    assert_eq!(run["value"], json!([]));
}

/// A waiting delivery runs the version with which it was accepted.
async fn a_delivery_keeps_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        taking(folder.path(), "1")
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1000")
            .start()
    };
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let waiting = "if !store.has(\"open\") { throw 1 } store.set(\"by\", 1)";
    put(&mut owner, "on_stripe", waiting).await;
    let (id, status) = stripe("evt_1").kept(&server).await;
    assert_eq!(status, "failed");
    put(&mut owner, "on_stripe", "store.set(\"by\", 2)").await;
    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    owner.play("store.set(\"open\", 1)").await.unwrap();
    until(&mut owner, &id, "finished").await;
    let run = owner.play("store.get(\"by\")").await.unwrap();
    assert_eq!(run["value"], 1);
}

async fn redeliveries_run_the_script_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let start = || taking(folder.path(), "store.set(\"by\", EVENT.id)").start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    put(&mut owner, "on_stripe", "throw \"a mistake\"").await;
    let (dead, _) = stripe("evt_1").kept(&server).await;
    until(&mut owner, &dead, "dead").await;
    put(
        &mut owner,
        "on_stripe",
        "store.incr(EVENT.id, 1); EVENT.payload.data.object.secret",
    )
    .await;
    let answer = ok(&mut member, "redeliver", json!([dead])).await;
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    let again = answer["job_id"].as_str().unwrap().to_owned();
    assert_ne!(again, dead);
    let job = until(&mut owner, &again, "finished").await;
    assert_eq!(job["output"], "what was sent");
    // The old delivery hasn't changed, and the new one is a delivery, too.
    assert_eq!(get_job(&mut owner, &dead).await["status"], "dead");
    let shown = ok(&mut owner, "get_delivery", json!([again])).await;
    assert_eq!(
        (&shown["provider"], &shown["event_id"]),
        (&json!("stripe"), &json!("evt_1"))
    );
    let first = ok(&mut owner, "get_delivery", json!([dead])).await;
    assert_eq!(shown["payload"], first["payload"]);
    assert_eq!(
        listed(&mut member, json!({})).await,
        [again.clone(), dead.clone()]
    );

    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    // A redelivery can be redelivered any number of times, and runs the settings' script if there is no other.
    for id in [&dead, &again] {
        let job = ok(&mut owner, "redeliver", json!([id])).await["job_id"].take();
        until(&mut owner, job.as_str().unwrap(), "finished").await;
    }
    let run = owner.play("store.get(\"evt_1\")").await.unwrap();
    assert_eq!(run["value"], 3);
    ok(&mut owner, "delete_script", json!(["on_stripe"])).await;
    let job = ok(&mut owner, "redeliver", json!([dead])).await["job_id"].take();
    until(&mut owner, job.as_str().unwrap(), "finished").await;
    let run = owner.play("store.get(\"by\")").await.unwrap();
    assert_eq!(run["value"], "evt_1");
    // When Stripe sends it again, it runs under its first id, which never ran, and then never again.
    for status in ["finished", "duplicate"] {
        let again = stripe("evt_1").kept(&server).await;
        assert_eq!(again, (dead.clone(), status.to_owned()));
    }
    eventually("all to be over", async || {
        server.jobs(OPEN).await.is_empty()
    })
    .await;
}

async fn a_redelivery_stops_a_job_that_would_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = taking(folder.path(), "1")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "10m")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    put(&mut owner, "on_stripe", "throw \"a mistake\"").await;
    let (failed, _) = stripe("evt_1").kept(&server).await;
    until(&mut owner, &failed, "failed").await;
    put(&mut owner, "on_stripe", "store.incr(EVENT.id, 1)").await;
    let again = ok(&mut member, "redeliver", json!([failed])).await["job_id"].take();
    assert_eq!(get_job(&mut owner, &failed).await["status"], "cancelled");
    until(&mut owner, again.as_str().unwrap(), "finished").await;
    assert!(server.jobs(OPEN).await.is_empty());
    // One that has ended stays as it is.
    ok(&mut member, "redeliver", json!([again])).await;
    let again = again.as_str().unwrap();
    assert_eq!(get_job(&mut owner, again).await["status"], "finished");
    let duplicate = stripe("evt_1").kept(&server).await;
    assert_eq!(duplicate, (failed, "duplicate".to_owned()));
}

async fn redeliveries_count_as_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let server = taking(folder.path(), "1")
        .env("CIRCLED_SESSION__MAX_BUFFERED", "1MiB")
        .start()
        .await;
    let sent = async |id: &str, more: Value| {
        let object = json!({ "id": "pi_1", "object": "payment_intent", "more": more });
        let event = json!({ "id": id, "object": "event", "type": "payment_intent.succeeded", "data": { "object": object } });
        Webhook::stripe(event.to_string()).kept(&server).await.0
    };
    let mut owner = server.log_in(&key(1)).await;
    let large = sent("evt_1", "x".repeat(400_000).into()).await;
    let answer = owner.call("redeliver", json!([large])).await;
    let full = json!({ "limit": "session.max_buffered" });
    assert_refused("redeliver", answer, -32005, full);
    // 40 KB, and many times that as values, which nobody makes of it before it runs.
    let many = sent("evt_2", vec![0; 20_000].into()).await;
    for _ in 0..3 {
        ok(&mut owner, "redeliver", json!([many])).await;
    }
}

/// The owner sees a delivery's job like any other: its result, its logs, and its state.
async fn a_deliverys_job_is_told_and_shown_whole() {
    let folder = tempfile::tempdir().unwrap();
    let script = "print(EVENT.id); if EVENT.id == \"evt_bad\" { throw \"no\" } #{ id: EVENT.id }";
    let server = taking(folder.path(), script).start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    for session in [&mut owner, &mut member] {
        subscribe(session, json!({})).await;
    }
    let (id, status) = stripe("evt_1").kept(&server).await;
    assert_eq!(status, "finished");
    let job = get_job(&mut owner, &id).await;
    assert_eq!(job["value"], json!({ "id": "evt_1" }));
    assert_eq!(
        (&job["logs"], &job["tries"]),
        (&json!(["evt_1"]), &json!(1))
    );
    assert_eq!(
        (&job["event_id"], &job["circle"]),
        (&json!("evt_1"), &json!(circle()))
    );
    let shown = ok(&mut owner, "get_delivery", json!([id])).await;
    assert_eq!(shown["logs"], json!(["evt_1"]));
    let (bad, _) = stripe("evt_bad").kept(&server).await;
    for (id, status) in [(&id, "finished"), (&bad, "failed"), (&bad, "dead")] {
        let event = owner.event().await;
        assert_eq!(event["topic"], json!(format!("job.{id}")));
        let job = &event["data"];
        assert_eq!(
            (&job["job_id"], &job["status"]),
            (&json!(id), &json!(status))
        );
        assert!(job["value"].is_null() && job["logs"].is_null(), "{job}");
    }
    // Nobody else gets the event.
    owner.play("emit(\"last\", 1)").await.unwrap();
    assert_eq!(member.event().await["topic"], "last");
    // The operator sees the same.
    for id in [&id, &bad] {
        let seen = server.admin(&format!("/jobs/{id}")).await.json();
        assert_eq!(seen, get_job(&mut owner, id).await);
    }
    let dead = ok(&mut owner, "list_deliveries", json!({ "status": "dead" })).await;
    assert_eq!(dead["deliveries"].as_array().unwrap().len(), 1);
    // A retry runs the circle's present script.
    put(&mut owner, "on_stripe", "EVENT.id").await;
    assert_eq!(
        ok(&mut owner, "retry_job", json!([bad])).await["retried"],
        true
    );
    let done = until(&mut owner, &bad, "finished").await;
    assert_eq!(
        (&done["value"], &done["name"]),
        (&json!("evt_bad"), &json!("on_stripe"))
    );
}

on_both!(
    a_deliverys_job_is_told_and_shown_whole,
    deliveries_are_listed_and_shown,
    payloads_are_for_the_owner,
    jobs_that_are_no_delivery_are_not_found,
    a_circles_own_script_comes_before_that_of_the_settings,
    a_circles_own_script_that_is_too_much_fails,
    a_delivery_keeps_its_version,
    redeliveries_run_the_script_as_it_is_now,
    a_redelivery_stops_a_job_that_would_run_again,
    redeliveries_count_as_their_text,
);
