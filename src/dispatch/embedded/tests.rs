//! Durable jobs where two things happen to them at once, and runs that saw what isn't on disk yet.

use std::{
    borrow::Cow,
    cell::Cell,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use circled_protocol::{JobId, JobStatus, PublicKey, SecretKey, Vocabulary, methods::JobError};
use jiff::Timestamp;
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    Embedded, JobStore,
    circle_queues::CircleQueues,
    commit_gate::CommitGate,
    job_store,
    record::{self, Expiring},
    running_file::RunningFile,
    transaction_runner::Ran,
};
use crate::{
    auth::Access,
    circle::{Caller, JobSpec, Task},
    dispatch::{
        BackendHandle, Delivery, JobRecord, Listing, Played, Progress, Status, retry::Rerun,
        settings::Durable, submission::JobRequest,
    },
    memory::MemoryBudget,
    script::{RunError, Seed},
    store::{Disk, DiskSettings, Preconditions, Record, Settings, Store, Table, WaitPolicy},
    units::Size,
};

/// The longest that anything takes which isn't expected to take long.
const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

const SETTINGS: Durable = Durable {
    per_circle: NonZeroUsize::new(4).unwrap(),
    backlog: NonZeroUsize::new(100).unwrap(),
    max_page: Size::new(1 << 20).unwrap(),
    looks: NonZeroUsize::new(8).unwrap(),
    max_tries: NonZeroU32::new(5).unwrap(),
    retry_after: HOUR,
    retry_at_most: HOUR,
    max_logs: 1 << 14,
    dedupe_for: HOUR,
    keep_for: HOUR,
    keep_dead_for: HOUR,
};

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        data_dir: folder.path().to_owned(),
        min_free: 0,
        write_queue: Size::new(1 << 20).unwrap(),
        memtables: Size::new(16 << 20).unwrap(),
        cache: 1 << 20,
        open_files: 64,
        max_requests: 1 << 20,
    };
    let limits = Settings {
        max_key: Size::new(512).unwrap(),
        max_value: Size::new(1 << 16).unwrap(),
        max_writes: 1000,
        max_range_delete: 100,
        max_events: NonZeroUsize::new(100).unwrap(),
        event_log: NonZeroUsize::new(100).unwrap(),
        event_log_bytes: Size::new(1 << 20).unwrap(),
        events_waiting: Size::new(1 << 20).unwrap(),
        events_waiting_in_all: Size::new(1 << 20).unwrap(),
        max_event: 1 << 14,
        quota: 1 << 20,
    };
    let store = Store::start(Disk::open(&settings).unwrap(), &settings, limits).unwrap();
    (folder, store)
}

fn circle(seed: u8) -> PublicKey {
    SecretKey::from_hex(&hex::encode([seed; 32]))
        .unwrap()
        .public()
}

fn keep(store: &Store, records: Vec<Record>) {
    store
        .write_and_wait(circle(1), records, Preconditions::NONE)
        .unwrap();
}

/// A job's record, as far as it matters here.
fn job(status: &str) -> JobRecord {
    let record = json!({
        "id": JobId::new(),
        "circle": circle(1),
        "caller": "webhook:test",
        "received_at": "2026-01-01T00:00:00Z",
        "status": status,
        "tries": 0,
        "crashes": 0,
    });
    circled_json::from_value(record).unwrap()
}

/// Keeps what is committed from the disk, until what it returns is dropped.
fn hold(store: &Store) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    let (held, holds) = channel();
    let done = Box::new(move |_| {
        let _ = held.send(());
        let _ = receiver.recv_timeout(PATIENCE);
    });
    let nothing = store.begin(circle(2));
    let committed = store.commit(
        nothing,
        Vec::new(),
        Preconditions::NONE,
        done,
        WaitPolicy::Wait,
    );
    committed.unwrap();
    holds.recv_timeout(PATIENCE).unwrap();
    sender
}

fn is_there(store: &Store, table: Table, key: &[u8]) -> bool {
    let found = store.lock_circle(circle(1), WaitPolicy::Wait, |locked| {
        locked.read(table, key)
    });
    found.unwrap().unwrap().is_some()
}

