//! Records as they are stored, and some of their changes.

use circled_protocol::{DeviceKey, FailureKind, JobId, SecretKey, methods::JobError};
use jiff::Timestamp;

use super::{JobRecord, Status, changes::fitting_logs};
use crate::{dispatch::Series, golden, script::RunError};

#[test]
fn records_are_stored_as_before() {
    let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
    let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
    let new = JobRecord::new(JobId::from_bytes([7; 16]), key, key.to_string(), at(0));
    let text = |text: &str| Some(text.to_owned());
    let dead = JobRecord {
        caller: "webhook:stripe".to_owned(),
        name: text("on_stripe"),
        version: text("aa"),
        event_id: text("evt_1"),
        event_type: text("ping"),
        series: Some(Series {
            identity: [9; 32],
            is_final: true,
        }),
        status: Status::Dead,
        tries: 5,
        crashes: 1,
        ended_at: Some(at(60)),
        error: Some(JobError {
            kind: Some(FailureKind::Runtime.into()),
            message: "no".to_owned(),
            line: Some(3),
            column: Some(1),
        }),
        logs: vec!["a line".to_owned()],
        unread: Some("{\"id\":".into()),
        ..new.clone()
    };
    let finished = JobRecord {
        status: Status::Finished,
        tries: 1,
        run_at: Some(at(30)),
        ended_at: Some(at(31)),
        output: text("[1.0, 2]"),
        value: Some(circled_json::from_str("[1.0,9007199254740993]").unwrap()),
        ..new.clone()
    };
    let displaced = JobRecord {
        displaced: 2,
        due: Some(at(1)),
        ..new.clone()
    };
    let delayed = JobRecord {
        run_at: Some(at(30)),
        due: Some(at(30)),
        ..new.clone()
    };
    let of_device = JobRecord {
        device: DeviceKey::from_stored_hex(&key.to_string()),
        ..new.clone()
    };
    let of_guest = JobRecord {
        by_guest: true,
        ..new.clone()
    };
    let cancelled = JobRecord {
        status: Status::Cancelled,
        ended_at: Some(at(1)),
        ..new.clone()
    };
    for (name, job) in [
        ("job", new),
        ("job_delayed", delayed),
        ("job_of_guest", of_guest),
        ("job_displaced", displaced),
        ("job_finished", finished),
        ("job_cancelled", cancelled),
        ("job_dead", dead),
        ("job_of_device", of_device),
    ] {
        let written = serde_json::to_string(&job).unwrap();
        golden::check_json(name, &written, &[""], |text| {
            let read = JobRecord::read(job.id, Some(key), text.as_bytes())?;
            assert_eq!(read.unread, job.unread, "it can't be read: {text}");
            serde_json::to_string(&read).ok()
        });
    }
}

#[test]
fn what_finds_no_room_pauses_longer_each_time() {
    let loaded = crate::config::Settings::load(None, []).unwrap();
    let settings = &loaded.settings.dispatch.durable;
    let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
    let now = Timestamp::UNIX_EPOCH;
    let mut job = JobRecord::new(JobId::from_bytes([7; 16]), key, key.to_string(), now);
    let mut needed = Vec::new();
    for most in [500, 1000, 2000, 4000, 8000, 8000] {
        needed.push(job.needs_room());
        job.ran(Err(RunError::Displaced), now, settings).unwrap();
        let due = job.due.unwrap().as_millisecond();
        assert!(due <= most && due >= most * 3 / 4, "{due}");
    }
    assert_eq!(needed, [false, true, true, true, false, true]);
    job.fail(JobError::plain("no".to_owned()), now, settings);
    assert_eq!((job.tries, job.displaced), (1, 0));
}

#[test]
fn what_was_printed_is_kept_as_far_as_there_is_room() {
    let lines = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let cut = "(more was logged than is kept)";
    let all: Vec<String> = lines(&["one", "two", "three"]);
    for (room, left) in [
        (0, vec![cut]),
        (34, vec![cut]),
        (35, vec!["one", cut]),
        (106, vec!["one", "two", cut]),
        (107, vec!["one", "two", "three"]),
    ] {
        assert_eq!(fitting_logs(all.clone(), room), left, "{room}");
    }
    assert!(fitting_logs(Vec::new(), 0).is_empty());
}
