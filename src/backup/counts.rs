//! The numbers of what is in an archive.

use std::ops::AddAssign;

use super::{header::Header, record::Record};

/// The numbers of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of stores, the circles' own included.
    pub entries: u64,
    /// Events.
    pub events: u64,
    /// Durable jobs.
    pub jobs: u64,
    /// Marks that tell duplicates.
    pub seen: u64,
}

/// A whole archive, as its reader or writer knows it at the end.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its header.
    pub header: Header,
    /// The number of circles.
    pub circles: u64,
    /// The numbers of their records.
    pub counts: Counts,
    /// The SHA-256 of the circles' sums: the same for the same contents, whenever they were archived.
    pub contents: [u8; 32],
}

impl Counts {
    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        *match record {
            Record::Entry { .. } => &mut self.entries,
            Record::Event { .. } => &mut self.events,
            Record::Job { .. } => &mut self.jobs,
            Record::Seen { .. } => &mut self.seen,
        } += 1;
    }

    /// Returns them in the order in which they are archived.
    pub(super) fn all(self) -> [u64; 4] {
        [self.entries, self.events, self.jobs, self.seen]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.events += other.events;
        self.jobs += other.jobs;
        self.seen += other.seen;
    }
}
