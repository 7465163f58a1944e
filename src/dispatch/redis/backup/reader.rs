//! Reads circles, each as it is at one moment, while servers change them.
//!
//! The script `moment.lua` copies a circle: all of its store and its log, the list of its jobs, and those jobs that aren't
//! over. The others don't change; before one of them is retried, the script that does it copies the job. The copies are of one
//! circle at a time, and expire if nobody goes on with them. They are in the partition of the circle.

use std::{collections::BTreeMap, mem};

use circled_protocol::{JobId, PublicKey};
use fred::types::{ClusterHash, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Lease, RedisBackup, RedisBackupError, error::unreadable, lease::LASTS, marks::Marks};
use crate::{
    backup::{Failure, Head, PAGE, Part, PartsIn, PartsOut, Record, pipe},
    dispatch::{
        JobRecord, Status,
        redis::proto::{
            keys::Partition,
            reply::entries,
            scripts::{CopiedEntries, CopiedJobs, Moment},
            values::{millis, number},
        },
    },
    store::{Key, Value as Stored, has_expired},
};

/// Entries or jobs that are read in one step.
const AT_ONCE: usize = 1000;
/// Events that are read in one step.
const EVENTS_AT_ONCE: usize = 64;

/// All that is read of a namespace.
struct Reader<'a> {
    backup: &'a RedisBackup,
    parts: &'a PartsIn,
    marks: Marks,
    /// The place up to which the list of marks was read, of each partition.
    progress: Vec<usize>,
    /// Of the circle that is being read: the head, until it is sent, and records that aren't sent yet.
    head: Option<Head>,
    page: Vec<Record>,
    bytes: usize,
}

