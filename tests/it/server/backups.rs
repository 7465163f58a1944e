//! Backups that a server makes by itself.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use crate::harness::{
    command::circled_command,
    server::{Builder, TestServer, eventually, key},
};

fn server(data: &Path, backups: &Path) -> Builder {
    TestServer::builder()
        .data(data)
        .env("CIRCLED_BACKUP__EVERY", "24h")
        .env("CIRCLED_BACKUP__FOLDER", backups.display())
        .env("CIRCLED_BACKUP__KEEP", 2)
}

/// Returns the value of a metric.
async fn value(server: &TestServer, name: &str) -> i64 {
    let text = server.admin("/metrics").await.body;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

const MADE: &str = "circled_backups_total{outcome=\"ok\"}";
const FAILED: &str = "circled_backups_total{outcome=\"failed\"}";
const LAST: &str = "circled_backup_last_success_timestamp_seconds";

#[tokio::test]
async fn a_server_makes_backups_by_itself_and_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backups, restored] =
        ["data", "backups", "restored"].map(|name| folder.path().join(name));
    let running = TestServer::builder().data(&data).start().await;
    let mut session = running.log_in(&key(2)).await;
    session.play("store.set(\"kept\", 42)").await.unwrap();
    running.kill();

    fs::create_dir(&backups).unwrap();
    let long_ago = Timestamp::now().saturating_sub(Duration::from_secs(25 * 3600));
    let long_ago = SystemTime::try_from(long_ago.unwrap()).unwrap();
    for day in 1..=3 {
        let file = File::create(backups.join(format!("circled-2025010{day}T000000Z.backup")));
        file.unwrap().set_modified(long_ago).unwrap();
    }
    // A server that was killed has left this.
    let left = backups.join("circled-20250104T000000Z.backup.partial");
    fs::write(left, "cut").unwrap();
    let running = server(&data, &backups).start().await;
    eventually("a backup", async || value(&running, MADE).await == 1).await;
    assert_eq!(value(&running, FAILED).await, 0);
    let last = value(&running, LAST).await;
    assert!(last > 0);
    let mut names: Vec<_> = fs::read_dir(&backups)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], backups.join("circled-20250103T000000Z.backup"));
    running.kill();

    // The next server makes none so soon.
    let running = server(&data, &backups).start().await;
    eventually("the time of the last one", async || {
        value(&running, LAST).await > 0
    })
    .await;
    assert!((last - 60..=last).contains(&value(&running, LAST).await));
    assert_eq!(value(&running, MADE).await, 0);
    running.kill();

    let restore = circled_command()
        .args(["backup", "restore"])
        .arg(&names[1])
        .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", &restored)
        .output();
    let restore = restore.unwrap();
    assert!(restore.status.success(), "{restore:?}");
    let running = TestServer::builder().data(&restored).start().await;
    let mut session = running.log_in(&key(2)).await;
    let run = session.play("store.get(\"kept\")").await.unwrap();
    assert_eq!(run["value"], 42);
}

#[tokio::test]
async fn a_backup_that_fails_is_told_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backups] = ["data", "backups"].map(|name| folder.path().join(name));
    fs::write(&backups, "a file").unwrap();
    let mut running = server(&data, &backups).start().await;
    let failed = running
        .logged("the failure", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("a backup could not be made")
        })
        .await;
    assert_eq!(failed["folder"], backups.to_str().unwrap(), "{failed}");
    eventually("the failure to be counted", async || {
        value(&running, FAILED).await == 1
    })
    .await;
    assert_eq!(value(&running, LAST).await, 0);
    let mut session = running.log_in(&key(2)).await;
    session.play("store.set(\"n\", 1)").await.unwrap();
    running.sigterm();
    assert!(running.wait().await.success());
}
