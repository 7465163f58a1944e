//! The life of a delivery: its job, tried again, given up, shown, and run again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    backend::{Backend, backend, on_both, on_other_servers},
    server::{ENDLESS, OPEN, TestServer, busy, eventually, key, send, within},
    webhooks::{SECRET, STUBBORN, Webhook, ask, event, job, scripted, taking_stripes, until},
};

async fn failed_deliveries_leave_nothing_and_are_tried_again() {
    let (_folder, settings) = scripted(STUBBORN);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "50ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "100")
        .start()
        .await;
    let (id, status) = Webhook::stripe(event("evt_1")).kept(&server).await;
    assert_eq!(status, "failed");
    eventually("more tries", async || {
        job(&server, &id).await["tries"].as_u64().unwrap() >= 3
    })
    .await;
    let failing = job(&server, &id).await;
    assert_eq!(failing["status"], "failed");
    assert_eq!(failing["error"]["kind"], "runtime");
    assert!(
        failing["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not yet")
    );
    assert_eq!(failing["error"]["line"], 3);
    assert!(failing["due"].is_string());
    ask(&server, 1, r#"store.set("give in", true)"#).await;
    let done = until(&server, &id, "finished").await;
    assert!(done["ended_at"].is_string() && done["error"].is_null() && done["due"].is_null());
    let counts = ask(
        &server,
        1,
        r#"[store.get("runs"), store.get("kept only if it ends well")]"#,
    )
    .await;
    assert_eq!(counts, json!([1, 1]));
}

async fn the_wait_grows_with_each_try() {
    let (_folder, settings) = scripted(r#"throw "never""#);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "40ms")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AT_MOST", "100s")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "20")
        .start()
        .await;
    let (id, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    let mut waits = Vec::new();
    for tries in 1..=5 {
        eventually("the try", async || {
            job(&server, &id).await["tries"].as_u64().unwrap() >= tries
        })
        .await;
        let job = job(&server, &id).await;
        // It may be one further by now.
        let tries = job["tries"].as_u64().unwrap();
        let time = |name: &str| {
            job[name]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        waits.push((tries, time("due").duration_since(time("submitted_at"))));
    }
    // After n tries, n waits of at least three quarters of 40 ms, 80 ms, ...
    for (tries, wait) in waits {
        let least = (2_i64.pow(u32::try_from(tries).unwrap()) - 1) * 30;
        assert!(
            wait.as_millis() >= i128::from(least),
            "{tries} tries: {wait}"
        );
    }
}

async fn pending_deliveries_are_resumed_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, long) = scripted("loop {}");
    let slow = |settings: &str| {
        taking_stripes()
            .toml(settings.to_owned() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
            .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", "1")
            .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
    };
    let server = slow(&long).start().await;
    for n in 0..10 {
        let webhook = Webhook::stripe(event(&format!("evt_{n}")));
        assert_eq!(webhook.kept(&server).await.1, "accepted");
    }
    server.kill();
    let (_scripts, quick) = scripted(r#"store.set("order", store.get("order", []) + [EVENT.id])"#);
    let mut server = slow(&quick).start().await;
    if backend() == Backend::Embedded {
        let resumed = server
            .logged("what it resumes", |line| {
                line["message"] == "resuming pending jobs"
            })
            .await;
        assert_eq!(resumed["jobs"], 10);
    }
    let order: Vec<String> = (0..10).map(|n| format!("evt_{n}")).collect();
    eventually("all of them", async || {
        ask(&server, 1, r#"store.get("order", [])"#).await == json!(order)
    })
    .await;
}

/// Waits until a job runs that never ends; a server that isn't idle has one.
async fn until_it_runs(server: &TestServer) {
    let before = server.processor_time();
    eventually("the job to run", async || {
        server.processor_time() - before > Duration::from_millis(300)
    })
    .await;
}

async fn a_graceful_stop_leaves_jobs_pending_and_blames_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, settings) = scripted("loop {}");
    let start = || {
        taking_stripes()
            .toml(settings.clone() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
            .env("CIRCLED_SCRIPT__THREADS", "1")
            .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "100ms")
            // The next server needn't wait for that: it gets the jobs of this one.
            .env("CIRCLED_DISPATCH__REDIS__LEASE", "60s")
    };
    let mut server = start().start().await;
    let (id, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    for _ in 0..4 {
        until_it_runs(&server).await;
        server.sigterm();
        assert_eq!(server.wait().await.code(), Some(0));
        server = start().start().await;
    }
    until_it_runs(&server).await;
    let job = job(&server, &id).await;
    assert_eq!(
        (&job["status"], &job["tries"], &job["crashes"]),
        (&json!("running"), &json!(0), &Value::Null)
    );
}

async fn a_job_that_the_server_dies_of_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, settings) = scripted(r#"if EVENT.id == "deadly" { loop {} }"#);
    let start = || {
        taking_stripes()
            .toml(settings.clone() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
            .env("CIRCLED_SCRIPT__THREADS", "1")
    };
    let mut server = start().start().await;
    let (id, _) = Webhook::stripe(event("deadly")).kept(&server).await;
    let mut others = Vec::new();
    for crashes in 1..=3 {
        until_it_runs(&server).await;
        let other = Webhook::stripe(event(&format!("evt_{crashes}")));
        others.push(other.kept(&server).await.0);
        server.kill();
        server = start().start().await;
        let job = job(&server, &id).await;
        assert_eq!(job["tries"], 0);
        if crashes < 3 {
            assert!(job["status"] == "pending" || job["status"] == "running");
        }
        if backend() == Backend::Embedded {
            assert_eq!(job["crashes"], crashes);
        }
    }
    let dead = until(&server, &id, "dead").await;
    assert_eq!((&dead["tries"], &dead["crashes"]), (&json!(0), &json!(3)));
    let message = dead["error"]["message"].as_str().unwrap();
    assert!(message.contains("died 3 times"), "{message}");
    // Other jobs, which waited for their turn, don't suffer for it.
    for other in others {
        let other = until(&server, &other, "finished").await;
        assert_eq!(
            (&other["tries"], &other["crashes"]),
            (&json!(1), &Value::Null)
        );
    }
}

async fn deliveries_that_wait_for_their_next_try_count_as_waiting() {
    let (_folder, settings) = scripted(r#"throw "never""#);
    let mut server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "3")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "1h")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AT_MOST", "1h")
        .start()
        .await;
    for n in 0..3 {
        let webhook = Webhook::stripe(event(&format!("evt_{n}")));
        assert_eq!(webhook.kept(&server).await.1, "failed");
    }
    let response = Webhook::stripe(event("evt_3")).send(&server).await;
    response.assert_is_an_error(503);
    // The log says that it fails, without its error message.
    let failed = server
        .logged("the failure", |line| {
            line["message"] == "a webhook's script failed"
        })
        .await;
    assert_eq!(
        (&failed["line"], &failed["dead"]),
        (&json!(1), &json!(false))
    );
    assert!(!failed.to_string().contains("never"));
}

async fn colliding_is_no_try() {
    // Too long with the circle locked.
    let slow = busy(Duration::from_millis(150), "store.set(\"hot\", n + 1)");
    let (_folder, settings) = scripted(&format!("let n = store.get(\"hot\", 0); {slow}"));
    let server = taking_stripes()
        .toml(settings + "wait = \"0s\"\n")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let (id, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    let mut session = server.log_in(&key(2)).await;
    let mut plays = 0;
    let start = tokio::time::Instant::now();
    // Longer than all of its runs one after another.
    while start.elapsed() < Duration::from_millis(1500) {
        session.play("store.incr(\"hot\", 1)").await.unwrap();
        plays += 1;
    }
    let done = until(&server, &id, "finished").await;
    assert_eq!(done["tries"], 1, "{done}");
    assert_eq!(ask(&server, 1, "store.get(\"hot\")").await, plays + 1);
}

async fn a_sender_that_hangs_up_leaves_no_job_behind() {
    use tokio::io::AsyncWriteExt;

    let (_folder, settings) = scripted(r#"store.incr("runs", 1)"#);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    // Plays that collide until one of them locks the circle, for which deliveries have to wait.
    let slow = busy(Duration::from_millis(30), "store.set(\"hot\", n + 1)");
    let slow = format!("let n = store.get(\"hot\", 0); {slow}");
    let mut session = server.log_in(&key(2)).await;
    let mut sent = 0;
    for round in 0..30 {
        let mut calls = Vec::new();
        for _ in 0..4 {
            calls.push(session.begin_play(&slow).await);
        }
        session.fence().await;
        for _ in 0..10 {
            let webhook = Webhook::stripe(event(&format!("evt_{sent}")));
            let signature = webhook.headers["stripe-signature"].to_str().unwrap();
            let request = format!(
                "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{}",
                webhook.circle,
                webhook.body.len(),
                String::from_utf8(webhook.body.clone()).unwrap()
            );
            let mut stream = tokio::net::TcpStream::connect(server.address)
                .await
                .unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            sent += 1;
            // Some are answered by then, and some are not.
            tokio::task::yield_now().await;
            drop(stream);
        }
        for call in calls {
            session
                .answer(call)
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    eventually("all jobs to be over", async || {
        server.jobs(OPEN).await.is_empty()
    })
    .await;
    // One more, so that none is stuck in the circle's queue.
    assert_eq!(
        Webhook::stripe(event("last")).kept(&server).await.1,
        "finished"
    );
}

async fn one_circles_flood_leaves_others_their_turn() {
    // Much more work than can be done in this test, however slow the machine.
    let (_folder, settings) = scripted(&busy(Duration::from_millis(200), "1"));
    let server = taking_stripes()
        .toml(settings + "wait = \"0s\"\n")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    for n in 0..200 {
        Webhook::stripe(event(&format!("evt_{n}")))
            .kept(&server)
            .await;
    }
    let mut session = server.connect_to(key(2).public()).await;
    session.login(&key(2)).await;
    for n in 0..10 {
        let script = format!("store.set(\"key\", {n}); {n}");
        let run = within("a turn", session.play(&script)).await.unwrap();
        assert_eq!(run["value"], n);
    }
    let waiting = server.jobs(OPEN).await;
    assert!(waiting.len() > 10, "the flood is over already");
}

async fn the_admin_listener_keeps_jobs_from_web_pages() {
    let server = taking_stripes().start().await;
    let admin = server.admin_address().unwrap();
    for (host, origin) in [
        ("evil.example:8081", ""),
        (&*admin.to_string(), "Origin: http://evil.example\r\n"),
    ] {
        for request in [
            "GET /jobs?status=dead",
            "POST /jobs/00000000-0000-7000-8000-000000000000/retry",
        ] {
            let request =
                format!("{request} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: 0\r\n\r\n");
            send(admin, &request).await.assert_is_an_error(403);
        }
    }
    server.admin("/jobs/nonsense").await.assert_is_an_error(404);
    server
        .admin("/jobs?status=nonsense")
        .await
        .assert_is_an_error(400);
    let none = json!({ "jobs": [], "cursor": null });
    assert_eq!(server.admin("/jobs?status=dead").await.json(), none);
}

async fn payloads_and_secrets_are_never_logged() {
    let (_folder, settings) =
        scripted(r#"if EVENT.payload.data.object.fail { throw EVENT.payload.data.object.secret }"#);
    let mut server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_LOG__LEVEL", "trace")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    for fail in [false, true] {
        let body = json!({
            "id": format!("evt_personal_{fail}"),
            "type": "status.personal",
            "data": { "object": { "secret": "personal-matter", "fail": fail } },
        });
        let webhook = Webhook::stripe(body.to_string());
        webhook.kept(&server).await;
        let mut changed = Webhook::stripe(body.to_string());
        changed.body.push(b' ');
        assert_eq!(changed.send(&server).await.status, 401);
    }
    server.sigterm();
    server.wait().await;
    let log = server.whole_log().await;
    for secret in ["personal", SECRET] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
    assert!(log.contains("webhook received"), "{log}");
}

on_both!(
    failed_deliveries_leave_nothing_and_are_tried_again,
    the_wait_grows_with_each_try,
    pending_deliveries_are_resumed_in_order,
    a_graceful_stop_leaves_jobs_pending_and_blames_none,
    a_job_that_the_server_dies_of_is_given_up,
    deliveries_that_wait_for_their_next_try_count_as_waiting,
    colliding_is_no_try,
    a_sender_that_hangs_up_leaves_no_job_behind,
    one_circles_flood_leaves_others_their_turn,
    the_admin_listener_keeps_jobs_from_web_pages,
    payloads_and_secrets_are_never_logged,
);

on_other_servers!(failed_deliveries_leave_nothing_and_are_tried_again,);
