//! One circle, held: what is committed here is checked against its newest state, and no other commit of the
//! circle comes in between.

use std::sync::{Arc, MutexGuard};

use super::{
    circle::{Circle, Latest},
    commit::{Done, Refused, Store, Terms},
    error::{CommitError, Unavailable},
    hub::Event,
    log,
    queue::{Room, Write},
    table::{Key, Record, Table, Value},
    transaction::Transaction,
};
use crate::auth::PublicKey;

/// What is to be written, and told.
struct Checked {
    records: Vec<Record>,
    events: Vec<Arc<Event>>,
}

/// The one transaction of its circle that may commit right now.
pub struct Alone<'a> {
    store: &'a Store,
    key: PublicKey,
    circle: &'a Arc<Circle>,
    latest: MutexGuard<'a, Latest>,
}

impl<'a> Alone<'a> {
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

impl Alone<'_> {
    /// Begins with the newest state.
    pub fn begin(&self) -> Transaction {
        let view = self.latest.view(self.store.disk());
        self.store.transaction(self.key, Some(view))
    }

    /// What stands under a key in the newest state.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn read(&self, table: Table, key: &[u8]) -> Result<Option<Value>, Unavailable> {
        let disk = self.store.disk();
        self.latest
            .view(disk)
            .get(disk, &self.key, table, &Key::new(key))
    }

    /// Like [`Store::commit`].
    ///
    /// # Errors
    /// Never [`CommitError::Conflict`]; [`CommitError::Busy`] where too much waits for the disk.
    pub fn commit(
        &mut self,
        transaction: Option<Transaction>,
        records: Vec<Record>,
        terms: Terms<'_>,
        done: Done,
    ) -> Result<(), Refused> {
        let room = transaction.as_ref().map_or(0, Transaction::size)
            + records.iter().map(Record::size).sum::<usize>();
        // Others would wait for this one, so it doesn't.
        let Some(room) = self.store.queue().reserve(room, false) else {
            let why = CommitError::Busy;
            return Err(Refused { why, done });
        };
        self.write(transaction, records, terms, done, room)
    }

    pub(super) fn write(
        &mut self,
        transaction: Option<Transaction>,
        records: Vec<Record>,
        terms: Terms<'_>,
        done: Done,
        room: Room<'_>,
    ) -> Result<(), Refused> {
        let queue = self.store.queue();
        match self.check(transaction, records, terms) {
            Ok(Checked { records, events }) => {
                let number = self.latest.apply(&records);
                queue.push(Write {
                    key: self.key,
                    circle: self.circle.clone(),
                    era: self.latest.era(),
                    number,
                    records,
                    events,
                    done,
                    room: room.keep(),
                });
                Ok(())
            }
            Err(why) => Err(Refused { why, done }),
        }
    }

    /// Everything that is to be written, if it may be.
    fn check(
        &mut self,
        transaction: Option<Transaction>,
        mut records: Vec<Record>,
        terms: Terms<'_>,
    ) -> Result<Checked, CommitError> {
        let disk = self.store.disk();
        let mut usage = None;
        let mut told = Vec::new();
        let mut numbers = None;
        if let Some((table, key)) = terms.present
            && self.read(table, key)?.is_none()
        {
            return Err(CommitError::Gone);
        }
        if let Some((table, key)) = terms.absent
            && self.read(table, key)?.is_some()
        {
            return Err(CommitError::Superseded);
        }
        if let Some(mut transaction) = transaction {
            if !transaction.stands(&self.latest.view(disk))? {
                return Err(CommitError::Conflict);
            }
            let emitted = transaction.take_events();
            if !emitted.is_empty() {
                let most = self.store.limits().event_log;
                let mut events = self.latest.events(disk, &self.key)?;
                told = log::append(emitted, &mut events, most, &mut records);
                numbers = Some(events);
            }
            let writes = transaction.into_records();
            if !writes.is_empty() {
                let quota = self.store.limits().quota;
                let after = self.latest.usage_after(&writes, disk, &self.key, quota)?;
                records.extend(writes);
                records.push(Record::put(Table::Usage, [], after.to_be_bytes()));
                usage = Some(after);
            }
        }
        if !(terms.claim)() {
            return Err(CommitError::Gone);
        }
        if let Some(usage) = usage {
            self.latest.set_usage(usage);
        }
        if let Some(numbers) = numbers {
            self.latest.set_events(numbers);
        }
        Ok(Checked {
            records,
            events: told,
        })
    }
}
