//! A disk that is full.

use std::{path::Path, process::Output};

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::{deliver, volume::Volume};
use crate::{
    harness::{
        command::circled_command,
        server::{TestServer, Ws, key},
        webhooks::taking_stripes,
    },
    store::value,
};

/// Checks that writes are refused, and nothing else.
async fn assert_only_reads(server: &TestServer, session: &mut Ws, kept: &Value) {
    let get = "store.get(\"n\")";
    for round in 0..3 {
        let error = session
            .play("store.set(\"refused/1\", 1); store.set(\"refused/2\", 1); store.incr(\"n\", 1)")
            .await;
        let error = error.unwrap_err();
        assert_eq!(error["code"], -32007, "{error}");
        assert!(
            error["data"]["retry_after_ms"].as_u64().unwrap() > 0,
            "{error}"
        );

        let refused = deliver(server, &format!("evt_refused_{round}")).await;
        refused.assert_is_an_error(503);
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(after > 0);

        assert_eq!(value(session, get).await, *kept);
        assert_eq!(value(session, "40 + 2").await, json!(42));
        assert_eq!(value(session, "store.keys(\"refused/\")").await, json!([]));
        assert_eq!(server.admin("/readyz").await.status, 503);
        assert_eq!(server.admin("/healthz").await.status, 200);
    }
    // New sessions can be opened, too.
    let mut other = server.log_in(&key(7)).await;
    assert_eq!(value(&mut other, get).await, *kept);
}

/// Writes from both sides, and returns the value of `n` then.
async fn write_some(server: &TestServer, session: &mut Ws) -> Value {
    for _ in 0..3 {
        value(session, "store.incr(\"n\", 1)").await;
    }
    for event in ["evt_1", "evt_2"] {
        let kept = deliver(server, event).await;
        assert_eq!(kept.status, 200, "{kept:?}");
    }
    assert_eq!(server.admin("/readyz").await.status, 200);
    value(session, "store.get(\"n\")").await
}

/// Checks after a restart that all acknowledged writes are there, and no refused ones.
async fn assert_whole(folder: &Path, n: &Value) {
    let server = taking_stripes()
        .data(folder)
        .env("CIRCLED_DISPATCH__EMBEDDED__MIN_FREE", "1MiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let found = value(
        &mut session,
        "[store.get(\"n\"), store.keys(\"refused/\").len()]",
    )
    .await;
    assert_eq!(found, json!([n, 0]));
    for event in ["evt_1", "evt_2"] {
        assert_eq!(deliver(&server, event).await.json()["status"], "duplicate");
    }
    assert_eq!(deliver(&server, "evt_later").await.status, 200);
    write_some(&server, &mut session).await;
}

#[tokio::test]
async fn with_too_little_free_nothing_is_accepted_until_there_is_room_again() {
    let Some(volume) = Volume::small(48) else {
        return;
    };
    let folder = volume.path().join("data");
    let mut running = taking_stripes()
        .data(&folder)
        .env("CIRCLED_DISPATCH__EMBEDDED__MIN_FREE", "16MiB")
        .start()
        .await;
    let mut session = running.log_in(&key(2)).await;
    let mut kept = write_some(&running, &mut session).await;
    for _ in 0..2 {
        let filler = volume.fill(12 << 20);
        assert_only_reads(&running, &mut session, &kept).await;
        drop(filler);
        assert_eq!(running.admin("/readyz").await.status, 200);
        // A refused delivery is accepted when it is sent again.
        assert_eq!(deliver(&running, "evt_refused_0").await.status, 200);
        kept = write_some(&running, &mut session).await;
    }
    running
        .logged("that the disk is full", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("the disk is full") && message.contains("dispatch.embedded.min_free")
        })
        .await;
    running
        .logged("that there is room again", |line| {
            line["message"] == "the disk has space again"
        })
        .await;
    running.kill();
    assert_whole(&folder, &kept).await;
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_loses_nothing() {
    let Some(volume) = Volume::small(48) else {
        return;
    };
    let folder = volume.path().join("data");
    let running = taking_stripes()
        .data(&folder)
        .env("CIRCLED_DISPATCH__EMBEDDED__MIN_FREE", "1B")
        .start()
        .await;
    let mut session = running.log_in(&key(2)).await;
    let kept = write_some(&running, &mut session).await;
    let filler = volume.fill(4 << 10);
    // Too much for the rest of the disk, compressed or not.
    let large = "let t = \"\"; for n in 1_000_000..1_004_000 { t += (n * n * 7919).to_string() }
        for k in [\"refused/1\", \"refused/2\"] { store.set(k, t) } store.incr(\"n\", 1)";
    assert_eq!(session.play(large).await.unwrap_err()["code"], -32007);
    assert_gives_up(running, session, &folder).await;
    drop(filler);
    assert_whole(&folder, &kept).await;
}

#[tokio::test]
async fn a_write_that_fails_midway_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = |folder: &Path| {
        let files = std::fs::read_dir(folder.join("database")).unwrap();
        let length = |entry: std::fs::DirEntry| {
            let journal = entry.path().extension().is_some_and(|name| name == "jnl");
            journal.then(|| entry.metadata().unwrap().len())
        };
        files
            .filter_map(|entry| length(entry.unwrap()))
            .max()
            .unwrap()
    };
    for round in 0..3 {
        let running = taking_stripes().data(folder.path()).start().await;
        let mut session = running.log_in(&key(2)).await;
        let kept = write_some(&running, &mut session).await;
        // A new journal is longer than its content.
        if round == 0 {
            running.kill();
        } else {
            let limit = Some(journal(folder.path()) + [0, 1, 150][round]);
            let limit = Rlimit {
                current: limit,
                maximum: None,
            };
            prlimit(Some(running.pid()), Resource::Fsize, limit).unwrap();
            let write = "store.set(\"refused/1\", 1); store.incr(\"n\", 1)";
            assert_eq!(session.play(write).await.unwrap_err()["code"], -32007);
            assert_gives_up(running, session, folder.path()).await;
        }
        assert_whole(folder.path(), &kept).await;
    }
}

