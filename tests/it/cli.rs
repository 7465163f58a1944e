//! The command line, as its user sees it.

mod backup;
mod commands;
mod deploy;
mod devices;
mod grant;
mod jobs;
mod move_circles;
mod shell;
mod testing;
mod top;
mod webhook;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Output, Stdio},
};

use circled_protocol::Challenge;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, accept};

use tempfile::TempDir;

use crate::harness::{
    command::circled_command,
    server::{PATIENCE, TestServer, key},
};

/// Creates a file in a folder that is deleted when it is dropped.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn circled(args: &[&str]) -> Output {
    circled_command()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn keygen_writes_a_key_that_only_its_owner_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("me.key");
    let path = path.to_str().unwrap();
    let made = circled(&["keygen", path]);
    assert!(made.status.success());
    let secret = std::fs::read_to_string(path).unwrap();
    let public = circled_protocol::SecretKey::from_hex(secret.trim())
        .unwrap()
        .public();
    assert_eq!(text(&made.stdout), format!("{public}\n"));
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let again = circled(&["keygen", path]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("exists already"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        secret,
        "and it is still there"
    );
}

#[test]
fn keygen_prints_no_secret_and_makes_no_file_named_like_an_option() {
    let dir = tempfile::tempdir().unwrap();
    let made = circled_command()
        .args(["keygen", "-"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(1));
    assert!(made.stdout.is_empty() && text(&made.stderr).contains("name the file"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = key(1).to_hex();
    let prefixed = format!("0x{secret}");
    let in_capitals = format!("0X{}", secret.to_uppercase());
    let url = format!("ws://127.0.0.1:1/{}", key(2).public());
    let as_key = "this is a key, not the name of a key file";
    let commands: &[(&[&str], i32, &str)] = &[
        (&["play", &url, "--key", &secret, "1"], 2, as_key),
        (
            &["play", &url, "--json", "--key", &prefixed, "1"],
            2,
            as_key,
        ),
        (&["play", &url, "--key", &secret[1..], "1"], 2, as_key),
        (&["repl", &url, "--key", &secret], 2, as_key),
        (&["keygen", &in_capitals], 1, as_key),
        (&["events", &url, "--key", &secret], 2, as_key),
        (&["jobs", "list", &url, "--key", &secret], 2, as_key),
        (&["members", "list", &url, "--key", &secret], 2, as_key),
        (&["keygen", "--show", &secret], 1, as_key),
        (&["keygen", &secret], 1, as_key),
        (&["members", "add", &url, "--key", "k", &secret], 2, "'***'"),
        (&["keygen", "k", &secret], 2, "'***'"),
        (
            &[
                "webhook",
                "send",
                "u",
                "--provider",
                "stripe",
                "--secret",
                &format!("env:A={secret}"),
                "f",
            ],
            2,
            "name of the variable",
        ),
    ];
    for (arguments, code, expected) in commands {
        let ran = circled_command()
            .args(*arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [&ran.stdout[..], &ran.stderr[..]].concat();
        let said = text(&said);
        assert_eq!(ran.status.code(), Some(*code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains(&secret[1..]), "{said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn keygen_does_not_follow_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (link, target) = (dir.path().join("link"), dir.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(
        !circled(&["keygen", link.to_str().unwrap()])
            .status
            .success()
    );
    assert!(!target.exists());
}

#[test]
fn config_check_tells_every_mistake() {
    let (_dir, path) = file(
        "circled.toml",
        "[session]\nmax_bach = 3\nping_interval = \"soon\"\n",
    );
    let path = path.to_str().unwrap();
    let checked = circled_command()
        .args(["config", "check", "--config", path])
        .env("CIRCLED_SERVER__LISTEN", "nowhere")
        .output()
        .unwrap();
    let said = text(&checked.stderr).replace(path, "circled.toml");
    assert_eq!(checked.status.code(), Some(1));
    insta::assert_snapshot!(said, @r#"
    session.max_bach (circled.toml:2:1): there is no such setting; did you mean `session.max_batch`?
    session.ping_interval = "soon" (circled.toml:3:1): must be a duration like "250ms", "10s" or "5m"
    server.listen = "nowhere" (CIRCLED_SERVER__LISTEN): must be an IP address and a port, like "127.0.0.1:8080"
    "#);
    let served = circled(&["serve", "--config", path]);
    assert_eq!(served.status.code(), Some(1));
    assert!(text(&served.stderr).contains("did you mean `session.max_batch`?"));
}

#[test]
fn config_show_says_where_each_setting_comes_from() {
    let circle = key(1).public();
    let (_dir, path) = file(
        "circled.toml",
        &format!("[session]\nmax_batch = 3\n[[circle]]\nkey = \"{circle}\"\n"),
    );
    let path = path.to_str().unwrap();
    let shown = circled_command()
        .args(["config", "show", "--config", path])
        .env("CIRCLED_SESSION__MAX_IN_FLIGHT", "5")
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let said = text(&shown.stdout);
    assert!(
        said.contains(&format!("\nmax_batch = 3  # {path}\n")),
        "{said}"
    );
    assert!(
        said.contains("\nmax_in_flight = 5  # CIRCLED_SESSION__MAX_IN_FLIGHT\n"),
        "{said}"
    );
    assert!(
        said.contains("\nlisten = \"127.0.0.1:8080\"  # default\n"),
        "{said}"
    );
    // It prints a settings file.
    let (_dir, again) = file("shown.toml", said);
    let again = circled(&["config", "check", "--config", again.to_str().unwrap()]);
    assert_eq!(text(&again.stdout), "ok\n", "{}", text(&again.stderr));
}

#[test]
fn a_port_in_use_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let served = circled_command()
        .arg("serve")
        .current_dir(folder.path())
        .env("CIRCLED_SERVER__LISTEN", &address)
        .env("CIRCLED_SERVER__ADMIN_LISTEN", "")
        .output()
        .unwrap();
    assert_eq!(served.status.code(), Some(1));
    let said = text(&served.stderr);
    assert!(
        said.contains("server.listen")
            && said.contains("CIRCLED_SERVER__LISTEN")
            && said.contains("in use"),
        "{said}"
    );
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let server = TestServer::start().await;
    let admin = server.admin_address().unwrap().to_string();
    let health = |address: &str| {
        circled_command()
            .arg("health")
            .env("CIRCLED_SERVER__ADMIN_LISTEN", address)
            .output()
            .unwrap()
    };
    let healthy = health(&admin);
    assert!(healthy.status.success() && text(&healthy.stdout).contains("ready"));
    let named = circled(&["health", &format!("http://{admin}")]);
    assert!(named.status.success() && text(&named.stdout).contains("ready"));
    drop(server);
    let gone = health(&admin);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).contains(&admin),
        "{}",
        text(&gone.stderr)
    );
}

/// Plays against a server, with a key and a script of the test's own.
fn play(server: &TestServer, args: &[&str], stdin: &str) -> Output {
    let (_dir, path) = file("me.key", &key(1).to_hex());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = server.url(key(2).public());
    let mut child = circled_command()
        .args(["play", &url, "--key", path.to_str().unwrap()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn play_prints_the_value_and_apart_from_it_the_log() {
    let server = TestServer::start().await;
    let (_dir, script) = file("script.rhai", "print(\"from a file\"); ARGS.n + 1");
    for (args, stdin, stdout, stderr) in [
        (&["40 + 2"][..], "", "42\n", ""),
        (&["print(\"a\"); debug(1); 2"], "", "2\n", "a\n1\n"),
        (&["let x = 1;"], "", "", ""),
        (&["-"], "CALLER_ID", &*format!("{}\n", key(1).public()), ""),
        (
            &["-f", script.to_str().unwrap(), "--args", "{\"n\": 41}"],
            "",
            "42\n",
            "from a file\n",
        ),
        (&["--scheme", "schnorr", "1"], "", "1\n", ""),
        (&["--scheme", "sha256", "1"], "", "1\n", ""),
    ] {
        let played = play(&server, args, stdin);
        assert_eq!(
            played.status.code(),
            Some(0),
            "{args:?}: {}",
            text(&played.stderr)
        );
        assert_eq!(
            (text(&played.stdout), text(&played.stderr)),
            (stdout, stderr),
            "{args:?}"
        );
    }
}

#[tokio::test]
async fn play_shows_where_a_script_failed() {
    let server = TestServer::start().await;
    let played = play(&server, &["let x = 1;\n\tlet y = \"ä\" + foo;"], "");
    assert_eq!(played.status.code(), Some(1));
    assert_eq!(text(&played.stdout), "");
    insta::assert_snapshot!(text(&played.stderr), @r#"
    error: Variable not found: foo
     --> script:2:16
      |
    2 | 	let y = "ä" + foo;
      | 	              ^
    "#);
}

#[tokio::test]
async fn play_as_json_is_one_line() {
    let server = TestServer::start().await;
    let parsed = |output: &Output| -> Value {
        assert_eq!(text(&output.stdout).lines().count(), 1);
        circled_json::parse(&output.stdout).unwrap()
    };
    let played = parsed(&play(&server, &["--json", "print(1); [1, 2.0]"], ""));
    assert_eq!(
        (&played["value"], &played["logs"]),
        (&serde_json::json!([1, 2.0]), &serde_json::json!(["1"]))
    );
    let failed = play(&server, &["--json", "foo"], "");
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(parsed(&failed)["error"]["data"]["line"], 1);
}

#[tokio::test]
async fn play_with_the_id_of_an_earlier_request_prints_its_result() {
    let server = TestServer::start().await;
    let script = "store.incr(\"n\", 1)";
    let note = "the result of an earlier run";
    let first = play(&server, &["--request-id", "one", script], "");
    assert_eq!((text(&first.stdout), text(&first.stderr)), ("1\n", ""));
    let again = play(&server, &["--request-id", "one", script], "");
    assert_eq!(text(&again.stdout), "1\n");
    assert!(text(&again.stderr).contains(note), "{again:?}");
    let again = play(&server, &["--json", "--request-id", "one", script], "");
    let again = circled_json::parse(&again.stdout).unwrap();
    assert_eq!(
        (&again["value"], &again["replayed"]),
        (&json!(1), &json!(true))
    );
    // Without one, it is another request.
    let other = play(&server, &["--json", script], "");
    let other = circled_json::parse(&other.stdout).unwrap();
    assert_eq!((&other["value"], other.get("replayed")), (&json!(2), None));
    let reused = play(&server, &["--request-id", "one", "1"], "");
    assert_eq!(reused.status.code(), Some(2));
    assert!(
        text(&reused.stderr).contains("request_id_reused"),
        "{reused:?}"
    );
}

#[tokio::test]
async fn play_has_an_exit_code_for_every_kind_of_failure() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", 1_000_000_000_000_u64)
        .start()
        .await;
    assert_eq!(
        play(&server, &["--timeout", "100ms", "loop {}"], "")
            .status
            .code(),
        Some(6)
    );
    assert_eq!(
        play(&server, &["--timeout", "1h", "1"], "").status.code(),
        Some(2)
    );

    let closed = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"",
            key(2).public()
        ))
        .start()
        .await;
    let forbidden = play(&closed, &["1"], "");
    assert_eq!(forbidden.status.code(), Some(5));
    assert!(
        text(&forbidden.stderr).contains("member"),
        "{}",
        text(&forbidden.stderr)
    );

    let (_dir, path) = file("me.key", &key(1).to_hex());
    let path = path.to_str().unwrap();
    let nobody = format!("ws://127.0.0.1:1/{}", key(2).public());
    assert_eq!(
        circled(&["play", &nobody, "--key", path, "1"])
            .status
            .code(),
        Some(3)
    );
    assert_eq!(
        circled(&["play", "ws://127.0.0.1:1/", "--key", path, "1"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        circled(&["play", &nobody, "--key", "no.key", "1"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(circled(&["play"]).status.code(), Some(2));
}

#[tokio::test]
async fn play_names_the_file_and_finds_the_column_behind_wide_characters() {
    let server = TestServer::start().await;
    let (_dir, script) = file("script.rhai", "print(1);\n\"日本\" + x\n");
    let path = script.to_str().unwrap();
    let played = play(&server, &["-f", path], "");
    let said = text(&played.stderr).replace(path, "script.rhai");
    insta::assert_snapshot!(said, @r#"
    1
    error: Variable not found: x
     --> script.rhai:2:8
      |
    2 | "日本" + x
      |          ^
    "#);
    // The error of a script that ends too soon is shown at its end.
    let played = play(&server, &["-f", "-"], "1 +\n");
    insta::assert_snapshot!(text(&played.stderr), @"
    error: Script is incomplete
     --> script:1:4
      |
    1 | 1 +
      |    ^
    ");
}

#[tokio::test]
async fn play_keeps_a_script_from_steering_the_terminal() {
    let server = TestServer::start().await;
    let played = play(&server, &["print(\"a\\x1b[2Jb\"); throw \"\\x07\""], "");
    let said = text(&played.stderr);
    assert!(
        said.contains("a\\u{1b}[2Jb\n") && said.contains("Runtime error: \\u{7}\n"),
        "{said}"
    );
    assert!(!said.contains(['\x1b', '\x07']));
}

#[tokio::test]
async fn play_warns_of_a_key_that_others_can_read() {
    let server = TestServer::start().await;
    let (_dir, path) = file("me.key", &key(1).to_hex());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let path = path.to_str().unwrap();
    let played = circled(&["play", &server.url(key(2).public()), "--key", path, "1"]);
    assert_eq!(text(&played.stdout), "1\n");
    assert!(
        text(&played.stderr).contains(&format!("chmod 600 {path}")),
        "{}",
        text(&played.stderr)
    );
}

#[tokio::test]
async fn play_is_quiet_when_nobody_reads_on() {
    let server = TestServer::start().await;
    let (_dir, path) = file("me.key", &key(1).to_hex());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let played = circled_command()
        .args([
            "play",
            &server.url(key(2).public()),
            "--key",
            path.to_str().unwrap(),
            "1",
        ])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((played.status.code(), text(&played.stderr)), (Some(0), ""));
}

#[test]
fn play_does_not_sign_what_a_server_in_the_middle_passes_on() {
    let circle = key(2).public();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/{circle}", listener.local_addr().unwrap());
    let middle = std::thread::spawn(move || {
        let mut socket = accept(listener.accept().unwrap().0).unwrap();
        let mut methods = Vec::new();
        while let Ok(Message::Text(request)) = socket.read() {
            let request: Value = circled_json::parse(&request).unwrap();
            methods.push(request["method"].as_str().unwrap().to_owned());
            let text = Challenge::new(
                "wss://circles.example.org".to_owned(),
                circle,
                key(1).public(),
                PATIENCE,
                jiff::Timestamp::now(),
                [7; 32],
            )
            .text();
            let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
            match request["method"].as_str() {
                Some("prove") => reply["error"] = json!({ "code": -32601, "message": "" }),
                _ => reply["result"] = text.into(),
            }
            socket.send(Message::text(reply.to_string())).unwrap();
        }
        methods
    });
    let (_dir, path) = file("me.key", &key(1).to_hex());
    let played = circled(&["play", &url, "--key", path.to_str().unwrap(), "1"]);
    assert_eq!(played.status.code(), Some(4));
    let said = text(&played.stderr);
    assert!(
        said.contains("not signed: it is for the server wss://circles.example.org"),
        "{said}"
    );
    assert_eq!(
        middle.join().unwrap(),
        ["prove", "fetch_nonce"],
        "nothing signed was sent"
    );
}

#[test]
fn mistakes_in_the_command_line_say_what_is_missing() {
    let (_dir, path) = file("me.key", &key(1).to_hex());
    let path = path.to_str().unwrap();
    for (url, expected) in [
        ("ws://127.0.0.1:1/", "names no circle"),
        ("ws://127.0.0.1:1", "names no circle"),
        ("ws://127.0.0.1:1/02aa", "public key of a circle"),
        ("127.0.0.1:1", "ws://"),
    ] {
        let played = circled(&["play", url, "--key", path, "1"]);
        let said = text(&played.stderr);
        assert!(
            played.status.code() == Some(2) && said.contains(expected),
            "{said}"
        );
    }
    let help = circled(&["play", "--help"]);
    assert!(text(&help.stdout).contains("Exit codes:"));
}

#[test]
fn a_list_is_printed_as_far_as_it_comes() {
    const CIRCLE: &str = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let id = "019ab1c2-0000-7000-8000-000000000000";
    let circle = "7".repeat(64);
    let page = format!(
        r#"{{"jobs":[{{"job_id":"{id}","circle":"{CIRCLE}","caller":"webhook:stripe","status":"dead","submitted_at":"2026-01-01T00:00:00Z","tries":3}}],"cursor":"0.dead.0.{circle}.{id}"}}"#
    );
    let answers = [("200 OK", page), ("503 Service Unavailable", String::new())];
    let server = std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let asked = BufReader::new(connection.try_clone().unwrap()).lines();
            let asked: Vec<_> = asked
                .map_while(|line| line.ok().filter(|line| !line.is_empty()))
                .collect();
            assert!(asked[0].starts_with("GET /jobs?"), "{asked:?}");
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    let listed = circled(&["jobs", "list", "--url", &url]);
    server.join().unwrap();
    assert!(!listed.status.success());
    let (printed, said) = (text(&listed.stdout), text(&listed.stderr));
    assert!(printed.contains(id), "{printed} {said}");
    assert!(!said.is_empty());
}
