//! Writes circles into a namespace where nothing is yet.
//!
//! As long as it isn't finished, [`Keys::agreement`](crate::dispatch::redis::proto::keys::Keys::agreement) has a number of
//! partitions that no server has, so none starts. The last step puts the right one there. Whatever a killed restore has left is
//! deleted by the next one.
//!
//! Jobs that aren't over wait in the backlog of their circle. The last one of each circle waits for a time that has passed
//! instead: once a worker wakes it, it comes behind the others, and the first ones are handed out.

use fred::types::Value;

use super::{
    Lease, RedisBackup, RedisBackupError, circle::Circle, commands::Commands, error::unreadable,
};
use crate::{
    backup::{Failure, Head, Part, PartsOut, Record},
    dispatch::{
        JobRecord, Status,
        record::fits,
        redis::{
            conn::ConnectionNumber,
            proto::{
                keys::RESTORING,
                script::List,
                scripts::{RestoreEvents, RestoreReplies, RestoredEvent, RestoredReply},
                values::{bytes, number},
            },
        },
    },
    store::{is_request, stored_expiry},
};

/// A restore that has begun.
pub(in crate::dispatch) struct RedisRestore {
    backup: RedisBackup,
    lease: Lease,
    since: ConnectionNumber,
    circle: Option<Circle>,
}

impl RedisBackup {
    /// Begins to restore circles, where nothing is yet but what a killed restore has left.
    pub(in crate::dispatch) async fn begin_restore(
        &self,
    ) -> Result<RedisRestore, RedisBackupError> {
        let since = self.redis.number();
        let lease = Lease::take(self, "restore", self.keys().restore_lease(), Vec::new()).await?;
        let prepared = self.prepare_restore().await;
        if let Err(error) = prepared {
            lease.release().await;
            return Err(error);
        }
        Ok(RedisRestore {
            backup: self.clone(),
            lease,
            since,
            circle: None,
        })
    }

    async fn prepare_restore(&self) -> Result<(), RedisBackupError> {
        let keys = self.keys();
        if self.partitions().await?.as_deref() == Some(RESTORING) {
            return self.clear(&[keys.agreement(), keys.restore_lease()]).await;
        }
        self.check_empty(&keys.restore_lease()).await?;
        let args = [keys.agreement().as_str(), "partitions", RESTORING].map(Value::from);
        let claimed = self.ask_slot("HSETNX", keys.agreement_hash(), args).await?;
        match claimed.as_i64() {
            Some(1) => Ok(()),
            // A server has just started.
            _ => self.check_empty(&keys.restore_lease()).await,
        }
    }
}

impl RedisRestore {
    /// Writes all parts, or nothing.
    pub(in crate::dispatch) async fn take(mut self, mut parts: PartsOut) -> Result<(), Failure> {
        let mut taken = self.write_all(&mut parts).await;
        if taken.is_ok() {
            taken = self.confirm().await.map_err(Failure::from);
        }
        match taken {
            // Where that fails, nobody can tell if servers may use it already.
            Ok(()) => taken = self.agree().await.map_err(Failure::from),
            // What it leaves is deleted by the next one.
            Err(_) => drop(self.abandon().await),
        }
        self.lease.release().await;
        self.backup.redis.close().await;
        taken
    }

    async fn write_all(&mut self, parts: &mut PartsOut) -> Result<(), Failure> {
        loop {
            match parts.recv().await.ok_or(Failure::Ended)?? {
                Part::Done => return Ok(()),
                part @ (Part::Circle(_) | Part::Records(_) | Part::End) => self.write(part).await?,
            }
        }
    }

    /// Writes a part.
    async fn write(&mut self, part: Part) -> Result<(), RedisBackupError> {
        match part {
            Part::Circle(head) => {
                self.circle = Some(Circle::new(head));
                Ok(())
            }
            Part::Records(records) => {
                let mut circle = self.circle.take().ok_or_else(no_circle)?;
                let written = self.write_records(&mut circle, records).await;
                self.circle = Some(circle);
                written
            }
            Part::End => {
                let circle = self.circle.take().ok_or_else(no_circle)?;
                self.end(circle).await
            }
            Part::Done => Ok(()),
        }
    }

    /// Checks that all that was written is there, as safely as the settings say.
    async fn confirm(&self) -> Result<(), RedisBackupError> {
        let redis = &self.backup.redis;
        for partition in redis.keys().partitions() {
            let synced = redis.sync_own(partition, self.since).await;
            synced.map_err(|_| RedisBackupError::Disconnected)?;
        }
        match redis.number() == self.since {
            true => self.lease.check().await,
            // Another server may not have had what the one before it took.
            false => Err(RedisBackupError::Disconnected),
        }
    }

