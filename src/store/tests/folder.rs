//! Tests which folders are opened, and which are refused and left as they are.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{circle, commit, number, open, set, settings, try_open};
use crate::store::{NewDisk, OpenError};

/// The journal is made this long and longer ahead of what is written to it.
const LONG: u64 = 1 << 16;

/// Everything in a folder, by its path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<(u64, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.insert(path.clone(), None);
                folders.push(path);
            } else {
                let file = File::open(&path).unwrap();
                let length = file.metadata().unwrap().len();
                let mut bytes = Vec::new();
                file.take(LONG).read_to_end(&mut bytes).unwrap();
                found.insert(path, Some((length, bytes)));
            }
        }
    }
    found
}

/// Keeps a 1 under "key", and closes the folder.
fn fill(folder: &Path) {
    let store = open(folder);
    let mut transaction = store.begin(circle(1));
    set(&mut transaction, "key", 1);
    commit(&store, transaction).unwrap();
    store.shutdown();
}

fn kept(folder: &Path) -> i64 {
    let mut transaction = open(folder).begin(circle(1));
    number(transaction.get("key").unwrap())
}

/// Refuses the folder with this error and changes nothing in it.
fn refused(folder: &Path) -> OpenError {
    let before = contents(folder);
    let error = try_open(folder).map(drop).unwrap_err();
    assert_eq!(contents(folder), before, "{error}");
    error
}

#[test]
fn a_folder_has_one_opener_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("a/b");
    let store = open(&folder);
    let error = try_open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    // Nor under another name.
    let alias = temp.path().join("alias");
    symlink(&folder, &alias).unwrap();
    let error = try_open(&alias).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    store.shutdown();
    drop(store);
    open(&folder);
}

#[test]
fn a_transaction_that_is_still_open_keeps_the_folder_to_itself() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let transaction = store.begin(circle(1));
    store.shutdown();
    drop(store);
    let error = try_open(temp.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    drop(transaction);
    open(temp.path());
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    for name in ["holiday.jpg", "database", "format.txt", "lock.txt"] {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(name), "mine").unwrap();
        let error = refused(temp.path());
        assert!(matches!(error, OpenError::Foreign(_)), "{name}: {error}");
    }
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("database")).unwrap();
    let error = refused(temp.path());
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
}

#[test]
fn an_empty_folder_of_a_new_disk_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("lost+found")).unwrap();
    fill(temp.path());
    assert_eq!(kept(temp.path()), 1);
}

#[test]
fn another_format_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    for format in ["circled 1\n", "circled 20", "something", "", "circled 2 1"] {
        fs::write(temp.path().join("format"), format).unwrap();
        let error = refused(temp.path());
        assert!(
            matches!(error, OpenError::Format { .. }),
            "{format}: {error}"
        );
    }
    fs::write(temp.path().join("format"), "circled 7").unwrap();
    let message = refused(temp.path()).to_string();
    assert!(
        message.contains("has format 7, and this circled reads format 2"),
        "{message}"
    );
}

#[test]
fn a_database_without_its_format_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    let format = fs::read(temp.path().join("format")).unwrap();
    fs::remove_file(temp.path().join("format")).unwrap();
    let error = refused(temp.path());
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    fs::write(temp.path().join("format"), format).unwrap();
    assert_eq!(kept(temp.path()), 1);
}

#[test]
fn a_folder_that_has_lost_its_database_is_not_begun_anew() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    let (database, remote) = (temp.path().join("database"), temp.path().join("elsewhere"));
    fs::rename(&database, &remote).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&database).unwrap();
        }
        let error = refused(temp.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
    fs::remove_dir(&database).unwrap();
    fs::rename(&remote, &database).unwrap();
    assert_eq!(kept(temp.path()), 1);
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    // What is there before the folder is finished, cut short by one more file each time.
    let whole = tempfile::tempdir().unwrap();
    drop(open(whole.path()));
    let mut left: Vec<_> = contents(whole.path()).into_iter().collect();
    left.retain(|(path, _)| !path.ends_with("format"));
    for count in [1, left.len() / 3, left.len() / 2, left.len() - 1] {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("format.new"), "cir").unwrap();
        for (path, content) in &left[..count] {
            let path = temp.path().join(path.strip_prefix(whole.path()).unwrap());
            match content {
                Some((_, bytes)) => fs::write(path, bytes).unwrap(),
                None => fs::create_dir(path).unwrap(),
            }
        }
        fill(temp.path());
        assert_eq!(kept(temp.path()), 1, "{count} of {}", left.len());
    }
}

#[test]
fn no_server_begins_with_nothing_where_a_restore_was_cut_short() {
    let temp = tempfile::tempdir().unwrap();
    let settings = settings(temp.path());
    drop(NewDisk::create(&settings).unwrap());
    let error = refused(temp.path());
    assert!(matches!(error, OpenError::Unfinished(_)), "{error}");

    NewDisk::create(&settings).unwrap().finish().unwrap();
    // A process that was killed at the very end has left it.
    fs::write(temp.path().join("restoring"), "").unwrap();
    fill(temp.path());
    assert_eq!(kept(temp.path()), 1);
}

#[test]
fn a_file_in_place_of_the_folder_is_an_error_that_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("data");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = try_open(&path).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains("dispatch.embedded.data_dir"), "{message}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_file_in_place_of_the_database_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    fs::remove_dir_all(temp.path().join("database")).unwrap();
    fs::write(temp.path().join("database"), "mine").unwrap();
    let error = refused(temp.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}
