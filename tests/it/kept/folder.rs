//! A data folder as text: a line for each file, with its length and its bytes up to the last one that isn't zero. A
//! journal is 64 MiB of zeros but for its beginning.

use std::{fs, path::Path};

use circled::store::{Record, Scan, Store, Table, Value};
use data_encoding::BASE64;

use crate::harness::{disk, server::circle};

/// Milliseconds of a century, about.
pub(super) const CENTURY: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Returns the text of a folder.
pub(super) fn pack(folder: &Path) -> String {
    let mut lines = Vec::new();
    collect(folder, folder, &mut lines);
    lines.sort();
    lines.concat()
}

fn collect(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, lines);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let name = path.strip_prefix(root).unwrap().display();
        let text = BASE64.encode(&bytes[..end]);
        lines.push(format!("{name} {} {text}\n", bytes.len()));
    }
}

/// Writes the files of a text into a folder.
pub(super) fn unpack(text: &str, folder: &Path) {
    for line in text.lines() {
        let mut parts = line.split(' ');
        let path = folder.join(parts.next().unwrap());
        let length = parts.next().unwrap().parse().unwrap();
        let bytes = BASE64.decode(parts.next().unwrap().as_bytes()).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
    }
}

/// Has everything in a data folder that expires do so a century later. So tests with it hold on any day.
pub(super) fn put_off_expiry(data: &Path) {
    disk::with_store(data, |store| {
        // The key begins with the time; those of the store's keys with a letter, and then the time.
        let mut records = changed(store, Table::Expiry, |key, value| {
            let (letter, key) = key.split_at(usize::from(key[0] != 0));
            let (at, rest) = key.split_at(8);
            ([letter, &later(at), rest].concat(), value.to_vec())
        });
        records.extend(changed(store, Table::Store, |key, value| {
            (key.to_vec(), put_off(value))
        }));
        // The value ends with the time.
        records.extend(changed(store, Table::Seen, |key, value| {
            let (job, until) = value.split_at(16);
            (key.to_vec(), [job, &later(until)].concat())
        }));
        records
    });
}

/// Has all jobs of a data folder end a century later, as [`ended_later`] tells of them.
pub(super) fn put_off_ends(data: &Path) {
    let later = |key: &[u8], value: &[u8]| {
        let json = std::str::from_utf8(value).unwrap();
        (key.to_vec(), ended_later(json, "\"ended_at\":\"").into())
    };
    disk::with_store(data, |store| {
        // Events tell of jobs, too.
        let mut records = changed(store, Table::Jobs, later);
        records.extend(changed(store, Table::Events, later));
        records
    });
}

/// Returns JSON in which all that has ended has ended a century later.
pub(super) fn ended_later(json: &str, name: &str) -> String {
    json.replace(&format!("{name}20"), &format!("{name}21"))
}

/// Returns a value of a circle's store that expires a century later, if it does.
pub(super) fn put_off(value: &[u8]) -> Vec<u8> {
    match value {
        // A mark, and the time.
        [1, at_and_json @ ..] => {
            let (at, json) = at_and_json.split_at(8);
            [&[1], &later(at)[..], json].concat()
        }
        _ => match std::str::from_utf8(value) {
            // A device key.
            Ok(json) => json
                .replace("\"expires_at\":\"20", "\"expires_at\":\"21")
                .into(),
            Err(_) => value.to_vec(),
        },
    }
}

/// Returns what is to be written so that all entries of a table are changed.
fn changed(
    store: &Store,
    table: Table,
    change: impl Fn(&[u8], &[u8]) -> (Vec<u8>, Vec<u8>),
) -> Vec<Record> {
    let mut records = Vec::new();
    let found = &mut |of, key: &[u8], value: &Value| {
        assert_eq!(of, circle());
        let (new_key, new_value) = change(key, value);
        records.push(Record::remove(table, key));
        records.push(Record::put(table, new_key, new_value));
        Scan::Continue
    };
    store.scan(table, &[], found).unwrap();
    records
}

fn later(millis: &[u8]) -> [u8; 8] {
    let millis = u64::from_be_bytes(millis.try_into().unwrap());
    (millis + CENTURY).to_be_bytes()
}
