use std::{
    fs,
    io::{self, Write},
};

use circled_protocol::{JobId, PublicKey, SecretKey};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::store::{Key, Value};

fn circle(seed: u8) -> PublicKey {
    SecretKey::from_hex(&hex::encode([seed; 32]))
        .unwrap()
        .public()
}

fn head(circle: PublicKey) -> Head {
    Head {
        circle,
        commits: 12,
        events: 7,
    }
}

fn entry(key: &[u8], value: &[u8]) -> Record {
    Record::Entry {
        key: Key::new(key),
        value: Value::new(value),
    }
}

fn event(number: u64) -> Record {
    let json = br#"{"topic":"t","data":[1,{}],"at":"2026-01-02T03:04:05Z"}"#;
    Record::Event {
        number,
        json: Value::new(json),
    }
}

fn job(id: u8, input: Option<&[u8]>) -> Record {
    Record::Job {
        id: JobId::from_bytes([id; 16]),
        is_open: id == 1,
        is_dead: id == 2,
        record: Value::new(b"{}"),
        input: input.map(Value::new),
    }
}

fn seen(identity: u8, until: Option<i64>) -> Record {
    Record::Seen {
        identity: [identity; 32],
        job: JobId::from_bytes([9; 16]),
        until,
    }
}

/// Returns one of each kind, and of each form.
fn records() -> Vec<Record> {
    let expires = [&[1][..], &1_900_000_000_000_i64.to_be_bytes(), b"[true]"].concat();
    vec![
        entry(b"a", b"1"),
        entry(b"b", &expires),
        entry(b"\xffm", &[1, 2, 3]),
        entry(b"\xffr1", &expires),
        event(6),
        event(7),
        job(1, Some(b"{\"args\":1}")),
        job(2, Some(b"")),
        job(3, None),
        seen(1, Some(1_900_000_000_000)),
        seen(2, None),
    ]
}

fn parts() -> Vec<Part> {
    let mut circles = [circle(1), circle(2), circle(3)];
    circles.sort_by_key(|circle| *circle.as_bytes());
    let [a, b, c] = circles.map(|circle| Part::Circle(head(circle)));
    let records = Part::Records(records());
    vec![
        a,
        records.clone(),
        Part::End,
        b,
        Part::End,
        c,
        records,
        Part::End,
    ]
}

fn made_at() -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_123).unwrap()
}

fn write(parts: &[Part], made_at: Timestamp) -> Result<(Vec<u8>, Summary), ArchiveError> {
    let mut writer = Writer::begin(Vec::new(), Header::new(made_at, None))?;
    parts.iter().try_for_each(|part| writer.part(part))?;
    writer.finish()
}

fn read(bytes: &[u8]) -> Result<(Vec<Part>, Summary), ArchiveError> {
    let mut reader = Reader::open(bytes)?;
    let mut parts = Vec::new();
    while let Some(part) = reader.next_part()? {
        parts.push(part);
    }
    let summary = reader.summary().unwrap().clone();
    Ok((parts, summary))
}

