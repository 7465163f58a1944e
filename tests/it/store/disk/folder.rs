//! Ownership and format of the data folder.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rustix::fs::Mode;
use serde_json::json;

use super::deliver;
use crate::{
    harness::{
        server::{TestServer, key},
        webhooks::taking_stripes,
    },
    store::value,
};

/// Returns all files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.display().to_string(), Vec::new());
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Checks that no server starts on it, and that the message says so.
async fn assert_refused(folder: &Path, words: &[&str]) {
    let (status, said) = taking_stripes().data(folder).give_up().await;
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    for word in words.iter().copied().chain([folder.to_str().unwrap()]) {
        assert!(last.contains(word), "no {word}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_second_server_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = taking_stripes().data(folder.path()).start().await;
    let mut session = first.log_in(&key(2)).await;
    for n in 1..4 {
        assert_refused(
            folder.path(),
            &["in use", "stop that one", "dispatch.embedded.data_dir"],
        )
        .await;
        let counted = value(&mut session, "store.incr(\"n\", 1)").await;
        assert_eq!(counted, json!(n));
    }
    // The folder is free again as soon as the first server is gone.
    first.kill();
    let second = taking_stripes().data(folder.path()).start().await;
    let mut session = second.log_in(&key(2)).await;
    assert_eq!(value(&mut session, "store.get(\"n\")").await, json!(3));
}

#[tokio::test]
async fn somebody_elses_folder_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("letter.txt", "Dear"), ("lock", "mine"), ("format.new", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::create_dir(folder.path().join("database")).unwrap();
    let before = files(folder.path());
    assert_refused(
        folder.path(),
        &["not circled's", "dispatch.embedded.data_dir"],
    )
    .await;
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_refused(file.path(), &["dispatch.embedded.data_dir"]).await;
}

#[tokio::test]
async fn a_folder_of_another_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    taking_stripes().data(folder.path()).start().await.kill();
    let format = folder.path().join("format");
    let ours = std::fs::read_to_string(&format).unwrap();
    for theirs in ["circled 1\n", "circled 20\n", "something else", ""] {
        std::fs::write(&format, theirs).unwrap();
        let before = files(folder.path());
        assert_refused(
            folder.path(),
            &["has format", "version of circled that wrote it"],
        )
        .await;
        assert_eq!(files(folder.path()), before);
    }
    std::fs::write(&format, ours).unwrap();
    taking_stripes().data(folder.path()).start().await;
}

#[tokio::test]
async fn a_folder_that_is_new_or_was_just_begun_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let started = async |folder: &Path| {
        let server: TestServer = taking_stripes().data(folder).start().await;
        let mut session = server.log_in(&key(2)).await;
        assert_eq!(value(&mut session, "store.incr(\"n\", 1)").await, json!(1));
    };
    started(&folder.path().join("not/there/yet")).await;
    started(folder.path().join("not/there/yet/../either").as_path()).await;
    // A folder whose first start was cut short.
    let begun = folder.path().join("begun");
    std::fs::create_dir(&begun).unwrap();
    std::fs::write(begun.join("lock"), "").unwrap();
    std::fs::write(begun.join("format.new"), "circ").unwrap();
    started(&begun).await;
}

#[tokio::test]
async fn files_are_for_their_user_alone() {
    // The umask of a careless operator.
    rustix::process::umask(Mode::empty());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/data");
    let server = taking_stripes().data(&data).start().await;
    let mut session = server.log_in(&key(1)).await;
    session.play("store.set(\"a\", 1)").await.unwrap();
    assert_eq!(deliver(&server, "evt_1").await.status, 200);
    let mut folders = vec![folder.path().join("deep")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files += 1;
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
    assert!(files > 5, "{files}");
}

#[tokio::test]
async fn a_data_folder_that_others_can_look_into_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, told) in [(0o700, false), (0o750, true), (0o755, true)] {
        let data = folder.path().join(format!("{mode:o}"));
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        let mut server = taking_stripes().data(&data).start().await;
        server.sigterm();
        server.wait().await;
        let log = server.whole_log().await;
        assert_eq!(log.contains("can read the data folder"), told, "{log}");
    }
}
