//! The durable jobs on disk: each change is a list of records that are written together.

use std::time::Instant;

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;

use super::{
    record::{self, Expiring, expiry},
    waiting_by_caller::Submitter,
};
use crate::{
    dispatch::{
        Cursor, JobRecord, Listing, Progress, Status,
        ended::DurableRun,
        jobs::{List, ListedJobs},
        record::{json, later},
        settings,
        submission::{Input, JobRequest},
    },
    store::{Preconditions, Record, Scan, Store, Table, Transaction, Unavailable, WaitPolicy},
};

/// Jobs that are read for one page of them, at most.
const MAX_READS: usize = 2000;
/// The most dead letters that are counted for a scrape.
const MAX_COUNT: u64 = 10_000;

/// A job that is not over, found when the server starts.
pub(super) struct PendingJob {
    pub(super) circle: PublicKey,
    pub(super) id: JobId,
    pub(super) submitter: Option<Submitter>,
    pub(super) due: Option<Timestamp>,
}

/// A job that has just been accepted, with all that its first run takes.
pub(super) struct NewJob {
    pub(super) job: JobRecord,
    pub(super) input: Input,
    /// About how many bytes it takes in memory.
    pub(super) size: usize,
}

impl std::fmt::Debug for NewJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_tuple("NewJob").field(&self.job.id).finish()
    }
}

/// Returns a new job, and the records of it.
pub(super) fn accepted(request: JobRequest, settings: &settings::Durable) -> (NewJob, Vec<Record>) {
    let JobRequest {
        job,
        input,
        identity,
    } = request;
    let submitted = job.submitted(Some(&input), None);
    let understood = (submitted.input.as_deref()).map_or(0, crate::weight::of_json);
    let mut records: Vec<_> = submitted.records().collect();
    records.extend(seen(&job, identity.as_ref(), settings));
    let written: usize = records.iter().map(Record::size).sum();
    let size = written + understood;
    (NewJob { job, input, size }, records)
}

/// Returns the records that tell duplicates of a job.
fn seen(
    job: &JobRecord,
    identity: Option<&[u8; 32]>,
    settings: &settings::Durable,
) -> impl Iterator<Item = Record> {
    let until = later(job.received_at, settings.dedupe_for);
    let records = identity.map(|identity| {
        [
            record::seen(identity, job.id, until),
            expiry(Expiring::Seen, identity, until),
        ]
    });
    records.into_iter().flatten()
}

/// Returns the records of a job that is over before it has been stored.
pub(super) fn ended(
    job: &JobRecord,
    input: &Input,
    identity: Option<&[u8; 32]>,
    settings: &settings::Durable,
) -> Vec<Record> {
    let mut records = end(job, settings);
    let input = json(input);
    records.push(Record::put(Table::Inputs, job.id.as_bytes(), input));
    records.extend(seen(job, identity, settings));
    records
}

/// Returns the records of a job that is over, or runs again later.
pub(super) fn settled(job: &JobRecord, settings: &settings::Durable) -> Vec<Record> {
    let mut records = end(job, settings);
    if job.ended_at.is_some() {
        records.push(Record::remove(Table::Open, job.id.as_bytes()));
    }
    records
}

fn end(job: &JobRecord, settings: &settings::Durable) -> Vec<Record> {
    let id = job.id.as_bytes();
    let mut records = vec![record::put(job)];
    if let (Some(ended_at), Some(keep_for)) = (job.ended_at, job.keep_for(settings)) {
        records.push(expiry(Expiring::Job, id, later(ended_at, keep_for)));
    }
    match job.status {
        Status::Pending | Status::Cancelled => {}
        Status::Dead => records.push(Record::put(Table::Dead, id, [])),
        Status::Finished => {
            if let Some(series) = job.series.as_ref().filter(|series| series.is_final) {
                // For good: a job of the series may be retried at any time.
                records.push(record::seen(&series.identity, job.id, Timestamp::MAX));
            }
        }
    }
    records
}

