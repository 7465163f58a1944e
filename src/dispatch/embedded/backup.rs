//! Reads circles from the disk as they were at one moment, and writes them to a new one.

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;

use super::{
    job_store::is_kept,
    record::{self, Expiring, expiry, own_key},
};
use crate::{
    backup::{Failure, Head, PAGE, Part, PartsIn, PartsOut, Record},
    dispatch::{
        JobRecord, Status,
        record::{fits, later},
        settings,
    },
    store::{self, Key, Moment, NewDisk, RestoredCircle, Table, Unavailable, Value, has_expired},
};

/// The reader went away.
struct Gone;

/// The reason why reading ends early.
enum Stop {
    Gone,
    Unavailable,
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Unavailable> for Stop {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// Sends the circles of a moment, or one of them. Returns what is to be sent at last, unless nobody takes it. Blocks.
pub(in crate::dispatch) fn read_circles(
    moment: &Moment,
    only: Option<PublicKey>,
    settings: &settings::Durable,
    parts: &PartsIn,
) -> Option<Result<Part, Failure>> {
    let source = Source {
        moment,
        settings,
        parts,
    };
    let read = match only {
        Some(circle) => source.circle(circle),
        None => source.circles(),
    };
    match read {
        Ok(()) => Some(Ok(Part::Done)),
        Err(Stop::Unavailable) => Some(Err(Failure::Unavailable)),
        Err(Stop::Gone) => None,
    }
}

struct Source<'a> {
    moment: &'a Moment,
    settings: &'a settings::Durable,
    parts: &'a PartsIn,
}

impl Source<'_> {
    fn send(&self, part: Part) -> Result<(), Gone> {
        self.parts.blocking_send(Ok(part)).map_err(|_| Gone)
    }

    fn circles(&self) -> Result<(), Stop> {
        let mut last = None;
        while let Some(circle) = self.moment.circle_after(last.as_ref())? {
            self.circle(circle)?;
            last = Some(circle);
        }
        Ok(())
    }

    fn circle(&self, circle: PublicKey) -> Result<(), Stop> {
        let (moment, time) = (self.moment, self.moment.time());
        if moment.is_deleted(&circle) {
            return Ok(());
        }
        let (commits, events) = moment.last_numbers(&circle)?;
        let head = Head {
            circle,
            commits,
            events,
        };
        let mut has_begun = commits > 0 || events > 0;
        if has_begun {
            self.send(Part::Circle(head))?;
        }
        let mut send = |records| {
            if !has_begun {
                has_begun = true;
                self.send(Part::Circle(head))?;
            }
            self.send(Part::Records(records))
        };
        self.table(Table::Store, &circle, &mut send, |key, value| {
            let is_there = !has_expired(key, value, time);
            Ok(is_there.then(|| Record::Entry {
                key: Key::new(key),
                value: value.clone(),
            }))
        })?;
        self.table(Table::Events, &circle, &mut send, |key, value| {
            let number = key.try_into().ok().map(u64::from_be_bytes);
            Ok(number.map(|number| Record::Event {
                number,
                json: value.clone(),
            }))
        })?;
        self.table(Table::Jobs, &circle, &mut send, |key, value| {
            self.job(&circle, key, value)
        })?;
        self.table(Table::Seen, &circle, &mut send, |key, value| {
            Ok(seen(key, value, time))
        })?;
        if has_begun {
            self.send(Part::End)?;
        }
        Ok(())
    }

    /// Sends what one table had of a circle, in pages.
    fn table(
        &self,
        table: Table,
        circle: &PublicKey,
        send: &mut dyn FnMut(Vec<Record>) -> Result<(), Gone>,
        record: impl Fn(&[u8], &Value) -> Result<Option<Record>, Unavailable>,
    ) -> Result<(), Stop> {
        let mut from = Some(Vec::new());
        while let Some(first) = from.take() {
            let (mut records, mut bytes, mut read) = (Vec::new(), 0, Ok(()));
            self.moment.walk(table, circle, &first, &mut |key, value| {
                if bytes >= PAGE {
                    from = Some(key.to_vec());
                    return false;
                }
                match record(key, value) {
                    Ok(Some(record)) => {
                        bytes += record.size();
                        records.push(record);
                    }
                    Ok(None) => {}
                    Err(unavailable) => read = Err(unavailable),
                }
                read.is_ok()
            })?;
            read?;
            if !records.is_empty() {
                send(records)?;
            }
        }
        Ok(())
    }

