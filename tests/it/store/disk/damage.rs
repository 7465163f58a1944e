//! A damaged database: either all acknowledged data is there, or the folder is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        server::{TestServer, key},
        webhooks::taking_stripes,
    },
    store::value,
};

/// A play that writes several keys.
const WRITE: &str =
    "let n = store.incr(\"n\", 1); store.set(`a/${n}`, n); store.set(`b/${n}`, `${n} of many`);";
/// Reads all keys, and checks that each play is whole.
const READ: &str = "let n = store.get(\"n\", 0);
    let whole = store.keys(\"a/\").len() == n && store.keys(\"b/\").len() == n;
    for k in 1..=n { if store.get(`a/${k}`) != k || store.get(`b/${k}`) != `${k} of many` { whole = false } }
    [n, whole]";

/// Returns the data in the folder if a server starts on it; `None` if it is refused with advice.
async fn found(folder: &Path, what: &str) -> Option<Value> {
    let mut running = taking_stripes()
        .env("RUST_BACKTRACE", "1")
        .data(folder)
        .launch();
    let started = running.serves().await;
    if started {
        let mut session = running.log_in(&key(2)).await;
        return Some(value(&mut session, READ).await);
    }
    let said = running.whole_log().await;
    assert_eq!(running.wait().await.code(), Some(1), "{what}: {said}");
    let last = said.lines().last().unwrap_or_default();
    for word in ["error: ", folder.to_str().unwrap(), "is damaged", "restore"] {
        assert!(last.contains(word), "{what}: no {word}: {said}");
    }
    for word in ["panicked", "stack backtrace"] {
        assert!(!said.contains(word), "{what}: {said}");
    }
    None
}

/// Creates a folder with so many plays, whose server was killed.
async fn folder_with(plays: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // The second server replays the first half.
    for half in [plays / 2, plays - plays / 2] {
        let running: TestServer = taking_stripes().data(folder.path()).start().await;
        let mut session = running.log_in(&key(2)).await;
        for _ in 0..half {
            value(&mut session, WRITE).await;
        }
        running.kill();
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Returns all files below `folder`, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Damages every file of the database in turn, and starts a server on the rest.
async fn damage_each(damage: impl Fn(&Path)) {
    let folder = folder_with(20).await;
    let mut refused = 0;
    let database = folder.path().join("database");
    for file in files(&database) {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        damage(&copied.path().join("database").join(&file));
        match found(copied.path(), &file.display().to_string()).await {
            Some(found) => assert_eq!(found, json!([20, true]), "{}", file.display()),
            None => refused += 1,
        }
    }
    assert!(refused > 0, "no damage was noticed");
}

#[tokio::test]
async fn files_overwritten_in_the_middle_lose_nothing_silently() {
    damage_each(|file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        for byte in bytes.iter_mut().skip(middle).take(64) {
            *byte ^= 0xa5;
        }
        fs::write(file, bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn files_cut_in_half_lose_nothing_silently() {
    damage_each(|file| {
        let length = fs::metadata(file).unwrap().len();
        fs::OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(length / 2)
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn files_that_are_gone_lose_nothing_silently() {
    damage_each(|file| fs::remove_file(file).unwrap()).await;
}

/// Returns the newest journal, which is written to.
fn journal(folder: &Path) -> PathBuf {
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str()?.parse::<u64>().ok();
    let journals = files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|name| name == "jnl"));
    folder.join(journals.max_by_key(number).unwrap())
}

#[tokio::test]
async fn a_last_write_that_was_cut_off_is_as_if_it_had_never_been() {
    let folder = folder_with(4).await;
    let running = taking_stripes().data(folder.path()).start().await;
    let mut session = running.log_in(&key(2)).await;
    value(&mut session, WRITE).await;
    let journal_file = journal(folder.path());
    let journal = journal_file.strip_prefix(folder.path()).unwrap();
    let length = || fs::metadata(&journal_file).unwrap().len();
    // The mark outside the database that says how far the disk has got, from before the last write was acknowledged.
    let mark = fs::read(folder.path().join("written")).unwrap();
    let before = length();
    value(&mut session, WRITE).await;
    let after = length();
    running.kill();
    assert!(after - before > 100, "one write of several keys");

    for cut in [
        1,
        2,
        9,
        17,
        40,
        64,
        (after - before) / 2,
        after - before - 1,
        after - before,
    ] {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let damaged = fs::OpenOptions::new()
            .write(true)
            .open(copied.path().join(journal))
            .unwrap();
        damaged.set_len(after - cut).unwrap();
        // A write that was acknowledged must not be lost.
        let told = found(copied.path(), "a write that was acknowledged").await;
        assert_eq!(told, None, "{cut} bytes less");

        fs::write(copied.path().join("written"), &mark).unwrap();
        let whole = found(copied.path(), "a write that wasn't acknowledged").await;
        assert_eq!(whole, Some(json!([5, true])), "{cut} bytes less");
        // It continues from there, several times.
        for n in 6..8 {
            let running = taking_stripes().data(copied.path()).start().await;
            let mut session = running.log_in(&key(2)).await;
            value(&mut session, WRITE).await;
            assert_eq!(value(&mut session, READ).await, json!([n, true]));
            running.kill();
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_damaged_folder_is_used_on_request() {
    let folder = folder_with(20).await;
    let journal = journal(folder.path());
    let length = fs::metadata(&journal).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let (_, said) = taking_stripes().data(folder.path()).give_up().await;
    let mark = folder.path().join("written");
    let help = format!("remove {} to go on with what is left", mark.display());
    assert!(said.contains(&help), "{said}");
    fs::remove_file(mark).unwrap();
    let left = found(folder.path(), "what is left").await.unwrap();
    assert!(left[0].as_u64().unwrap() > 0 && left[1] == true, "{left}");
}

#[tokio::test]
async fn a_damaged_table_is_never_read_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = taking_stripes().data(folder.path()).start().await;
    let mut session = running.log_in(&key(2)).await;
    // More than stays in memory, and hard to compress.
    for n in 0..8 {
        let script = format!(
            "let t = \"\"; for n in 100_000..104_500 {{ t += (n * (n + {n}) * 7919).to_string() }}
            for n in 0..50 {{ store.set(`{n}/${{n}}`, `${{n}} of {n} ${{t}}`) }}"
        );
        value(&mut session, &script).await;
    }
    running.kill();
    // The data in memory is written to disk at the latest when it is read again.
    taking_stripes().data(folder.path()).start().await.kill();
    let database = folder.path().join("database");
    let tables: Vec<_> = files(&database)
        .into_iter()
        .filter(|file| {
            fs::metadata(database.join(file)).unwrap().len() > (1 << 20)
                && file.extension().is_none()
        })
        .collect();
    assert!(!tables.is_empty(), "{:?}", files(&database));
    for table in tables {
        let file = database.join(table);
        let mut bytes = fs::read(&file).unwrap();
        for byte in bytes.iter_mut().step_by(1000) {
            *byte ^= 0x10;
        }
        fs::write(file, bytes).unwrap();
    }

    let mut running = taking_stripes().data(folder.path()).launch();
    if !running.serves().await {
        let said = running.whole_log().await;
        assert!(
            said.contains("is damaged") && !said.contains("panicked"),
            "{said}"
        );
        return;
    }
    let mut session = running.log_in(&key(2)).await;
    let mut failed = 0;
    for job in 0..8 {
        for n in 0..50 {
            let script = format!(
                "let t = store.get(\"{job}/{n}\"); type_of(t) == \"string\" && t.starts_with(\"{n} of {job} \")"
            );
            match session.play(&script).await {
                Ok(run) => assert_eq!(run["value"], json!(true), "{n} of {job}"),
                Err(error) => {
                    assert_eq!(error["code"], -32007, "{error}");
                    failed += 1;
                }
            }
        }
    }
    assert!(failed > 0, "the damage was never met");
}
