//! A Redis with access control.

use std::{path::Path, process::Command};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::harness::{
    command::circled_command,
    load::Load,
    redis::{Archived, Fleet, Program, RedisServer, circle, port::Port},
};

/// Returns the rights that docs/OPERATIONS.md gives a user.
fn rights() -> impl Iterator<Item = &'static str> {
    let guide = include_str!("../../../../docs/OPERATIONS.md");
    let (_, rights) = guide
        .split_once("ACL SETUSER circled on >password ")
        .unwrap();
    rights.split("```").next().unwrap().split_whitespace()
}

/// Leaves only a user with these rights. Returns the URL.
async fn restrict(redis: &RedisServer, rights: impl Iterator<Item = &'static str>) -> String {
    let user = ["ACL", "SETUSER", "circled", "on", ">s3cret/word"];
    let user: Vec<_> = user.into_iter().chain(rights).collect();
    redis.command(&user).await;
    redis.command(&["ACL", "SETUSER", "default", "off"]).await;
    redis.url().replace("://", "://circled:s3cret%2Fword@")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_one_more_right_is_enough_for_syncs() {
    let options = ["--appendfsync", "always"];
    let redis = RedisServer::start_program(Program::Valkey, &options).await;
    let url = restrict(&redis, rights().chain(["+waitaof"])).await;
    works(Fleet::on(url).with("DISPATCH__REDIS__DURABILITY", "synced")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_password_is_enough() {
    let redis = RedisServer::start().await;
    let url = restrict(&redis, rights()).await;
    works(Fleet::on(&url)).await;
    let gateway = Fleet::on(&url).gateway().await;
    let admin = format!("http://{}", gateway.admin_address().unwrap());
    let circle = circle(0).to_string();
    for arguments in [&["usage"][..], &["delete", &circle, "--yes"]] {
        let mut command = circled_command();
        command
            .arg("circle")
            .args(arguments)
            .args(["--url", &admin]);
        let run = spawn_blocking(move || command.output().unwrap()).await;
        let run = run.unwrap();
        assert!(run.status.success(), "{arguments:?}: {run:?}");
    }

    let wrong = redis.url().replace("://", "://circled:wrong@");
    let fleet = Fleet::on(wrong);
    let (status, said) = fleet.builder().flag("--fail-fast").give_up().await;
    assert!(!status.success());
    assert!(said.contains("WRONGPASS"), "{said}");
    // Neither of them may be in the log.
    assert!(!said.contains(":wrong@"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_some_more_rights_is_enough_for_backups() {
    let guide = include_str!("../../../../docs/OPERATIONS.md");
    let (_, more) = guide
        .split_once("| backups, restores and moves | ")
        .unwrap();
    let more = more.lines().next().unwrap().split(['`', ' ', ',']);
    let more: Vec<_> = more.filter(|word| word.starts_with(['~', '+'])).collect();
    let [from, to] = [RedisServer::start().await, RedisServer::start().await];
    let urls = [
        restrict(&from, rights().chain(more.iter().copied())).await,
        restrict(&to, rights().chain(more.iter().copied())).await,
    ];
    works(Fleet::on(&urls[0])).await;
    let [from, to] = urls.each_ref().map(|url| Archived::of(url, "circled", 16));
    let parts = from.read().await.unwrap();
    assert!(!parts.is_empty());
    to.write(&parts).await.unwrap();
    assert_eq!(to.read().await.unwrap(), parts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_a_server_whose_certificate_is_known() {
    let folder = certificates();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let port = Port::free();
    let number = port.number().to_string();
    let (certificate, key, authority) = (path("redis.crt"), path("redis.key"), path("ca.crt"));
    let options = [
        "--tls-port",
        &number,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ];
    let _redis = RedisServer::start_with(&options).await;
    let url = format!("rediss://127.0.0.1:{number}");
    works(Fleet::on(&url).trusting(&authority)).await;

    // An authority that isn't this server's.
    let other = certificates();
    let other = other.path().join("ca.crt").display().to_string();
    // The time that a handshake may take on a busy machine.
    let fleet = Fleet::on(&url)
        .trusting(&other)
        .with("DISPATCH__REDIS__LEASE", "30s")
        .with("DISPATCH__REDIS__TIMEOUT", "3s");
    let (status, said) = fleet.builder().flag("--fail-fast").give_up().await;
    assert!(!status.success());
    assert!(said.to_lowercase().contains("certificate"), "{said}");
}

async fn works(fleet: Fleet) {
    let gateways = fleet.gateways(1).await;
    let _worker = fleet.worker().await;
    let load = Load::on(&gateways, 2);
    load.progress(10).await;
    load.finish(&gateways[0]).await;
}

/// Creates an authority's certificate, and one of a server on loopback that it has signed.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let within = folder.path();
    let address = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    std::fs::write(within.join("address"), address).unwrap();
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        within,
        &format!("req -x509 {new_key} -keyout ca.key -out ca.crt -days 2 -subj /CN=test"),
    );
    openssl(
        within,
        &format!("req {new_key} -keyout redis.key -out redis.csr -subj /CN=redis"),
    );
    openssl(
        within,
        "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out redis.crt -days 2 -extfile address",
    );
    folder
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("this test needs openssl, which can't be run: {error}"));
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl {arguments}: {said}");
}
