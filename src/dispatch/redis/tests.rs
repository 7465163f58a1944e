//! Commits to a Redis of the test's own: they come to what they come to in a store on this machine.

mod replies;

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use circled_protocol::{JobId, PublicKey, SecretKey};
use fred::types::Value;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

use super::{
    Redis,
    conn::Connection,
    proto::{keys::Keys, scripts::Expire},
    worker::{Committer, DirectReads, KnownValues, Moments},
};
use crate::{
    auth::Access,
    config,
    dispatch::{Role, Scripts, Settings},
    store::{
        self, CommitError, CommitFeed, CommitSignal, Disk, Effects, Key, KeyRange, Store,
        SubmittedJob, Table, Transaction,
    },
};

/// The longest that anything takes which isn't expected to take long.
const PATIENCE: Duration = Duration::from_secs(10);

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "a/3", "b", "c"];
/// A time that has passed, and one that doesn't come.
const EARLY: i64 = 1_000_000;
const LATE: i64 = 10_000_000_000_000;
const BOUNDS: [&str; 6] = ["", "a", "a/1", "a/2", "b", "d"];

/// A Redis, and a connection to it.
struct Server {
    process: Child,
    _folder: TempDir,
    runtime: Runtime,
    redis: Connection,
    settings: config::Settings,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let loaded = config::Settings::load(None, std::iter::empty());
        let mut settings = loaded.unwrap().settings;
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        settings.dispatch.redis.url = format!("redis://127.0.0.1:{port}");
        let own = &settings.dispatch.redis;
        let keys = Arc::new(Keys::new("test", own.partitions.get()));
        let runtime = Runtime::new().unwrap();
        let redis = runtime.block_on(async {
            let redis = Connection::start(own, keys, "test").unwrap();
            tokio::select! {
                _ = redis.watch() => panic!("nobody else uses it"),
                () = redis.until_up() => {}
            }
            redis
        });
        Self {
            process,
            _folder: folder,
            runtime,
            redis,
            settings,
        }
    }

    fn committer(&self, change: impl FnOnce(&mut Settings)) -> Committer {
        let mut settings = self.settings.dispatch.clone();
        change(&mut settings);
        Committer::new(
            &settings,
            &self.redis,
            &Arc::new(self.settings.store.clone()),
        )
    }

    fn begin(&self, circle: PublicKey) -> Transaction {
        let reads = DirectReads {
            known: KnownValues::default(),
            moments: Moments::default(),
            redis: self.redis.clone(),
            handle: self.runtime.handle().clone(),
            circle,
        };
        let limits = Arc::new(self.settings.store.clone());
        Transaction::remote(Box::new(reads), limits, circle)
    }

    fn commit(&self, committer: &Committer, transaction: Transaction) -> Result<(), CommitError> {
        let circle = transaction.circle();
        self.commit_effects(committer, circle, &transaction.into_effects())
    }

    /// Has a key have expired.
    fn age(&self, circle: PublicKey, key: &str) {
        let partition = self.redis.keys().of(&circle);
        let store = Value::from(partition.store(&circle));
        let stored = self.ask(circle, "HGET", vec![store.clone(), key.into()]);
        let mut stored = stored.into_bytes().unwrap().to_vec();
        stored[1..9].copy_from_slice(&EARLY.to_be_bytes());
        self.ask(
            circle,
            "HSET",
            vec![store, key.into(), stored.as_slice().into()],
        );
        let ends = vec![partition.expiring(&circle).into(), EARLY.into(), key.into()];
        self.ask(circle, "ZADD", ends);
    }

    /// Adds so many keys that have expired.
    fn add_expired(&self, circle: PublicKey, count: usize) {
        let partition = self.redis.keys().of(&circle);
        let script = "for n = 1, ARGV[1] do
            local key = 'k' .. n
            redis.call('HSET', KEYS[1], key, struct.pack('>BI8', 1, ARGV[2]) .. '1')
            redis.call('ZADD', KEYS[2], 0, key)
            redis.call('ZADD', KEYS[3], ARGV[2], key)
        end";
        let args = vec![
            script.into(),
            3.into(),
            partition.store(&circle).into(),
            partition.store_keys(&circle).into(),
            partition.expiring(&circle).into(),
            i64::try_from(count).unwrap().into(),
            EARLY.into(),
        ];
        self.ask(circle, "EVAL", args);
    }

    /// Deletes the keys that have expired.
    fn expire(&self, circle: PublicKey) {
        let expire = Expire {
            circle,
            most: 500,
            inbox_length: 100,
            inbox_bytes: 1 << 20,
        };
        let partition = self.redis.keys().of(&circle);
        let sent = self.redis.call(partition, expire);
        self.runtime.block_on(sent).unwrap();
    }

    fn commit_effects(
        &self,
        committer: &Committer,
        circle: PublicKey,
        effects: &Effects,
    ) -> Result<(), CommitError> {
        let answer = self
            .runtime
            .block_on(committer.commit_effects(circle, effects));
        answer.unwrap().into_result(&self.settings.store)
    }

    /// Returns the bytes in a circle's store, and the number of its last commit.
    fn usage(&self, circle: PublicKey) -> String {
        let usage = self.redis.keys().of(&circle).usage(&circle);
        let stored = self.ask(circle, "GET", vec![usage.into()]);
        stored.as_string().unwrap_or_else(|| "0 0".to_owned())
    }

    fn ask(&self, circle: PublicKey, command: &'static str, args: Vec<Value>) -> Value {
        let partition = self.redis.keys().of(&circle);
        let sent = self.redis.send(command, partition, args);
        self.runtime.block_on(sent).unwrap()
    }
}