/// Returns an archive with frames that no writer would write.
fn forged(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(b"circled archive\n").unwrap();
    for frame in frames {
        let (kind, content) = frame.split_at(1);
        encoder.write_all(kind).unwrap();
        encoder
            .write_all(&(content.len() as u32).to_be_bytes())
            .unwrap();
        encoder.write_all(content).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn what_was_written_is_read() {
    let (bytes, written) = write(&parts(), made_at()).unwrap();
    let (found, read) = read(&bytes).unwrap();
    assert_eq!(found, parts());
    for summary in [written, read] {
        assert_eq!(summary.header, Header::new(made_at(), None));
        assert_eq!(summary.circles, 3);
        let counts = summary.counts;
        assert_eq!(
            (counts.entries, counts.events, counts.jobs, counts.seen),
            (8, 4, 6, 4)
        );
    }
}

#[test]
fn the_same_contents_have_the_same_sum_at_any_time() {
    let (one, sum) = write(&parts(), made_at()).unwrap();
    let (two, same) = write(&parts(), Timestamp::UNIX_EPOCH).unwrap();
    assert_ne!(one, two);
    assert_eq!(sum.contents, same.contents);
    let mut other = parts();
    let Part::Circle(head) = other[0] else {
        unreachable!()
    };
    other[0] = Part::Circle(Head {
        commits: 13,
        ..head
    });
    assert_ne!(write(&other, made_at()).unwrap().1.contents, sum.contents);
}

#[test]
fn large_archives_come_in_pages() {
    let value = format!("\"{}\"", "x".repeat(PAGE / 4));
    let entries = (0..20_u8).map(|n| entry(&[n + 1], value.as_bytes()));
    let all = Part::Records(entries.collect());
    let parts = [Part::Circle(head(circle(1))), all.clone(), Part::End];
    let (bytes, _) = write(&parts, made_at()).unwrap();
    let (found, _) = read(&bytes).unwrap();
    let pages = found.iter().filter_map(|part| match part {
        Part::Records(records) => Some(records.clone()),
        Part::Circle(_) | Part::End | Part::Done => None,
    });
    let pages: Vec<_> = pages.collect();
    assert_eq!(pages.len(), 5);
    assert_eq!(Part::Records(pages.concat()), all);
}

#[test]
fn a_cut_archive_is_noticed_wherever_it_is_cut() {
    let (bytes, _) = write(&parts(), made_at()).unwrap();
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ArchiveError::Cut), "{length}: {error}");
    }
    for more in [&b"\0"[..], &bytes] {
        let error = read(&[&bytes, more].concat()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is damaged: something comes after its end"
        );
    }
    // It ends between two frames, and is compressed to its end.
    let header = Header::new(made_at(), None).encode();
    let error = read(&forged(&[[b"H", &header[..]].concat()])).unwrap_err();
    assert!(matches!(error, ArchiveError::Cut), "{error}");
}

#[test]
fn a_wrong_byte_is_noticed_wherever_it_is() {
    let (bytes, summary) = write(&parts(), made_at()).unwrap();
    let mut unnoticed = 0;
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            if let Ok((found, read)) = read(&bytes) {
                // Such as the size of a window: it decompresses to the same.
                assert_eq!((found, read.contents), (parts(), summary.contents), "{at}");
                unnoticed += 1;
            }
        }
    }
    assert!(unnoticed <= 3, "{unnoticed}");
    // Where nothing is compressed, each sum is right by itself.
    let plain = zstd::decode_all(&bytes[..]).unwrap();
    for at in 0..plain.len() {
        let mut plain = plain.clone();
        plain[at] ^= 1;
        let bytes = zstd::encode_all(&plain[..], 1).unwrap();
        assert!(read(&bytes).is_err(), "{at}");
    }
}

#[test]
fn what_is_no_archive_is_told_from_a_newer_one() {
    for text in [&b"a text, long enough to be one"[..], &[0; 100]] {
        assert!(matches!(read(text), Err(ArchiveError::Foreign)));
        let compressed = zstd::encode_all(text, 1).unwrap();
        assert!(matches!(read(&compressed), Err(ArchiveError::Foreign)));
    }
    let header = br#"H{"format":2,"circled":"9.9.9","other":[]}"#.to_vec();
    let error = read(&forged(&[header])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it has format 2, made by circled 9.9.9, and this circled reads formats up to 1: use a newer circled"
    );
}

