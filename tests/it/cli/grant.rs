//! `circled grant`, and `--require-proof` and `--origin` of the commands that log in.

use std::path::Path;

use circled_protocol::Grant;
use jiff::Timestamp;
use serde_json::Value;

use super::{circled, file, text};
use crate::harness::server::{TestServer, circle, key};

const ORIGIN: &str = "wss://circles.example.org";

fn write_key(folder: &Path, name: &str, seed: u8) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, key(seed).to_hex()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_grant_is_printed_for_the_settings_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let circle_key = write_key(folder.path(), "circle.key", 1);
    let server = key(40).public().to_string();
    let args = [
        "grant",
        "--key",
        &circle_key,
        "--server",
        &server,
        "--origin",
        "WSS://Circles.Example.org:443",
    ];

    let before = Timestamp::now().as_second();
    let printed = circled(&[args.as_slice(), &["--json", "--expires", "30d"]].concat());
    assert_eq!(
        (printed.status.code(), text(&printed.stderr)),
        (Some(0), "")
    );
    let grant: Grant = circled_json::from_str(text(&printed.stdout)).unwrap();
    let origin = ORIGIN.parse().unwrap();
    assert_eq!(grant.check(&circle(), &origin, Timestamp::now()), Ok(()));
    assert_eq!(
        (grant.server.to_string(), grant.origin.as_str()),
        (server.clone(), ORIGIN)
    );
    let left = grant.expires.as_second() - before;
    assert!((30 * 86400..30 * 86400 + 60).contains(&left), "{left}");

    // 90 days unless told; and the line fits the settings.
    let printed = circled(&args);
    assert_eq!(
        (printed.status.code(), text(&printed.stderr)),
        (Some(0), "")
    );
    let line = text(&printed.stdout);
    assert!(
        line.starts_with("grant = { server = ") && line.ends_with(" }\n"),
        "{line}"
    );
    let server_key = write_key(folder.path(), "server.key", 40);
    let settings = |grant: &str| {
        format!(
            "[server]\npublic_url = \"{ORIGIN}\"\nkey = \"file:{server_key}\"\n[[circle]]\nkey = \"{}\"\n{grant}",
            circle()
        )
    };
    let check = |settings: &str| {
        let (_folder, path) = file("circled.toml", settings);
        let checked = circled(&["config", "check", "--config", path.to_str().unwrap()]);
        (
            checked.status.code(),
            text(&checked.stdout).to_owned(),
            text(&checked.stderr).to_owned(),
        )
    };
    assert_eq!(
        check(&settings(line)),
        (Some(0), "ok\n".to_owned(), String::new())
    );
    let (code, _, told) = check(&settings(&line.replace("circles.example", "circles.evil")));
    assert_eq!(code, Some(1));
    assert!(
        told.contains("circle[0].grant") && told.contains("not signed by the circle's key"),
        "{told}"
    );
    let past = Timestamp::from_second(before - 60).unwrap();
    let expired = Grant::sign(&key(1), key(40).public(), &origin, past).unwrap();
    let (code, out, told) = check(&settings(&format!(
        "grant = {{ server = \"{}\", origin = \"{ORIGIN}\", expires = \"{past}\", signature = \"{}\" }}\n",
        expired.server, expired.signature
    )));
    assert_eq!((code, out.as_str()), (Some(0), "ok\n"), "{told}");
    assert!(told.contains("circle[0].grant: has ended"), "{told}");
    let (code, _, told) = check(&settings("grant = { server = \"02\" }\n"));
    assert_eq!(code, Some(1));
    assert!(told.contains("circle[0].grant"), "{told}");

    // It is shown as it is; the server's key isn't.
    let (_folder, path) = file(
        "circled.toml",
        &settings(line).replace(&format!("file:{server_key}"), &key(40).to_hex()),
    );
    let shown = circled(&["config", "show", "--config", path.to_str().unwrap()]);
    let shown = text(&shown.stdout);
    assert!(shown.contains(line), "{shown}");
    assert!(
        shown.contains("key = \"***\"") && !shown.contains(&key(40).to_hex()),
        "{shown}"
    );

    let soon = circled(&[args.as_slice(), &["--expires", "3d"]].concat());
    let (code, out, told) = check(&settings(text(&soon.stdout)));
    assert_eq!((code, out.as_str()), (Some(0), "ok\n"));
    assert!(told.contains("note: circle[0].grant: ends at "), "{told}");
}

