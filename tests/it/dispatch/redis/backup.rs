//! Archives of a namespace: each circle as it was at one moment, and restored as a whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use circled::backup::{Failure, Head, Part, Record};
use circled_protocol::{JobId, PublicKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    calls::{ok, submit},
    redis::{Archived, Cluster, Fleet, Program, RedisServer, all, circle},
    server::{TestServer, Ws, eventually, key, within},
    webhooks::{Webhook, event},
};

pub(super) const NAMESPACE: &str = "circled";
/// The number of partitions of a namespace, if none is set.
pub(super) const PARTITIONS: u16 = 16;

/// Notes that a delivery's job has run. Some fail until they are mended.
const DELIVERY: &str = r#"
    if EVENT.id.ends_with("bad") && !store.has("mended") { throw "not yet" }
    store.incr("done/" + EVENT.id, 1);
"#;

/// Changes a value, a key, and the log, all in one commit.
const PLAY: &str = r#"
    let n = store.incr("n", 1);
    store.set("log/" + n, n);
    emit("n", n);
"#;

pub(super) fn fleet(url: &str) -> Fleet {
    Fleet::running(url, DELIVERY)
        .with("DISPATCH__DURABLE__MAX_TRIES", 1)
        .with("DISPATCH__REDIS__WORKER", true)
}

async fn owner(server: &TestServer, number: u8) -> Ws {
    let mut session = server.connect_to(circle(number)).await;
    session.login(&key(100 + number)).await;
    session
}

pub(super) async fn deliver(server: &TestServer, number: u8, id: &str) -> String {
    Webhook::stripe(event(id))
        .to(circle(number))
        .kept(server)
        .await
        .1
}

/// Waits until no job of a circle is open.
async fn until_over(owner: &mut Ws) {
    eventually("all jobs to be over", async || {
        ok(owner, "usage", json!({})).await["jobs"]["open"] == 0
    })
    .await;
}

/// Returns all records.
fn records(parts: &[Part]) -> impl Iterator<Item = &Record> {
    let records = parts.iter().map(|part| match part {
        Part::Records(records) => &records[..],
        Part::Circle(_) | Part::End | Part::Done => &[],
    });
    records.flatten()
}

/// A circle in an archive.
#[derive(Default)]
struct Archive {
    head: Option<Head>,
    entries: BTreeMap<String, Value>,
    /// The numbers of all events, and the data of those with the topic `n`.
    events: Vec<u64>,
    numbers: Vec<u64>,
    /// The ids of the deliveries' jobs, and their statuses.
    jobs: BTreeMap<JobId, (String, String)>,
    marks: Vec<JobId>,
}

fn archives(parts: &[Part]) -> BTreeMap<PublicKey, Archive> {
    let mut archives = BTreeMap::new();
    let mut archive = Archive::default();
    for part in parts {
        match part {
            Part::Circle(head) => archive.head = Some(*head),
            Part::Records(records) => records.iter().for_each(|record| archive.add(record)),
            Part::Done => {}
            Part::End => {
                let archive = std::mem::take(&mut archive);
                archives.insert(archive.head.unwrap().circle, archive);
            }
        }
    }
    archives
}

impl Archive {
    fn add(&mut self, record: &Record) {
        let read = |json: &[u8]| circled_json::from_slice::<circled_json::Json>(json).unwrap();
        match record {
            Record::Entry { key, value } => {
                if let Ok(key) = std::str::from_utf8(key) {
                    let value = circled_json::parse(std::str::from_utf8(value).unwrap()).unwrap();
                    self.entries.insert(key.to_owned(), value);
                }
            }
            Record::Event { number, json } => {
                self.events.push(*number);
                let event = read(json);
                if event["topic"] == "n" {
                    self.numbers.push(event["data"].as_u64().unwrap());
                }
            }
            Record::Job {
                id,
                is_open,
                is_dead,
                record,
                input,
            } => {
                assert!(input.is_some());
                let job = read(record);
                let status = job["status"].as_str().unwrap();
                assert_eq!(
                    (*is_open, *is_dead),
                    (status == "pending", status == "dead")
                );
                let event = job["event_id"].as_str().unwrap().to_owned();
                self.jobs.insert(*id, (event, status.to_owned()));
            }
            Record::Seen { job, .. } => self.marks.push(*job),
        }
    }

