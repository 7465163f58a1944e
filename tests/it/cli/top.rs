//! `circled top` shows what a server does.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{ok, put},
    command::{circled_command, without_settings},
    server::{ENDLESS, TestServer, busy, circle, key, within},
};

fn admin(server: &TestServer) -> String {
    format!("http://{}", server.admin_address().unwrap())
}

async fn one_look_tells_rates_circles_and_slow_scripts() {
    let server = TestServer::builder()
        .env("CIRCLED_LOG__SLOW", "50ms")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    owner.play(r#"store.set("k", 1)"#).await.unwrap();
    let version = put(&mut owner, "heavy", &busy(Duration::from_millis(80), "1")).await;
    ok(&mut owner, "call", json!({ "name": "heavy" })).await;

    let mut command = circled_command();
    command.args([
        "top",
        "--json",
        "--interval",
        "500ms",
        "--url",
        &admin(&server),
    ]);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let run = async { run.await.unwrap() };
    tokio::pin!(run);
    let run = loop {
        tokio::select! {
            run = &mut run => break run,
            played = owner.play("1") => drop(played.unwrap()),
        }
    };
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}");
    let view: Value = circled_json::parse(&text).unwrap();
    assert_eq!(
        (&view["is_ready"], &view["gauges"]["sessions"]),
        (&json!(true), &json!(1.0))
    );
    let named = |list: &str, name: &str| {
        let list = view[list].as_array().unwrap().iter();
        list.clone()
            .find(|item| item["name"] == name)
            .cloned()
            .unwrap()
    };
    let calls = named("rates", "calls");
    assert!(calls["per_second"].as_f64().unwrap() > 1.0, "{calls}");
    assert_eq!(calls["failed_per_second"], 0.0);
    let play = named("latencies", "play");
    let [p50, p99] = ["p50_ms", "p99_ms"].map(|name| play[name].as_f64().unwrap());
    assert!(p50 > 0.0 && p50 <= p99, "{play}");
    let circle = json!(circle());
    assert_eq!(view["busiest"][0]["circle"], circle, "{view}");
    assert!(view["busiest"][0]["jobs_per_second"].as_f64().unwrap() > 1.0);
    assert_eq!(view["largest"][0]["circle"], circle);
    let slow = &view["slow"][0];
    assert_eq!(
        (&slow["script"], &slow["version"]),
        (&json!("heavy"), &json!(version))
    );
    assert_eq!((&slow["kind"], &slow["circle"]), (&json!("call"), &circle));
    assert!(slow["longest_ms"].as_u64().unwrap() >= 80, "{slow}");
}

on_both!(one_look_tells_rates_circles_and_slow_scripts);

#[tokio::test]
async fn the_screen_is_drawn_in_a_terminal_and_given_back() {
    let server = TestServer::start().await;
    let line = format!(
        "stty cols 80 rows 24; {} top --interval 200ms --url {}; echo after=$?",
        env!("CARGO_BIN_EXE_circled"),
        admin(&server)
    );
    for leave in [b"q", b"\x03"] {
        let mut child = without_settings(Command::new("script"))
            .args(["-qefc", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = tokio::task::spawn_blocking(move || {
            let (mut shown, mut some) = (String::new(), [0; 4096]);
            let mut has_left = false;
            while let Ok(length @ 1..) = output.read(&mut some) {
                shown.push_str(&String::from_utf8_lossy(&some[..length]));
                // It has looked twice.
                if !has_left && shown.contains("largest stores") {
                    has_left = true;
                    input.write_all(leave).unwrap();
                }
            }
            child.wait().unwrap();
            shown
        });
        let shown = within("the end of the screen", shown).await.unwrap();
        let (screen, after) = shown.rsplit_once("\x1b[?1049l").expect(&shown);
        assert!(screen.contains("\x1b[?1049h"), "{shown:?}");
        assert!(screen.contains("milliseconds"), "{shown:?}");
        assert!(after.contains("after=0"), "{shown:?}");
    }
}

#[tokio::test]
async fn without_a_terminal_or_a_server_it_says_so() {
    let run = |arguments: &[&str]| {
        let run = circled_command()
            .arg("top")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(!run.status.success() && run.stdout.is_empty(), "{said}");
        (run.status.code(), said)
    };
    let (_, said) = run(&[]);
    assert!(said.contains("--json"), "{said}");
    let nobody = ["--json", "--url", "http://127.0.0.1:9"];
    let (code, said) = run(&nobody);
    assert!(said.contains("does not answer"), "{said}");
    assert_eq!(code, Some(3));
    let (code, said) = run(&["--json", "--interval", "1ms"]);
    assert!(said.contains("200ms"), "{said}");
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn no_page_may_look() {
    use crate::harness::server::get;

    let server = TestServer::start().await;
    let address = server.admin_address().unwrap();
    for path in ["/top", "/circles", &format!("/circles/{}", circle())] {
        assert_eq!(server.admin(path).await.status, 200, "{path}");
        let headers = [("origin", "http://evil.example")];
        let refused = get(address, path, &headers).await;
        assert_eq!(refused.status, 403, "{path}");
    }
}
