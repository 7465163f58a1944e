//! `circled login`, and commands without a key file.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::json;

use super::{file, text};
use crate::harness::{
    calls::ok,
    command::circled_command,
    server::{TestServer, circle, key},
};

/// Runs a command of a user whose config folder is this one.
fn circled(config: &Path, args: &[&str]) -> Output {
    circled_command()
        .args(args)
        .env("XDG_CONFIG_HOME", config)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Checks that a command ends well. Returns what it prints.
#[track_caller]
fn printed(output: &Output) -> &str {
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out
}

#[track_caller]
fn failed(output: &Output, code: i32, with: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(with), "{error}");
}

/// Returns the files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = paths.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    });
    below.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_key_is_made_once_and_used_from_then_on() {
    let server = TestServer::start().await;
    let (_folder, me) = file("me.key", &key(2).to_hex());
    let (config, url) = (tempfile::tempdir().unwrap(), server.url(circle()));
    let config = config.path();
    let me = me.to_str().unwrap();
    let play = ["play", &url, "CALLER_ID"];
    failed(&circled(config, &play), 2, "--key FILE");
    let made = circled(
        config,
        &["login", &url, "--key", me, "--device", "--label", "laptop"],
    );
    let pubkey = printed(&made).trim().to_owned();
    let [kept] = &files(config)[..] else {
        panic!("{:?}", files(config));
    };
    assert_eq!(
        std::fs::metadata(kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut wallet = server.log_in(&key(2)).await;
    let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
    let device = &listed["device_keys"][0];
    assert_eq!(
        (&device["pubkey"], &device["label"]),
        (&json!(pubkey), &json!("laptop"))
    );
    assert_eq!(
        printed(&circled(config, &play)),
        format!("{}\n", key(2).public())
    );
    let list = circled(config, &["login", "--list"]);
    assert_eq!(printed(&list), format!("{url}  as {}\n", key(2).public()));
    printed(&circled(config, &["jobs", "list", &url]));
    failed(&circled(config, &["usage", &url]), 5, "--key FILE");
    // Another one takes its place, here and there.
    let narrow = [
        "login",
        &url,
        "--key",
        me,
        "--device",
        "--scope",
        "jobs",
        "--expires",
        "1h",
    ];
    printed(&circled(config, &narrow));
    assert_eq!(files(config).len(), 1);
    let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
    assert_eq!(listed["device_keys"].as_array().unwrap().len(), 1);
    failed(&circled(config, &play), 5, "lacks the scope play");
    // One that the server refuses is not kept.
    let long = ["login", &url, "--key", me, "--device", "--expires", "300d"];
    failed(&circled(config, &long), 2, "auth.device_key_ttl");
    assert_eq!(files(config).len(), 1);
    printed(&circled(config, &["login", &url, "--remove"]));
    assert!(files(config).is_empty());
    let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
    assert_eq!(listed["device_keys"], json!([]));
    failed(
        &circled(config, &["login", &url, "--remove"]),
        2,
        "no device key is kept",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_key_is_told() {
    let server = TestServer::start().await;
    let (_folder, me) = file("me.key", &key(2).to_hex());
    let (config, url) = (tempfile::tempdir().unwrap(), server.url(circle()));
    let config = config.path();
    let login = ["login", &url, "--key", me.to_str().unwrap(), "--device"];
    let made = circled(config, &login);
    let pubkey = printed(&made).trim().to_owned();
    let mut wallet = server.log_in(&key(2)).await;
    ok(&mut wallet, "remove_device_key", json!([pubkey])).await;
    let play = circled(config, &["play", &url, "1"]);
    failed(
        &play,
        4,
        "`circled login URL --key FILE --device` makes another",
    );
    // What is gone at the server is removed here.
    printed(&circled(config, &["login", &url, "--remove"]));
    assert!(files(config).is_empty(), "{:?}", files(config));
    printed(&circled(config, &login));
    assert_eq!(printed(&circled(config, &["play", &url, "1"])), "1\n");
    let removed = circled(config, &["login", &url, "--remove", "--json"]);
    assert!(printed(&removed).starts_with('"'), "{removed:?}");
    assert!(files(config).is_empty(), "{:?}", files(config));
    let listed = ok(&mut wallet, "list_device_keys", json!([])).await;
    assert_eq!(listed["device_keys"], json!([]));
}