/// Returns the jobs that aren't over, in the order in which they came. Those that were `running` when the last server
/// died have one crash more.
pub(super) fn recover(
    store: &Store,
    running: &[JobId],
    now: Timestamp,
    settings: &settings::Durable,
) -> Result<Vec<PendingJob>, Unavailable> {
    let mut pending = Vec::new();
    let (mut changed, mut crashed) = (Vec::new(), Vec::new());
    let mut unread = Ok(());
    store.scan(Table::Open, &[], &mut |circle, key, _| {
        let Some(id) = JobId::from_slice(key) else {
            return Scan::Continue;
        };
        let record = match store.read(Table::Jobs, &circle, key) {
            Ok(record) => record,
            Err(unavailable) => {
                unread = Err(unavailable);
                return Scan::Stop;
            }
        };
        let Some(mut job) = record.and_then(|bytes| record::job(&circle, id, &bytes)) else {
            return Scan::Continue;
        };
        if job.status != Status::Pending {
            changed.push((circle, vec![Record::remove(Table::Open, key)]));
            return Scan::Continue;
        }
        if running.contains(&id) {
            job.crash(now);
            crashed.push((circle, id));
            if job.status == Status::Dead {
                return Scan::Continue;
            }
        }
        pending.push(PendingJob {
            circle,
            id,
            submitter: Submitter::of(&job),
            due: job.due,
        });
        Scan::Continue
    })?;
    unread?;
    for (circle, records) in changed {
        store
            .write_and_wait(circle, records, Preconditions::NONE)
            .map_err(|_| Unavailable)?;
    }
    for (circle, id) in crashed {
        let mut dead = None;
        change(store, circle, id, |job| {
            job.crash(now);
            let is_dead = job.status == Status::Dead;
            dead = is_dead.then(|| DurableRun::new(job, Progress::Failed, Instant::now()));
            Some(settled(job, settings))
        })?;
        if let Some(dead) = dead {
            dead.committed();
        }
    }
    pending.sort_by_key(|job| job.id);
    Ok(pending)
}

/// Returns a job's record. Looks into each circle once.
pub(super) fn find(store: &Store, id: JobId) -> Result<Option<JobRecord>, Unavailable> {
    let mut found = Ok(None);
    store.scan(Table::Jobs, &[], &mut |circle, _, _| {
        found = read(store, &circle, id);
        match found {
            Ok(None) => Scan::NextCircle,
            Ok(Some(_)) | Err(Unavailable) => Scan::Stop,
        }
    })?;
    found
}

/// Returns the number of dead letters of all circles, at most [`MAX_COUNT`]. Reads the disk.
pub(super) fn count_dead(store: &Store) -> Result<u64, Unavailable> {
    let mut dead = 0;
    store.scan(Table::Dead, &[], &mut |_, _, _| {
        dead += 1;
        match dead < MAX_COUNT {
            true => Scan::Continue,
            false => Scan::Stop,
        }
    })?;
    Ok(dead)
}

/// Returns jobs of all circles, circle by circle, the oldest of all that it returns first, and where it stopped if
/// that isn't the end. Looks at so many at most, `limit` and some more.
pub(super) fn list(
    store: &Store,
    listing: &Listing,
    is_running: &dyn Fn(JobId) -> bool,
    most: usize,
) -> Result<ListedJobs, Unavailable> {
    let (mut reads, mut bytes) = (0, 0);
    let (mut jobs, mut last) = (Vec::new(), None);
    let (mut is_cut_off, mut unread) = (false, Ok(()));
    let mut after = listing.after.as_ref();
    for list in listing.lists() {
        let from = match after {
            Some(after) if after.list != list => continue,
            Some(Cursor { circle, id, .. }) => {
                let circle = circle.as_ref().map_or(&[][..], |circle| circle.as_bytes());
                // What comes right after it.
                [circle, id.as_bytes(), &[0]].concat()
            }
            None => {
                let circle = listing.circle.as_ref();
                circle.map_or(Vec::new(), |circle| circle.as_bytes().to_vec())
            }
        };
        after = None;
        store.scan(table(list), &from, &mut |circle, key, value| {
            if listing.circle.is_some_and(|wanted| wanted != circle) {
                return Scan::Stop;
            }
            let Some(id) = JobId::from_slice(key) else {
                return Scan::Continue;
            };
            is_cut_off = jobs.len() == listing.limit || reads == MAX_READS || bytes >= most;
            if is_cut_off {
                return Scan::Stop;
            }
            reads += 1;
            last = Some(Cursor {
                partition: 0,
                list,
                ended_at: 0,
                circle: Some(circle),
                id,
            });
            let found = match list {
                List::All => Ok(Some(value.clone())),
                List::Open | List::Dead => store.read(Table::Jobs, &circle, id.as_bytes()),
            };
            match found {
                Ok(found) => {
                    bytes += found.as_ref().map_or(0, |found| found.len());
                    let job = found.and_then(|found| record::job(&circle, id, &found));
                    let job = job.map(|job| (is_running(id), job));
                    let job = job.filter(|(running, job)| listing.wants(job, *running));
                    jobs.extend(job.map(|(running, job)| (job, running)));
                    Scan::Continue
                }
                Err(unavailable) => {
                    unread = Err(unavailable);
                    Scan::Stop
                }
            }
        })?;
        unread?;
        if is_cut_off {
            break;
        }
    }
    jobs.sort_by_key(|(job, _): &(JobRecord, bool)| job.id);
    Ok((jobs, last.filter(|_| is_cut_off)))
}

/// Returns the table in which a list finds its jobs.
fn table(list: List) -> Table {
    match list {
        List::Open => Table::Open,
        List::Dead => Table::Dead,
        List::All => Table::Jobs,
    }
}

