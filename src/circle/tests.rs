//! Tests of a circle's own records, in a store on a disk.

mod devices;

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, mpsc::channel},
    time::{Duration, Instant},
};

use circled_protocol::{PublicKey, Role, is_script_name, methods::AddMember};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{
    Caller, Compiler, NAME_RULE, Procedure, Settings, has_script, list_role, pin, pin_source,
    scripts,
};
use crate::{
    script::{Limits, RunError, Sandbox},
    store::{self, Disk, DiskSettings, Preconditions, Store, Transaction, WaitPolicy},
    units::Size,
};

const SETTINGS: Settings = Settings {
    max_members: 3,
    max_device_keys: 3,
    max_guest_device_keys: 3,
    max_scripts: 3,
    script_versions: 2,
    requests_for: std::time::Duration::from_secs(3600),
};

fn open(folder: &Path) -> Store {
    let settings = DiskSettings {
        data_dir: folder.to_owned(),
        min_free: 0,
        write_queue: Size::new(1 << 20).unwrap(),
        memtables: Size::new(16 << 20).unwrap(),
        cache: 1 << 20,
        open_files: 64,
        max_requests: 1 << 20,
    };
    let limits = store::Settings {
        max_key: Size::new(512).unwrap(),
        max_value: Size::new(64).unwrap(),
        max_writes: 1,
        max_range_delete: 100,
        max_events: NonZeroUsize::new(1).unwrap(),
        max_event: 8,
        event_log: NonZeroUsize::new(100).unwrap(),
        event_log_bytes: Size::new(1 << 20).unwrap(),
        events_waiting: Size::new(1 << 20).unwrap(),
        events_waiting_in_all: Size::new(1 << 20).unwrap(),
        quota: 1 << 20,
    };
    Store::start(Disk::open(&settings).unwrap(), &settings, limits).unwrap()
}

fn key(number: u8) -> PublicKey {
    let mut bytes = [2; PublicKey::LENGTH];
    bytes[1] = number;
    PublicKey::from_stored(bytes)
}

fn begin(store: &Store) -> Transaction {
    store.begin_latest(key(0))
}

fn commit(store: &Store, transaction: Transaction) {
    let (sender, done) = channel();
    let tell = Box::new(move |result| sender.send(result).unwrap());
    store
        .commit(
            transaction,
            Vec::new(),
            Preconditions::NONE,
            tell,
            WaitPolicy::Wait,
        )
        .unwrap();
    done.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
}

/// Performs a procedure in a transaction of its own, as `key(1)` and at this second.
fn at(
    store: &Store,
    second: i64,
    settings: &Settings,
    procedure: &Procedure,
) -> Result<Json, RunError> {
    by(store, 1, second, settings, procedure)
}

/// Does the same as the key of this number.
fn by(
    store: &Store,
    caller: u8,
    second: i64,
    settings: &Settings,
    procedure: &Procedure,
) -> Result<Json, RunError> {
    let mut transaction = begin(store);
    let now = Timestamp::from_second(second).unwrap();
    let answer = procedure.perform(&mut transaction, &Caller::Key(key(caller)), now, settings)?;
    commit(store, transaction);
    Ok(circled_json::parse(answer.get()).unwrap())
}

fn perform(store: &Store, procedure: &Procedure) -> Result<Json, RunError> {
    at(store, 0, &SETTINGS, procedure)
}

fn put(name: &str, source: &str) -> Procedure {
    Procedure::PutScript {
        name: name.to_owned(),
        source: source.to_owned(),
    }
}

fn get(name: &str, version: Option<&str>) -> Procedure {
    Procedure::GetScript {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    }
}

fn limit(name: &'static str) -> RunError {
    RunError::limit(name)
}

fn not_found(what: &'static str) -> RunError {
    RunError::not_found(what)
}

