//! Serializability: what transactions on several threads see and leave behind is what they would have seen
//! and left one after another, in the order in which they were committed.

mod script;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
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

use self::script::{Access, MONEY, Model, Op, Seen, ops, run};
use super::{PATIENCE, circle, hand_in, number, open, usage};
use crate::store::{CommitError, Preconditions, Store, Transaction, Unavailable, WaitPolicy};

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
    /// Commits that were made.
    made: AtomicUsize,
    /// Commits that are known to be on disk.
    durable: Mutex<usize>,
}

/// A transaction that has ended.
struct Ended {
    plan: Plan,
    seen: Vec<Seen>,
    at: At,
}

/// The position of a transaction in the order of its circle.
#[derive(Debug)]
enum At {
    /// It is this commit, counted from 0.
    Commit(usize),
    /// It wrote nothing, and saw what some number of commits left, from so many to so many.
    Between(usize, usize),
}

impl CircleHistory {
    fn new(circle: PublicKey) -> Self {
        Self {
            circle,
            made: AtomicUsize::new(0),
            durable: Mutex::new(0),
        }
    }

    /// Gives everyone something to begin with.
    fn endow(&self, store: &Store) {
        let mut transaction = store.begin(self.circle);
        for (key, value) in Model::endowed().0 {
            transaction
                .set(&key, Some(value.into_bytes().into()))
                .unwrap();
        }
        let done = hand_in(store, transaction, Preconditions::NONE).unwrap();
        done.recv_timeout(PATIENCE).unwrap().unwrap();
    }
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
    if let At::Commit(number) = at {
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
        let seen = run(&plan.ops, &mut transaction);
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
        let seen = run(&plan.ops, &mut transaction);
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
        let claim = || {
            let number = place.made.fetch_add(1, Ordering::SeqCst);
            place_in_order.store(number, Ordering::SeqCst);
            true
        };
        let done = commit(transaction, Preconditions::gated_by(&claim))?;
        return Ok((At::Commit(place_in_order.into_inner()), Some(done)));
    }
    let done = if transaction.read_only_durable() {
        None
    } else {
        Some(commit(transaction, Preconditions::NONE)?)
    };
    let most = place.made.load(Ordering::SeqCst);
    Ok((At::Between(least, most), done))
}

/// Repeats what happened in one circle, one after another. Returns what is left in the end.
fn check(ended: &[&Ended]) -> Result<Model, TestCaseError> {
    let mut commits: HashMap<usize, &Ended> = HashMap::new();
    for ended in ended {
        if let At::Commit(number) = ended.at {
            prop_assert!(commits.insert(number, ended).is_none());
        }
    }
    let mut states = vec![Model::endowed()];
    for number in 0..commits.len() {
        let ended = commits[&number];
        let mut model = states[number].clone();
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
            let is_so = |model: &Model| run(&ended.plan.ops, &mut model.clone()) == ended.seen;
            prop_assert!(
                states[least..=most].iter().any(is_so),
                "{:?} saw {:?}, which is no state from {} to {}",
                ended.plan,
                ended.seen,
                least,
                most
            );
        }
    }
    Ok(states.pop().unwrap())
}

/// Compares what is stored of a circle, its size and the number of its commits with the model.
fn compare(store: &Store, circle: PublicKey, model: &Model, commits: u64) {
    let mut transaction = store.begin(circle);
    let keys = transaction.keys("", usize::MAX).unwrap();
    let found = keys.iter().map(|key| {
        let key = String::from_utf8(key.to_vec()).unwrap();
        let value = transaction.look(&key).unwrap();
        (key, value)
    });
    let pushed = store.read_own(&circle, b"n").unwrap();
    let counter = pushed
        .as_ref()
        .map_or(0, |text| "\u{ff}".len() + text.len());
    assert_eq!(Model(found.collect(), number(pushed) as u64), *model);
    let room = model.0.iter().map(|(key, value)| key.len() + value.len());
    assert_eq!(usage(store, circle), (room.sum::<usize>() + counter) as u64);
    assert_eq!(store.last_commit(&circle), Ok(commits));
}

#[test]
fn all_is_as_if_it_had_happened_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
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
        let places: Vec<_> = (0..CIRCLES)
            .map(|_| CircleHistory::new(circle(circles.fetch_add(1, Ordering::Relaxed))))
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
        for (number, place) in places.iter().enumerate() {
            let here = |ended: &&Ended| ended.plan.circle == number;
            let model = check(&ended.iter().filter(here).collect::<Vec<_>>())?;
            // And the one that gave them something to begin with.
            let commits = 1 + place.made.load(Ordering::SeqCst) as u64;
            compare(&store, place.circle, &model, commits);
            left.lock().unwrap().push((place.circle, model, commits));
        }
        Ok(())
    });
    result.unwrap();
    store.shutdown();
    drop(store);
    let store = open(folder.path());
    for (circle, model, commits) in left.into_inner().unwrap() {
        compare(&store, circle, &model, commits);
    }
}
