//! What becomes of durable jobs, on disk: each step is a list of records that land together.

use jiff::Timestamp;
use serde_json::Value;

use super::record::{self, JobError, JobRecord, Status, expiry, later, open};
use crate::{
    auth::PublicKey,
    dispatch::{Delivery, JobId, settings},
    script::Failure,
    store::{Patience, Record, Scan, Store, Table, Terms, Unavailable},
};

/// Servers that may die while they run a job, one after another, before it is given up.
const MAX_CRASHES: u32 = 3;

/// A job that is not over, found when the server starts.
pub(super) struct Pending {
    pub(super) circle: PublicKey,
    pub(super) id: JobId,
    pub(super) due: Option<Timestamp>,
}

/// A job that has just been made, with all that its first run takes.
pub(super) struct Fresh {
    pub(super) job: JobRecord,
    pub(super) event: Value,
    /// What it takes in memory, about.
    pub(super) size: usize,
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_tuple("Fresh").field(&self.job.id).finish()
    }
}

/// A new delivery's job, and what is kept of it.
pub(super) fn accepted(delivery: Delivery, settings: &settings::Durable) -> (Fresh, Vec<Record>) {
    let id = JobId::new();
    let until = later(delivery.received_at, settings.dedupe_for);
    let identity = delivery.identity;
    let job = JobRecord::new(id, &delivery);
    let event = record::event(delivery);
    let records = vec![
        job.put(),
        record::input(id, &event),
        open(id),
        record::seen(&identity, id, until),
        expiry(Table::Seen, &identity, until),
    ];
    let size = records.iter().map(Record::size).sum();
    (Fresh { job, event, size }, records)
}

/// The job ended well.
pub(super) fn finished(
    mut job: JobRecord,
    output: String,
    now: Timestamp,
    settings: &settings::Durable,
) -> Vec<Record> {
    job.status = Status::Finished;
    job.output = Some(output);
    job.error = None;
    job.due = None;
    job.ended_at = Some(now);
    let forget_at = later(now, settings.keep_for);
    let mut records = vec![
        job.put(),
        Record::remove(Table::Open, job.id.as_bytes()),
        // What was sent has done its service.
        Record::remove(Table::Inputs, job.id.as_bytes()),
        expiry(Table::Jobs, job.id.as_bytes(), forget_at),
    ];
    if let Some(series) = job.series.filter(|series| series.is_final) {
        // For good: a job of the series may be retried at any time.
        records.push(record::seen(&series.identity, job.id, Timestamp::MAX));
    }
    records
}

/// The script failed. Answers when the job runs again, if it does.
pub(super) fn failed(
    mut job: JobRecord,
    error: JobError,
    now: Timestamp,
    settings: &settings::Durable,
) -> (Vec<Record>, Option<Timestamp>) {
    job.tries += 1;
    // It has been run to its end: whatever the server died of before, it wasn't this.
    job.crashes = 0;
    job.error = Some(error);
    if job.tries >= settings.max_tries {
        return (dead(job, now, settings), None);
    }
    let due = later(now, backoff(job.tries, settings));
    job.due = Some(due);
    (vec![job.put()], Some(due))
}

/// The job is given up.
fn dead(mut job: JobRecord, now: Timestamp, settings: &settings::Durable) -> Vec<Record> {
    job.status = Status::Dead;
    job.due = None;
    job.ended_at = Some(now);
    vec![
        job.put(),
        Record::remove(Table::Open, job.id.as_bytes()),
        Record::put(Table::Dead, job.id.as_bytes(), []),
        expiry(
            Table::Jobs,
            job.id.as_bytes(),
            later(now, settings.keep_dead_for),
        ),
    ]
}

/// Somebody wants a dead job to run again, from the first try.
pub(super) fn retried(mut job: JobRecord) -> Vec<Record> {
    job.status = Status::Pending;
    job.tries = 0;
    job.crashes = 0;
    job.due = None;
    job.ended_at = None;
    vec![
        job.put(),
        open(job.id),
        Record::remove(Table::Dead, job.id.as_bytes()),
    ]
}

/// Twice as long after each failure, and not all at the same moment: from three quarters to all of it.
fn backoff(tries: u32, settings: &settings::Durable) -> std::time::Duration {
    let doubled = settings
        .retry_after
        .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    let jitter = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    doubled
        .min(settings.retry_at_most)
        .mul_f64(0.75 + jitter / 4.0)
}

impl From<&Failure> for JobError {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: Some(failure.kind),
            message: failure.message.clone(),
            line: failure.line,
            column: failure.column,
        }
    }
}

impl JobError {
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self {
            kind: None,
            message: message.into(),
            line: None,
            column: None,
        }
    }
}

