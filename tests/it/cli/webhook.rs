//! The command line for webhooks: sending them, and looking at their jobs.

use std::{path::Path, process::Output};

use serde_json::Value;

use crate::harness::{
    backend::on_both,
    command::circled_command,
    server::key,
    webhooks::{SECRET, STUBBORN, Webhook, ask, event, scripted, taking_stripes, until},
};

/// Runs the command line with only these settings.
fn circled(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = circled_command();
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
    // It was acknowledged, so it is still known: sent again, it is tried again.
    assert_eq!(
        webhook.kept(&server).await,
        (id.clone(), "failed".to_owned())
    );
    let dead = until(&server, &id, "dead").await;
    assert_eq!(dead["tries"], 2);

    let admin = format!("http://{}", server.admin_address().unwrap());
    // Plain HTTP needs no certificates, nor does `circled health`.
    let bare = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let healthy = circled(&["health", &admin], &bare);
    assert!(healthy.status.success(), "{}", text(&healthy.stderr));
    let listed = circled(&["jobs", "list", "--url", &admin], &bare);
    let line = text(&listed.stdout);
    assert!(
        [
            &id,
            "dead",
            &key(1).public().to_string(),
            "webhook:stripe",
            "tries 2",
            "not yet"
        ]
        .iter()
        .all(|part| line.contains(part)),
        "{line}"
    );
    let shown = circled(&["jobs", "show", &id, "--url", &admin], &[]);
    let shown: Value = circled_json::parse(&shown.stdout).unwrap();
    assert_eq!(shown, dead);

    ask(&server, 1, r#"store.set("give in", true)"#).await;
    let retried = circled(&["jobs", "retry", &id, "--url", &admin], &[]);
    assert!(retried.status.success(), "{}", text(&retried.stderr));
    until(&server, &id, "finished").await;
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 1);
    let again = circled(&["jobs", "retry", &id, "--url", &admin], &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("neither dead nor cancelled"));
    let nowhere = [
        "jobs",
        "retry",
        "019ab1c2-0000-7000-8000-000000000000",
        "--url",
        &admin,
    ];
    let nowhere = circled(&nowhere, &[]);
    assert!(text(&nowhere.stderr).contains("there is no such job"));
    let none = circled(&["jobs", "list", "--url", &admin], &[]);
    assert_eq!(
        (text(&none.stdout), text(&none.stderr)),
        ("", "no dead jobs; --status finished,... lists others\n")
    );
}

#[tokio::test]
async fn forms_are_sent_as_their_providers_send_them() {
    let (folder, script) = scripted("#{ respond: EVENT.payload.text }");
    let script = script.replace("[webhooks.stripe]", "[webhooks.slack]");
    let settings =
        format!("{script}preset = \"slack\"\nsecrets = [\"{SECRET}\"]\nwait = \"10s\"\n");
    let server = taking_stripes().toml(settings).start().await;
    let file = folder.path().join("command");
    std::fs::write(&file, "command=%2Fweather&text=94070+x\n").unwrap();
    let url = |provider: &str| {
        format!(
            "http://{}/webhooks/{provider}/{}",
            server.address,
            key(1).public()
        )
    };
    let send = |provider: &str| {
        let file = file.to_str().unwrap();
        let url = url(provider);
        let arguments = ["webhook", "send", &url, "--provider", provider];
        let rest = ["--secret", SECRET, "--form", file];
        circled(&[&arguments[..], &rest].concat(), &[])
    };
    let sent = send("slack");
    assert_eq!(
        text(&sent.stdout),
        "200 94070 x\n",
        "{}",
        text(&sent.stderr)
    );
    let refused = send("stripe");
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("stripe sends no forms"), "{said}");
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
    // A running server has its folder to itself, so it is asked.
    let admin = server.admin_address().unwrap().to_string();
    let running = [named[0], ("CIRCLED_SERVER__ADMIN_LISTEN", admin.as_str())];
    let listed = circled(&["jobs", "list", "--json"], &running);
    let line: Value = circled_json::parse(text(&listed.stdout)).unwrap();
    assert_eq!(line["job_id"], id);
    assert_eq!(line["circle"], serde_json::json!(key(1).public()));
    let without = [named[0], ("CIRCLED_SERVER__ADMIN_LISTEN", "")];
    let deaf = circled(&["jobs", "list"], &without);
    assert!(
        text(&deaf.stderr).contains("can't be asked"),
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
    let unreached = circled(&["jobs", "list", "--url", "http://127.0.0.1:1"], &[]);
    assert_eq!(unreached.status.code(), Some(3));
    let wrong = sent(&url, "other", &file);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong.stdout).starts_with("401 ") && text(&wrong.stderr).contains("its log says")
    );
    for (url, secret, file, expected, code) in [
        (
            url.as_str(),
            "env:UNSET_SECRET",
            file.as_path(),
            "is not set",
            1,
        ),
        (
            &url,
            SECRET,
            Path::new("missing.json"),
            "missing.json cannot be read",
            1,
        ),
        (
            "ws://127.0.0.1/x",
            SECRET,
            &file,
            "is not the address of a webhook",
            1,
        ),
        (
            "http://127.0.0.1:1/webhooks/stripe/x",
            SECRET,
            &file,
            "does not answer",
            3,
        ),
    ] {
        let failed = sent(url, secret, file);
        assert_eq!(failed.status.code(), Some(code));
        assert!(
            text(&failed.stderr).contains(expected),
            "{}",
            text(&failed.stderr)
        );
    }
}

on_both!(
    a_dead_letter_can_be_looked_at_and_run_again,
    the_command_line_signs_as_providers_do,
);
