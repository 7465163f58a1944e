//! What becomes of a delivery: its job, tried again, given up, looked at, and run again.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use super::{SECRET, Webhook, ask, event, scripted, taking_stripes};
use crate::server::{ENDLESS, TestServer, busy, eventually, key, send, within};

async fn job(server: &TestServer, id: &str) -> Value {
    server.admin(&format!("/jobs/{id}")).await.json()
}

async fn until(server: &TestServer, id: &str, status: &str) -> Value {
    eventually(&format!("the job to be {status}"), async || {
        job(server, id).await["status"] == status
    })
    .await;
    job(server, id).await
}

/// The command line, with no settings but these.
fn circled(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_circled"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CIRCLED_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

/// Fails until it is told not to.
const STUBBORN: &str = r#"
    store.incr("kept only if it ends well", 1);
    if !store.has("give in") { throw "not yet" }
    store.incr("runs", 1);
"#;

#[tokio::test]
async fn what_fails_is_tried_again_and_leaves_nothing_of_it() {
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
    assert_eq!(failing["status"], "pending");
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

#[tokio::test]
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
        // It may be one further on by now.
        let tries = job["tries"].as_u64().unwrap();
        let time = |name: &str| {
            job[name]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        waits.push((tries, time("due").duration_since(time("received_at"))));
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

#[tokio::test]
async fn a_dead_letter_can_be_looked_at_and_run_again() {
    let (_folder, settings) = scripted(STUBBORN);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "10ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "2")
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (id, _) = webhook.kept(&server).await;
    let dead = until(&server, &id, "dead").await;
    assert_eq!(dead["tries"], 2);
    // It was acknowledged, so it is still known.
    assert_eq!(
        webhook.kept(&server).await,
        (id.clone(), "duplicate".to_owned())
    );

    let admin = format!("http://{}", server.admin_address().unwrap());
    let listed = circled(&["jobs", "list", "--url", &admin], &[]);
    let line = text(&listed.stdout);
    assert!(
        line.contains(&id) && line.contains("webhook:stripe") && line.contains("not yet"),
        "{line}"
    );
    let shown = circled(&["jobs", "show", &id, "--url", &admin], &[]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown, dead);

    ask(&server, 1, r#"store.set("give in", true)"#).await;
    let retried = circled(&["jobs", "retry", &id, "--url", &admin], &[]);
    assert!(retried.status.success(), "{}", text(&retried.stderr));
    until(&server, &id, "finished").await;
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 1);
    let again = circled(&["jobs", "retry", &id, "--url", &admin], &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("no such job among the dead ones"));
    let none = circled(&["jobs", "list", "--url", &admin], &[]);
    assert_eq!(
        (text(&none.stdout), text(&none.stderr)),
        ("", "there are none\n")
    );
}

#[tokio::test]
async fn jobs_of_a_stopped_server_are_found_in_its_folder() {
    let (_folder, settings) = scripted(STUBBORN);
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let start = || {
        taking_stripes()
            .toml(settings.clone())
            .data(&folder)
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
    };
    let named = [(
        "CIRCLED_DISPATCH__EMBEDDED__DATA_DIR",
        folder.to_str().unwrap(),
    )];
    let missing = circled(&["jobs", "list"], &named);
    assert!(text(&missing.stderr).contains("there is no data folder"));
    assert!(!folder.exists(), "looking makes none");

    let mut server = start().start().await;
    let (id, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    until(&server, &id, "dead").await;
    ask(&server, 1, r#"store.set("give in", true)"#).await;
    // A running server has its folder to itself, and is asked.
    let admin = server.admin_address().unwrap().to_string();
    let running = [named[0], ("CIRCLED_SERVER__ADMIN_LISTEN", admin.as_str())];
    let listed = circled(&["jobs", "list", "--json"], &running);
    let line: Value = serde_json::from_str(text(&listed.stdout)).unwrap();
    assert_eq!(line["id"], id);
    let without = [named[0], ("CIRCLED_SERVER__ADMIN_LISTEN", "")];
    let deaf = circled(&["jobs", "list"], &without);
    assert!(
        text(&deaf.stderr).contains("it can't be asked"),
        "{}",
        text(&deaf.stderr)
    );
    server.sigterm();
    server.wait().await;

    let listed = circled(&["jobs", "list"], &named);
    assert!(text(&listed.stdout).contains(&id));
    let retried = circled(&["jobs", "retry", &id], &named);
    assert!(text(&retried.stdout).contains("when the server starts"));
    let pending = circled(&["jobs", "list", "--status", "pending"], &named);
    assert!(text(&pending.stdout).contains(&id));
    let server = start().start().await;
    until(&server, &id, "finished").await;
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 1);
}

#[tokio::test]
async fn what_was_pending_is_resumed_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, long) = scripted("loop {}");
    let slow = |settings: &str| {
        taking_stripes()
            .toml(settings.to_owned() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
            .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", "1")
    };
    let server = slow(&long).start().await;
    for n in 0..10 {
        let webhook = Webhook::stripe(event(&format!("evt_{n}")));
        assert_eq!(webhook.kept(&server).await.1, "accepted");
    }
    server.kill();
    let (_scripts, quick) = scripted(r#"store.set("order", store.get("order", []) + [EVENT.id])"#);
    let mut server = slow(&quick).start().await;
    let resumed = server
        .logged("what it resumes", |line| {
            line["message"] == "resuming jobs that were pending"
        })
        .await;
    assert_eq!(resumed["jobs"], 10);
    let order: Vec<String> = (0..10).map(|n| format!("evt_{n}")).collect();
    eventually("all of them", async || {
        ask(&server, 1, r#"store.get("order", [])"#).await == json!(order)
    })
    .await;
}

#[tokio::test]
async fn a_graceful_stop_leaves_jobs_pending_and_blames_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, settings) = scripted("loop {}");
    let start = || {
        taking_stripes()
            .toml(settings.clone() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
            .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "100ms")
    };
    let mut server = start().start().await;
    let (id, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    for _ in 0..4 {
        server.sigterm();
        assert_eq!(server.wait().await.code(), Some(0));
        server = start().start().await;
    }
    let job = job(&server, &id).await;
    assert_eq!(
        (&job["status"], &job["tries"], &job["crashes"]),
        (&json!("pending"), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_job_that_the_server_dies_of_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_scripts, settings) = scripted(r#"if EVENT.id == "deadly" { loop {} }"#);
    let start = || {
        taking_stripes()
            .toml(settings.clone() + "wait = \"0s\"\n")
            .data(folder.path())
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
            .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
    };
    let mut server = start().start().await;
    let (id, _) = Webhook::stripe(event("deadly")).kept(&server).await;
    let deadly: uuid::Uuid = id.parse().unwrap();
    for crashes in 1..=3 {
        // Others don't suffer for it.
        let other = Webhook::stripe(event(&format!("evt_{crashes}")));
        let (other, _) = other.kept(&server).await;
        until(&server, &other, "finished").await;
        eventually("it to run", async || {
            let running = std::fs::read(folder.path().join("running")).unwrap();
            running.chunks(16).any(|slot| slot == deadly.as_bytes())
        })
        .await;
        server.kill();
        server = start().start().await;
        let job = job(&server, &id).await;
        assert_eq!(job["crashes"], crashes);
        assert_eq!(job["status"], if crashes < 3 { "pending" } else { "dead" });
        assert_eq!(job["tries"], 0);
    }
}

#[tokio::test]
async fn one_circles_flood_leaves_others_their_turn() {
    let (_folder, settings) = scripted(&busy(Duration::from_millis(20), "1"));
    let server = taking_stripes()
        .toml(settings + "wait = \"0s\"\n")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    for n in 0..300 {
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
    let waiting = server.admin("/jobs?status=pending&limit=1000").await.json();
    assert!(
        waiting.as_array().unwrap().len() > 100,
        "the flood is over already"
    );
}

#[tokio::test]
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
    assert_eq!(server.admin("/jobs?status=dead").await.json(), json!([]));
}

#[tokio::test]
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
            "id": format!("evt_{fail}"),
            "type": "x",
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
    for secret in ["personal-matter", SECRET] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
    assert!(log.contains("webhook received"), "{log}");
}

#[tokio::test]
async fn the_command_line_signs_as_providers_do() {
    let server = taking_stripes().start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("event.json");
    std::fs::write(&file, event("evt_1")).unwrap();
    let url = format!(
        "http://{}/webhooks/stripe/{}",
        server.address,
        key(1).public()
    );
    let sent = |url: &str, secret: &str, file: &Path| {
        circled(
            &[
                "webhook",
                "send",
                url,
                "--provider",
                "stripe",
                "--secret",
                secret,
                file.to_str().unwrap(),
            ],
            &[("MY_SECRET", SECRET)],
        )
    };
    let first = sent(&url, SECRET, &file);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(
        text(&first.stdout).starts_with("200 {\"job_id\":\""),
        "{}",
        text(&first.stdout)
    );
    assert!(text(&first.stdout).contains("\"finished\""));
    let again = sent(&url, "env:MY_SECRET", &file);
    assert!(text(&again.stdout).contains("\"duplicate\""));
    let wrong = sent(&url, "other", &file);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong.stdout).starts_with("401 ") && text(&wrong.stderr).contains("its log says")
    );
    for (url, secret, file, expected) in [
        (
            url.as_str(),
            "env:UNSET_SECRET",
            file.as_path(),
            "is not set",
        ),
        (
            &url,
            SECRET,
            Path::new("missing.json"),
            "missing.json cannot be read",
        ),
        (
            "ws://127.0.0.1/x",
            SECRET,
            &file,
            "is not where webhooks go",
        ),
        (
            "http://127.0.0.1:1/webhooks/stripe/x",
            SECRET,
            &file,
            "does not answer",
        ),
    ] {
        let failed = sent(url, secret, file);
        assert_eq!(failed.status.code(), Some(1));
        assert!(
            text(&failed.stderr).contains(expected),
            "{}",
            text(&failed.stderr)
        );
    }
}