/// Goes through what isn't over, in the order in which it came. Those of them that were `running` when the
/// last server died count that against them.
pub(super) fn recover(
    store: &Store,
    running: &[JobId],
    now: Timestamp,
    settings: &settings::Durable,
) -> Result<Vec<Pending>, Unavailable> {
    let mut pending = Vec::new();
    let mut changed = Vec::new();
    let mut unread = Ok(());
    store.scan(Table::Open, &mut |circle, key, _| {
        let Some(id) = JobId::from_slice(key) else {
            return Scan::On;
        };
        let record = match store.read(Table::Jobs, &circle, key) {
            Ok(record) => record,
            Err(unavailable) => {
                unread = Err(unavailable);
                return Scan::Stop;
            }
        };
        let Some(mut job) = record.and_then(|bytes| record::read::<JobRecord>(&bytes)) else {
            return Scan::On;
        };
        if job.status != Status::Pending {
            changed.push((circle, vec![Record::remove(Table::Open, key)]));
            return Scan::On;
        }
        if running.contains(&id) {
            job.crashes += 1;
            if job.crashes >= MAX_CRASHES {
                let message = format!("the server died {MAX_CRASHES} times while it ran this job");
                job.error = Some(JobError::plain(message));
                changed.push((circle, dead(job, now, settings)));
                return Scan::On;
            }
            changed.push((circle, vec![job.put()]));
        }
        pending.push(Pending {
            circle,
            id,
            due: job.due,
        });
        Scan::On
    })?;
    unread?;
    for (circle, records) in changed {
        store
            .write_and_wait(circle, records, Terms::NONE)
            .map_err(|_| Unavailable)?;
    }
    pending.sort_by_key(|job| job.id);
    Ok(pending)
}

/// A job's record.
pub(super) fn find(store: &Store, id: JobId) -> Result<Option<JobRecord>, Unavailable> {
    let mut found = None;
    store.scan(Table::Jobs, &mut |_, key, value| {
        if JobId::from_slice(key) == Some(id) {
            found = record::read(value);
            return Scan::Stop;
        }
        Scan::On
    })?;
    Ok(found)
}

/// Jobs in this state, the oldest first, `limit` at most.
pub(super) fn list(
    store: &Store,
    status: Status,
    limit: usize,
) -> Result<Vec<JobRecord>, Unavailable> {
    let table = match status {
        Status::Pending => Table::Open,
        Status::Dead => Table::Dead,
        Status::Finished => Table::Jobs,
    };
    let mut keys = Vec::new();
    store.scan(table, &mut |circle, key, _| {
        if let Some(id) = JobId::from_slice(key) {
            keys.push((id, circle));
        }
        Scan::On
    })?;
    keys.sort();
    let mut jobs = Vec::new();
    for (id, circle) in keys {
        if jobs.len() >= limit {
            break;
        }
        let bytes = store.read(Table::Jobs, &circle, id.as_bytes())?;
        let job = bytes.and_then(|bytes| record::read::<JobRecord>(&bytes));
        jobs.extend(job.filter(|job| job.status == status));
    }
    Ok(jobs)
}

/// Forgets what is due, so much at a time. Answers whether there may be more.
pub(super) fn sweep(
    store: &Store,
    now: Timestamp,
    settings: &settings::Durable,
) -> Result<bool, Unavailable> {
    const AT_ONCE: usize = 1000;
    let mut due = Vec::new();
    store.scan(Table::Expiry, &mut |circle, key, _| {
        let Some((at, table, about)) = record::expired(key) else {
            return Scan::On;
        };
        if at > now {
            return Scan::NextCircle;
        }
        due.push((circle, key.to_vec(), table, about.to_vec()));
        if due.len() < AT_ONCE {
            Scan::On
        } else {
            Scan::Stop
        }
    })?;
    let more = due.len() == AT_ONCE;
    for (circle, key, table, about) in due {
        // It may be coming to life again right now.
        store.alone(circle, Patience::Wait, |alone| {
            let found = alone.read(table, &about)?;
            // A later entry is about it, where it has.
            let keep = found.is_some_and(|value| match table {
                Table::Jobs => record::read(&value).is_some_and(|job| is_kept(&job, now, settings)),
                Table::Seen => record::seen_job(&value, now).is_some(),
                Table::Store
                | Table::Usage
                | Table::Inputs
                | Table::Open
                | Table::Dead
                | Table::Expiry => true,
            });
            let mut records = vec![Record::remove(Table::Expiry, key)];
            if !keep {
                records.push(Record::remove(table, &about));
            }
            if !keep && table == Table::Jobs {
                records.push(Record::remove(Table::Inputs, &about));
                records.push(Record::remove(Table::Dead, &about));
            }
            // Refused where too much waits for the disk already: it is found again.
            let _ = alone.commit(None, records, Terms::NONE, Box::new(|_| {}));
            Ok::<_, Unavailable>(())
        });
    }
    Ok(more)
}

fn is_kept(job: &JobRecord, now: Timestamp, settings: &settings::Durable) -> bool {
    let keep_for = match job.status {
        Status::Pending => return true,
        Status::Finished => settings.keep_for,
        Status::Dead => settings.keep_dead_for,
    };
    job.ended_at
        .is_some_and(|ended_at| later(ended_at, keep_for) > now)
}