    /// Checks that it has whole commits, and all up to one.
    fn check(&self) {
        let all = self.entries.get("n").map_or(0, |n| n.as_u64().unwrap());
        let logged = self.entries.keys().filter(|key| key.starts_with("log/"));
        assert_eq!(logged.count() as u64, all);
        for n in 1..=all {
            assert_eq!(self.entries[&format!("log/{n}")], n);
        }
        assert_eq!(self.numbers, (1..=all).collect::<Vec<_>>());
        let last = self.head.unwrap().events;
        assert_eq!(self.events, (1..=last).collect::<Vec<_>>());

        for (event, status) in self.jobs.values() {
            let runs = self.entries.get(&format!("done/{event}"));
            assert_eq!(
                runs == Some(&json!(1)),
                status == "finished",
                "{event}: {status}, {runs:?}"
            );
        }
        let done = self
            .entries
            .keys()
            .filter(|key| key.starts_with("done/"))
            .count();
        let finished = self
            .jobs
            .values()
            .filter(|(_, status)| status == "finished");
        assert_eq!(done, finished.count());
        let marks: BTreeSet<_> = self.marks.iter().collect();
        assert_eq!(marks.len(), self.marks.len());
        assert_eq!(marks, self.jobs.keys().collect());
    }
}

/// Changes a circle until it is told to stop, with plays, deliveries and retries.
async fn change(server: &TestServer, number: u8, is_over: &AtomicBool) {
    let mut session = owner(server, number).await;
    for n in 0.. {
        session.play(PLAY).await.unwrap();
        let bad = if n % 3 == 0 { "bad" } else { "" };
        deliver(server, number, &format!("evt_{n}_{bad}")).await;
        if n % 10 == 9 {
            session.play("store.set(\"mended\", 1)").await.unwrap();
            ok(&mut session, "retry_dead", json!({ "expect": 100 })).await;
            session.play("store.delete(\"mended\")").await.unwrap();
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// Checks archives of circles that change all the time, and that what was restored from one goes on.
async fn check_under_load(program: Program) {
    const CIRCLES: u8 = 3;
    let redis = RedisServer::start_program(program, &[]).await;
    let server = fleet(&redis.url()).gateway().await;
    let from = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    let is_over = AtomicBool::new(false);
    let changes = async {
        let changes = (0..CIRCLES).map(|number| change(&server, number, &is_over));
        futures_util::future::join_all(changes).await;
    };
    let reads = async {
        let mut last = Vec::new();
        let mut commits = 0;
        while commits < 300 {
            last = from.read().await.unwrap();
            let archives = archives(&last);
            archives.values().for_each(Archive::check);
            commits = archives
                .values()
                .map(|archive| archive.head.unwrap().commits)
                .sum();
        }
        is_over.store(true, Ordering::Relaxed);
        last
    };
    let ((), parts) = tokio::join!(changes, reads);
    let archived = archives(&parts);
    assert_eq!(archived.len(), usize::from(CIRCLES));
    let open = |(_, status): &&(String, String)| status == "pending";
    let jobs = archived.values().flat_map(|archive| archive.jobs.values());
    eprintln!(
        "{} jobs are open of {}",
        jobs.clone().filter(open).count(),
        jobs.count()
    );

    let to = Archived::of(&redis.url(), "other", 3);
    to.write(&parts).await.unwrap();
    assert_eq!(to.read().await.unwrap(), parts);
    let other = fleet(&redis.url())
        .with("DISPATCH__REDIS__NAMESPACE", "other")
        .with("DISPATCH__REDIS__PARTITIONS", 3);
    let other = other.gateway().await;
    for number in 0..CIRCLES {
        let archive = &archived[&circle(number)];
        let mut owner = owner(&other, number).await;
        until_over(&mut owner).await;
        for (event, status) in archive.jobs.values() {
            let script = format!("store.get(\"done/{event}\")");
            let runs = owner.play(&script).await.unwrap()["value"].take();
            let is_bad = event.ends_with("bad") && status != "finished";
            assert!(is_bad || runs == 1, "{event} was {status}: {runs}");
            if !is_bad {
                assert_eq!(deliver(&other, number, event).await, "duplicate");
            }
        }
        // Its events go on without a gap.
        let since = archive.head.unwrap().events;
        ok(&mut owner, "subscribe", json!({ "since": since })).await;
        owner.play(PLAY).await.unwrap();
        assert_eq!(owner.event().await["id"], since + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_has_exactly_the_commits_before_a_moment() {
    check_under_load(Program::Installed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_has_exactly_the_commits_before_a_moment_in_valkey() {
    check_under_load(Program::Valkey).await;
}

#[tokio::test]
async fn what_happens_after_the_moment_is_not_in_the_archive() {
    let redis = RedisServer::start().await;
    let server = fleet(&redis.url()).gateway().await;
    let archived = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    let (mut first, mut second) = (circle(0), circle(1));
    let (mut number, mut other) = (0, 1);
    if first > second {
        (first, second, number, other) = (second, first, 1, 0);
    }
    let mut session = owner(&server, number).await;
    // More than a part, so nobody takes all of it at once.
    let large = r#"
        let text = "x";
        while text.len < 30000 { text += text }
        for n in 0..120 { store.set("large/" + n, text) }
    "#;
    session.play(large).await.unwrap();
    for n in 0..20 {
        deliver(&server, number, &format!("evt_{n}_bad")).await;
    }
    deliver(&server, other, "evt_before").await;
    until_over(&mut session).await;

    let out = archived.begin().await;
    let copy = format!("{{{NAMESPACE}:*}}:backup:store");
    eventually("the first circle to be copied", async || {
        !redis.command(&["KEYS", &copy]).await.is_empty()
    })
    .await;
    session.play("store.set(\"mended\", 1)").await.unwrap();
    ok(&mut session, "retry_dead", json!({ "expect": 20 })).await;
    deliver(&server, number, "evt_after").await;
    deliver(&server, other, "evt_between").await;
    until_over(&mut session).await;
    let runs = session.play("store.count(\"done/\")").await.unwrap()["value"].take();
    assert_eq!(runs, 21);
    let parts = all(out).await.unwrap();
    let archives = archives(&parts);
    archives.values().for_each(Archive::check);
    let jobs = &archives[&first].jobs;
    assert_eq!(jobs.len(), 20);
    assert!(jobs.values().all(|(_, status)| status == "dead"));
    // Its moment came later.
    let events = archives[&second].jobs.values().map(|(event, _)| &**event);
    assert_eq!(events.collect::<Vec<_>>(), ["evt_before", "evt_between"]);
    // Nothing of it is left.
    let left = redis.command(&["KEYS", "*backup*"]).await;
    assert_eq!(left, "");
}

#[tokio::test]
async fn a_restore_is_there_as_a_whole_or_not_at_all() {
    let redis = RedisServer::start().await;
    let server = fleet(&redis.url()).gateway().await;
    let mut session = owner(&server, 0).await;
    session.play(PLAY).await.unwrap();
    deliver(&server, 0, "evt_1").await;
    until_over(&mut session).await;
    // Another circle has nothing but jobs that aren't over.
    let mut other = owner(&server, 1).await;
    let in_an_hour = Timestamp::now() + SignedDuration::from_hours(1);
    submit(&mut other, json!({ "script": "1", "run_at": in_an_hour })).await;
    let from = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    let parts = from.read().await.unwrap();
    let is_open = |record: &Record| matches!(record, Record::Job { is_open: true, .. });
    assert_eq!(records(&parts).filter(|one| is_open(one)).count(), 1);

    let refused = from.write(&parts).await.unwrap_err().to_string();
    assert!(
        refused.contains("isn't empty: it has 1 agreement, "),
        "{refused}"
    );
    assert!(!redis.command(&["KEYS", "*"]).await.contains("}:restore"));
    let served = from.check_unserved().await.unwrap_err().to_string();
    assert!(served.contains("servers use the namespace"), "{served}");

    let to = Archived::of(&redis.url(), "other", 2);
    let nothing = to.read().await.unwrap_err().to_string();
    assert!(
        nothing.contains("nothing is in the namespace \"other\""),
        "{nothing}"
    );
    // Two restores are killed half-way.
    let (_, begun) = parts.split_last().unwrap();
    for _ in 0..2 {
        to.write_and_die(begun).await;
        let busy = to.write(&parts).await.unwrap_err().to_string();
        assert!(
            busy.starts_with("another restore uses the namespace"),
            "{busy}"
        );
        let (status, said) = fleet(&redis.url())
            .with("DISPATCH__REDIS__NAMESPACE", "other")
            .with("DISPATCH__REDIS__PARTITIONS", 2)
            .builder()
            .give_up()
            .await;
        assert!(!status.success());
        assert!(
            said.contains("a restore into the namespace \\\"other\\\"")
                || said.contains("a restore into the namespace \"other\""),
            "{said}"
        );
        to.read().await.unwrap_err();
        // Its time is over.
        redis.command(&["DEL", "{other}:restore"]).await;
        // What is no part of the archive doesn't stay either.
        redis.command(&["SET", "{other:01}:seen:x", "y"]).await;
    }
    to.write(&parts).await.unwrap();
    assert_eq!(to.read().await.unwrap(), parts);
    assert_eq!(redis.command(&["EXISTS", "{other:01}:seen:x"]).await, "0");
    to.check_unserved().await.unwrap();

    // One that fails leaves nothing.
    let third = Archived::of(&redis.url(), "third", 2);
    let job = records(&parts).find(|one| matches!(one, Record::Job { .. }));
    let job = Part::Records(vec![job.unwrap().clone()]);
    let twice = [parts[0].clone(), job.clone(), job];
    let failed = third.write(&twice).await.unwrap_err().to_string();
    assert!(failed.contains("is there twice"), "{failed}");
    assert_eq!(redis.command(&["KEYS", "{third*"]).await, "");
}

#[tokio::test]
async fn a_backup_whose_connection_is_lost_fails() {
    let redis = RedisServer::start().await;
    let server = fleet(&redis.url()).gateway().await;
    for number in 0..4 {
        deliver(&server, number, "evt_1").await;
    }
    let mut out = Archived::of(&redis.url(), NAMESPACE, PARTITIONS)
        .begin()
        .await;
    out.recv().await.unwrap().unwrap();
    redis
        .command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    let failed = within("an end", all(out)).await.unwrap_err();
    assert!(matches!(failed, Failure::Refused(_)), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_archived_and_restored() {
    let cluster = Cluster::start(3, 0).await;
    let server = fleet(&cluster.url()).gateway().await;
    for number in 0..4 {
        let mut session = owner(&server, number).await;
        session.play(PLAY).await.unwrap();
        deliver(&server, number, "evt_1").await;
        until_over(&mut session).await;
    }
    let from = Archived::of(&cluster.url(), NAMESPACE, PARTITIONS);
    let parts = from.read().await.unwrap();
    let archived = archives(&parts);
    assert_eq!(archived.len(), 4);
    archived.values().for_each(Archive::check);
    let to = Archived::of(&cluster.url(), "other", 5);
    to.write(&parts).await.unwrap();
    assert_eq!(to.read().await.unwrap(), parts);
    to.write(&parts).await.unwrap_err();
}