    /// Has the namespace get its number of partitions: servers may use it from now on.
    async fn agree(&self) -> Result<(), RedisBackupError> {
        let keys = self.backup.keys();
        let partitions = number(keys.partitions().len());
        let args = [keys.agreement().into(), "partitions".into(), partitions];
        let hash = keys.agreement_hash();
        self.backup.ask_slot("HSET", hash, args).await.map(drop)
    }

    /// Deletes what has been written.
    async fn abandon(&self) -> Result<(), RedisBackupError> {
        let (backup, keys) = (&self.backup, self.backup.keys());
        self.lease.check().await?;
        backup
            .clear(&[keys.agreement(), keys.restore_lease()])
            .await?;
        let gone = [keys.agreement().into()];
        let gone = backup.ask_slot("DEL", keys.agreement_hash(), gone).await;
        gone.map(drop)
    }

    async fn write_records(
        &self,
        circle: &mut Circle,
        records: Vec<Record>,
    ) -> Result<(), RedisBackupError> {
        let mut commands = Commands::new(&self.backup, circle.head.circle);
        let partition = self.backup.keys().of(&circle.head.circle);
        let (mut events, mut has_events) = (List::new(), false);
        let (mut replies, mut has_replies, mut entries) = (List::new(), false, Vec::new());
        for record in records {
            match record {
                Record::Entry { key, value } => {
                    let expiry = stored_expiry(&key, &value);
                    circle.note_entry(&key, key.len() + value.len(), expiry);
                    if expiry.is_some() && is_request(&key) {
                        has_replies = true;
                        let (key, value) = (bytes(&key), bytes(&value));
                        replies.push(RestoredReply { key, value });
                    } else {
                        entries.push((key, value));
                    }
                }
                Record::Event { number, json } => {
                    circle.note_event(number, json.len(), &self.backup.limits);
                    has_events = true;
                    events.push(RestoredEvent {
                        number: number.to_string(),
                        event: json.to_vec(),
                    });
                }
                Record::Job {
                    id,
                    is_open,
                    is_dead,
                    record,
                    input,
                } => {
                    let whose = circle.head.circle;
                    let job = JobRecord::read(id, Some(whose), &record);
                    let job = job.filter(|_| fits(&whose, id, &record));
                    let job = job.ok_or_else(|| unreadable(&format!("the job {id}")))?;
                    let is_open = is_open && job.status == Status::Pending;
                    let due = circle.due(&job, is_open);
                    commands.job(&job, (is_open, is_dead), &record, input.as_deref());
                    commands.wait(id, due);
                }
                Record::Seen {
                    identity,
                    job,
                    until,
                } => commands.mark(&identity, job, until),
            }
        }
        commands.entries(&entries);
        let circle = circle.head.circle;
        if has_replies {
            let new_replies = replies;
            let restore = RestoreReplies {
                circle,
                new_replies,
            };
            self.backup.call(partition, restore).await?;
        }
        if has_events {
            let new_events = events;
            let restore = RestoreEvents { circle, new_events };
            self.backup.call(partition, restore).await?;
        }
        commands.run().await
    }

    /// Writes what is known once all records are.
    async fn end(&self, circle: Circle) -> Result<(), RedisBackupError> {
        let Circle {
            head:
                Head {
                    circle: key,
                    commits,
                    events,
                },
            bytes,
            first_expiry,
            excess,
            first_event,
            mut delayed,
            last_ready,
        } = circle;
        let partition = self.backup.keys().of(&key);
        let mut commands = Commands::new(&self.backup, key);
        if commits > 0 || bytes > 0 {
            let usage = format!("{bytes} {commits}");
            commands.add("SET", [partition.usage(&key).into(), usage.into()]);
        }
        if first_expiry < i64::MAX {
            let circles = partition.expiring_circles().into();
            commands.add(
                "ZADD",
                [
                    circles,
                    Value::Integer(first_expiry),
                    key.to_string().into(),
                ],
            );
        }
        if events > 0 {
            let sequence = [partition.event_sequence(&key), events.to_string()];
            commands.add("SET", sequence.map(Value::from));
        }
        if let Some(first) = first_event.filter(|_| excess > 0) {
            let excess = format!("{first} {events} {excess}");
            commands.add(
                "SET",
                [partition.event_excess(&key), excess].map(Value::from),
            );
        }
        if let Some((id, came)) = last_ready {
            commands.delay(id, came);
            delayed += 1;
        }
        if delayed > 0 {
            let counts = partition.job_counts(&key).into();
            commands.add("HSET", [counts, "delayed".into(), number(delayed)]);
        }
        commands.run().await
    }
}

fn no_circle() -> RedisBackupError {
    unreadable("a record without a circle")
}