/// Returns a job of a circle, if it is still known.
pub(super) fn read(
    store: &Store,
    circle: &PublicKey,
    id: JobId,
) -> Result<Option<JobRecord>, Unavailable> {
    let bytes = store.read(Table::Jobs, circle, id.as_bytes())?;
    Ok(bytes.and_then(|bytes| record::job(circle, id, &bytes)))
}

/// Changes a job's record with `change`, and emits an event. Returns whether it changed. Blocks.
pub(super) fn change(
    store: &Store,
    circle: PublicKey,
    id: JobId,
    change: impl FnOnce(&mut JobRecord) -> Option<Vec<Record>>,
) -> Result<bool, Unavailable> {
    commit_locked(store, circle, id, |stored, transaction| {
        let mut job = record::job(&circle, id, stored)?;
        let records = change(&mut job)?;
        transaction.emit_unchecked(job.change_event());
        Some(records)
    })
}

/// Commits what `prepare` makes of a job's stored record, with the circle locked, and waits until it is on disk. Returns
/// whether there was anything to commit. Blocks.
pub(super) fn commit_locked(
    store: &Store,
    circle: PublicKey,
    id: JobId,
    prepare: impl FnOnce(&[u8], &mut Transaction) -> Option<Vec<Record>>,
) -> Result<bool, Unavailable> {
    let (sender, on_disk) = std::sync::mpsc::sync_channel(1);
    let changed = store.lock_circle(circle, WaitPolicy::Wait, |locked| {
        let stored = locked.read(Table::Jobs, id.as_bytes())?;
        let mut transaction = locked.begin();
        let Some(records) = stored.and_then(|stored| prepare(&stored, &mut transaction)) else {
            return Ok(false);
        };
        let done = Box::new(move |result| {
            let _ = sender.send(result);
        });
        match locked.commit(Some(transaction), records, Preconditions::NONE, done) {
            Ok(()) => Ok(true),
            Err(_) => Err(Unavailable),
        }
    });
    if !changed.unwrap_or(Err(Unavailable))? {
        return Ok(false);
    }
    on_disk.recv().unwrap_or(Err(Unavailable)).map(|()| true)
}

/// Deletes records that have expired, a bounded number at a time. Returns whether there may be more.
pub(super) fn sweep(
    store: &Store,
    now: Timestamp,
    settings: &settings::Durable,
) -> Result<bool, Unavailable> {
    const AT_ONCE: usize = 1000;
    let mut due = Vec::new();
    store.scan(Table::Expiry, &[], &mut |circle, key, _| {
        if crate::store::is_of_store(key) {
            return Scan::NextCircle;
        }
        let Some((at, kind, about)) = record::expired(key) else {
            return Scan::Continue;
        };
        if at > now {
            return Scan::NextCircle;
        }
        due.push((circle, key.to_vec(), kind, about.to_vec()));
        if due.len() < AT_ONCE {
            Scan::Continue
        } else {
            Scan::Stop
        }
    })?;
    let more = due.len() == AT_ONCE;
    for (circle, key, kind, about) in due {
        let table = kind.table();
        // It may be coming to life again right now.
        store.lock_circle(circle, WaitPolicy::Wait, |locked| {
            let found = locked.read(table, &about)?;
            let mut records = vec![Record::remove(Table::Expiry, key)];
            // A later entry is about it, where it stays.
            let stays = match (kind, &found) {
                (_, None) => false,
                (Expiring::Seen, Some(value)) => record::seen_job(value, now).is_some(),
                (Expiring::Job, Some(value)) => {
                    let job = record::read::<JobRecord>(value);
                    let stays = job.as_ref().is_some_and(|job| is_kept(job, now, settings));
                    let caller = job.filter(|_| !stays).and_then(|job| job.submitter());
                    if let (Some(caller), Some(id)) = (caller, JobId::from_slice(&about)) {
                        let key = record::own_key(&caller, id);
                        records.push(Record::remove(Table::Own, key));
                    }
                    stays
                }
            };
            if !stays {
                records.push(Record::remove(table, &about));
                match kind {
                    Expiring::Seen => {}
                    Expiring::Job => records.extend([
                        Record::remove(Table::Inputs, &about),
                        Record::remove(Table::Dead, &about),
                    ]),
                }
            }
            // Refused where too much waits for the disk already: it is found again.
            let _ = locked.commit(None, records, Preconditions::NONE, Box::new(|_| {}));
            Ok::<_, Unavailable>(())
        });
    }
    Ok(more)
}

pub(super) fn is_kept(job: &JobRecord, now: Timestamp, settings: &settings::Durable) -> bool {
    let Some(keep_for) = job.keep_for(settings) else {
        return true;
    };
    job.ended_at
        .is_some_and(|ended_at| later(ended_at, keep_for) > now)
}
