//! Jobs that commits submit: they land with the commit, or not at all.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use circled_protocol::{JobId, PublicKey};

use super::{circle, commit, open, set};
use crate::store::{
    CommitError, JobQueue, Preconditions, Record, Store, SubmittedJob, Table, Value,
};

/// A queue with so much room, which remembers what it was given.
#[derive(Clone, Default)]
struct Queue {
    room: Arc<AtomicUsize>,
    given: Arc<Mutex<Vec<(PublicKey, JobId)>>>,
}

impl JobQueue for Queue {
    fn has_room(&self, _: &PublicKey, new: usize, has_submitter: bool) -> bool {
        let room = self.room.load(Ordering::SeqCst);
        new <= if has_submitter { room / 2 } else { room }
    }

    fn push(&self, circle: PublicKey, jobs: &[SubmittedJob]) {
        let jobs = jobs.iter().map(|job| (circle, job.id));
        self.given.lock().unwrap().extend(jobs);
    }
}

impl Queue {
    fn take(&self) -> Vec<(PublicKey, JobId)> {
        std::mem::take(&mut *self.given.lock().unwrap())
    }
}

fn new_job(submitter: Option<PublicKey>) -> SubmittedJob {
    SubmittedJob {
        id: JobId::new(),
        submitter,
        due: None,
        record: Value::new(b"record"),
        input: Some(Value::new(b"input")),
        replaced: None,
    }
}

fn read(store: &Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    let value = store.read(table, &circle(1), key).unwrap();
    value.map(|value| value.to_vec())
}

/// Opens a store with a queue that has room for four jobs.
fn with_queue(folder: &std::path::Path) -> (Store, Queue) {
    let (store, queue) = (open(folder), Queue::default());
    queue.room.store(4, Ordering::SeqCst);
    store.hand_jobs_to(Box::new(queue.clone()));
    (store, queue)
}

#[test]
fn a_commits_jobs_land_with_it_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (store, queue) = with_queue(folder.path());
    let (job, own) = (new_job(None), new_job(Some(circle(2))));
    let mut lands = store.begin_latest(circle(1));
    set(&mut lands, "key", 1);
    for job in [&job, &own] {
        lands.submit(job.clone());
    }
    let late = new_job(None);
    let mut conflicts = store.begin_latest(circle(1));
    conflicts.get("key").unwrap();
    conflicts.submit(late.clone());
    assert!(conflicts.writes());
    let mut fails = store.begin_latest(circle(1));
    fails.submit(late.clone());
    fails.discard_writes();
    assert!(!fails.writes());
    commit(&store, lands).unwrap();
    assert_eq!(commit(&store, conflicts), Err(CommitError::Conflict));
    commit(&store, fails).unwrap();
    assert_eq!(queue.take(), [(circle(1), job.id), (circle(1), own.id)]);
    for job in [&job, &own] {
        let id = job.id.as_bytes();
        assert_eq!(read(&store, Table::Jobs, id).unwrap(), b"record");
        assert_eq!(read(&store, Table::Inputs, id).unwrap(), b"input");
        assert!(read(&store, Table::Open, id).is_some());
    }
    let listed = [circle(2).as_bytes().as_slice(), own.id.as_bytes()].concat();
    assert!(read(&store, Table::Own, &listed).is_some());
    for table in [Table::Jobs, Table::Inputs, Table::Open] {
        assert!(read(&store, table, late.id.as_bytes()).is_none());
    }
}

#[test]
fn a_job_runs_again_if_it_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (store, queue) = with_queue(folder.path());
    queue.room.store(0, Ordering::SeqCst);
    let id = JobId::new();
    let again = |replaced: &[u8], record: &[u8]| {
        let mut transaction = store.begin_latest(circle(1));
        transaction.submit(SubmittedJob {
            id,
            record: Value::new(record),
            input: None,
            replaced: Some(Value::new(replaced)),
            ..new_job(None)
        });
        commit(&store, transaction)
    };
    assert_eq!(again(b"dead", b"pending"), Err(CommitError::Conflict));
    let mut records = vec![Record::put(Table::Jobs, id.as_bytes(), *b"dead")];
    records.push(Record::put(Table::Dead, id.as_bytes(), []));
    store
        .write_and_wait(circle(1), records, Preconditions::NONE)
        .unwrap();
    assert_eq!(again(b"finished", b"pending"), Err(CommitError::Conflict));
    assert_eq!(queue.take(), []);
    // It has been here before, so it takes no room.
    again(b"dead", b"pending").unwrap();
    assert_eq!(again(b"dead", b"other"), Err(CommitError::Conflict));
    assert_eq!(queue.take(), [(circle(1), id)]);
    assert_eq!(
        read(&store, Table::Jobs, id.as_bytes()).unwrap(),
        b"pending"
    );
    assert!(read(&store, Table::Open, id.as_bytes()).is_some());
    assert!(read(&store, Table::Dead, id.as_bytes()).is_none());
}

#[test]
fn no_more_jobs_are_submitted_than_may_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (store, queue) = with_queue(folder.path());
    let attempt = |own: usize, of_deliveries: usize| {
        let mut transaction = store.begin_latest(circle(1));
        set(&mut transaction, "key", own);
        for _ in 0..own {
            transaction.submit(new_job(Some(circle(2))));
        }
        for _ in 0..of_deliveries {
            transaction.submit(new_job(None));
        }
        commit(&store, transaction)
    };
    assert_eq!(attempt(3, 0), Err(CommitError::Backlog));
    assert_eq!(attempt(0, 5), Err(CommitError::Backlog));
    assert!(read(&store, Table::Store, b"key").is_none());
    assert_eq!(queue.take(), []);
    attempt(2, 4).unwrap();
    assert_eq!(queue.take().len(), 6);
}
