//! The effects of a run, as data: the same for all backends.

use std::collections::BTreeMap;

use super::{
    event::NewEvent,
    range::KeyRange,
    read_set::ReadSet,
    submitted_job::SubmittedJob,
    table::{Key, Value},
    write::{DIGITS, Write},
};

/// The reads of a run, and the changes that it makes once it commits.
#[derive(Debug, Default)]
pub struct Effects {
    /// Its reads: all of them must still be so at the commit.
    pub reads: ReadSet,
    /// The ranges of keys that it deletes, before its writes: in order, none of which touches another.
    pub range_deletes: Vec<KeyRange>,
    /// The write of each key.
    pub writes: BTreeMap<Key, Write>,
    /// The values that it pushes, in order, each with the prefix of its key. They get their keys at the commit, after the
    /// writes.
    pub pushes: Vec<(Key, Value)>,
    /// The events that it emits, in order.
    pub events: Vec<NewEvent>,
    /// The durable jobs that it submits, in order.
    pub jobs: Vec<SubmittedJob>,
}

impl Effects {
    /// Returns whether it would change anything.
    pub fn changes(&self) -> bool {
        self.writes_store() || !(self.events.is_empty() && self.jobs.is_empty())
    }

    /// Returns whether it would change the store.
    pub fn writes_store(&self) -> bool {
        !(self.writes.is_empty() && self.pushes.is_empty() && self.range_deletes.is_empty())
    }

    /// Discards all but what was read.
    pub fn discard_changes(&mut self) {
        self.range_deletes.clear();
        self.writes.clear();
        self.pushes.clear();
        self.events.clear();
        self.jobs.clear();
    }

    /// Returns about how many bytes its changes take.
    pub fn size(&self) -> usize {
        let size = |(key, write): (&Key, &Write)| 64 + key.len() + write.size();
        let writes: usize = self.writes.iter().map(size).sum();
        let push = |(prefix, value): &(Key, Value)| 64 + prefix.len() + DIGITS + value.len();
        let pushes: usize = self.pushes.iter().map(push).sum();
        let range = |range: &KeyRange| 64 + range.start.len() + range.end.len();
        let range_deletes: usize = self.range_deletes.iter().map(range).sum();
        let events: usize = self.events.iter().map(NewEvent::size).sum();
        let jobs: usize = self.jobs.iter().map(SubmittedJob::size).sum();
        range_deletes + writes + pushes + events + jobs
    }
}