impl RedisBackup {
    /// Begins to read all circles, or one of them, while servers go on: in a task that ends early once it is stopped, or
    /// nobody takes what it reads.
    ///
    /// # Errors
    /// Another backup is being made, or the namespace can't be read.
    pub(in crate::dispatch) async fn begin_read(
        self,
        only: Option<PublicKey>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<PartsOut, RedisBackupError> {
        self.check_agreement().await?;
        let partitions = self.keys().partitions().iter();
        let kept = partitions.flat_map(|partition| {
            let keys = copies(partition).into_iter();
            keys.map(|key| (partition.hash.clone(), key))
        });
        let kept: Vec<(ClusterHash, String)> = kept.collect();
        let lease = Lease::take(&self, "backup", self.keys().backup_lease(), kept).await?;
        let (parts, out) = pipe();
        tasks.spawn(self.read(only, lease, parts, stop));
        Ok(out)
    }

    /// Sends all that it reads, or why it can't. Leaves nothing.
    async fn read(
        self,
        only: Option<PublicKey>,
        lease: Lease,
        parts: PartsIn,
        stop: CancellationToken,
    ) {
        let mut reader = Reader {
            backup: &self,
            parts: &parts,
            marks: Marks::default(),
            progress: vec![1; self.keys().partitions().len()],
            head: None,
            page: Vec::new(),
            bytes: 0,
        };
        let mut read = tokio::select! {
            read = reader.read(only) => read,
            () = parts.closed() => Err(RedisBackupError::Stopped),
            () = stop.cancelled() => Err(RedisBackupError::Stopped),
        };
        if read.is_ok() {
            read = lease.check().await;
        }
        for partition in self.keys().partitions() {
            let copies = copies(partition).map(Value::from);
            let _ = self.ask("UNLINK", partition, copies).await;
        }
        lease.release().await;
        self.redis.close().await;
        let last = read.map(|()| Part::Done).map_err(Failure::from);
        tokio::select! {
            biased;
            _ = parts.send(last) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Reader<'_> {
    async fn read(&mut self, only: Option<PublicKey>) -> Result<(), RedisBackupError> {
        let since = self.backup.redis.number();
        for partition in self.backup.keys().partitions() {
            let marks = partition.backup_marks();
            // It is there as long as it has something.
            let begin = [marks.as_str(), ""].map(Value::from);
            self.backup
                .ask("UNLINK", partition, copies(partition).map(Value::from))
                .await?;
            self.backup.ask("RPUSH", partition, begin).await?;
            let expire = [marks.into(), millis(LASTS)];
            self.backup.ask("PEXPIRE", partition, expire).await?;
        }
        let mut circles = self.backup.find(only, &mut self.marks).await?;
        self.marks.sort();
        circles.retain(|circle| only.is_none_or(|only| only == *circle));
        for circle in circles {
            self.circle(circle).await?;
        }
        match self.backup.redis.number() == since {
            true => Ok(()),
            // Another server may not have had what was copied or looked at.
            false => Err(RedisBackupError::Disconnected),
        }
    }

    /// Reads one circle.
    async fn circle(&mut self, circle: PublicKey) -> Result<(), RedisBackupError> {
        let (backup, keys) = (self.backup, self.backup.keys());
        let (partition, place) = (keys.of(&circle), keys.number_of(&circle));
        let moment = backup.call(partition, Moment { circle }).await?;
        if moment.is_null() {
            return Ok(());
        }
        let moment = moment.into_array();
        let moment: Vec<_> = moment.iter().map(|number| number.as_i64()).collect();
        let [Some(at), Some(commits), Some(events), Some(_), Some(marks)] = moment[..] else {
            return Err(unreadable("a circle"));
        };
        self.marks_until(partition, place, usize::try_from(marks).unwrap_or(0))
            .await?;
        let head = Head {
            circle,
            commits: u64::try_from(commits).unwrap_or(0),
            events: u64::try_from(events).unwrap_or(0),
        };
        self.head = Some(head);
        if head.commits > 0 || head.events > 0 {
            self.begin().await?;
        }
        self.entries(partition, circle, at).await?;
        self.events(partition).await?;
        let finals = self.jobs(partition, circle).await?;
        let marks: Vec<_> = self.marks.take(&circle, at, finals).collect();
        for mark in marks {
            self.add(mark).await?;
        }
        self.flush().await?;
        // Where nothing has been sent, there is nothing to end.
        match self.head.take() {
            Some(_) => Ok(()),
            None => self.send(Part::End).await,
        }
    }

    /// Reads the list of marks until it has so many.
    async fn marks_until(
        &mut self,
        partition: &Partition,
        place: usize,
        until: usize,
    ) -> Result<(), RedisBackupError> {
        let from = self.progress[place];
        if until == 0 {
            // The list is gone.
            return Err(RedisBackupError::TooLate);
        }
        if until <= from {
            return Ok(());
        }
        let args = [
            partition.backup_marks().into(),
            number(from),
            number(until - 1),
        ];
        let made = self
            .backup
            .ask("LRANGE", partition, args)
            .await?
            .into_array();
        for made in made {
            let made = made.into_string().unwrap_or_default();
            self.marks
                .add_made(&made)
                .ok_or_else(|| unreadable("a mark"))?;
        }
        self.progress[place] = until;
        Ok(())
    }

    /// Reads the store that was copied at a time.
    async fn entries(
        &mut self,
        partition: &Partition,
        circle: PublicKey,
        at: i64,
    ) -> Result<(), RedisBackupError> {
        let mut from = b"-".to_vec();
        loop {
            let page = CopiedEntries {
                circle,
                from,
                most: AT_ONCE,
                max_bytes: PAGE,
            };
            let page = page_of(self.backup.call(partition, page).await?)?;
            let Ok([last, entries]) = <[Value; 2]>::try_from(page) else {
                return Err(unreadable("a store"));
            };
            let last = last.as_bytes().unwrap_or_default();
            if last.is_empty() {
                return Ok(());
            }
            from = [b"(", last].concat();
            for entry in entries.into_array().chunks_exact(2) {
                let (Some(key), Some(value)) = (entry[0].as_bytes(), entry[1].as_bytes()) else {
                    return Err(unreadable("a store"));
                };
                if !has_expired(key, value, at) {
                    let (key, value) = (Key::new(key), Stored::new(value));
                    self.add(Record::Entry { key, value }).await?;
                }
            }
        }
    }

    /// Reads the log that was copied.
    async fn events(&mut self, partition: &Partition) -> Result<(), RedisBackupError> {
        let mut from = "-".to_owned();
        loop {
            let args = [&*partition.copied_events(), &from, "+", "COUNT"].map(Value::from);
            let args = args.into_iter().chain([number(EVENTS_AT_ONCE)]);
            let events = entries(self.backup.ask("XRANGE", partition, args).await?);
            let Some(last) = events.last() else {
                return Ok(());
            };
            from = format!("({}", last.id);
            for event in &events {
                let number = u64::try_from(event.millis()).unwrap_or(0);
                let json = event.bytes("event").ok_or_else(|| unreadable("an event"))?;
                let json = Stored::new(json);
                self.add(Record::Event { number, json }).await?;
            }
        }
    }

    /// Reads the jobs. Returns the series of deliveries that have ended with one of them, with the job that ended it.
    async fn jobs(
        &mut self,
        partition: &Partition,
        circle: PublicKey,
    ) -> Result<BTreeMap<[u8; 32], JobId>, RedisBackupError> {
        let mut finals = BTreeMap::new();
        let mut from = "-".to_owned();
        loop {
            let page = CopiedJobs {
                circle,
                from,
                most: AT_ONCE,
                max_bytes: PAGE,
            };
            let page = page_of(self.backup.call(partition, page).await?)?;
            let mut last = None;
            for job in page {
                let Ok([member, record, input, is_open]) = <[Value; 4]>::try_from(job.into_array())
                else {
                    return Err(unreadable("a job"));
                };
                let member = member.into_string().unwrap_or_default();
                let id = member
                    .get(2 * PublicKey::LENGTH..)
                    .and_then(|id| id.parse().ok());
                last = Some(member);
                // One without a record has expired.
                let (Some(id), Some(record)) = (id, record.as_bytes()) else {
                    continue;
                };
                let read = JobRecord::read(id, Some(circle), record);
                let is_open = is_open.as_i64() == Some(1);
                if let Some(job) = &read
                    && job.status == Status::Finished
                    && let Some(series) = job.series.as_ref().filter(|series| series.is_final)
                {
                    finals.insert(series.identity, id);
                }
                self.add(Record::Job {
                    id,
                    is_open,
                    is_dead: !is_open && read.is_some_and(|job| job.status == Status::Dead),
                    record: Stored::new(record),
                    input: input.as_bytes().map(Stored::new),
                })
                .await?;
            }
            match last {
                Some(last) => from = format!("({last}"),
                None => return Ok(finals),
            }
        }
    }

    /// Sends a record, at once or later.
    async fn add(&mut self, record: Record) -> Result<(), RedisBackupError> {
        self.bytes += record.size();
        self.page.push(record);
        match self.bytes >= PAGE {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), RedisBackupError> {
        self.bytes = 0;
        let page = mem::take(&mut self.page);
        if page.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        self.send(Part::Records(page)).await
    }

    /// Sends the head, unless it is sent.
    async fn begin(&mut self) -> Result<(), RedisBackupError> {
        match self.head.take() {
            Some(head) => self.send(Part::Circle(head)).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, part: Part) -> Result<(), RedisBackupError> {
        let sent = self.parts.send(Ok(part)).await;
        sent.map_err(|_| RedisBackupError::Stopped)
    }
}

/// Returns the keys of a partition that there are only while a backup is made.
fn copies(partition: &Partition) -> [String; 7] {
    [
        partition.backup(),
        partition.backup_marks(),
        partition.copied_jobs(),
        partition.copied_store(),
        partition.copied_keys(),
        partition.copied_events(),
        partition.copied_index(),
    ]
}

/// Returns what a script has found in a copy.
fn page_of(found: Value) -> Result<Vec<Value>, RedisBackupError> {
    match found.is_null() {
        // The copy has expired.
        true => Err(RedisBackupError::TooLate),
        false => Ok(found.into_array()),
    }
}