/// A thousand small values are many times what they are written in.
#[test]
fn a_new_job_counts_as_it_is_understood() {
    let delivery = Delivery {
        circle: circle(1),
        provider: "test".into(),
        event_id: None,
        event_type: None,
        identity: None,
        series: None,
        payload: to_raw_value(&vec![0; 1000]).unwrap(),
        received_at: Timestamp::now(),
    };
    let request = JobRequest::of_delivery(delivery, None);
    let (new_job, _) = job_store::accepted(request, &SETTINGS);
    let values = 1000 * size_of::<serde_json::Value>();
    assert!(new_job.size > values, "{}", new_job.size);
}

#[test]
fn a_delivery_that_is_remembered_anew_isnt_forgotten_with_the_old_one() {
    let (_folder, store) = store();
    let (identity, now) = ([7; 32], Timestamp::now());
    let accepted = |at: Timestamp| {
        vec![
            record::seen(&identity, JobId::new(), at),
            record::expiry(Expiring::Seen, &identity, at),
        ]
    };
    keep(&store, accepted(now - HOUR));
    let held = hold(&store);
    let (done, wait_policy) = (Box::new(|_| {}), WaitPolicy::Wait);
    let transaction = store.begin(circle(1));
    let records = accepted(now + HOUR);
    let committed = store.commit(transaction, records, Preconditions::NONE, done, wait_policy);
    committed.unwrap();
    // The new one isn't on disk yet.
    job_store::sweep(&store, now, &SETTINGS).unwrap();
    drop(held);
    store.shutdown();
    let seen = store.read(Table::Seen, &circle(1), &identity).unwrap();
    let seen = seen.unwrap();
    assert!(record::seen_job(&seen, now).is_some());
}

#[test]
fn what_is_due_is_forgotten_and_nothing_else() {
    let (_folder, store) = store();
    let (old, new, now) = ([1; 32], [2; 32], Timestamp::now());
    for (identity, until) in [(old, now - HOUR), (new, now + HOUR)] {
        keep(
            &store,
            vec![
                record::seen(&identity, JobId::new(), until),
                record::expiry(Expiring::Seen, &identity, until),
            ],
        );
    }
    let more = job_store::sweep(&store, now, &SETTINGS).unwrap();
    assert!(!more);
    assert!(!is_there(&store, Table::Seen, &old));
    assert!(is_there(&store, Table::Seen, &new));
}

#[test]
fn a_dead_job_that_two_retry_runs_again_once() {
    let (_folder, store) = store();
    let job = job("dead");
    let (id, dead) = (job.id, Record::put(Table::Dead, job.id.as_bytes(), []));
    keep(&store, vec![record::put(&job), dead]);
    let jobs = JobStore::stopped(store.clone());
    let held = hold(&store);
    let first = {
        let jobs = jobs.clone();
        thread::spawn(move || jobs.retry_in(circle(1), id, &Rerun::AsBefore, None, None))
    };
    while is_there(&store, Table::Dead, id.as_bytes()) {
        thread::yield_now();
    }
    // On disk, it is dead still.
    assert_eq!(jobs.find(id).unwrap().unwrap().0.status, Status::Dead);
    assert_eq!(
        jobs.retry_in(circle(1), id, &Rerun::AsBefore, None, None),
        Ok(false)
    );
    drop(held);
    assert_eq!(first.join().unwrap(), Ok(true));
    assert_eq!(jobs.find(id).unwrap().unwrap().0.status, Status::Pending);
}

#[test]
fn a_job_that_is_over_isnt_resumed() {
    let (_folder, store) = store();
    let (over, pending) = (job("finished"), job("pending"));
    for job in [&over, &pending] {
        keep(
            &store,
            vec![
                record::put(job),
                Record::put(Table::Open, job.id.as_bytes(), []),
            ],
        );
    }
    let found = job_store::recover(&store, &[], Timestamp::now(), &SETTINGS).unwrap();
    let found: Vec<_> = found.iter().map(|job| job.id).collect();
    assert_eq!(found, [pending.id]);
    assert!(!is_there(&store, Table::Open, over.id.as_bytes()));
}

