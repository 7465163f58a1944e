//! Pages of a circle's jobs, read from disk.

use std::collections::BTreeSet;

use circled_protocol::{JobId, PublicKey};

use super::record;
use crate::{
    dispatch::{
        DeadJobs,
        job_pages::{JobList, ListedJob, PageProgress},
    },
    store::{Store, Table, Unavailable, Value},
};

/// Jobs of all callers that are found at a time.
const AT_A_TIME: usize = 1000;

/// Reads on in a page, a bounded number of jobs.
pub(super) fn read(
    store: &Store,
    progress: &mut PageProgress,
    is_running: &dyn Fn(JobId) -> bool,
) -> Result<(), Unavailable> {
    let (circle, before) = (progress.page.circle, progress.page.before);
    let read = |id: JobId| store.read(Table::Jobs, &circle, id.as_bytes());
    let look = |progress: &mut PageProgress, id, stored: Option<Value>| {
        let bytes = stored.as_ref().map_or(0, |stored| stored.len());
        progress.pass(id, 1, bytes);
        let job = stored.and_then(|stored| record::job(&circle, id, &stored));
        let running = is_running(id);
        if let Some(job) = job.filter(|job| progress.page.wants(job, running)) {
            let input_bytes = store.size_of(Table::Inputs, &circle, id.as_bytes())?;
            progress.add(ListedJob {
                job,
                running,
                input_bytes: input_bytes.unwrap_or(0),
            });
        }
        Ok(())
    };
    let own;
    let (table, prefix) = match progress.page.list() {
        JobList::All => (Table::Jobs, &[][..]),
        JobList::Open => (Table::Open, &[][..]),
        JobList::Dead => (Table::Dead, &[][..]),
        JobList::Own(caller) => {
            own = caller;
            (Table::Own, &own.as_bytes()[..])
        }
        JobList::Submitted => {
            let ids = submitted(store, &circle, before)?;
            for &id in &ids {
                if !progress.goes_on() {
                    return Ok(());
                }
                look(progress, id, read(id)?)?;
            }
            progress.is_at_end = ids.len() < AT_A_TIME
                || !progress.goes_on()
                    && submitted(store, &circle, progress.page.before)?.is_empty();
            return Ok(());
        }
    };
    let (mut is_at_end, mut looked) = (true, Ok(()));
    let from = key_before(prefix, before);
    store.walk(table, &circle, &from, true, &mut |key, value| {
        // Another caller's come before this one's.
        let Some(id) = key.strip_prefix(prefix).and_then(JobId::from_slice) else {
            return false;
        };
        if before.is_some_and(|before| id >= before) {
            return true;
        }
        if !progress.goes_on() {
            is_at_end = false;
            return false;
        }
        let stored = if table == Table::Jobs {
            Ok(Some(value.clone()))
        } else {
            read(id)
        };
        looked = stored.and_then(|stored| look(progress, id, stored));
        looked.is_ok()
    })?;
    progress.is_at_end = is_at_end;
    looked
}

/// Returns those of some dead jobs that are wanted, the oldest first, and the one to go on after, if there may be more.
pub(super) fn dead(
    store: &Store,
    wanted: &DeadJobs,
) -> Result<(Vec<JobId>, Option<JobId>), Unavailable> {
    let (circle, after) = (wanted.circle, wanted.after);
    // What comes right after it.
    let from = after.map_or(Vec::new(), |id| [&id.as_bytes()[..], &[0]].concat());
    let (mut some, mut more) = (Vec::new(), false);
    store.walk(Table::Dead, &circle, &from, false, &mut |key, _| {
        more = some.len() == DeadJobs::AT_A_TIME;
        some.extend(JobId::from_slice(key).filter(|_| !more));
        !more
    })?;
    let mut ids = Vec::new();
    for id in &some {
        let stored = store.read(Table::Jobs, &circle, id.as_bytes())?;
        let job = stored.and_then(|stored| record::job(&circle, *id, &stored));
        ids.extend(job.filter(|job| wanted.wants(job)).map(|job| job.id));
    }
    Ok((ids, some.last().copied().filter(|_| more)))
}

/// Returns some of the jobs that callers have submitted, the newest first: each caller's are a list of their own.
fn submitted(
    store: &Store,
    circle: &PublicKey,
    before: Option<JobId>,
) -> Result<Vec<JobId>, Unavailable> {
    let (mut newest, mut from) = (BTreeSet::new(), Vec::new());
    loop {
        let mut caller = None;
        store.walk(Table::Own, circle, &from, false, &mut |key, _| {
            caller = key.get(..PublicKey::LENGTH).map(<[u8]>::to_vec);
            false
        })?;
        let Some(caller) = caller else {
            return Ok(newest.into_iter().rev().collect());
        };
        let last = key_before(&caller, before);
        store.walk(Table::Own, circle, &last, true, &mut |key, _| {
            let Some(id) = key.strip_prefix(&caller[..]).and_then(JobId::from_slice) else {
                return false;
            };
            if before.is_some_and(|before| id >= before) {
                return true;
            }
            if newest.len() == AT_A_TIME {
                if newest.first().is_some_and(|oldest| id < *oldest) {
                    return false;
                }
                newest.pop_first();
            }
            newest.insert(id)
        })?;
        // No job's key is past this one.
        from = [&caller[..], &[0xff; 17]].concat();
    }
}

/// Returns the key at which jobs before this one end, or all.
fn key_before(prefix: &[u8], before: Option<JobId>) -> Vec<u8> {
    let last = before.map_or([0xff; 16], |id| *id.as_bytes());
    [prefix, &last].concat()
}
