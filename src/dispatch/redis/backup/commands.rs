//! The commands that write records of a circle.

use std::mem;

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{RedisBackup, RedisBackupError, circle::Due};
use crate::{
    dispatch::{
        JobRecord, Status,
        record::later,
        redis::proto::{keys::Partition, values::bytes},
    },
    store::{self, stored_expiry},
};

/// The command that writes a job's record.
const NEW_JOB: &str = "HSETNX";

/// The commands that write some records of a circle.
pub(super) struct Commands<'a> {
    backup: &'a RedisBackup,
    circle: PublicKey,
    all: Vec<(&'static str, Vec<Value>)>,
    /// The jobs whose records are written, in this order: none may be there.
    new_jobs: Vec<JobId>,
    /// Jobs for the end of the backlog.
    backlog: Vec<JobId>,
}

impl<'a> Commands<'a> {
    pub(super) fn new(backup: &'a RedisBackup, circle: PublicKey) -> Self {
        Self {
            backup,
            circle,
            all: Vec::new(),
            new_jobs: Vec::new(),
            backlog: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, command: &'static str, args: impl IntoIterator<Item = Value>) {
        self.all.push((command, args.into_iter().collect()));
    }

    fn partition(&self) -> &'a Partition {
        self.backup.keys().of(&self.circle)
    }

    /// Writes entries of the store that are no replies to requests.
    pub(super) fn entries(&mut self, entries: &[(store::Key, store::Value)]) {
        let (partition, circle) = (self.partition(), self.circle);
        let mut store = vec![partition.store(&circle).into()];
        let mut store_keys = vec![Value::from(partition.store_keys(&circle))];
        let mut expiring = vec![Value::from(partition.expiring(&circle))];
        for (key, value) in entries {
            store.extend([bytes(key), bytes(value)]);
            store_keys.extend([Value::Integer(0), bytes(key)]);
            if let Some(expiry) = stored_expiry(key, value) {
                expiring.extend([Value::Integer(expiry), bytes(key)]);
            }
        }
        for (command, args) in [("HSET", store), ("ZADD", store_keys), ("ZADD", expiring)] {
            if args.len() > 1 {
                self.add(command, args);
            }
        }
    }

    pub(super) fn job(
        &mut self,
        job: &JobRecord,
        (is_open, is_dead): (bool, bool),
        record: &[u8],
        input: Option<&[u8]>,
    ) {
        let (partition, circle) = (self.partition(), self.circle);
        let id = job.id;
        let durable = &self.backup.settings.durable;
        let expires_at = match is_open {
            true => None,
            false => {
                // One that can't be read has no end.
                let ended_at = job.ended_at.unwrap_or_else(|| id.made_at());
                let kept_for = job.keep_for(durable).unwrap_or(durable.keep_dead_for);
                Some(later(ended_at, kept_for).as_millisecond())
            }
        };
        if expires_at.is_some_and(|at| at <= Timestamp::now().as_millisecond()) {
            return;
        }
        let key = Value::from(partition.job(id));
        self.new_jobs.push(id);
        self.add(NEW_JOB, [key.clone(), "record".into(), bytes(record)]);
        let mut rest = vec![key.clone(), "gateway".into(), "".into()];
        if let Some(input) = input {
            rest.extend(["input".into(), bytes(input)]);
        }
        self.add("HSET", rest);
        let mut list = |index: String, name: String| {
            self.all
                .push(("ZADD", vec![index.into(), Value::Integer(0), name.into()]));
        };
        list(partition.index(), format!("{circle}{id}"));
        let submitter = job.submitted_by();
        if !submitter.is_empty() {
            list(partition.submitted(), format!("{circle}{submitter}{id}"));
        }
        if is_open {
            list(partition.pending(), id.to_string());
            if !submitter.is_empty() {
                let whose = if job.by_guest { 'g' } else { 'm' };
                list(
                    partition.open_jobs(&circle),
                    format!("{whose}{submitter}{id}"),
                );
            }
        }
        if is_dead && job.status == Status::Dead {
            list(partition.dead_by_circle(), format!("{circle}{id}"));
            let ended_at = job
                .ended_at
                .unwrap_or_else(|| id.made_at())
                .as_millisecond();
            let dead = [
                partition.dead().into(),
                Value::Integer(ended_at),
                id.to_string().into(),
            ];
            self.add("ZADD", dead);
        }
        if let Some(at) = expires_at {
            self.add("PEXPIREAT", [key, Value::Integer(at)]);
        }
    }

    /// Has a job wait for its time or its turn.
    pub(super) fn wait(&mut self, id: JobId, due: Due) {
        match due {
            Due::Never => {}
            Due::At(due) => self.delay(id, due),
            Due::After(before) => self.backlog.extend(before),
        }
    }

    /// Has a job wait for a time.
    pub(super) fn delay(&mut self, id: JobId, due: Timestamp) {
        let name = format!("{id} {}", self.circle);
        let due = Value::Integer(due.as_millisecond());
        self.add(
            "ZADD",
            [self.partition().delayed().into(), due, name.into()],
        );
    }

    pub(super) fn mark(&mut self, identity: &[u8; 32], job: JobId, until: Option<i64>) {
        let (partition, circle) = (self.partition(), self.circle);
        let job = job.to_string().into();
        // A time that no clock comes to is no time.
        match until.filter(|until| *until < Timestamp::MAX.as_millisecond()) {
            None => {
                let key = partition.final_delivery(&circle, identity).into();
                self.add("SET", [key, job]);
            }
            Some(until) if until > Timestamp::now().as_millisecond() => {
                let key = partition.seen(&circle, identity).into();
                self.add("SET", [key, job, "PXAT".into(), Value::Integer(until)]);
            }
            Some(_) => {}
        }
    }

    /// Sends them.
    pub(super) async fn run(mut self) -> Result<(), RedisBackupError> {
        let (backup, circle) = (self.backup, self.circle);
        let partition = backup.keys().of(&circle);
        if !self.backlog.is_empty() {
            let jobs = mem::take(&mut self.backlog).into_iter();
            let jobs = jobs.map(|id| Value::from(id.to_string()));
            let backlog = Value::from(partition.backlog(&circle));
            self.add("RPUSH", [backlog].into_iter().chain(jobs));
        }
        let sent = self.all.into_iter().map(async |(command, args)| {
            let answer = backup.ask(command, partition, args).await?;
            Ok::<_, RedisBackupError>((command == NEW_JOB).then(|| answer.as_i64() == Some(1)))
        });
        let is_new = try_join_all(sent).await?.into_iter().flatten();
        match self
            .new_jobs
            .into_iter()
            .zip(is_new)
            .find(|(_, is_new)| !is_new)
        {
            Some((id, _)) => Err(RedisBackupError::TwoJobs { circle, id }),
            None => Ok(()),
        }
    }
}
