//! One circle, locked: a commit made here is checked against the circle's newest state, and no other commit of the
//! circle comes in between.

use std::sync::{Arc, MutexGuard};

use circled_protocol::PublicKey;

use super::{
    circle::{Circle, Latest, StoreChange},
    commit::{CommitCallback, RejectedCommit, Store},
    counts::is_counted,
    error::{CommitError, Unavailable},
    hub::Event,
    log,
    preconditions::Preconditions,
    queue::{PendingCommit, QueueReservation},
    replies::is_request,
    submitted_job::SubmittedJob,
    table::{Key, Record, Table, Value},
    transaction::{StoreRecords, Transaction},
};

/// A commit that has passed its checks: its records, its events, and the jobs that it submits.
struct CheckedCommit {
    records: Vec<Record>,
    events: Vec<Arc<Event>>,
    jobs: Vec<SubmittedJob>,
    /// The number of the commit, if it changes the store.
    number: Option<u64>,
    /// By how many the keys that count become more.
    keys: i64,
    /// The first expiry time of the keys that it writes, if any expires.
    first_expiry: Option<i64>,
}

/// A circle that no other transaction can commit to while this exists.
pub struct LockedCircle<'a> {
    pub(super) store: &'a Store,
    pub(super) key: PublicKey,
    circle: &'a Arc<Circle>,
    pub(super) latest: MutexGuard<'a, Latest>,
}

impl<'a> LockedCircle<'a> {
    pub(super) fn new(
        store: &'a Store,
        key: PublicKey,
        circle: &'a Arc<Circle>,
        latest: MutexGuard<'a, Latest>,
    ) -> Self {
        Self {
            store,
            key,
            circle,
            latest,
        }
    }
}

