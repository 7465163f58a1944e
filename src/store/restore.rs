//! A new data folder with what an archive has; or a new circle in a folder that has others.

use std::collections::{BTreeMap, BTreeSet};

use circled_protocol::PublicKey;

use super::{
    circle::{EventNumbers, Usage},
    deletion,
    disk::{Disk, FilledBy},
    error::{OpenError, Unavailable},
    expiring::reindex,
    log::{self, Bounds},
    replies::{self, Account, is_request},
    settings::{DiskSettings, Settings},
    table::{Key, Record, Table, Value},
};

/// A data folder that is being filled: all of it, or one circle. Until that is finished, it has nothing of it, and no server
/// opens a new one; what a process leaves behind is deleted when the folder is filled, or opened, next.
#[derive(Debug)]
pub struct NewDisk {
    disk: Disk,
    /// The circle, if the folder has others.
    circle: Option<PublicKey>,
}

impl NewDisk {
    /// Begins one.
    ///
    /// # Errors
    /// There is data, or the folder can't be used.
    pub fn create(settings: &DiskSettings) -> Result<Self, OpenError> {
        match Disk::begin(settings, FilledBy::Restore)? {
            (disk, true) => Ok(Self { disk, circle: None }),
            (disk, false) => Err(OpenError::NotEmpty(disk.path().to_owned())),
        }
    }

    /// Begins to add a circle to a folder, which may be a new one.
    ///
    /// # Errors
    /// There is such a circle, or the folder can't be used.
    pub fn add(settings: &DiskSettings, circle: PublicKey) -> Result<Self, OpenError> {
        let (disk, is_new) = Disk::begin(settings, FilledBy::Restore)?;
        if is_new {
            return Ok(Self { disk, circle: None });
        }
        let path = disk.path().to_owned();
        let has = |table| {
            let keyspace = disk.keyspace(table);
            keyspace.prefix(circle.as_bytes()).next().is_some()
        };
        if Table::ALL.into_iter().any(has) {
            return Err(OpenError::HasCircle { path, circle });
        }
        // As long as the file names it, whoever opens the folder next deletes it.
        note(&disk, &BTreeSet::from([circle]))?;
        Ok(Self {
            disk,
            circle: Some(circle),
        })
    }

    /// Returns whether its disk has room for more.
    pub fn has_room(&self) -> bool {
        self.disk.has_room()
    }

    /// Writes records of a circle.
    ///
    /// # Errors
    /// The disk doesn't take them.
    pub fn write(&self, circle: &PublicKey, records: &[Record]) -> Result<(), Unavailable> {
        self.disk
            .write(records.iter().map(|record| (circle, record)))
    }

    /// Ends it: all that was written is there from now on, and safe.
    ///
    /// # Errors
    /// The disk doesn't take it.
    pub fn finish(self) -> Result<(), OpenError> {
        match self.circle {
            None => self.disk.finish(),
            Some(_) => note(&self.disk, &BTreeSet::new()),
        }
    }
}

/// Has the folder name circles that aren't there, see [`deletion`].
fn note(disk: &Disk, circles: &BTreeSet<PublicKey>) -> Result<(), OpenError> {
    let noted = deletion::write(disk.path(), circles);
    noted.map_err(|source| OpenError::Io {
        path: disk.path().to_owned(),
        source,
    })
}

/// A circle whose records are being restored, and what has to be known of all of them.
#[derive(Debug)]
pub struct RestoredCircle {
    usage: Usage,
    /// The bytes of replies, by account.
    replies: BTreeMap<Account, u64>,
    events: EventNumbers,
    has_events: bool,
    bounds: Bounds,
}

impl RestoredCircle {
    /// Begins with the numbers of its last commit and its last event.
    pub fn new(commits: u64, events: u64, limits: &Settings) -> Self {
        let next = events + 1;
        Self {
            usage: Usage {
                bytes: 0,
                commit: commits,
            },
            replies: BTreeMap::new(),
            events: EventNumbers {
                first: next,
                next,
                counted_from: next,
                excess: 0,
            },
            has_events: false,
            bounds: Bounds::new(limits),
        }
    }

    /// Adds the records of an entry of its store.
    pub fn entry(&mut self, key: Key, value: Value, records: &mut Vec<Record>) {
        let size = replies::size(&key, &value);
        *match is_request(&key) {
            true => self.replies.entry(Account::of(&value)).or_default(),
            false => &mut self.usage.bytes,
        } += size;
        records.extend(reindex(&key, None, Some(&value)));
        records.push(Record::put(Table::Store, key, value));
    }

    /// Adds the record of an event. They come in order.
    pub fn event(&mut self, number: u64, json: Value, records: &mut Vec<Record>) {
        if !self.has_events {
            self.has_events = true;
            (self.events.first, self.events.counted_from) = (number, number);
        }
        self.events.excess += self.bounds.excess(json.len());
        records.push(Record::put(Table::Events, number.to_be_bytes(), json));
    }

    /// Returns the records of what has been added.
    pub fn finish(self) -> Vec<Record> {
        let mut records = Vec::new();
        if self.usage != Usage::default() {
            records.push(self.usage.record());
        }
        let replies = self.replies.into_iter();
        records.extend(replies.map(|(account, bytes)| account.usage(bytes)));
        if self.events.next > 1 {
            records.extend(log::number_records(&self.events));
        }
        records
    }
}
