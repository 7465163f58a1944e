//! Serializability: what transactions on several threads see and leave behind is what they would have seen
//! and left one after another, in the order in which they were committed.

mod script;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicU16, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
};

use circled_protocol::PublicKey;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use self::script::{Access, MONEY, Model, Op, Running, Seen, ops, run};
use super::{PATIENCE, circle, hand_in, number, open, usage};
use crate::store::{
    CommitError, Preconditions, Store, Transaction, Unavailable, WaitPolicy, expiring::LAST,
};

/// Threads beside each other.
const THREADS: usize = 4;
/// Circles in one history.
const CIRCLES: usize = 2;
/// Runs beside others before one that is alone.
const TRIES: usize = 4;

/// One transaction of a history.
#[derive(Debug, Clone)]
struct Plan {
    circle: usize,
    ops: Vec<Op>,
    /// It begins with commits that are still on their way to the disk.
    latest: bool,
    /// It ends with an error, and so leaves nothing.
    fails: bool,
    /// The next one of its thread begins when it is on disk.
    waits: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let flags = (any::<bool>(), prop::bool::weighted(0.1), any::<bool>());
    (0..CIRCLES, ops(), flags).prop_map(|(circle, ops, (latest, fails, waits))| Plan {
        circle,
        ops,
        latest,
        fails,
        waits,
    })
}

/// A circle, as the transactions of one history find it.
struct CircleHistory {
    circle: PublicKey,
    /// The time when it began.
    began: i64,
    /// Commits that were made.
    made: AtomicUsize,
    /// Those that swept what had expired.
    sweeps: AtomicUsize,
    /// Commits that are known to be on disk.
    durable: Mutex<usize>,
}

/// A transaction that has expired.
struct Ended {
    plan: Plan,
    seen: Vec<Seen>,
    at: At,
}

/// The position of a transaction in the order of its circle.
#[derive(Debug)]
enum At {
    /// It is this commit, counted from 0, at this time.
    Commit(usize, i64),
    /// It wrote nothing, and saw what some number of commits left, from so many to so many.
    Between(usize, usize),
}

impl CircleHistory {
    fn new(circle: PublicKey, began: i64) -> Self {
        Self {
            circle,
            began,
            made: AtomicUsize::new(0),
            sweeps: AtomicUsize::new(0),
            durable: Mutex::new(0),
        }
    }

    /// Gives everyone something to begin with.
    fn endow(&self, store: &Store) {
        let mut transaction = store.begin(self.circle);
        for (key, (value, _)) in Model::endowed().entries {
            transaction
                .set(&key, Some(value.into_bytes().into()))
                .unwrap();
        }
        let done = hand_in(store, transaction, Preconditions::NONE).unwrap();
        done.recv_timeout(PATIENCE).unwrap().unwrap();
    }

