//! The check of what is written into an archive, and of what is read from one, which anybody may have made: the order, and
//! the bounds.

use circled_protocol::PublicKey;

use super::{
    counts::Counts,
    error::ArchiveError,
    record::{Head, Record},
};
use crate::store::{is_event, is_stored_value};

/// The longest key of a store, whatever `store.max_key` says. Those of the database have 65,535 bytes at most, with all that
/// comes before.
pub const MOST_KEY: usize = 65_400;
/// The highest number of a commit or an event: JSON and Lua count so far.
const MOST_NUMBER: u64 = 1 << 53;

/// The place in an archive up to which it is checked.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// The only circle that there may be.
    only: Option<PublicKey>,
    last_circle: Option<PublicKey>,
    open: Option<Section>,
}

#[derive(Debug)]
struct Section {
    head: Head,
    /// The kind and the key of the last record.
    last: (u8, Vec<u8>),
    counts: Counts,
}

impl Check {
    /// Begins an archive, of one circle alone or of all.
    pub(super) fn new(only: Option<PublicKey>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// Begins with a circle.
    pub(super) fn begin(&mut self, head: &Head) -> Result<(), ArchiveError> {
        let last = self.last_circle.replace(head.circle);
        let is_wanted = self.only.is_none_or(|only| only == head.circle);
        let is_next = is_wanted && last.is_none_or(|last| last.as_bytes() < head.circle.as_bytes());
        if self.open.is_some() || !is_next {
            return Err(ArchiveError::damaged("a circle is at a wrong place"));
        }
        if head.commits.max(head.events) > MOST_NUMBER {
            return Err(at(head, "a number is too high"));
        }
        self.open = Some(Section {
            head: *head,
            last: (0, Vec::new()),
            counts: Counts::default(),
        });
        Ok(())
    }

    /// Goes on with a record of the circle.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let Some(section) = &mut self.open else {
            return Err(ArchiveError::damaged("a record belongs to no circle"));
        };
        let number;
        let (kind, key) = match record {
            Record::Entry { key, .. } => (1, &key[..]),
            Record::Event { number: event, .. } => {
                number = event.to_be_bytes();
                (2, &number[..])
            }
            Record::Job { id, .. } => (3, &id.as_bytes()[..]),
            Record::Seen { identity, .. } => (4, &identity[..]),
        };
        let (last_kind, last_key) = &mut section.last;
        if (*last_kind, &last_key[..]) >= (kind, key) {
            return Err(at(&section.head, "a record is at a wrong place"));
        }
        *last_kind = kind;
        last_key.clear();
        last_key.extend(key);
        if let Some(misfit) = misfit(&section.head, record) {
            return Err(at(&section.head, misfit));
        }
        section.counts.add(record);
        Ok(())
    }

    /// Ends the circle.
    pub(super) fn end(&mut self) -> Result<Counts, ArchiveError> {
        let section = self.open.take();
        let section = section.ok_or_else(|| ArchiveError::damaged("an end has no beginning"))?;
        Ok(section.counts)
    }

    /// Returns whether a circle has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// Returns why a record can't be one of the circle.
fn misfit(head: &Head, record: &Record) -> Option<&'static str> {
    match record {
        Record::Entry { key, value } => {
            let fits = (1..=MOST_KEY).contains(&key.len()) && is_stored_value(key, value);
            (!fits).then_some("an entry of its store can't be read")
        }
        Record::Event { number, json } => {
            let fits = (1..=head.events).contains(number) && is_event(json);
            (!fits).then_some("an event can't be read")
        }
        // Its backend looks at it.
        Record::Job { .. } => None,
        Record::Seen { until, .. } => {
            let fits = until.is_none_or(|until| until >= 0);
            (!fits).then_some("a mark expires before 1970")
        }
    }
}

fn at(head: &Head, why: &str) -> ArchiveError {
    ArchiveError::damaged(format!("{why} (circle {})", head.circle))
}
