//! The life of a circle, in two parts: what an earlier version's server has stored, and what this one makes of it.

use std::time::Duration;

use circled::webhooks::Preset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::namespace;
use crate::harness::{
    calls::{get_job, ok, put, submit, subscribe, until},
    devices::{add_for, device},
    redis::RedisServer,
    server::{Builder, ENDLESS, TestServer, Ws, busy, circle, eventually, key},
    webhooks::{Webhook, taking_stripes},
};

/// The circle's own script for Stripe's deliveries.
const ON_STRIPE: &str = r#"
    print("delivery " + EVENT.id);
    if EVENT.payload.data.object.amount < 0 && !store.has("mended") { throw "not yet" }
    store.incr("later/deliveries", 1);
    emit("webhook.stripe", EVENT.id);
    EVENT.type
"#;

/// A script that fails until it is told not to.
const FAILING: &str = r#"print("it fails"); if !store.has("mended") { throw "not yet" } ARGS"#;

/// Values of all kinds, and keys of all kinds.
const VALUES: &str = r#"
    store.set("nothing", ());
    store.set("yes", true);
    store.set("most", 9223372036854775807);
    store.set("least", -9223372036854775807 - 1);
    store.set("one", 1.0);
    store.set("tenth", 0.1);
    store.set("huge", 1.7976931348623157e308);
    store.set("tiny", 5.0e-324);
    store.set("text", "grüße 🦀 \"\\\n\t\x00\x7f");
    store.set("list", [(), 1, 1.0, "1", true, [[]], #{}]);
    store.set("map", #{ "": 1, "a b": #{ "ключ": [1.0, 2] } });
    store.set("long", "0123456789");
    store.set("ключ \"\\\n", "a key of all kinds");
    store.set("gone", 1);
    store.delete("gone");
    store.incr("count", 41);
    store.add("added", 9223372036854775807);
    store.push("log/", "first");
    store.push("log/", "second");
    store.set("lease", "ten years", #{ ttl: "3650d" });
"#;

/// Returns the values of the store that no waiting job changes, and their types.
const STORED: &str = r#"
    let all = [];
    for key in store.keys("") {
        if !key.starts_with("later/") {
            let value = store.get(key);
            all.push([key, type_of(value), value]);
        }
    }
    all
"#;

/// The key of a device of the owner's, and what it may do.
const DEVICE: (u8, &str) = (77, "call:greet,jobs");

/// Returns the settings of all servers of kept data.
pub(super) fn server() -> Builder {
    let toml = format!(
        "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]\n\
         [webhooks.idenfy]\nsecrets = [\"a secret\"]\nwait = \"10s\"\n",
        circle(),
        key(2).public(),
    );
    let server = taking_stripes()
        .toml(toml)
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__REQUESTS_FOR", "364d")
        .env("CIRCLED_AUTH__DEVICE_KEY_TTL", "364d");
    let durable = durable();
    durable.fold(server, |server, (name, value)| server.env(&name, value))
}

/// Returns the settings of durable jobs of these servers, and of commands beside them.
pub(super) fn durable() -> impl Iterator<Item = (String, &'static str)> {
    let settings = [
        ("PER_CIRCLE", "1"),
        ("RETRY_AFTER", "364d"),
        ("RETRY_AT_MOST", "364d"),
        ("DEDUPE_FOR", "364d"),
        ("KEEP_FOR", "364d"),
        ("KEEP_DEAD_FOR", "364d"),
    ];
    let named = |(name, value)| (format!("CIRCLED_DISPATCH__DURABLE__{name}"), value);
    settings.into_iter().map(named)
}

/// The same for one that is a gateway and a worker.
pub(super) fn server_through(redis: &RedisServer) -> Builder {
    server()
        .redis(redis.url())
        .env("CIRCLED_DISPATCH__REDIS__NAMESPACE", namespace::NAME)
}

fn charge(id: &str, amount: i64) -> Webhook {
    let event = json!({
        "id": id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": { "object": { "id": "pi_1", "object": "payment_intent", "amount": amount } },
    });
    Webhook::stripe(event.to_string())
}

fn verification(is_final: bool, overall: &str) -> Webhook {
    let body = json!({ "final": is_final, "status": { "overall": overall }, "scanRef": "one" });
    Webhook::signed(Preset::Idenfy, "a secret", body.to_string())
}

fn once() -> Value {
    json!({ "script": "store.incr(\"later/once\", 1)", "idempotency_key": "once" })
}

/// A request that has an effect, and is answered once.
fn asked() -> Value {
    json!({ "script": "print(\"asked\"); store.incr(\"asked\", 1)", "request_id": "asked-once" })
}

async fn log_in(server: &TestServer, seed: u8) -> Ws {
    server.log_in(&key(seed)).await
}

/// Has servers store records of all kinds, until the last one is killed. Returns what it told of them.
pub(super) async fn begin(server: impl Fn() -> Builder) -> Value {
    give_up(server().env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", 1)).await;
    let server = server().start().await;
    leave_open(&server).await;
    let told = tell(&server).await;
    // Nothing has gone on meanwhile.
    assert_eq!(tell(&server).await, told);
    server.kill();
    told
}

/// Fills a circle, with jobs that are over.
async fn give_up(server: Builder) {
    let mut server = server.start().await;
    let mut owner = log_in(&server, 1).await;
    for seed in [5, 6] {
        ok(&mut owner, "add_member", json!([key(seed).public()])).await;
    }
    ok(&mut owner, "remove_member", json!([key(6).public()])).await;

    put(&mut owner, "lib/double", "fn double(x) { x * 2 }").await;
    put(
        &mut owner,
        "uses",
        "import \"lib/double\" as lib; lib::double(ARGS)",
    )
    .await;
    for n in 1..=3 {
        put(&mut owner, "greet", &format!("\"hello {n}, \" + ARGS")).await;
    }
    put(&mut owner, "on_stripe", ON_STRIPE).await;
    put(&mut owner, "gone", "1").await;
    ok(&mut owner, "delete_script", json!(["gone"])).await;

    owner.play(VALUES).await.unwrap();
    ok(&mut owner, "play", asked()).await;
    let year = 363 * 24 * 3600;
    add_for(&mut owner, &device(DEVICE.0), DEVICE.1, year).await;
    let events = "emit(\"a\", ()); emit(\"a.b\", #{ n: [1, 2.0, \"grüße\"] }); emit(\"c\", true)";
    owner.play(events).await.unwrap();

    assert_eq!(charge("evt_done", 1).kept(&server).await.1, "finished");
    assert_eq!(charge("evt_dead", -1).kept(&server).await.1, "failed");
    for (is_final, overall) in [(false, "SUSPECTED"), (true, "APPROVED")] {
        let (_, status) = verification(is_final, overall).kept(&server).await;
        assert_eq!(status, "finished");
    }

    let mut member = log_in(&server, 5).await;
    let script = "print(\"a line\"); [ARGS, 1.0]";
    let done = json!({ "script": script, "args": { "a": [1, null] } });
    let id = submit(&mut member, done).await;
    until(&mut member, &id, "finished").await;
    for (params, status) in [
        (json!({ "name": "uses", "args": 21 }), "finished"),
        (once(), "finished"),
        (json!({ "script": FAILING, "args": "mended" }), "dead"),
    ] {
        let id = submit(&mut owner, params).await;
        until(&mut owner, &id, status).await;
    }
    server.sigterm();
    assert!(server.wait().await.success());
}

/// Submits jobs that stay open: the last one that begins runs when the server is killed.
async fn leave_open(server: &TestServer) {
    let mut owner = log_in(server, 1).await;
    let mut member = log_in(server, 5).await;
    assert_eq!(charge("evt_failed", -1).kept(server).await.1, "failed");
    let failed = submit(&mut member, json!({ "script": FAILING, "args": "again" })).await;
    until(&mut member, &failed, "failed").await;

    let later = (Timestamp::now() + SignedDuration::from_hours(365 * 24)).to_string();
    let greeting = json!({ "name": "greet", "args": "you", "run_at": later });
    submit(&mut member, greeting).await;
    let scheduled = json!({ "script": "store.incr(\"later/n\", 1)", "run_at": later });
    submit(&mut member, scheduled.clone()).await;
    let stopped = submit(&mut member, scheduled).await;
    ok(&mut member, "stop_job", json!([stopped])).await;

    let slow = format!(
        "if !store.has(\"later/quick\") {{ {} }} store.incr(\"later/n\", 1)",
        busy(Duration::from_secs(40), "0;")
    );
    let running = submit(&mut owner, json!({ "script": slow })).await;
    until(&mut owner, &running, "running").await;
    // It has begun, and so doesn't see this before it runs again.
    owner
        .play("store.set(\"later/quick\", true)")
        .await
        .unwrap();
    // These wait for it. The first one imports a script as it was then.
    submit(&mut member, json!({ "name": "uses", "args": 4 })).await;
    put(&mut owner, "lib/double", "fn double(x) { x * 3 }").await;
    submit(
        &mut owner,
        json!({ "script": "store.incr(\"later/n\", 1); ARGS", "args": 7 }),
    )
    .await;
    assert_eq!(charge("evt_waits", 1).kept(server).await.1, "accepted");
}

/// Returns what a server tells the owner of everything.
async fn tell(server: &TestServer) -> Value {
    let mut owner = log_in(server, 1).await;
    let stored = owner.play(STORED).await.unwrap()["value"].take();
    let mut scripts = Vec::new();
    let list = ok(&mut owner, "list_scripts", json!([])).await;
    for script in list["scripts"].as_array().unwrap() {
        let newest = ok(&mut owner, "get_script", json!([script["name"]])).await;
        for version in newest["versions"].as_array().unwrap() {
            let params = json!([script["name"], version["version"]]);
            scripts.push(ok(&mut owner, "get_script", params).await);
        }
    }
    let mut jobs = Vec::new();
    let list = ok(&mut owner, "list_jobs", json!({ "limit": 100 })).await;
    for job in list["jobs"].as_array().unwrap() {
        jobs.push(get_job(&mut owner, job["job_id"].as_str().unwrap()).await);
    }
    let mut deliveries = Vec::new();
    let list = ok(&mut owner, "list_deliveries", json!({ "limit": 100 })).await;
    for delivery in list["deliveries"].as_array().unwrap() {
        deliveries.push(ok(&mut owner, "get_delivery", json!([delivery["job_id"]])).await);
    }
    let mut devices = ok(&mut owner, "list_device_keys", json!([])).await["device_keys"].take();
    for device in devices.as_array_mut().unwrap() {
        // It is put off where this is kept.
        device.as_object_mut().unwrap().remove("expires_at");
    }
    let (_, last) = subscribe(&mut owner, json!({})).await;
    json!({
        "devices": devices,
        "members": ok(&mut owner, "list_members", json!([])).await,
        "scripts": scripts,
        "stored": stored,
        "jobs": jobs,
        "deliveries": deliveries,
        "events": events(server, 0, last).await,
    })
}

/// Returns the events of the owner with these numbers.
async fn events(server: &TestServer, since: u64, last: u64) -> Vec<Value> {
    let mut owner = log_in(server, 1).await;
    subscribe(&mut owner, json!({ "since": since })).await;
    let mut events = Vec::new();
    for number in since + 1..=last {
        let mut event = owner.event().await;
        assert_eq!(event["id"], number, "{event}");
        event.as_object_mut().unwrap().remove("subscription");
        events.push(event);
    }
    events
}

fn list<'a>(told: &'a Value, name: &str) -> &'a Vec<Value> {
    told[name].as_array().unwrap()
}

/// Returns the job of a delivery that was told of.
fn job_of<'a>(told: &'a Value, event: &str) -> &'a str {
    let mut deliveries = list(told, "deliveries").iter();
    let found = deliveries.find(|delivery| delivery["event_id"] == event);
    found.unwrap()["job_id"].as_str().unwrap()
}

/// Returns whether a job's next run is still to come.
fn is_due_later(job: &Value) -> bool {
    let due = job["due"]
        .as_str()
        .map(|due| due.parse::<Timestamp>().unwrap());
    due.is_some_and(|due| due > Timestamp::now())
}

/// Starts a server on what was stored, and checks that all of it is there and goes on.
pub(super) async fn go_on(told: &Value, server: impl Fn() -> Builder) {
    let running = server().start().await;
    let mut owner = log_in(&running, 1).await;
    let now = tell(&running).await;
    for name in ["members", "stored", "scripts"] {
        assert_eq!(now[name], told[name], "{name}");
    }
    let old = list(told, "events");
    assert_eq!(&list(&now, "events")[..old.len()], old, "events");
    let half = old.len() / 2;
    assert_eq!(
        events(&running, half as u64, old.len() as u64).await,
        old[half..]
    );

    go_on_with_new(&mut owner, told).await;

    let mut member = log_in(&running, 5).await;
    assert_eq!(ok(&mut member, "whoami", json!([])).await["role"], "member");
    let mut stranger = log_in(&running, 6).await;
    assert_eq!(
        ok(&mut stranger, "whoami", json!([])).await["role"],
        "guest"
    );

    let dead = ["jobs", "deliveries"].map(|of| list(told, of).iter());
    let dead = dead
        .into_iter()
        .flatten()
        .filter(|job| job["status"] == "dead")
        .count();
    let usage = ok(&mut owner, "usage", json!({})).await;
    assert_eq!(usage["jobs"]["dead"], dead, "{usage}");
    assert!(
        usage["keys"].as_u64() >= Some(list(told, "stored").len() as u64),
        "{usage}"
    );
    for (of, kind) in [("jobs", "submitted"), ("deliveries", "delivery")] {
        for job in list(told, of).iter().filter(|job| rests(job)) {
            let params = json!({ "kind": kind, "status": job["status"], "limit": 100 });
            let found = ok(&mut owner, "list_jobs", params).await;
            let mut found = list(&found, "jobs").iter();
            assert!(found.any(|other| other["job_id"] == job["job_id"]), "{job}");
        }
    }
    for job in list(told, "jobs") {
        go_on_with_job(&mut owner, job).await;
    }
    for delivery in list(told, "deliveries") {
        go_on_with_delivery(&mut owner, delivery).await;
    }
    go_on_with_duplicates(&running, told).await;

    // Newer versions of scripts, and older ones.
    let called = ok(&mut owner, "call", json!(["uses", 7])).await;
    assert_eq!(called["value"], 21);
    for script in list(told, "scripts")
        .iter()
        .filter(|script| script["name"] == "greet")
    {
        let params = json!(["greet", "you", script["version"]]);
        let value = ok(&mut owner, "call", params).await["value"].take();
        assert!(
            script["source"]
                .as_str()
                .unwrap()
                .contains(&value.as_str().unwrap()[..8])
        );
    }

    // A dead letter runs again.
    owner.play("store.set(\"mended\", true)").await.unwrap();
    for job in list(told, "jobs") {
        if job["status"] == "dead" {
            let id = job["job_id"].as_str().unwrap();
            let again = ok(&mut owner, "retry_job", json!([id])).await;
            assert_eq!(again["retried"], true);
            assert_eq!(until(&mut owner, id, "finished").await["value"], "mended");
        }
    }
    let dead = job_of(told, "evt_dead").to_owned();
    assert_eq!(
        charge("evt_dead", -1).kept(&running).await,
        (dead, "finished".to_owned())
    );

    // Numbers of events go on.
    let (_, last) = subscribe(&mut owner, json!({})).await;
    owner.play("emit(\"new\", 1)").await.unwrap();
    assert_eq!(owner.event().await["id"], last + 1);

    // And so does all of it with the next server.
    let told = tell(&running).await;
    running.kill();
    let running = server().start().await;
    assert_eq!(tell(&running).await, told);
}

/// Checks the kinds of records that the first folder doesn't have yet.
async fn go_on_with_new(owner: &mut Ws, told: &Value) {
    let Some(devices) = told.get("devices") else {
        return;
    };
    let now = ok(owner, "list_device_keys", json!([])).await["device_keys"].take();
    let [before, now] = [devices, &now].map(|devices| &devices.as_array().unwrap()[..]);
    let ([before], [now]) = (before, now) else {
        panic!("{before:?} {now:?}");
    };
    for name in ["pubkey", "label", "scope", "added_at"] {
        assert_eq!(now[name], before[name], "{name}");
    }

    let again = ok(owner, "play", asked()).await;
    assert_eq!(
        (&again["value"], &again["logs"]),
        (&json!(1), &json!(["asked"]))
    );
    assert_eq!(again["replayed"], true, "{again}");

    let script = r#"
        store.push("log/", "third");
        [store.ttl("lease") > 0, store.scan(#{ prefix: "log/" }).map(|entry| entry.value)]
    "#;
    let last = |value: &Value| value[1].as_array().unwrap().len();
    let before = owner.play(script).await.unwrap()["value"].take();
    assert_eq!(before[0], true);
    let after = owner.play(script).await.unwrap()["value"].take();
    assert_eq!(last(&after), last(&before) + 1, "{after}");
    let log = &after[1].as_array().unwrap()[..3];
    assert_eq!(log, ["first", "second", "third"]);
}

/// Returns whether nothing happens with a job by itself for now.
fn rests(job: &Value) -> bool {
    let status = job["status"].as_str().unwrap();
    ["finished", "dead", "cancelled"].contains(&status) || is_due_later(job)
}

/// Checks that a job is as it was told, or ends if it was about to run.
async fn go_on_with_job(owner: &mut Ws, told: &Value) {
    let id = told["job_id"].as_str().unwrap();
    if rests(told) {
        assert_eq!(get_job(owner, id).await, *told);
        return;
    }
    let mut job = Value::Null;
    eventually("a job to run", async || {
        job = get_job(owner, id).await;
        rests(&job)
    })
    .await;
    for name in [
        "circle",
        "caller",
        "name",
        "version",
        "submitted_at",
        "run_at",
    ] {
        // What had no value may have one, once it has run.
        assert!(told[name].is_null() || job[name] == told[name], "{name}");
    }
    if !told["due"].is_null() {
        // Its time has come since then.
        return;
    }
    // The server that ran it was killed. In Redis, the record says so only once the job is given up.
    let crashes = job["crashes"].as_u64().unwrap_or(0);
    let was_running = told["status"] == "running";
    assert!(crashes <= u64::from(was_running), "{job}");
    assert_eq!(job["status"], "finished");
    match told["name"].as_str() {
        // By what it imported when it was submitted.
        Some("uses") => assert_eq!(job["value"], 8),
        // It counts, as others do by now.
        _ if was_running => assert!(job["value"].as_u64() >= Some(1)),
        _ => assert_eq!(job["value"], 7),
    }
}

async fn go_on_with_delivery(owner: &mut Ws, told: &Value) {
    let id = told["job_id"].as_str().unwrap();
    if told["status"] == "pending" {
        until(owner, id, "finished").await;
    }
    let delivery = ok(owner, "get_delivery", json!([id])).await;
    assert_eq!(delivery["payload"], told["payload"]);
    if rests(told) {
        assert_eq!(delivery, *told);
    }
}

async fn go_on_with_duplicates(server: &TestServer, told: &Value) {
    for event in ["evt_done", "evt_waits"] {
        let first = job_of(told, event).to_owned();
        let again = charge(event, 1).kept(server).await;
        assert_eq!(again, (first, "duplicate".to_owned()));
    }
    let mut owner = log_in(server, 1).await;
    let again = ok(&mut owner, "submit_job", once()).await;
    assert_eq!(again["duplicate"], true, "{again}");
    let mut jobs = list(told, "jobs").iter();
    assert!(jobs.any(|job| job["job_id"] == again["job_id"]));
    // The series has ended.
    let (late, _) = verification(false, "DENIED").kept(server).await;
    assert_eq!(
        get_job(&mut owner, &late).await["output"],
        "superseded by the final delivery"
    );
}
