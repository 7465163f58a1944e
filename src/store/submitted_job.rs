//! Durable jobs that a commit submits.

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;

use super::table::{Record, Table, Value};

/// A durable job that a commit submits: a new one, or one that runs again. It is there if the commit is.
#[derive(Clone)]
pub struct SubmittedJob {
    /// Its id.
    pub id: JobId,
    /// The key that submitted it; nothing for a delivery.
    pub submitter: Option<PublicKey>,
    /// The time before which it doesn't run.
    pub due: Option<Timestamp>,
    /// Its record.
    pub record: Value,
    /// Its input. Nothing if that stays as it is stored.
    pub input: Option<Value>,
    /// The record of a job that was over and runs again: if it isn't so any more, the commit conflicts. Nothing for a new
    /// job.
    pub replaced: Option<Value>,
}

/// Takes the jobs that commits submit, to have them run.
pub trait JobQueue: Send + Sync {
    /// Returns whether so many new jobs of a circle may wait, those of submitters or those of deliveries.
    fn has_room(&self, circle: &PublicKey, new: usize, has_submitter: bool) -> bool;

    /// Adds a circle's jobs. The circle is locked meanwhile, and they may not be on disk yet: whatever comes of them is
    /// written after them, or not at all.
    fn push(&self, circle: PublicKey, jobs: &[SubmittedJob]);
}

impl SubmittedJob {
    /// Returns about how many bytes it takes to store it.
    pub(super) fn size(&self) -> usize {
        256 + self.record.len() + self.input.as_ref().map_or(0, |input| input.len())
    }

    /// Returns the records of it.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let id = self.id.as_bytes();
        let put = |table| Record::put(table, id, []);
        let own = self.submitter.filter(|_| self.replaced.is_none());
        let records = [
            Some(Record::put(Table::Jobs, id, self.record.clone())),
            (self.input.clone()).map(|input| Record::put(Table::Inputs, id, input)),
            Some(put(Table::Open)),
            (self.replaced.as_ref()).map(|_| Record::remove(Table::Dead, id)),
            own.map(|caller| {
                let key = [caller.as_bytes().as_slice(), id].concat();
                Record::put(Table::Own, key, [])
            }),
        ];
        records.into_iter().flatten()
    }
}

impl std::fmt::Debug for SubmittedJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what was sent.
        f.debug_tuple("SubmittedJob").field(&self.id).finish()
    }
}