/// Returns the topics of a procedure's events, and checks that only the owner gets them.
fn emitted(store: &Store, procedure: &Procedure) -> Vec<String> {
    let mut transaction = begin(store);
    procedure
        .perform(
            &mut transaction,
            &Caller::Key(key(1)),
            Timestamp::UNIX_EPOCH,
            &SETTINGS,
        )
        .unwrap();
    let events = transaction.events().iter();
    events
        .map(|event| {
            assert_eq!(event.to, Some(key(0)));
            let data: Json = circled_json::parse(&event.data).unwrap();
            format!("{} {}", event.topic, data["pubkey"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn members_are_kept_in_order_and_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let add = |number| Procedure::AddMember(AddMember::new(key(number)));
    let remove = |number| Procedure::RemoveMember {
        pubkey: key(number),
    };
    let list = Procedure::ListMembers {
        fixed: vec![key(9)],
    };
    assert_eq!(
        emitted(&store, &add(7)),
        [format!("circle.member_added {}", key(7))]
    );
    for (second, number) in [(1, 7), (2, 3), (3, 5)] {
        let added = at(&store, second, &SETTINGS, &add(number)).unwrap();
        assert_eq!(added, json!({ "added": true }));
    }
    assert!(emitted(&store, &add(7)).is_empty() && emitted(&store, &remove(8)).is_empty());
    assert_eq!(perform(&store, &add(3)).unwrap(), json!({ "added": false }));
    let member = |number: u8, second: i64| json!({ "pubkey": key(number), "added_at": Timestamp::from_second(second).unwrap() });
    let all = json!({ "members": [member(3, 2), member(5, 3), member(7, 1)], "fixed": [key(9)] });
    assert_eq!(perform(&store, &list).unwrap(), all);

    // The limit may be reached or exceeded.
    for most in [3, 2, 0] {
        let settings = Settings {
            max_members: most,
            ..SETTINGS
        };
        let full = Err(limit("circles.max_members"));
        assert_eq!(at(&store, 4, &settings, &add(8)), full);
        assert_eq!(at(&store, 4, &settings, &list).unwrap(), all);
        let again = at(&store, 4, &settings, &add(3)).unwrap();
        assert_eq!(again, json!({ "added": false }));
    }
    assert_eq!(
        emitted(&store, &remove(5)),
        [format!("circle.member_removed {}", key(5))]
    );
    for removed in [true, false] {
        let answer = perform(&store, &remove(5)).unwrap();
        assert_eq!(answer, json!({ "removed": removed }));
    }
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    let mut transaction = begin(&store);
    let is = [3, 5, 7, 9].map(|number| list_role(&mut transaction, &key(number)).unwrap());
    let member = Some(Role::Member);
    assert_eq!(is, [member, None, member, None]);
    // Other circles don't have them.
    let mut other = store.begin_latest(key(100));
    assert_eq!(list_role(&mut other, &key(3)).unwrap(), None);
    assert!(begin(&store).keys("", 10).unwrap().is_empty());
}

#[test]
fn a_members_role_is_stored_as_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let added = Procedure::AddMember(AddMember::new(key(1)));
    at(&store, 1, &SETTINGS, &added).unwrap();
    let stored = |number| [b"m".as_slice(), key(number).as_bytes()].concat();
    let mut run = begin(&store);
    let found = run.own_get(&stored(1)).unwrap().unwrap();
    let member = json!({ "role": "member", "added_at": "1970-01-01T00:00:01Z" });
    assert_eq!(circled_json::from_slice::<Json>(&found).unwrap(), member);
    for (number, role, expected) in [
        (2, json!("guest"), Some(Role::Guest)),
        // The owner is the holder of the circle's key, whatever the list says.
        (3, json!("owner"), Some(Role::Member)),
        (4, json!("moderator"), None),
        (5, json!(7), None),
    ] {
        let mut member = member.clone();
        member["role"] = role;
        run.own_set(
            &stored(number),
            Some(member.to_string().into_bytes().into()),
        );
        assert_eq!(list_role(&mut run, &key(number)).unwrap(), expected);
    }
    let earlier = br#"{"added_at":"1970-01-01T00:00:01Z"}"#.to_vec();
    run.own_set(&stored(6), Some(earlier.into()));
    assert_eq!(list_role(&mut run, &key(6)).unwrap(), Some(Role::Member));
}

#[test]
fn versions_are_kept_by_their_hash_the_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut versions = Vec::new();
    // The limits of values that scripts write don't apply to scripts.
    let sources = ["1", "2", &format!("// {}\n3", "x".repeat(1000))];
    for (second, source) in (1..).zip(sources) {
        let answer = at(&store, second, &SETTINGS, &put("a", source)).unwrap();
        assert_eq!(
            (&answer["name"], &answer["created"]),
            (&json!("a"), &json!(true))
        );
        versions.push(answer["version"].as_str().unwrap().to_owned());
        let again = at(&store, 100, &SETTINGS, &put("a", source)).unwrap();
        assert_eq!(
            (&again["version"], &again["created"]),
            (&answer["version"], &json!(false))
        );
    }
    // "1" is gone.
    let (two, three) = (&versions[1], &versions[2]);
    let shown = perform(&store, &get("a", None)).unwrap();
    assert_eq!(
        (&shown["source"], &shown["version"]),
        (&json!(sources[2]), &json!(three))
    );
    assert_eq!(shown["put_at"], "1970-01-01T00:00:03Z");
    assert_eq!(shown["put_by"], json!(key(1)));
    let stored: Vec<&Json> = shown["versions"].as_array().unwrap().iter().collect();
    assert_eq!(stored.len(), 2);
    assert_eq!(
        (&stored[0]["version"], &stored[1]["version"]),
        (&json!(three), &json!(two))
    );
    assert_eq!(
        perform(&store, &get("a", Some(two))).unwrap()["source"],
        "2"
    );
    assert_eq!(
        perform(&store, &get("a", Some(&versions[0]))),
        Err(not_found("version"))
    );
    assert_eq!(perform(&store, &get("b", None)), Err(not_found("script")));
    assert_eq!(
        perform(&store, &get("b", Some(two))),
        Err(not_found("script"))
    );
    // An older version that is stored again is the newest.
    assert_eq!(perform(&store, &put("a", "2")).unwrap()["created"], true);
    let mut transaction = begin(&store);
    assert_eq!(
        scripts::find(&mut transaction, "a", None)
            .unwrap()
            .put
            .version,
        *two
    );
    // Sources without a name are gone, as are all of a deleted script.
    let sources = |store: &Store| begin(store).own_keys(b"v", 10).unwrap().len();
    assert_eq!(sources(&store), 2);
    let delete = Procedure::DeleteScript {
        name: "a".to_owned(),
    };
    assert!(has_script(&mut transaction, "a").unwrap());
    assert_eq!(
        perform(&store, &delete).unwrap(),
        json!({ "deleted": true })
    );
    assert_eq!(
        perform(&store, &delete).unwrap(),
        json!({ "deleted": false })
    );
    assert_eq!(sources(&store), 0);
    assert!(!has_script(&mut begin(&store), "a").unwrap());
}

#[test]
fn with_fewer_versions_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let keep = |script_versions| Settings {
        script_versions,
        ..SETTINGS
    };
    for n in 0..5 {
        at(&store, n, &keep(10), &put("a", &n.to_string())).unwrap();
    }
    // Without any version there would be no script.
    for (most, stored) in [(3, 3), (1, 1), (0, 1)] {
        at(&store, 9, &keep(most), &put("a", &format!("{most}0"))).unwrap();
        let shown = perform(&store, &get("a", None)).unwrap();
        assert_eq!(shown["versions"].as_array().unwrap().len(), stored);
        assert_eq!(shown["source"], format!("{most}0"));
        assert_eq!(begin(&store).own_keys(b"v", 10).unwrap().len(), stored);
    }
}

#[test]
fn names_are_listed_in_order_and_as_many_as_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for name in ["b", "a/c", "a"] {
        perform(&store, &put(name, "1")).unwrap();
    }
    for most in [3, 1, 0] {
        let settings = Settings {
            max_scripts: most,
            ..SETTINGS
        };
        let full = Err(limit("circles.max_scripts"));
        assert_eq!(at(&store, 0, &settings, &put("c", "1")), full);
        let list = at(&store, 0, &settings, &Procedure::ListScripts).unwrap();
        let names: Vec<&Json> = list["scripts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|script| &script["name"])
            .collect();
        assert_eq!(names, ["a", "a/c", "b"]);
        at(&store, 0, &settings, &put("a", &most.to_string())).unwrap();
    }
    // A script's name doesn't occur in the sources of others.
    perform(
        &store,
        &Procedure::DeleteScript {
            name: "a".to_owned(),
        },
    )
    .unwrap();
    assert_eq!(perform(&store, &get("a/c", None)).unwrap()["source"], "1");
}

#[test]
fn a_name_is_a_name() {
    for name in [
        "a",
        "Z",
        "_",
        "a1",
        "on_stripe",
        "a/b-c.d_e",
        &"n".repeat(64),
    ] {
        assert!(is_script_name(name), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for name in [
        "",
        "1",
        "-",
        ".",
        "/",
        "a b",
        "a\0",
        "ä",
        "aä",
        "a\u{ff}",
        &"n".repeat(65),
    ] {
        assert!(!is_script_name(name), "{name:?}");
        let reason = NAME_RULE.to_owned();
        assert_eq!(
            perform(&store, &put(name, "1")),
            Err(RunError::Invalid { reason })
        );
        assert_eq!(perform(&store, &get(name, None)), Err(not_found("script")));
    }
}

#[test]
fn pinned_scripts_do_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let sandbox = Sandbox::new(Limits::small());
    let time = Duration::from_secs(60);
    let compiler = Compiler {
        sandbox: &sandbox,
        deadline: Instant::now() + time,
        time,
        cancel: &Arc::default(),
    };
    let one = perform(&store, &put("a", "1")).unwrap()["version"].take();
    let two = perform(&store, &put("a", "2")).unwrap()["version"].take();
    let mut transaction = begin(&store);
    for (version, found, source) in [(None, &two, "2"), (one.as_str(), &one, "1")] {
        let pinned = pin(&mut transaction, &compiler, "a", version).unwrap();
        assert_eq!(pinned.name.as_deref(), Some("a"));
        assert_eq!(
            (json!(pinned.version), &*pinned.source),
            (found.clone(), source)
        );
        let stored = serde_json::to_string(&pinned).unwrap();
        assert_eq!(
            circled_json::from_str::<super::Pinned>(&stored).unwrap(),
            pinned
        );
    }
    let pinned = pin_source(&mut transaction, &compiler, "1 + 1").unwrap();
    assert_eq!((pinned.name, pinned.version), (None, None));
    assert_eq!(&*pinned.source, "1 + 1");
    for (name, version, what) in [("b", None, "script"), ("a", Some("none"), "version")] {
        match pin(&mut transaction, &compiler, name, version) {
            Err(error) => assert_eq!(error, not_found(what)),
            other => panic!("{other:?}"),
        }
    }
    let failed = pin_source(&mut transaction, &compiler, "let x =");
    assert!(matches!(failed, Err(RunError::Failed(_))), "{failed:?}");
}

/// Checks that one of two transactions that change the same has to run again.
#[test]
fn reads_of_members_and_scripts_are_validated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let add = |number| Procedure::AddMember(AddMember::new(key(number)));
    let collide = |one: &Procedure, other: &Procedure| {
        let mut first = begin(&store);
        let now = Timestamp::UNIX_EPOCH;
        one.perform(&mut first, &Caller::Key(key(1)), now, &SETTINGS)
            .unwrap();
        perform(&store, other).unwrap();
        let done = Box::new(|_| {});
        let refused = store.commit(
            first,
            Vec::new(),
            Preconditions::NONE,
            done,
            WaitPolicy::Wait,
        );
        refused.map_err(|refused| refused.why.to_string())
    };
    let conflict = crate::store::CommitError::Conflict.to_string();
    // The third member, and the fourth.
    perform(&store, &add(1)).unwrap();
    perform(&store, &add(2)).unwrap();
    assert_eq!(collide(&add(3), &add(4)), Err(conflict.clone()));
    assert_eq!(
        collide(&put("a", "1"), &put("a", "2")),
        Err(conflict.clone())
    );
    assert_eq!(collide(&put("b", "1"), &put("c", "1")), Err(conflict));
    assert_eq!(collide(&put("a", "3"), &put("c", "2")), Ok(()));
    // A run that only a member may do.
    let mut run = begin(&store);
    assert_eq!(list_role(&mut run, &key(1)).unwrap(), Some(Role::Member));
    run.set("a", Some(b"1".to_vec().into())).unwrap();
    let pubkey = key(1);
    perform(&store, &Procedure::RemoveMember { pubkey }).unwrap();
    let done = Box::new(|_| {});
    let refused = store.commit(run, Vec::new(), Preconditions::NONE, done, WaitPolicy::Wait);
    assert!(refused.is_err());
}

#[test]
fn a_role_that_only_a_later_version_knows_is_listed_and_gives_no_right() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut run = begin(&store);
    let stored_key = [b"m", key(1).as_bytes().as_slice()].concat();
    let stored = br#"{"role":"auditor","added_at":"2026-01-01T00:00:00Z"}"#;
    run.own_set(&stored_key, Some(stored.as_slice().into()));
    let done = Box::new(|_| {});
    store
        .commit(run, Vec::new(), Preconditions::NONE, done, WaitPolicy::Wait)
        .unwrap();
    assert_eq!(list_role(&mut begin(&store), &key(1)).unwrap(), None);
    let list = Procedure::ListMembers { fixed: Vec::new() };
    let member =
        json!({ "pubkey": key(1), "unknown_role": "auditor", "added_at": "2026-01-01T00:00:00Z" });
    let all = json!({ "members": [member], "fixed": [] });
    assert_eq!(perform(&store, &list).unwrap(), all);
    // The owner can remove them.
    let pubkey = key(1);
    let removed = perform(&store, &Procedure::RemoveMember { pubkey }).unwrap();
    assert_eq!(removed["removed"], true);
}