    /// Deletes so many keys that have expired, if that may be.
    fn sweep(&self, store: &Store, wait_policy: WaitPolicy, most: usize) {
        let swept = store.lock_circle(self.circle, wait_policy, |locked| locked.sweep(most));
        if swept.is_some_and(|swept| swept.unwrap().keys > 0) {
            self.sweeps.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The store's clock, which stands still unless a history moves it.
fn clock(store: &Store) -> &AtomicI64 {
    &store.disk().clock().stopped
}

/// Runs one thread's transactions, each again until it doesn't collide.
fn work(store: &Store, places: &[CircleHistory], plans: Vec<Plan>) -> Vec<Ended> {
    let mut on_their_way = Vec::new();
    let ended = plans
        .into_iter()
        .map(|plan| {
            let place = &places[plan.circle];
            let least = *place.durable.lock().unwrap();
            let (seen, at, done) = settle(store, place, &plan, least);
            if let Some(done) = done {
                if plan.waits {
                    durable(place, &at, &done);
                } else {
                    on_their_way.push(done);
                }
            }
            Ended { plan, seen, at }
        })
        .collect();
    for done in on_their_way {
        done.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    ended
}

type CommitCallback = Receiver<Result<(), Unavailable>>;

fn durable(place: &CircleHistory, at: &At, done: &CommitCallback) {
    done.recv_timeout(PATIENCE).unwrap().unwrap();
    if let At::Commit(number, _) = at {
        let mut durable = place.durable.lock().unwrap();
        *durable = (*durable).max(number + 1);
    }
}

fn settle(
    store: &Store,
    place: &CircleHistory,
    plan: &Plan,
    least: usize,
) -> (Vec<Seen>, At, Option<CommitCallback>) {
    for n in 0..TRIES {
        let mut transaction = if plan.latest || n > 0 {
            store.begin_latest(place.circle)
        } else {
            store.begin(place.circle)
        };
        let mut running = Running {
            store,
            place,
            transaction: &mut transaction,
        };
        let seen = run(&plan.ops, &mut running);
        match end(
            place,
            plan,
            least,
            transaction,
            |transaction, preconditions| hand_in(store, transaction, preconditions),
        ) {
            Ok((at, done)) => return (seen, at, done),
            Err(why) => assert_eq!(why, CommitError::Conflict),
        }
    }
    let locked = store.lock_circle(place.circle, WaitPolicy::Wait, |locked| {
        let mut transaction = locked.begin();
        let mut running = Running {
            store,
            place,
            transaction: &mut transaction,
        };
        let seen = run(&plan.ops, &mut running);
        let (at, done) = end(
            place,
            plan,
            least,
            transaction,
            |transaction, preconditions| {
                let (sender, receiver) = channel();
                let done = Box::new(move |result| sender.send(result).unwrap());
                let committed = locked.commit(Some(transaction), Vec::new(), preconditions, done);
                committed.map(|()| receiver).map_err(|refused| refused.why)
            },
        )
        .unwrap();
        (seen, at, done)
    });
    locked.unwrap()
}

fn end(
    place: &CircleHistory,
    plan: &Plan,
    least: usize,
    mut transaction: Transaction,
    commit: impl FnOnce(Transaction, Preconditions<'_>) -> Result<CommitCallback, CommitError>,
) -> Result<(At, Option<CommitCallback>), CommitError> {
    if plan.fails {
        transaction.discard_writes();
    }
    if transaction.writes() {
        let place_in_order = AtomicUsize::new(0);
        let time = AtomicI64::new(0);
        let claim = || {
            let number = place.made.fetch_add(1, Ordering::SeqCst);
            place_in_order.store(number, Ordering::SeqCst);
            time.store(LAST.get() - place.began, Ordering::SeqCst);
            true
        };
        let done = commit(transaction, Preconditions::gated_by(&claim))?;
        let at = At::Commit(place_in_order.into_inner(), time.into_inner());
        return Ok((at, Some(done)));
    }
    let done = if transaction.read_only_durable() {
        None
    } else {
        Some(commit(transaction, Preconditions::NONE)?)
    };
    let most = place.made.load(Ordering::SeqCst);
    Ok((At::Between(least, most), done))
}

/// Repeats what happened in one circle until a time, one after another. Returns what is left in the end.
fn check(ended: &[&Ended], until: i64) -> Result<Model, TestCaseError> {
    let mut commits: HashMap<usize, (&Ended, i64)> = HashMap::new();
    for ended in ended {
        if let At::Commit(number, time) = ended.at {
            prop_assert!(commits.insert(number, (ended, time)).is_none());
        }
    }
    let mut states = vec![Model::endowed()];
    for number in 0..commits.len() {
        let (ended, time) = commits[&number];
        prop_assert!(time >= states[number].time);
        let mut model = states[number].clone().at(time);
        let seen = run(&ended.plan.ops, &mut model);
        prop_assert_eq!(&seen, &ended.seen, "commit {} of {:?}", number, ended.plan);
        states.push(model);
    }
    for ended in ended {
        for seen in &ended.seen {
            if let Seen::Total(total) = seen {
                prop_assert_eq!(*total, MONEY);
            }
        }
        if let At::Between(least, most) = ended.at {
            let is_so = |number: usize| {
                let next = states.get(number + 1).map_or(until, |next| next.time);
                let mut times = states[number].time..=next;
                times.any(|time| {
                    let mut model = states[number].clone().at(time);
                    run(&ended.plan.ops, &mut model) == ended.seen
                })
            };
            prop_assert!(
                (least..=most).any(is_so),
                "{:?} saw {:?}, which is no state from {} to {}",
                ended.plan,
                ended.seen,
                least,
                most
            );
        }
    }
    Ok(states.pop().unwrap().at(until))
}

/// Compares what is stored of a circle, its size and the number of its commits with the model. What has expired is swept.
fn compare(store: &Store, place: &CircleHistory, model: &Model, commits: u64) {
    let circle = place.circle;
    let mut transaction = store.begin(circle);
    let keys = transaction.keys("", usize::MAX).unwrap();
    let mut running = Running {
        store,
        place,
        transaction: &mut transaction,
    };
    let found = keys.iter().map(|key| {
        let key = String::from_utf8(key.to_vec()).unwrap();
        let value = running.look(&key).unwrap();
        let end = running.expires_at(&key);
        (key, (value, end))
    });
    let found = found.collect();
    let pushed = store.read_own(&circle, b"n").unwrap();
    let counter = pushed
        .as_ref()
        .map_or(0, |text| "\u{ff}".len() + text.len());
    let found = Model {
        entries: found,
        pushed: number(pushed) as u64,
        time: model.time,
    };
    assert_eq!(found, *model);
    let header = |end: &Option<i64>| end.map_or(0, |_| 9);
    let room = model.entries.iter();
    let room = room.map(|(key, (value, end))| key.len() + value.len() + header(end));
    assert_eq!(usage(store, circle), (room.sum::<usize>() + counter) as u64);
    assert_eq!(store.last_commit(&circle), Ok(commits));
}

/// Waits until all that a circle has committed is on disk.
fn flush(store: &Store, circle: PublicKey) {
    let flushed = store.write_and_wait(circle, Vec::new(), Preconditions::NONE);
    flushed.unwrap();
}

#[test]
fn all_is_as_if_it_had_happened_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    clock(&store).store(1_000_000, Ordering::SeqCst);
    let circles = AtomicU16::new(1);
    let left = Mutex::new(Vec::new());
    let config = Config {
        cases: 60,
        // What happens at the same time happens differently each time.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let plans = vec(vec(plan(), 1..12), THREADS);
    let result = TestRunner::new(config).run(&plans, |plans| {
        let began = clock(&store).load(Ordering::SeqCst);
        let places: Vec<_> = (0..CIRCLES)
            .map(|_| circle(circles.fetch_add(1, Ordering::Relaxed)))
            .map(|circle| CircleHistory::new(circle, began))
            .collect();
        places.iter().for_each(|place| place.endow(&store));
        let ended: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = plans
                .into_iter()
                .map(|plans| scope.spawn(|| work(&store, &places, plans)))
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended.flatten().collect()
        });
        let until = clock(&store).load(Ordering::SeqCst) - began;
        for (number, place) in places.into_iter().enumerate() {
            let here = |ended: &&Ended| ended.plan.circle == number;
            let model = check(&ended.iter().filter(here).collect::<Vec<_>>(), until)?;
            place.sweep(&store, WaitPolicy::Wait, usize::MAX);
            flush(&store, place.circle);
            // And the one that gave them something to begin with.
            let made = place.made.load(Ordering::SeqCst) + place.sweeps.load(Ordering::SeqCst);
            let commits = 1 + made as u64;
            compare(&store, &place, &model, commits);
            left.lock().unwrap().push((place, model, commits));
        }
        Ok(())
    });
    result.unwrap();
    let end = clock(&store).load(Ordering::SeqCst);
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    clock(&store).store(end, Ordering::SeqCst);
    assert_eq!(store.sweep(), Ok(false));
    for (place, model, commits) in left.into_inner().unwrap() {
        flush(&store, place.circle);
        let then = model.clone().at(end - place.began);
        let swept = u64::from(then.entries.len() < model.entries.len());
        compare(&store, &place, &then, commits + swept);
    }
}