#[test]
fn a_job_that_kills_the_server_three_times_is_given_up() {
    let (_folder, store) = store();
    let (deadly, other) = (job("pending"), job("pending"));
    for job in [&deadly, &other] {
        keep(
            &store,
            vec![
                record::put(job),
                Record::put(Table::Open, job.id.as_bytes(), []),
            ],
        );
    }
    for crashes in 1..=3 {
        let found = job_store::recover(&store, &[deadly.id], Timestamp::now(), &SETTINGS).unwrap();
        let found: Vec<_> = found.iter().map(|job| job.id).collect();
        let job = job_store::find(&store, deadly.id).unwrap().unwrap();
        assert_eq!((job.crashes, job.tries), (crashes, 0));
        if crashes < 3 {
            assert_eq!(
                (found, job.status),
                (vec![deadly.id, other.id], Status::Pending)
            );
        } else {
            assert_eq!((found, job.status), (vec![other.id], Status::Dead));
        }
    }
    let other = job_store::find(&store, other.id).unwrap().unwrap();
    assert_eq!(other.crashes, 0);
    // Whoever has been run to the end since isn't the one.
    let mut blamed = job("pending");
    blamed.crashes = 2;
    blamed.fail(JobError::plain("no"), Timestamp::now(), &SETTINGS);
    assert_eq!((blamed.crashes, blamed.tries), (0, 1));
}

#[test]
fn a_job_that_is_delayed_twice_runs_once_at_the_earlier_time() {
    let (job, now) = (JobId::new(), Timestamp::now());
    for (one, other) in [(HOUR, HOUR * 2), (HOUR * 2, HOUR), (HOUR, HOUR)] {
        let mut queues = CircleQueues::default();
        queues.delay(circle(1), job, None, now + one);
        queues.delay(circle(1), job, None, now + other);
        assert_eq!(queues.len(), 1);
        let (_, next) = queues.wake(now);
        assert_eq!(next, Some(now + HOUR));
        let (circles, next) = queues.wake(now + HOUR * 3);
        assert_eq!((circles.len(), next), (1, None));
        let mut start = || queues.start(&circle(1), 4).map(|ready| ready.id);
        assert_eq!([start(), start()], [Some(job), None]);
        // And again another time.
        queues.delay(circle(1), job, None, now);
        assert_eq!(queues.len(), 1);
    }
}

#[test]
fn a_run_that_saw_what_isnt_on_disk_brings_that_to_its_commit() {
    let (_folder, store) = store();
    let held = hold(&store);
    let mut writer = store.begin_latest(circle(1));
    writer.set("key", Some(b"1"[..].into())).unwrap();
    let done = Box::new(|_| {});
    let committed = store.commit(
        writer,
        Vec::new(),
        Preconditions::NONE,
        done,
        WaitPolicy::Wait,
    );
    committed.unwrap();
    let mut failed = store.begin_latest(circle(1));
    failed.get("key").unwrap();
    failed.set("other", Some(b"1"[..].into())).unwrap();
    let ran = Ran::new(Err(RunError::Cancelled), Some(Box::new(failed)));
    assert!(!ran.safe);
    assert!(!ran.writes.unwrap().writes());
    let mut safe = store.begin(circle(1));
    safe.get("key").unwrap();
    safe.set("other", Some(b"1"[..].into())).unwrap();
    let ran = Ran::new(Err(RunError::Cancelled), Some(Box::new(safe)));
    assert!(ran.safe && ran.writes.is_none());
    drop(held);
}