#[test]
fn mistakes_in_a_grant_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let circle_key = write_key(folder.path(), "circle.key", 1);
    let server = key(40).public().to_string();
    for (server, origin, more, told) in [
        (
            server.as_str(),
            "https://circles.example.org",
            &[][..],
            "wss://circles.example.org",
        ),
        (&server, "circles.example.org", &[], "--origin"),
        (&circle().to_string(), ORIGIN, &[], "the circle's own key"),
        ("02", ORIGIN, &[], "--server"),
        (&server, ORIGIN, &["--expires", "soon"], "--expires"),
        (&server, ORIGIN, &["--expires", "100000000d"], "--expires"),
    ] {
        let args = [
            "grant",
            "--key",
            &circle_key,
            "--server",
            server,
            "--origin",
            origin,
        ];
        let printed = circled(&[args.as_slice(), more].concat());
        assert_ne!(printed.status.code(), Some(0));
        let stderr = text(&printed.stderr);
        assert!(stderr.contains(told), "{stderr}");
        assert_eq!(text(&printed.stdout), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_can_require_a_proof_and_take_an_origin() {
    let folder = tempfile::tempdir().unwrap();
    let me = write_key(folder.path(), "me.key", 1);
    let server_key = write_key(folder.path(), "server.key", 40);
    let expires = Timestamp::now() + jiff::SignedDuration::from_hours(24 * 90);
    let origin = ORIGIN.parse().unwrap();
    let grant = Grant::sign(&key(1), key(40).public(), &origin, expires).unwrap();
    let settings = format!(
        "[server]\npublic_url = \"{ORIGIN}\"\nkey = \"file:{server_key}\"\n[[circle]]\nkey = \"{}\"\ngrant = {{ server = \"{}\", origin = \"{ORIGIN}\", expires = \"{}\", signature = \"{}\" }}\n",
        circle(),
        grant.server,
        grant.expires,
        grant.signature
    );
    let path = folder.path().join("circled.toml");
    std::fs::write(&path, settings).unwrap();
    let server = TestServer::builder().config(&path).start().await;
    let (granted, other) = (server.url(circle()), server.url(key(2).public()));
    let script = folder.path().join("hello.rhai");
    std::fs::write(&script, "40 + 2").unwrap();
    let script = script.to_str().unwrap();
    let commands: [(&[&str], &[&str]); 9] = [
        (&["play"], &["1"]),
        (&["script", "put"], &["hello", script]),
        (&["script", "list"], &[]),
        (&["call"], &["hello"]),
        (&["jobs", "list"], &[]),
        (&["events"], &[]),
        (&["members", "list"], &[]),
        (&["deliveries", "list"], &[]),
        (&["usage"], &[]),
    ];
    for scheme in ["eip191", "sha256", "schnorr"] {
        for (before, after) in commands {
            let run = |url: &str, options: &[&str]| {
                let login = ["--key", &me, "--scheme", scheme];
                circled(&[before, &[url], after, &login, options].concat())
            };
            let with_origin = ["--require-proof", "--origin", ORIGIN];
            let done = run(&granted, &with_origin);
            assert_eq!(
                done.status.code(),
                Some(0),
                "{before:?}: {}",
                text(&done.stderr)
            );

            let unproved = run(&other, &with_origin);
            assert_eq!(unproved.status.code(), Some(4), "{before:?}");
            assert!(text(&unproved.stderr).contains("a proof is required"));

            // By the name that was dialled, the proof is another server's.
            let dialled = run(&granted, &[]);
            assert_eq!(dialled.status.code(), Some(4), "{before:?}");
            let told = text(&dialled.stderr);
            assert!(
                told.contains("the grant is for the server wss://circles.example.org"),
                "{told}"
            );
        }
    }
    let unproved = circled(&[
        "play",
        &other,
        "1",
        "--key",
        &me,
        "--require-proof",
        "--json",
    ]);
    let error: Value = circled_json::parse(&unproved.stdout).unwrap();
    assert_eq!(error["error"]["code"], 4, "{error}");
}
