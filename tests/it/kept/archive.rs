//! Archives of every format that there was, and of this one.
//!
//! `tests/kept/archives/1.circled` is one of the first format, and beside it is what a server told of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{KEEP, folder, home, life, namespace, read, told, write};
use crate::harness::{command::circled_command, redis::RedisServer};

/// Runs `circled backup` with the settings of the kept data, and one data folder. Returns its output.
fn backup(data: &Path, arguments: &[&str], file: &Path) -> String {
    let run = circled_command()
        .arg("backup")
        .args(arguments)
        .arg(file)
        .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data)
        .envs(life::durable())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {said}");
    String::from_utf8(run.stdout).unwrap()
}

fn info(file: &Path) -> Value {
    circled_json::parse(backup(Path::new("none"), &["info", "--json"], file)).unwrap()
}

fn archives() -> PathBuf {
    home().join("archives")
}

/// Returns the archives, the first one first.
fn all() -> Vec<PathBuf> {
    let files = (1..).map(|number: u32| archives().join(format!("{number}.circled")));
    files.take_while(|file| file.exists()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_all_that_a_life_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let [data, restored] = ["data", "restored"].map(|name| folder.path().join(name));
    let told = life::begin(|| life::server().data(&data)).await;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    backup(&data, &["create"], &first);
    assert_eq!(backup(&data, &["verify"], &first), "ok\n");
    backup(&restored, &["restore"], &first);
    backup(&restored, &["create"], &second);
    let [one, other] = [info(&first), info(&second)];
    assert_ne!(one["made_at"], other["made_at"]);
    for name in ["contents", "circles", "entries", "events", "jobs", "marks"] {
        assert_eq!(one[name], other[name], "{name}");
    }
    assert_eq!(one["circles"], 1);
    life::go_on(&told, || life::server().data(&restored)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_moved_to_redis_and_back_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [data, back] = ["data", "back"].map(|name| folder.path().join(name));
    let [first, second, third] = ["1", "2", "3"].map(|name| folder.path().join(name));
    let told = life::begin(|| life::server().data(&data)).await;
    backup(&data, &["create"], &first);
    let redis = RedisServer::start().await;
    let settings = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let embedded = |data: &Path| {
        let name = data.file_name().unwrap().to_str().unwrap();
        settings(
            &format!("{name}.toml"),
            format!("[dispatch.embedded]\ndata_dir = {data:?}\n"),
        )
    };
    let namespace = |name: &str, partitions: u16| {
        let redis = format!(
            "url = \"{}\"\nnamespace = \"{name}\"\npartitions = {partitions}",
            redis.url()
        );
        settings(
            name,
            format!("[dispatch]\nbackend = \"redis\"\n[dispatch.redis]\n{redis}\n"),
        )
    };
    let places = [
        embedded(&data),
        namespace("one", 16),
        namespace("other", 3),
        embedded(&back),
    ];
    for pair in places.windows(2) {
        let run = circled_command()
            .args(["move", "--from"])
            .arg(&pair[0])
            .arg("--to")
            .arg(&pair[1])
            .envs(life::durable())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    backup(&back, &["create"], &second);
    let [one, other] = [info(&first), info(&second)];
    for name in ["contents", "circles", "entries", "events", "jobs", "marks"] {
        assert_eq!(one[name], other[name], "{name}");
    }
    // The source is as it was.
    backup(&data, &["create"], &third);
    assert_eq!(info(&third)["contents"], one["contents"]);
    life::go_on(&told, || life::server().data(&back)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_archives_are_restored_and_go_on() {
    let all = all();
    assert!(!all.is_empty());
    for kept in all {
        eprintln!("{}", kept.display());
        let data = tempfile::tempdir().unwrap();
        backup(data.path(), &["restore"], &kept);
        let told = told(kept.with_extension("json"));
        assert_eq!(info(&kept)["contents"], told["contents"]);
        life::go_on(&told, || life::server().data(data.path())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_archives_are_restored_into_redis_and_go_on() {
    for kept in all() {
        eprintln!("{}", kept.display());
        let redis = RedisServer::start().await;
        let run = circled_command()
            .args(["backup", "restore"])
            .arg(&kept)
            .env("CIRCLED_DISPATCH__BACKEND", "redis")
            .env("CIRCLED_DISPATCH__REDIS__URL", redis.url())
            .env("CIRCLED_DISPATCH__REDIS__NAMESPACE", namespace::NAME)
            .envs(life::durable())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let told = told(kept.with_extension("json"));
        life::go_on(&told, || life::server_through(&redis)).await;
    }
}

/// Writes a new archive, of the last folder of data, never over one that is there.
#[test]
#[ignore = "writes files: see tests/kept/README.md"]
fn an_archive_of_this_version_is_kept() {
    assert!(std::env::var_os(KEEP).is_some(), "set {KEEP}");
    let newest = super::all().pop().unwrap();
    let data = tempfile::tempdir().unwrap();
    folder::unpack(&read(newest.join("folder.txt")), data.path());
    folder::put_off_ends(data.path());
    fs::create_dir_all(archives()).unwrap();
    let new = archives().join(format!("{}.circled", all().len() + 1));
    backup(data.path(), &["create"], &new);
    let told = read(newest.join("folder.json"));
    let told = folder::ended_later(&told, "\"ended_at\": \"");
    let mut told: Value = circled_json::parse(told).unwrap();
    told["contents"] = info(&new)["contents"].take();
    write(new.with_extension("json"), &told);
    eprintln!("written: {}", new.display());
}