#[test]
fn an_archive_that_somebody_forged_is_refused() {
    let header = [b"H", &Header::new(made_at(), None).encode()[..]].concat();
    let of = |seed: u8, events: u64| {
        let numbers = [12_u64.to_be_bytes(), events.to_be_bytes()].concat();
        [b"C", &circle(seed).as_bytes()[..], &numbers].concat()
    };
    let begun = of(1, 7);
    let key = |key: &[u8], value: &[u8]| {
        [b"k", &(key.len() as u32).to_be_bytes()[..], key, value].concat()
    };
    let no_point = [&b"C\x02"[..], &[0xff; 32], &[0; 16]].concat();
    let plain = |bytes: &[u8]| bytes.to_vec();
    for (why, frames) in [
        ("a frame has no kind", vec![plain(b"x")]),
        ("it has two headers", vec![header.clone()]),
        ("the beginning of a circle can't be read", vec![plain(b"C")]),
        ("the beginning of a circle can't be read", vec![no_point]),
        (
            "a circle is at a wrong place",
            vec![begun.clone(), begun.clone()],
        ),
        ("a record belongs to no circle", vec![key(b"a", b"1")]),
        ("an end has no beginning", vec![plain(b"E")]),
        (
            "a record can't be read",
            vec![begun.clone(), plain(b"k\0\0\0\x09")],
        ),
        (
            "a record can't be read",
            vec![begun.clone(), plain(b"j123")],
        ),
        ("a record can't be read", vec![begun.clone(), plain(b"s")]),
        ("a number is too high", vec![of(1, u64::MAX)]),
        (
            "a circle has more or fewer",
            vec![begun.clone(), plain(b"E")],
        ),
        ("the sum of all is wrong", vec![plain(b"T")]),
        ("the sum of all is wrong", vec![begun.clone(), plain(b"T")]),
        (
            "an event can't be read",
            vec![begun, plain(b"e\0\0\0\0\0\0\0\x01{}")],
        ),
    ] {
        let frames: Vec<_> = [header.clone()].into_iter().chain(frames).collect();
        let error = read(&forged(&frames)).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    // No memory is taken for a length that isn't true.
    let begun = zstd::decode_all(&forged(&[header])[..]).unwrap();
    for (length, why) in [(0x0fff_ffff_u32, "ends too early"), (u32::MAX, "too long")] {
        let plain = [&begun[..], b"k", &length.to_be_bytes()].concat();
        let error = read(&zstd::encode_all(&plain[..], 1).unwrap()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn records_that_no_circle_can_have_are_refused() {
    let expires_badly = [&[1][..], &[0; 5]].concat();
    let high = event(8);
    for (why, records) in [
        ("an entry", vec![entry(b"", b"1")]),
        ("an entry", vec![entry(&[1; MOST_KEY + 1], b"1")]),
        ("an entry", vec![entry(b"a", b"")]),
        ("an entry", vec![entry(b"a", b"{")]),
        ("an entry", vec![entry(b"a", &expires_badly)]),
        ("an event", vec![event(0)]),
        ("an event", vec![high]),
        ("a mark", vec![seen(1, Some(-1))]),
        (
            "a record is at a wrong place",
            vec![entry(b"b", b"1"), entry(b"a", b"1")],
        ),
        (
            "a record is at a wrong place",
            vec![entry(b"b", b"1"), entry(b"b", b"1")],
        ),
        ("a record is at a wrong place", vec![event(7), event(6)]),
        (
            "a record is at a wrong place",
            vec![event(7), entry(b"a", b"1")],
        ),
        (
            "a record is at a wrong place",
            vec![job(2, None), job(1, None)],
        ),
        (
            "a record is at a wrong place",
            vec![seen(1, None), seen(1, None)],
        ),
    ] {
        let parts = [
            Part::Circle(head(circle(1))),
            Part::Records(records.clone()),
            Part::End,
        ];
        let error = write(&parts, made_at()).unwrap_err().to_string();
        assert!(error.contains(why), "{records:?}: {error}");
        assert!(error.contains(&circle(1).to_string()), "{error}");
    }
}

proptest! {
    #[test]
    fn bytes_of_strangers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), packed: bool) {
        let header = [b"H", &Header::new(made_at(), None).encode()[..]].concat();
        let mut plain = zstd::decode_all(&forged(&[header])[..]).unwrap();
        plain.extend(&bytes);
        let archive = if packed { zstd::encode_all(&plain[..], 1).unwrap() } else { bytes };
        prop_assert!(read(&archive).is_err());
    }
}

#[test]
fn a_file_has_its_name_once_it_is_whole() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    // One that was left behind is nothing.
    fs::write(folder.path().join("archive.partial"), "left behind").unwrap();
    let mut file = NewFile::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    let second = NewFile::create(&path).unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
    drop(file);
    assert!(names().is_empty());
    let mut file = NewFile::create(&path).unwrap();
    file.write_all(b"whole").unwrap();
    assert_eq!(names(), ["archive.partial"]);
    file.finish().unwrap();
    assert_eq!(names(), ["archive"]);
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let again = NewFile::create(&path).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}