#[test]
fn a_job_that_is_forgotten_waits_no_more() {
    let (here, there) = (circle(1), circle(2));
    let mut queues = CircleQueues::default();
    let jobs: Vec<JobId> = (0..4).map(|_| JobId::new()).collect();
    let (soon, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    queues.push(here, jobs[0], None);
    queues.push(here, jobs[1], None);
    queues.delay(here, jobs[2], None, later);
    queues.delay(here, jobs[3], None, soon);
    assert_eq!((queues.backlog(&here), queues.len()), (4, 4));
    for job in [jobs[0], jobs[2], jobs[3]] {
        // In another circle, or a second time, there is none.
        queues.forget(&there, JobId::new());
        queues.forget(&here, job);
        queues.forget(&here, job);
    }
    assert_eq!(queues.backlog(&here), 1);
    assert!(queues.wake(Timestamp::now()).0.is_empty());
    let next = queues.start(&here, 4).unwrap();
    assert_eq!(next.id, jobs[1]);
    // One that runs isn't anybody's to forget.
    queues.forget(&here, jobs[1]);
    assert!(queues.start(&here, 4).is_none());
    queues.stopped(&here, jobs[1], &Arc::default());
    assert_eq!(queues.len(), 0);
}

#[test]
fn a_run_that_ends_leaves_the_next_one_of_its_job_alone() {
    let (here, job) = (circle(1), JobId::new());
    let mut queues = CircleQueues::default();
    let (first, second) = (
        Arc::new(CommitGate::default()),
        Arc::new(CommitGate::default()),
    );
    for gate in [&first, &second] {
        queues.push(here, job, None);
        queues.start(&here, 4).unwrap();
        queues.mark_running(job, gate.clone());
    }
    queues.stopped(&here, job, &first);
    assert!(queues.is_running(job));
    queues.cancel(job);
    assert!(!second.try_commit(), "it could not be stopped");
    queues.stopped(&here, job, &second);
    assert_eq!((queues.is_running(job), queues.len()), (false, 0));
}

/// A backend that gives jobs up at once, whose provider "test" has this script.
fn embedded(store: &Store, script: &str) -> Arc<Embedded> {
    let loaded = crate::config::Settings::load(None, std::iter::empty());
    let mut settings = loaded.unwrap().settings;
    settings.dispatch.durable.max_tries = NonZeroU32::MIN;
    let access = Arc::new(Access::new(&settings.circles, &settings.circle));
    let executor = crate::server::executor(&settings, access);
    let scripts = [("test".into(), script.into())].into_iter().collect();
    let embedded = Embedded::start(&settings.dispatch, executor, store.clone(), scripts);
    Arc::new(embedded.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_have_expired_are_swept_though_nobody_looks() {
    let (_folder, store) = store();
    let embedded = embedded(&store, "");
    let mut transaction = store.begin(circle(1));
    let expiry = Timestamp::now().as_millisecond() + 200;
    let value = crate::store::Value::new(b"1");
    for n in 0..1000 {
        let key = format!("k/{n}");
        transaction.set_until(&key, &value, expiry).unwrap();
    }
    let written = store.commit_and_wait(transaction, Vec::new(), Preconditions::NONE);
    written.unwrap();
    let count = |table| {
        let mut count = 0;
        let walked = store.walk(table, &circle(1), &[], false, &mut |_, _| {
            count += 1;
            true
        });
        walked.unwrap();
        count
    };
    let tables = [Table::Store, Table::Expiry];
    assert_eq!(tables.map(count), [1000, 1000]);
    let begun = Instant::now();
    while tables.map(count) != [0, 0] {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    }
    // In bounded steps, each a commit.
    assert_eq!(store.last_commit(&circle(1)), Ok(3));
    embedded.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_run_before_they_are_stored_unless_the_last_server_died_of_one() {
    let (_folder, store) = store();
    let first = embedded(&store, "EVENT.payload");
    let accept = async |embedded: &Arc<Embedded>, n: u8| {
        let delivery = Delivery {
            circle: circle(1),
            provider: "test".into(),
            event_id: None,
            event_type: None,
            identity: Some([n; 32]),
            series: None,
            payload: to_raw_value(&n).unwrap(),
            received_at: Timestamp::now(),
        };
        let receipt = embedded.accept(delivery, PATIENCE).await.unwrap();
        assert_eq!(receipt.status, Progress::Finished);
        let job = store.read(Table::Jobs, &circle(1), receipt.job.as_bytes());
        let job = record::job(&circle(1), receipt.job, &job.unwrap().unwrap()).unwrap();
        assert_eq!((job.status, job.tries), (Status::Finished, 1));
        assert_eq!(job.output, Some(n.to_string()));
        let open = store.read(Table::Open, &circle(1), receipt.job.as_bytes());
        assert!(open.unwrap().is_none());
    };
    for n in 0..5 {
        accept(&first, n).await;
    }
    assert!(!first.durable.has_lost_a_job);
    let (running, _) = RunningFile::open(store.disk().path()).unwrap();
    std::mem::forget(running.begin(JobId::new()));
    let second = embedded(&store, "EVENT.payload");
    assert!(second.durable.has_lost_a_job);
    accept(&second, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_while_its_job_is_given_up_is_told_of_its_own_run() {
    const IDENTITY: [u8; 32] = [7; 32];
    let (_folder, store) = store();
    let embedded = embedded(&store, r#"if EVENT.payload == "fails" { throw "no" }"#);
    let tasks = TaskTracker::new();
    let accept = |payload: &str| {
        let delivery = Delivery {
            circle: circle(1),
            provider: "test".into(),
            event_id: None,
            event_type: None,
            identity: Some(IDENTITY),
            series: None,
            payload: to_raw_value(payload).unwrap(),
            received_at: Timestamp::now(),
        };
        let embedded = embedded.clone();
        tasks.spawn(async move { embedded.accept(delivery, PATIENCE).await })
    };
    let until = async |status: Status| {
        let is_so = || {
            store.lock_circle(circle(1), WaitPolicy::Wait, |locked| {
                let seen = locked.read(Table::Seen, &IDENTITY).unwrap()?;
                let id = record::seen_job(&seen, Timestamp::now())?;
                let job = locked.read(Table::Jobs, id.as_bytes()).unwrap()?;
                Some(record::job(&circle(1), id, &job)?.status == status)
            })
        };
        while is_so().flatten() != Some(true) {
            tokio::task::yield_now().await;
        }
    };
    let held = hold(&store);
    let first = accept("fails");
    until(Status::Dead).await;
    let again = accept("ends well");
    until(Status::Finished).await;
    // Nothing of all that is on disk.
    assert!(!first.is_finished() && !again.is_finished());
    drop(held);
    let (first, again) = (first.await.unwrap(), again.await.unwrap());
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first.job, again.job);
    assert_eq!(
        (first.status, again.status),
        (Progress::Failed, Progress::Finished)
    );
    let ending = tokio::task::spawn_blocking(move || embedded.shutdown());
    ending.await.unwrap();
}

/// Plays a script as its session does.
fn play(embedded: &Embedded, source: &str) -> Played<BackendHandle> {
    let job = JobSpec {
        id: JobId::new(),
        circle: circle(1),
        caller: Caller::Anyone,
        requires: None,
        task: Task::Source(source.into()),
        args: Cow::Owned(Value::Null),
        event: None,
        timeout: PATIENCE,
        seed: Seed::draw(),
        durable: None,
        request: None,
        tells_effects: false,
    };
    let memory = MemoryBudget::new("session.max_buffered", 1 << 20);
    embedded.play(job, Uuid::nil(), &memory, true)
}

/// Waits until a play that must wait for the disk has ended well.
async fn ended(played: Played<BackendHandle>) {
    let Played::Later(BackendHandle::Embedded(handle)) = played else {
        panic!("nothing of it is on disk");
    };
    handle.outcome().await.outcome.unwrap();
}

/// A hop to a script thread costs more than the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_script_that_conflicts_with_what_isnt_on_disk_runs_again_at_once() {
    const COUNT: &str = r#"store.set("n", store.get("n", 0) + 1)"#;
    let (_folder, store) = store();
    let embedded = embedded(&store, "");
    let count = || {
        let value = store.begin_latest(circle(1)).get("n").unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    // Its first run shows that it is short.
    ended(play(&embedded, COUNT)).await;
    let held = hold(&store);
    let later = [2, 3, 4].map(|n| {
        let played = play(&embedded, COUNT);
        assert_eq!(count(), Some(n.to_string()), "before anybody else ran");
        played
    });
    drop(held);
    for played in later {
        ended(played).await;
    }
    embedded.shutdown();
}

/// Keeps so many jobs in each of four circles: every fourth one dead, the others finished.
fn keep_jobs(store: &Store, of_each: usize) -> Vec<JobId> {
    let mut all = Vec::new();
    for seed in 1..=4 {
        let mut records = Vec::new();
        for n in 0..of_each {
            let is_dead = n % 4 == 0;
            let mut job = job(if is_dead { "dead" } else { "finished" });
            job.circle = circle(seed);
            records.push(record::put(&job));
            if is_dead {
                records.push(Record::put(Table::Dead, job.id.as_bytes(), []));
            }
            all.push(job.id);
            if records.len() >= 1000 || n + 1 == of_each {
                let records = std::mem::take(&mut records);
                store
                    .write_and_wait(circle(seed), records, Preconditions::NONE)
                    .unwrap();
            }
        }
    }
    all
}

fn listing(states: &[JobStatus], limit: usize) -> Listing {
    Listing {
        states: states.to_vec(),
        circle: None,
        script: None,
        after: None,
        limit,
    }
}

#[test]
fn pages_of_jobs_have_each_of_them_once() {
    let (_folder, store) = store();
    let all = keep_jobs(&store, 50);
    let job_store = JobStore::stopped(store);
    for (states, circle_alone, limit, count) in [
        (JobStatus::ALL, None, 7, 200),
        (&[JobStatus::Dead], None, 5, 52),
        (&[JobStatus::Dead, JobStatus::Pending], Some(2), 5, 13),
        (&[JobStatus::Finished], Some(3), 100, 37),
        (&[JobStatus::Finished], None, 148, 148),
    ] {
        let mut listing = listing(states, limit);
        listing.circle = circle_alone.map(circle);
        let mut found = Vec::new();
        loop {
            let (jobs, cursor) = job_store.list(&listing).unwrap();
            assert!(jobs.len() <= limit);
            assert!(jobs.is_sorted_by_key(|(job, _)| job.id));
            found.extend(jobs.into_iter().map(|(job, _)| job.id));
            listing.after = cursor;
            if listing.after.is_none() {
                break;
            }
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), count, "{states:?} {circle_alone:?}");
    }
    let (found, _) = job_store.find(all[120]).unwrap().unwrap();
    assert_eq!((found.id, found.circle), (all[120], circle(3)));
}

#[test]
fn a_page_of_jobs_costs_about_a_page_however_many_there_are() {
    for of_each in [50, 5000] {
        let (_folder, store) = store();
        keep_jobs(&store, of_each);
        // Every fourth one is dead, the first one too.
        for (states, most) in [
            (JobStatus::ALL, 20),
            (&[JobStatus::Dead], 20),
            (&[JobStatus::Finished], 27),
        ] {
            let looks = Cell::new(0);
            let is_running = |_| {
                looks.set(looks.get() + 1);
                false
            };
            let page = job_store::list(&store, &listing(states, 20), &is_running, usize::MAX);
            assert_eq!(page.unwrap().0.len(), 20);
            let looks = looks.get();
            assert!(looks <= most, "{looks} of {of_each}: {states:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_commit_submits_runs() {
    let (_folder, store) = store();
    let embedded = embedded(&store, "EVENT.payload + 1");
    let delivery = Delivery {
        circle: circle(1),
        provider: "test".into(),
        event_id: None,
        event_type: None,
        identity: None,
        series: None,
        payload: to_raw_value(&1).unwrap(),
        received_at: Timestamp::now(),
    };
    let request = JobRequest::of_delivery(delivery, None);
    let id = request.job.id;
    let mut transaction = store.begin(circle(1));
    transaction.submit(request.job.submitted(Some(&request.input), None));
    embedded.commit(transaction).await.unwrap();
    let found = || embedded.jobs().find_in(&circle(1), id).unwrap().unwrap().0;
    while found().status != Status::Finished {
        tokio::task::yield_now().await;
    }
    assert_eq!(found().output.as_deref(), Some("2"));
    tokio::task::spawn_blocking(move || embedded.shutdown())
        .await
        .unwrap();
}