    fn job(
        &self,
        circle: &PublicKey,
        key: &[u8],
        stored: &Value,
    ) -> Result<Option<Record>, Unavailable> {
        let Some(id) = JobId::from_slice(key) else {
            return Ok(None);
        };
        let get = |table| self.moment.get(table, circle, key);
        let is_open = get(Table::Open)?.is_some();
        let job = record::job(circle, id, stored);
        // What has expired is going to be deleted.
        let now = Timestamp::from_millisecond(self.moment.time()).unwrap_or(Timestamp::MAX);
        let is_there = job
            .as_ref()
            .is_none_or(|job| is_kept(job, now, self.settings));
        let is_over = job.is_some_and(|job| job.status != Status::Pending);
        if !is_there {
            return Ok(None);
        }
        Ok(Some(Record::Job {
            id,
            is_open: is_open && !is_over,
            is_dead: get(Table::Dead)?.is_some(),
            record: stored.clone(),
            input: get(Table::Inputs)?,
        }))
    }
}

fn seen(identity: &[u8], stored: &[u8], now: i64) -> Option<Record> {
    let (job, until) = record::seen_until(stored)?;
    let until = (until != Timestamp::MAX.as_millisecond()).then_some(until);
    let is_there = until.is_none_or(|until| until > now);
    Some(Record::Seen {
        identity: identity.try_into().ok()?,
        job,
        until,
    })
    .filter(|_| is_there)
}

/// Writes circles to a new data folder, and ends it. Blocks.
///
/// # Errors
/// The source fails, or the disk. Then there is nothing in the folder.
pub(in crate::dispatch) fn write_circles(
    disk: NewDisk,
    mut parts: PartsOut,
    settings: &settings::Durable,
    limits: &store::Settings,
) -> Result<(), Failure> {
    let mut current: Option<(PublicKey, RestoredCircle)> = None;
    loop {
        let part = parts.blocking_recv().ok_or(Failure::Ended)??;
        if !disk.has_room() {
            return Err(Failure::NoRoom);
        }
        match (part, &mut current) {
            (Part::Circle(head), current) => {
                let circle = RestoredCircle::new(head.commits, head.events, limits);
                *current = Some((head.circle, circle));
            }
            (Part::Records(page), Some((circle, restored))) => {
                let mut records = Vec::new();
                for record in page {
                    add(record, circle, restored, settings, &mut records)?;
                }
                disk.write(circle, &records)?;
            }
            (Part::End, current) => {
                if let Some((circle, restored)) = current.take() {
                    disk.write(&circle, &restored.finish())?;
                }
            }
            (Part::Done, _) => return Ok(disk.finish()?),
            (Part::Records(_), None) => return Err(Failure::Ended),
        }
    }
}

/// Adds the records that are stored for one of an archive.
fn add(
    record: Record,
    circle: &PublicKey,
    restored: &mut RestoredCircle,
    settings: &settings::Durable,
    records: &mut Vec<store::Record>,
) -> Result<(), Failure> {
    use store::Record as Stored;

    match record {
        Record::Entry { key, value } => restored.entry(key, value, records),
        Record::Event { number, json } => restored.event(number, json, records),
        Record::Job {
            id,
            is_open,
            is_dead,
            record,
            input,
        } => {
            if !fits(circle, id, &record) {
                return Err(Failure::Refused(format!(
                    "the job {id} is not one of {circle}"
                )));
            }
            let job = JobRecord::read(id, Some(*circle), &record);
            let (id, job) = (id.as_bytes(), job.as_ref());
            records.push(Stored::put(Table::Jobs, id, record));
            records.extend(input.map(|input| Stored::put(Table::Inputs, id, input)));
            let lists = [(is_open, Table::Open), (is_dead, Table::Dead)];
            let lists = lists.into_iter().filter(|(is_in, _)| *is_in);
            records.extend(lists.map(|(_, table)| Stored::put(table, id, [])));
            let caller = job.and_then(JobRecord::submitter);
            let own = caller
                .zip(job)
                .map(|(caller, job)| own_key(&caller, job.id));
            records.extend(own.map(|key| Stored::put(Table::Own, key, [])));
            let end = job.and_then(|job| Some(later(job.ended_at?, job.keep_for(settings)?)));
            records.extend(end.map(|end| expiry(Expiring::Job, id, end)));
        }
        Record::Seen {
            identity,
            job,
            until,
        } => {
            let time = until.and_then(|until| Timestamp::from_millisecond(until).ok());
            records.push(record::seen(&identity, job, time.unwrap_or(Timestamp::MAX)));
            records.extend(time.map(|time| expiry(Expiring::Seen, &identity, time)));
        }
    }
    Ok(())
}