/// Checks that a failure which can't be mended while the server runs ends it, with advice.
async fn assert_gives_up(mut server: TestServer, session: Ws, folder: &Path) {
    assert_eq!(session.closed().await, 1001);
    assert_tells_what_to_do(&mut server, folder).await;
    assert_eq!(server.wait().await.code(), Some(1));
    let said = server.whole_log().await;
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("error: the data folder "), "{last}");
    assert!(last.contains("start circled again"), "{last}");
}

/// Checks that the log tells the operator what to do.
async fn assert_tells_what_to_do(server: &mut TestServer, folder: &Path) {
    let line = server
        .logged("what to do", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("start circled again") && line["level"] == "ERROR"
        })
        .await;
    assert_eq!(line["folder"], folder.to_str().unwrap(), "{line}");
}

#[tokio::test]
async fn a_run_that_only_reads_never_waits_for_the_disk() {
    let Some(volume) = Volume::freezable() else {
        return;
    };
    let running = taking_stripes()
        .data(&volume.path().join("data"))
        .start()
        .await;
    let (mut writer, mut reader) = (running.log_in(&key(2)).await, running.log_in(&key(3)).await);
    value(&mut writer, "store.set(\"n\", 1)").await;
    let frozen = volume.freeze();
    let write = writer.begin_play("store.incr(\"n\", 1)").await;
    writer.fence().await;
    for script in [
        "40 + 2",
        "store.get(\"n\")",
        "store.keys(\"\")",
        "store.set(\"n\", 5); throw store.get(\"n\")",
    ] {
        // First on a script thread, and then in the fast lane.
        for _ in 0..3 {
            match reader.play(script).await {
                Ok(run) => assert_ne!(run["value"], json!(2), "it isn't on disk yet"),
                Err(error) => assert_eq!(error["code"], -32000, "{error}"),
            }
        }
    }
    writer.fence().await;
    assert!(!writer.has_answer(write), "the disk took it");
    drop(frozen);
    assert_eq!(writer.answer(write).await.unwrap()["value"], json!(2));
    assert_eq!(value(&mut reader, "store.get(\"n\")").await, json!(2));
}

/// Runs `circled backup` for a data folder that no server uses.
fn backup(data: &Path, arguments: [&str; 2]) -> Output {
    let mut command = circled_command();
    command
        .arg("backup")
        .args(arguments)
        .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data);
    command.output().unwrap()
}

#[tokio::test]
async fn a_backup_or_a_restore_without_room_leaves_nothing() {
    let Some(volume) = Volume::small(100) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = taking_stripes().data(&data).start().await;
    let mut session = running.log_in(&key(2)).await;
    let fill = "let t = \"\"; for n in 1_000_000..1_004_000 { t += (n * n * 7919).to_string() }
        for n in 0..20 { store.set(\"n\" + n, n + t) }";
    value(&mut session, fill).await;
    running.kill();
    let file = volume.path().join("archive");
    let create = ["create", file.to_str().unwrap()];
    let filler = volume.fill(8 << 10);
    let output = backup(&data, create);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No space left on device"), "{said}");
    // The filler alone.
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 1);
    drop(filler);
    assert!(backup(&data, create).status.success());

    let restored = volume.path().join("restored");
    let restore = ["restore", file.to_str().unwrap()];
    let filler = volume.fill(60 << 20);
    let output = backup(&restored, restore);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("dispatch.embedded.min_free"), "{said}");
    assert!(!restored.join("format").exists());
    drop(filler);
    let output = backup(&restored, restore);
    assert!(output.status.success(), "{output:?}");
}
