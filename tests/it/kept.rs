//! Data that earlier versions have stored: this one reads it, and goes on where they ended.
//!
//! Each folder of `tests/kept` is what one version has written: a data folder and a Redis namespace, as text, and
//! beside each what its server told of it. tests/kept/README.md says when to add one, and how.

mod archive;
mod folder;
mod life;
mod namespace;

use std::{
    fs,
    path::{Path, PathBuf},
};

use circled::store::Store;
use serde_json::Value;

use crate::harness::{
    disk,
    redis::{Archived, Program, RedisServer, commits},
    server::circle,
};

/// The namespace to which kept ones are moved.
const MOVED: &str = "moved";

/// The variable that has [`this_version_is_kept`] write a new folder.
const KEEP: &str = "CIRCLED_TEST_KEEP";

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept")
}

/// Returns the folders, the first one first.
fn all() -> Vec<PathBuf> {
    let folders = (1..).map(|number: u32| home().join(number.to_string()));
    folders.take_while(|folder| folder.exists()).collect()
}

fn read(file: PathBuf) -> String {
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn told(file: PathBuf) -> Value {
    circled_json::parse(read(file)).unwrap()
}

fn write(file: PathBuf, told: &Value) {
    let mut text = serde_json::to_string_pretty(told).unwrap();
    text.push('\n');
    fs::write(file, text).unwrap();
}

/// Returns the number of the circle's last commit in a data folder that no server uses.
fn last_commit(data: &Path) -> u64 {
    let mut number = 0;
    disk::with_store(data, |store: &Store| {
        number = store.last_commit(&circle()).unwrap();
        Vec::new()
    });
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_data_folders_are_read_and_go_on() {
    let all = all();
    assert!(!all.is_empty());
    for kept in all {
        eprintln!("{}", kept.display());
        let data = tempfile::tempdir().unwrap();
        folder::unpack(&read(kept.join("folder.txt")), data.path());
        let told = told(kept.join("folder.json"));
        let before = last_commit(data.path());
        assert_eq!(before, told["commits"], "the number of the last commit");
        life::go_on(&told, || life::server().data(data.path())).await;
        assert!(last_commit(data.path()) > before);
    }
}

/// Checks the kept namespaces in a Redis that this program serves.
async fn kept_namespaces_are_read_and_go_on(program: Program) {
    for kept in all() {
        eprintln!("{}", kept.display());
        let redis = RedisServer::start_program(program, &[]).await;
        namespace::replay(&redis, &read(kept.join("namespace.txt"))).await;
        let told = told(kept.join("namespace.json"));
        let before = namespace::last_commit(&redis).await;
        assert_eq!(before, told["commits"], "the number of the last commit");
        life::go_on(&told, || life::server_through(&redis)).await;
        assert!(namespace::last_commit(&redis).await > before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_redis_namespaces_are_read_and_go_on() {
    kept_namespaces_are_read_and_go_on(Program::Installed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_redis_namespaces_are_read_and_go_on_in_valkey() {
    kept_namespaces_are_read_and_go_on(Program::Valkey).await;
}

/// Checks that kept namespaces are the same with another name and other partitions, and go on there.
async fn kept_namespaces_are_moved_and_go_on(program: Program) {
    for kept in all() {
        eprintln!("{}", kept.display());
        let redis = RedisServer::start_program(program, &[]).await;
        let text = read(kept.join("namespace.txt"));
        namespace::replay(&redis, &namespace::made_lately(&text)).await;
        namespace::have_marks_expire(&redis).await;
        let told = namespace::made_lately(&read(kept.join("namespace.json")));
        let told: Value = circled_json::parse(told).unwrap();

        let from = Archived::of(&redis.url(), namespace::NAME, 16);
        let parts = from.read().await.unwrap();
        let to = Archived::of(&redis.url(), MOVED, 5);
        to.write(&parts).await.unwrap();
        assert_eq!(to.read().await.unwrap(), parts);
        assert_eq!(commits(&parts), [told["commits"].as_u64().unwrap()]);

        let server = || {
            life::server_through(&redis)
                .env("CIRCLED_DISPATCH__REDIS__NAMESPACE", MOVED)
                .env("CIRCLED_DISPATCH__REDIS__PARTITIONS", 5)
        };
        life::go_on(&told, server).await;
        assert!(commits(&to.read().await.unwrap()) > commits(&parts));
        // The source is as it was.
        assert_eq!(from.read().await.unwrap(), parts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_redis_namespaces_are_moved_and_go_on() {
    kept_namespaces_are_moved_and_go_on(Program::Installed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_redis_namespaces_are_moved_and_go_on_in_valkey() {
    kept_namespaces_are_moved_and_go_on(Program::Valkey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_redis_namespaces_are_moved_and_go_on_in_redis_6() {
    kept_namespaces_are_moved_and_go_on(Program::Redis6).await;
}

/// Writes a new folder, never over one that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes files: see tests/kept/README.md"]
async fn this_version_is_kept() {
    assert!(std::env::var_os(KEEP).is_some(), "set {KEEP}");
    let new = home().join((all().len() + 1).to_string());

    let data = tempfile::tempdir().unwrap();
    let mut told_of_folder = life::begin(|| life::server().data(data.path())).await;
    told_of_folder["commits"] = last_commit(data.path()).into();
    folder::put_off_expiry(data.path());

    let redis = RedisServer::start().await;
    let mut told_of_namespace = life::begin(|| life::server_through(&redis)).await;
    told_of_namespace["commits"] = namespace::last_commit(&redis).await.into();

    fs::create_dir(&new).unwrap();
    fs::write(new.join("folder.txt"), folder::pack(data.path())).unwrap();
    write(new.join("folder.json"), &told_of_folder);
    fs::write(new.join("namespace.txt"), namespace::dump(&redis).await).unwrap();
    write(new.join("namespace.json"), &told_of_namespace);
    eprintln!("written: {}", new.display());
}