fn circle(seed: u16) -> PublicKey {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    SecretKey::from_hex(&hex::encode(bytes)).unwrap().public()
}

#[derive(Debug, Clone)]
enum Step {
    Get(&'static str),
    Scan(KeyRange),
    Entries(KeyRange),
    Count(KeyRange),
    Set(&'static str, u8),
    /// Until a time that doesn't come.
    SetUntil(&'static str, u8, i64),
    ExpiresAt(&'static str),
    Delete(&'static str),
    Add(&'static str, i64),
    Push(&'static str),
    DeleteRange(KeyRange),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::sample::select(&KEYS[..]);
    let bound = || prop::sample::select(&BOUNDS[..]);
    let limit = prop_oneof![1..4_usize, Just(usize::MAX)];
    let range = || (bound(), bound(), limit.clone(), any::<bool>());
    let range = || {
        range().prop_map(|(start, end, limit, reverse)| KeyRange {
            start: Key::new(start.as_bytes()),
            end: Key::new(end.as_bytes()),
            limit,
            reverse,
        })
    };
    let step = prop_oneof![
        1 => key().prop_map(Step::Get),
        2 => range().prop_map(Step::Scan),
        2 => range().prop_map(Step::Entries),
        2 => range().prop_map(Step::Count),
        2 => (key(), any::<u8>()).prop_map(|(key, n)| Step::Set(key, n)),
        2 => (key(), any::<u8>(), 0..2_i64).prop_map(|(key, n, after)| Step::SetUntil(key, n, LATE + after)),
        1 => key().prop_map(Step::ExpiresAt),
        1 => key().prop_map(Step::Delete),
        2 => key().prop_map(Step::Push),
        1 => range().prop_map(Step::DeleteRange),
        2 => (key(), prop_oneof![-9..9_i64, Just(i64::MAX)]).prop_map(|(key, n)| Step::Add(key, n)),
    ];
    vec(step, 0..6)
}

/// Returns a value. A long one is compared by its hash.
fn value(n: u8) -> store::Value {
    // A row of zeros is no number, and only Redis says so.
    let text = n
        .max(1)
        .to_string()
        .repeat(if n.is_multiple_of(4) { 40 } else { 1 });
    text.into_bytes().into()
}

/// Takes the steps. Returns what was seen.
fn take(steps: &[Step], transaction: &mut Transaction) -> Vec<Vec<Vec<u8>>> {
    let step = |step: &Step| match step {
        Step::Get(key) => {
            let value = transaction.get(key);
            Some(vec![format!("{value:?}").into_bytes()])
        }
        Step::Scan(range) => {
            let keys = transaction.scan(range.clone()).unwrap();
            Some(keys.iter().map(|key| key.to_vec()).collect())
        }
        Step::Entries(range) => {
            let entries = transaction.scan_entries(range.clone(), usize::MAX);
            Some(vec![format!("{entries:?}").into_bytes()])
        }
        Step::Count(range) => {
            let count = transaction.count(range.clone(), &mut |_| true).unwrap();
            Some(vec![count.unwrap().to_string().into_bytes()])
        }
        // It fails where the sum is too large, and so does a look at a sum that is none.
        Step::Add(key, by) => {
            let added = transaction.add(key, *by);
            Some(vec![format!("{added:?}").into_bytes()])
        }
        Step::DeleteRange(range) => {
            transaction.delete_range(range.clone()).unwrap();
            None
        }
        Step::Push(prefix) => {
            let pushed = transaction.push(prefix, store::Value::new(b"7"));
            Some(vec![format!("{pushed:?}").into_bytes()])
        }
        Step::Set(key, n) => {
            transaction.set(key, Some(value(*n))).unwrap();
            None
        }
        Step::SetUntil(key, n, end) => {
            transaction.set_until(key, &value(*n), *end).unwrap();
            None
        }
        Step::ExpiresAt(key) => {
            let end = transaction.expires_at(key);
            Some(vec![format!("{end:?}").into_bytes()])
        }
        Step::Delete(key) => {
            transaction.set(key, None).unwrap();
            None
        }
    };
    steps.iter().filter_map(step).collect()
}

#[test]
fn many_keys_that_have_expired_keep_redis_for_no_longer_than_some_do() {
    let server = Server::start();
    let committer = server.committer(|_| {});
    let circle = circle(1);
    let mut first = server.begin(circle);
    first.set("a", Some(value(1))).unwrap();
    server.commit(&committer, first).unwrap();
    let all = KeyRange {
        start: Key::new(b"a"),
        end: Key::new(b"z"),
        limit: usize::MAX,
        reverse: false,
    };
    let read = |range: &KeyRange, counts: bool| {
        let mut transaction = server.begin(circle);
        let found = if counts {
            transaction
                .count(range.clone(), &mut |_| true)
                .unwrap()
                .unwrap()
        } else {
            transaction.scan(range.clone()).unwrap().len() as u64
        };
        transaction.set("b", Some(value(found as u8))).unwrap();
        (found, transaction)
    };
    let sweep = |times| (0..times).for_each(|_| server.expire(circle));
    for counts in [false, true] {
        let (found, seen) = read(&all, counts);
        assert_eq!(found, 1 + u64::from(counts));
        // What is in the way is too much to look at again: the run starts over.
        server.add_expired(circle, 45_000);
        let committed = server.commit(&committer, seen);
        assert_eq!(committed, Err(CommitError::Conflict));
        std::thread::scope(|scope| {
            let swept = scope.spawn(|| sweep(52));
            let (found, seen) = read(&all, counts);
            assert_eq!(found, 1 + u64::from(counts));
            server.commit(&committer, seen).unwrap();
            swept.join().unwrap();
        });
        let left = vec![server.redis.keys().of(&circle).expiring(&circle).into()];
        let left = server.ask(circle, "ZCARD", left).as_i64().unwrap();
        assert_eq!(
            left,
            45_000 - 52 * 500,
            "it waits for no more than is in the way"
        );
        // Each range is small enough, but not all of them together.
        let (_, mut seen) = read(&all, counts);
        for end in [b"x", b"y"] {
            let end = Key::new(end);
            seen.count(KeyRange { end, ..all.clone() }, &mut |_| true)
                .unwrap();
        }
        let committed = server.commit(&committer, seen);
        assert_eq!(committed, Err(CommitError::Conflict));
        sweep(40);
    }
    server.add_expired(circle, 45_000);
    let delete = || {
        let mut transaction = server.begin(circle);
        transaction.delete_range(all.clone()).unwrap();
        server.commit(&committer, transaction)
    };
    assert_eq!(delete(), Err(CommitError::Conflict));
    sweep(52);
    assert_eq!(delete(), Ok(()));
}

#[test]
fn commits_come_to_the_same_in_redis_and_on_disk() {
    let server = Server::start();
    let committer = server.committer(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let mut settings = server.settings.dispatch.embedded.clone();
    settings.data_dir = folder.path().join("data");
    let disk = Disk::open(&settings).unwrap();
    let store = Store::start(disk, &settings, server.settings.store.clone()).unwrap();
    let on_disk =
        |transaction| store.commit_and_wait(transaction, Vec::new(), store::Preconditions::NONE);
    // The bytes, and the number of the last commit.
    let usage_on_disk = |circle| {
        let stored = store.read(Table::Usage, &circle, &[]).unwrap();
        let number = |at: usize| {
            let stored = stored.as_deref().unwrap_or(&[0; 16]);
            u64::from_be_bytes(stored[at..at + 8].try_into().unwrap())
        };
        format!("{} {}", number(0), number(8))
    };
    let seeds = std::sync::atomic::AtomicU16::new(1);
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let ended = vec((prop::sample::select(&KEYS[..]), any::<u8>()), 0..4);
    let cases = (steps(), ended, steps(), steps());
    let result = TestRunner::new(config).run(&cases, |(before, ended, one, other)| {
        let circle = circle(seeds.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let (mut here, mut there) = (store.begin_latest(circle), server.begin(circle));
        prop_assert_eq!(take(&before, &mut here), take(&before, &mut there));
        prop_assert_eq!(on_disk(here), server.commit(&committer, there));
        // Some keys have expired, and aren't swept.
        let (mut here, mut there) = (store.begin_latest(circle), server.begin(circle));
        store.stop_clock(EARLY - 1);
        for (key, n) in &ended {
            here.set_until(key, &value(*n), EARLY).unwrap();
            there.set_until(key, &value(*n), LATE).unwrap();
        }
        prop_assert_eq!(on_disk(here), server.commit(&committer, there));
        store.stop_clock(0);
        for (key, _) in &ended {
            server.age(circle, key);
        }
        // Two that begin with the same state, one of which commits first.
        let (mut here, mut there) = (store.begin_latest(circle), server.begin(circle));
        prop_assert_eq!(take(&one, &mut here), take(&one, &mut there));
        let (mut first, mut first_there) = (store.begin_latest(circle), server.begin(circle));
        prop_assert_eq!(take(&other, &mut first), take(&other, &mut first_there));
        prop_assert_eq!(on_disk(first), server.commit(&committer, first_there));
        // One that only reads may come before what changed; on disk, nobody compares it.
        if here.writes() {
            prop_assert_eq!(on_disk(here), server.commit(&committer, there));
        }
        prop_assert_eq!(usage_on_disk(circle), server.usage(circle));
        let all = Step::Scan(KeyRange::of_prefix(b""));
        let all: Vec<_> = std::iter::once(all).chain(KEYS.map(Step::Get)).collect();
        let (mut here, mut there) = (store.begin_latest(circle), server.begin(circle));
        let left = take(&all, &mut here);
        prop_assert_eq!(&left, &take(&all, &mut there));
        prop_assert_eq!(store.sweep(), Ok(false));
        on_disk(store.begin(circle)).unwrap();
        server.expire(circle);
        prop_assert_eq!(usage_on_disk(circle), server.usage(circle));
        let (mut here, mut there) = (store.begin_latest(circle), server.begin(circle));
        prop_assert_eq!(&left, &take(&all, &mut here));
        prop_assert_eq!(&left, &take(&all, &mut there));
        Ok(())
    });
    result.unwrap();
    store.shutdown();
}

fn new_job(submitter: Option<PublicKey>) -> SubmittedJob {
    SubmittedJob {
        id: JobId::new(),
        submitter,
        due: None,
        record: store::Value::new(b"{}"),
        input: Some(store::Value::new(b"[]")),
        replaced: None,
    }
}

#[test]
fn a_commits_jobs_land_with_it_or_not_at_all() {
    let server = Server::start();
    let committer = server.committer(|_| {});
    let (here, submitter) = (circle(1), circle(2));
    let partition = server.redis.keys().of(&here);
    let stored = |id: JobId| {
        let args = vec![partition.job(id).into(), "record".into(), "input".into()];
        let found = server.ask(here, "HMGET", args).into_array();
        found
            .into_iter()
            .map(|value| value.into_string())
            .collect::<Vec<_>>()
    };
    let is_pending = |id: JobId| {
        let args = vec![partition.pending().into(), id.to_string().into()];
        !server.ask(here, "ZSCORE", args).is_null()
    };
    let mut late = server.begin(here);
    late.get("key").unwrap();
    let mut lands = server.begin(here);
    lands.set("key", Some(store::Value::new(b"1"))).unwrap();
    let (job, own, missing) = (new_job(None), new_job(Some(submitter)), new_job(None));
    for job in [&job, &own] {
        lands.submit(job.clone());
    }
    late.submit(missing.clone());
    server.commit(&committer, lands).unwrap();
    assert_eq!(server.commit(&committer, late), Err(CommitError::Conflict));
    for job in [&job, &own] {
        assert_eq!(
            stored(job.id),
            [Some("{}".to_owned()), Some("[]".to_owned())]
        );
        assert!(is_pending(job.id));
    }
    assert_eq!(stored(missing.id), [None, None]);
    assert!(!is_pending(missing.id));
    // Both are in the stream, in order, and listed.
    let args = vec![partition.jobs().into(), "-".into(), "+".into()];
    let entries = format!("{:?}", server.ask(here, "XRANGE", args));
    let at = |job: &SubmittedJob| entries.find(&job.id.to_string());
    assert!(at(&job).unwrap() < at(&own).unwrap(), "{entries}");
    let count = |key: String| server.ask(here, "ZCARD", vec![key.into()]).as_i64();
    assert_eq!(count(partition.index()), Some(2));
    assert_eq!(count(partition.submitted()), Some(1));
}

#[test]
fn a_job_runs_again_if_it_is_as_it_was() {
    let server = Server::start();
    let committer = server.committer(|_| {});
    let here = circle(1);
    let partition = server.redis.keys().of(&here);
    let id = JobId::new();
    let dead = format!(r#"{{"status":"dead","output":"{}"}}"#, "long ".repeat(50));
    let again = |replaced: &str, record: &str| {
        let effects = Effects {
            jobs: vec![SubmittedJob {
                id,
                record: store::Value::new(record.as_bytes()),
                input: None,
                replaced: Some(store::Value::new(replaced.as_bytes())),
                ..new_job(None)
            }],
            ..Effects::default()
        };
        server.commit_effects(&committer, here, &effects)
    };
    let conflict = Err(CommitError::Conflict);
    assert_eq!(again(&dead, "{}"), conflict);
    let job = partition.job(id);
    for (command, args) in [
        ("HSET", [&job, "record", &dead]),
        ("HSET", [&job, "input", "7"]),
        ("ZADD", [&partition.dead(), "1", &id.to_string()]),
    ] {
        server.ask(here, command, args.map(Value::from).to_vec());
    }
    assert_eq!(again("{}", "{}"), conflict);
    again(&dead, "{}").unwrap();
    assert_eq!(again(&dead, "{}"), conflict);
    let args = vec![job.into(), "record".into(), "input".into(), "entry".into()];
    let found = server.ask(here, "HMGET", args).into_array();
    let found: Vec<_> = found.iter().map(Value::as_string).collect();
    assert_eq!(found[..2], [Some("{}".to_owned()), Some("7".to_owned())]);
    assert!(found[2].is_some());
    let left = server.ask(here, "ZCARD", vec![partition.dead().into()]);
    assert_eq!(left.as_i64(), Some(0));
}

#[test]
fn no_more_jobs_are_submitted_than_may_wait() {
    let server = Server::start();
    let two = std::num::NonZeroUsize::new(2).unwrap();
    let committer = server.committer(|settings| {
        settings.redis.per_circle = two;
        settings.durable.backlog = two;
    });
    let here = circle(1);
    let attempt = |new: usize, submitter: Option<PublicKey>| {
        let effects = Effects {
            jobs: (0..new).map(|_| new_job(submitter)).collect(),
            ..Effects::default()
        };
        server.commit_effects(&committer, here, &effects)
    };
    // Two run at once, and one of the submitted ones waits, or two.
    assert_eq!(attempt(4, Some(circle(2))), Err(CommitError::Backlog));
    assert_eq!(attempt(5, None), Err(CommitError::Backlog));
    attempt(3, Some(circle(2))).unwrap();
    assert_eq!(attempt(1, Some(circle(2))), Err(CommitError::Backlog));
    attempt(1, None).unwrap();
    assert_eq!(attempt(1, None), Err(CommitError::Backlog));
}

/// Returns the next commit: its number and its keys. Nothing, if there were some that weren't told.
async fn next(feed: &mut CommitFeed) -> Option<(u64, Vec<Key>)> {
    match timeout(PATIENCE, feed.next()).await.unwrap() {
        CommitSignal::Commit(commit) => Some((commit.number, commit.keys.clone())),
        CommitSignal::Unwanted { .. } => panic!("all are wanted"),
        CommitSignal::Missed => None,
    }
}

#[test]
fn who_watches_is_told_of_each_commit_that_changes_the_store() {
    let server = Server::start();
    let settings = &server.settings;
    let access = Arc::new(Access::new(&settings.circles, &settings.circle));
    let executor = crate::server::executor(settings, access);
    let role = Role::Gateway { fail_fast: true };
    let (dispatch, store) = (&settings.dispatch, settings.store.clone());
    let started = Redis::start(dispatch, executor, store, Scripts::default(), role);
    let gateway = Arc::new(server.runtime.block_on(started).unwrap());
    let (here, elsewhere) = (circle(1), circle(2));
    let write = async |circle, keys: &[&str]| {
        let mut transaction = gateway.transaction(circle);
        for key in keys {
            let value = Some(store::Value::new(b"1"));
            transaction.set(key, value).unwrap();
        }
        transaction.own_set(b"own", None);
        gateway.commit(transaction).await.unwrap();
    };
    let partition = gateway.redis.keys().of(&here);
    let inbox = partition.inbox(gateway.redis.name());
    let key = |key: &[u8]| Key::new(key);
    server.runtime.block_on(async {
        assert_eq!(gateway.last_commit(here).await, Ok(0));
        write(here, &["before"]).await;
        let args = [Value::from(inbox.as_str())];
        let told = gateway.redis.send("XLEN", partition, args.clone()).await;
        assert_eq!(told.unwrap().as_i64(), Some(0), "nobody watches");
        let mut feed = gateway.watch_commits(here).await.unwrap();
        // As an earlier version has it.
        let other = gateway.redis.keys().of(&elsewhere);
        let usage = [other.usage(&elsewhere), "100".to_owned()];
        let set = gateway
            .redis
            .send("SET", other, usage.clone().map(Value::from));
        set.await.unwrap();
        assert_eq!(gateway.last_commit(elsewhere).await, Ok(0));
        write(elsewhere, &["elsewhere"]).await;
        let [usage, _] = usage.map(Value::from);
        let size = gateway.redis.send("GET", other, [usage]).await.unwrap();
        assert_eq!(size.as_string().unwrap(), "110 1");
        write(here, &["b", "a:1"]).await;
        let mut emits = gateway.transaction(here);
        emits.emit("t", store::Value::new(b"1"), None).unwrap();
        gateway.commit(emits).await.unwrap();
        write(here, &[]).await;
        let own = key(b"\xffown");
        let all = vec![key(b"a:1"), key(b"b"), own.clone()];
        let mut first = None;
        // Who watches while the gateway starts may be told that some were missed.
        while first.is_none() {
            first = next(&mut feed).await;
        }
        assert_eq!(first, Some((2, all)));
        assert_eq!(next(&mut feed).await, Some((3, vec![own.clone()])));
        assert_eq!(gateway.last_commit(here).await, Ok(3));
        // What may have been in an inbox that is gone was missed; then it goes on.
        gateway.redis.send("DEL", partition, args).await.unwrap();
        assert_eq!(next(&mut feed).await, None);
        write(here, &[]).await;
        assert_eq!(next(&mut feed).await, Some((4, vec![own])));
    });
    server.runtime.block_on(async {
        let leaving = tokio::task::spawn_blocking(move || gateway.shutdown());
        leaving.await.unwrap();
    });
}

#[test]
fn a_connection_has_another_number_before_it_answers_anything() {
    let server = Server::start();
    let redis = &server.redis;
    let client = async |args: &[&str]| {
        let args = args.iter().map(|arg| Value::from(*arg));
        redis
            .send("CLIENT", &redis.keys().partitions()[0], args)
            .await
    };
    server.runtime.block_on(async {
        for _ in 0..20 {
            let number = redis.number();
            let id = client(&["ID"]).await.unwrap();
            assert_eq!(redis.number(), number);
            let id = id.as_string().unwrap();
            let _ = client(&["KILL", "ID", &id, "SKIPME", "no"]).await;
            let new = loop {
                if let Ok(new) = client(&["ID"]).await {
                    break new;
                }
                sleep(Duration::from_millis(1)).await;
            };
            assert_ne!(redis.number(), number);
            assert_ne!(new.as_string(), Some(id));
        }
    });
}