#[test]
fn a_version_may_be_abbreviated_where_that_is_clear() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let settings = Settings {
        script_versions: 40,
        ..SETTINGS
    };
    let mut versions = Vec::new();
    // There are more versions than digits, so two begin with the same one.
    for n in 0..17 {
        let put = at(&store, 0, &settings, &put("a", &n.to_string())).unwrap();
        versions.push(put["version"].as_str().unwrap().to_owned());
    }
    for version in &versions {
        for length in 1..=64 {
            let begin = &version[..length];
            let others = versions.iter().filter(|other| other.starts_with(begin));
            match (others.count(), perform(&store, &get("a", Some(begin)))) {
                (1, Ok(shown)) => assert_eq!(shown["version"], *version),
                (count, Err(RunError::Invalid { reason })) => {
                    let expected = format!("{count} versions begin with \"{begin}\"");
                    assert!(reason.contains(&expected), "{reason}");
                }
                (count, other) => panic!("{begin}, of {count}: {other:?}"),
            }
        }
    }
    assert_eq!(
        perform(&store, &get("a", Some(""))),
        Err(not_found("version"))
    );
    let longer = format!("{}0", versions[0]);
    assert_eq!(
        perform(&store, &get("a", Some(&longer))),
        Err(not_found("version"))
    );
}