impl LockedCircle<'_> {
    /// Begins with the newest state.
    pub fn begin(&self) -> Transaction {
        let snapshot = self.latest.snapshot(self.store.disk());
        self.store.transaction(self.key, Some(snapshot))
    }

    /// Returns the value of a key in the newest state.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read(&self, table: Table, key: &[u8]) -> Result<Option<Value>, Unavailable> {
        let disk = self.store.disk();
        self.latest
            .snapshot(disk)
            .get(disk, &self.key, table, &Key::new(key))
    }

    /// Commits as [`Store::commit`] does.
    ///
    /// # Errors
    /// Never [`CommitError::Conflict`]; [`CommitError::Busy`] where too much waits for the disk.
    pub fn commit(
        &mut self,
        transaction: Option<Transaction>,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
        done: CommitCallback,
    ) -> Result<(), RejectedCommit> {
        let reservation = transaction.as_ref().map_or(0, Transaction::size)
            + records.iter().map(Record::size).sum::<usize>();
        // Others would wait for this one, so it doesn't.
        let Some(reservation) = self.store.queue().reserve(reservation, false) else {
            let why = CommitError::Busy;
            return Err(RejectedCommit { why, done });
        };
        // Nobody else has committed since it looked.
        let at = transaction.as_ref().and_then(Transaction::read_at);
        self.write(transaction, records, preconditions, done, reservation, at)
    }

    /// Writes records of a circle that is being deleted.
    pub(super) fn erase(
        &mut self,
        records: Vec<Record>,
        done: CommitCallback,
        reservation: QueueReservation<'_>,
    ) {
        let number = self.latest.apply(&records);
        self.store.queue().push(PendingCommit {
            key: self.key,
            circle: self.circle.clone(),
            generation: self.latest.generation(),
            number,
            records,
            events: Vec::new(),
            commit: None,
            done,
            reserved: reservation.into_bytes(),
        });
    }

    /// Commits at a time, or now.
    pub(super) fn write(
        &mut self,
        transaction: Option<Transaction>,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
        done: CommitCallback,
        reservation: QueueReservation<'_>,
        at: Option<i64>,
    ) -> Result<(), RejectedCommit> {
        let at = at.unwrap_or_else(|| self.store.disk().clock().now());
        self.make_room(transaction.as_ref(), at);
        let queue = self.store.queue();
        match self.check(transaction, records, preconditions, at) {
            Ok(CheckedCommit {
                records,
                events,
                jobs,
                number: commit,
                keys,
                first_expiry,
            }) => {
                let disk = self.store.disk();
                self.latest.count(keys, &records, disk, &self.key);
                let number = self.latest.apply(&records);
                if let Some(end) = first_expiry {
                    self.store.expiring_circles().note(self.key, end);
                }
                queue.push(PendingCommit {
                    key: self.key,
                    circle: self.circle.clone(),
                    generation: self.latest.generation(),
                    number,
                    records,
                    events,
                    commit,
                    done,
                    reserved: reservation.into_bytes(),
                });
                if let (Some(queue), false) = (self.store.job_queue(), jobs.is_empty()) {
                    queue.push(self.key, &jobs);
                }
                Ok(())
            }
            Err(why) => Err(RejectedCommit { why, done }),
        }
    }

    /// Returns all that is to be written, if the preconditions hold and what the transaction read is unchanged.
    fn check(
        &mut self,
        transaction: Option<Transaction>,
        mut records: Vec<Record>,
        preconditions: Preconditions<'_>,
        at: i64,
    ) -> Result<CheckedCommit, CommitError> {
        let disk = self.store.disk();
        disk.deletions().check(&self.key)?;
        let (mut usage, mut replies, mut first_expiry) = (None, None, None);
        let (mut new_events, mut keys) = (Vec::new(), 0);
        let mut jobs = Vec::new();
        let mut numbers = None;
        if let Some(job) = preconditions.open
            && self.read(Table::Open, job.as_bytes())?.is_none()
        {
            return Err(CommitError::Gone);
        }
        if let Some(series) = preconditions.no_final_of
            && self.read(Table::Seen, &series)?.is_some()
        {
            return Err(CommitError::Superseded);
        }
        if let Some(mut transaction) = transaction {
            let now = self.latest.snapshot(disk);
            if !transaction.validate_reads(&now, at)? {
                return Err(CommitError::Conflict);
            }
            jobs = transaction.take_jobs();
            self.check_jobs(&jobs)?;
            records.extend(jobs.iter().flat_map(SubmittedJob::records));
            let unnumbered = transaction.take_events();
            if !unnumbered.is_empty() {
                let bounds = log::Bounds::new(self.store.limits());
                let mut events = self.latest.events(disk, &self.key)?;
                let size_of = |key: &Key| {
                    let stored = now.get(disk, &self.key, Table::Events, key)?;
                    Ok(stored.map_or(0, |stored| stored.len()))
                };
                new_events = log::append(unnumbered, &mut events, bounds, &mut records, size_of)?;
                numbers = Some(events);
            }
            let writes_store = transaction.writes_store();
            let writes = transaction.into_records(disk, &now, at)?;
            let StoreRecords {
                removed,
                freed,
                mut written,
            } = writes;
            if writes_store {
                let is_reply = |record: &mut Record| is_request(&record.key);
                let new_replies: Vec<_> = written.extract_if(.., is_reply).collect();
                let quota = self.store.limits().quota;
                let change = self
                    .latest
                    .change(&written, freed, disk, &self.key, quota)?;
                let StoreChange {
                    usage: after,
                    keys: added,
                    index,
                    first_expiry: end,
                } = change;
                let is_counted = |record: &Record| is_counted(record.table, &record.key);
                let deleted = removed.iter().map(|record| i64::from(is_counted(record)));
                keys = added - deleted.sum::<i64>();
                records.extend(removed);
                records.extend(written);
                records.extend(index);
                records.push(after.record());
                (usage, first_expiry) = (Some(after), end);
                if !new_replies.is_empty() {
                    let change = self.change_replies(new_replies, &now)?;
                    records.extend(change.records);
                    first_expiry = end.into_iter().chain(change.first_expiry).min();
                    replies = Some(change.bytes);
                }
            }
        }
        if preconditions.gate.is_some_and(|gate| !gate()) {
            return Err(CommitError::Gone);
        }
        if let Some(usage) = usage {
            self.latest.set_usage(usage);
        }
        if let Some(bytes) = replies {
            self.latest.set_replies(bytes);
        }
        if let Some(numbers) = numbers {
            self.latest.set_events(numbers);
        }
        Ok(CheckedCommit {
            records,
            events: new_events,
            jobs,
            number: usage.map(|usage| usage.commit),
            keys,
            first_expiry,
        })
    }

    /// Checks that the jobs that run again are as they were, and that there is room for the new ones.
    fn check_jobs(&self, jobs: &[SubmittedJob]) -> Result<(), CommitError> {
        for job in jobs {
            if let Some(replaced) = &job.replaced
                && self.read(Table::Jobs, job.id.as_bytes())?.as_ref() != Some(replaced)
            {
                return Err(CommitError::Conflict);
            }
        }
        for has_submitter in [false, true] {
            let is_new = |job: &&SubmittedJob| {
                job.replaced.is_none() && job.submitter.is_some() == has_submitter
            };
            let new = jobs.iter().filter(is_new).count();
            if let (Some(queue), 1..) = (self.store.job_queue(), new)
                && !queue.has_room(&self.key, new, has_submitter)
            {
                return Err(CommitError::Backlog);
            }
        }
        Ok(())
    }
}
