//! Commits the results of runs: all of a circle that are ready at the same time in one call.

use std::{sync::Arc, time::Duration};

use circled_protocol::PublicKey;
use fred::types::Value;
use tokio::time::sleep;

use super::claimed_job::{ClaimedJob, JobKind};
use crate::{
    circle::Caller,
    dispatch::{
        JobRecord, Progress, Series, Settings, Status,
        record::most_waiting,
        redis::{
            conn::Connection,
            proto::{
                event_record,
                keys::Partition,
                scripts::Lua,
                values::{bytes, expected, millis, number, stored},
            },
        },
        settings,
    },
    script::Outcome,
    store::{
        self, CommitError, Effects, KeyRange, Preconditions, RangeRead, SubmittedJob, Unavailable,
    },
};

/// The kind of a commit that is no claimed job's, as `lua/commit.lua` has it.
const EFFECTS: &str = "effects";
/// The holder of a circle's lock that a commit names whom the lock doesn't concern, as `lua/commit.lua` has it.
const ANYBODY: &str = "*";
/// The pause between two looks at the lock of a circle.
pub(super) const LOCKED_PAUSE: Duration = Duration::from_millis(2);
/// The longest that one run keeps all others of its circle from committing.
pub(super) const LOCKED: Duration = Duration::from_millis(100);

/// The result of a run, ready to be committed.
#[derive(Debug)]
pub(super) struct CommitRequest {
    pub(super) effects: Effects,
    pub(super) result: RunResult,
    /// The preconditions of a durable job, besides that it is this worker's still.
    pub(super) preconditions: Preconditions<'static>,
}

impl CommitRequest {
    /// Creates a request that ends the job, or has it run again later, and nothing else.
    pub(super) fn without_effects(result: RunResult) -> Self {
        let events = match &result {
            RunResult::Play(_) => None,
            RunResult::Durable(job, _) => Some(job.change_event()),
        };
        Self {
            effects: Effects {
                events: events.into_iter().collect(),
                ..Effects::default()
            },
            result,
            preconditions: Preconditions::NONE,
        }
    }

    pub(super) fn has_read(&self) -> bool {
        !self.effects.reads.is_empty()
    }

    /// Returns true if what others write matters to it, or what it writes to others.
    fn uses_store(&self) -> bool {
        self.has_read() || !self.effects.writes.is_empty()
    }

    /// Returns about how many bytes it has.
    pub(super) fn size(&self) -> usize {
        let values = self.effects.reads.keys();
        let values: usize = values
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()))
            .sum();
        let result = match &self.result {
            RunResult::Play(Ok(success)) => {
                let logs: usize = success.logs.iter().map(String::len).sum();
                success.output.len() + success.value.get().len() + logs
            }
            RunResult::Play(_) => 0,
            RunResult::Durable(job, _) => job.size(),
        };
        values + self.effects.size() + result + 512
    }
}

/// The result of a run, as its gateway is told.
#[derive(Debug)]
pub(super) enum RunResult {
    Play(Outcome),
    Durable(Box<JobRecord>, Progress),
}

/// Redis' answer to a commit.
#[derive(Debug)]
pub(in crate::dispatch::redis) enum CommitAnswer {
    Done,
    /// The job isn't pending any more.
    Gone,
    /// The store would be too large.
    Quota,
    /// Too many durable jobs wait.
    Backlog,
    /// The final delivery of the series is there already.
    Superseded,
    /// These are the values of what was read, as they are now.
    Conflict(Vec<Option<store::Value>>),
}

/// Commits runs, within these bounds.
#[derive(Clone)]
pub(in crate::dispatch::redis) struct Committer {
    pub(in crate::dispatch::redis) redis: Connection,
    pub(in crate::dispatch::redis) durable: settings::Durable,
    pub(in crate::dispatch::redis) limits: Arc<store::Settings>,
    pub(in crate::dispatch::redis) per_circle: usize,
    pub(in crate::dispatch::redis) queue: usize,
    pub(in crate::dispatch::redis) inbox: usize,
    pub(in crate::dispatch::redis) inbox_bytes: usize,
}

/// The keys and arguments of the Lua script, being written.
struct CommitCall<'a> {
    partition: &'a Partition,
    keys: Vec<String>,
    args: Vec<Value>,
    /// The inboxes among the keys, by gateway.
    inboxes: Vec<(String, usize)>,
    /// The position of the keys of the circle's events, once it takes them.
    log: Option<usize>,
    /// The caller that the last play counts for, if that is known.
    counts_for: Option<&'a Caller<'static>>,
}

impl Committer {
    pub(in crate::dispatch::redis) fn new(
        settings: &Settings,
        redis: &Connection,
        limits: &Arc<store::Settings>,
    ) -> Self {
        let own = &settings.redis;
        Self {
            redis: redis.clone(),
            durable: settings.durable.clone(),
            limits: limits.clone(),
            per_circle: own.per_circle.get(),
            queue: own.queue.get(),
            inbox: own.inbox.get(),
            inbox_bytes: own.inbox_bytes.get(),
        }
    }

    /// Locks a circle for [`LOCKED`] at most: until the run of this name is committed, no other one of this circle is.
    /// Returns whether it is locked now.
    pub(super) async fn lock(&self, circle: PublicKey, name: &str) -> Result<bool, Unavailable> {
        let partition = self.redis.keys().of(&circle);
        let lock = partition.circle_lock(&circle);
        let args = [lock.as_str(), name, "NX", "PX"].map(Value::from);
        let args = args.into_iter().chain([millis(LOCKED)]);
        let answer = self.redis.send("SET", partition, args).await?;
        Ok(!answer.is_null())
    }

    /// Commits runs of one circle, one after another. Sending the same again changes nothing. Returns nothing, and
    /// commits nothing, while another run has locked the circle.
    ///
    /// # Errors
    /// Whether they are committed can't be told.
    pub(super) async fn commit(
        &self,
        circle: PublicKey,
        runs: &[(ClaimedJob, CommitRequest)],
    ) -> Result<Option<Vec<CommitAnswer>>, Unavailable> {
        let holder = runs.iter().find(|(claimed, _)| claimed.has_lock);
        let locked_by = match holder {
            Some((claimed, _)) => self.lock_name(claimed),
            None if runs.iter().any(|(_, request)| request.uses_store()) => String::new(),
            None => ANYBODY.to_owned(),
        };
        let mut call = self.call(circle, locked_by);
        for (claimed, request) in runs {
            self.add(&mut call, claimed, request);
        }
        self.send(call, runs.len()).await
    }

    /// Commits effects that are no claimed job's. Sending the same again may commit them again.
    ///
    /// # Errors
    /// Whether they are committed can't be told.
    pub(in crate::dispatch::redis) async fn commit_effects(
        &self,
        circle: PublicKey,
        effects: &Effects,
    ) -> Result<CommitAnswer, Unavailable> {
        loop {
            let mut call = self.call(circle, String::new());
            // No entry, no id, no inbox and no message.
            for arg in ["", "", EFFECTS, "", ""] {
                call.push(arg);
            }
            self.add_effects(&mut call, circle, effects);
            match self.send(call, 1).await? {
                Some(mut answers) => return answers.pop().ok_or(Unavailable),
                None => self.until_unlocked(circle).await,
            }
        }
    }

    /// Waits a moment for others' lock of a circle to be gone; not for the next one.
    pub(super) async fn until_unlocked(&self, circle: PublicKey) {
        let partition = self.redis.keys().of(&circle);
        for _ in 0..LOCKED.as_millis() / LOCKED_PAUSE.as_millis() {
            sleep(LOCKED_PAUSE).await;
            let lock = [Value::from(partition.circle_lock(&circle))];
            match self.redis.send("EXISTS", partition, lock).await {
                Ok(answer) if answer.as_i64() == Some(1) => {}
                Ok(_) | Err(Unavailable) => return,
            }
        }
    }

    /// Removes the lock of a run that commits nothing.
    pub(super) async fn unlock(&self, claimed: &ClaimedJob) {
        let call = self.call(claimed.circle(), self.lock_name(claimed));
        // It ends by itself soon.
        let _ = self.send(call, 0).await;
    }

    /// Begins a call of the Lua script.
    fn call(&self, circle: PublicKey, locked_by: String) -> CommitCall<'_> {
        let partition = self.redis.keys().of(&circle);
        let mut call = CommitCall {
            partition,
            keys: Vec::from(partition.of_plays(&circle)),
            args: vec![
                circle.to_string().into(),
                number(self.per_circle),
                number(self.limits.quota),
                number(self.inbox),
                number(self.limits.event_log.get()),
                number(self.inbox_bytes),
                number(self.queue),
                locked_by.into(),
            ],
            inboxes: Vec::new(),
            log: None,
            counts_for: None,
        };
        call.keys.extend([
            partition.backlog(&circle),
            partition.store(&circle),
            partition.store_keys(&circle),
            partition.usage(&circle),
            partition.pending(),
            partition.delayed(),
            partition.dead(),
            partition.circle_lock(&circle),
            partition.commit_watchers(&circle),
        ]);
        call
    }

    async fn send(
        &self,
        call: CommitCall<'_>,
        count: usize,
    ) -> Result<Option<Vec<CommitAnswer>>, Unavailable> {
        let CommitCall {
            partition,
            keys,
            args,
            ..
        } = call;
        let answer = self.redis.call(Lua::Commit, partition, keys, args).await?;
        if answer.as_bytes() == Some(b"locked") {
            return Ok(None);
        }
        let answers = answer.into_array();
        if answers.len() != count {
            return Err(Unavailable);
        }
        Ok(Some(answers.into_iter().map(CommitAnswer::read).collect()))
    }

    /// Returns the name under which a run locks its circle.
    pub(super) fn lock_name(&self, claimed: &ClaimedJob) -> String {
        format!("{} {}", self.redis.name(), claimed.slot.entry())
    }

    fn add<'a>(&self, call: &mut CommitCall<'a>, claimed: &'a ClaimedJob, request: &CommitRequest) {
        let CommitRequest {
            effects, result, ..
        } = request;
        let message = match result {
            RunResult::Play(outcome) => serde_json::to_vec(outcome),
            RunResult::Durable(_, progress) => serde_json::to_vec(progress),
        };
        let message = message.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to write an outcome");
            Vec::new()
        });
        call.push(claimed.slot.entry());
        call.push(claimed.id().to_string());
        match &claimed.kind {
            JobKind::Play(play) => call.push_play(play.counts_for(), claimed.has_waited),
            JobKind::Durable { .. } => call.push("0"),
        }
        call.push_inbox(claimed.gateway());
        call.args.push(Value::Bytes(message.into()));
        if request.has_read() || effects.changes() {
            self.add_effects(call, claimed.circle(), effects);
        } else {
            call.push("");
        }
        if let RunResult::Durable(job, _) = result {
            self.add_durable(call, job, request.preconditions.no_final_of);
        }
    }

    fn add_effects(&self, call: &mut CommitCall<'_>, circle: PublicKey, effects: &Effects) {
        call.args.push(number(effects.reads.len()));
        for (key, value) in effects.reads.keys() {
            call.args.extend([bytes(key), expected(value.as_ref())]);
        }
        for RangeRead { range, found } in effects.reads.ranges() {
            let KeyRange {
                start,
                end,
                limit,
                reverse,
            } = range;
            let direction = if *reverse { "<" } else { ">" };
            let found = hex::encode(found);
            call.args.extend([
                bytes(start),
                direction.into(),
                bytes(end),
                number(*limit),
                found.into(),
            ]);
        }
        let stored_values = effects
            .writes
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        call.args.push(number(stored_values.clone().count()));
        for (key, value) in stored_values {
            call.args.extend([bytes(key), bytes(value)]);
        }
        let deleted = effects.writes.iter().filter(|(_, value)| value.is_none());
        call.args.push(number(deleted.clone().count()));
        call.args.extend(deleted.map(|(key, _)| bytes(key)));
        call.args.push(number(effects.events.len()));
        if !effects.events.is_empty() {
            let log = *call.log.get_or_insert_with(|| {
                call.keys.extend(call.partition.of_events(&circle));
                call.keys.len() - 2
            });
            call.args.push(number(log));
        }
        for event in &effects.events {
            call.args
                .push(Value::Bytes(event_record::encode(event).into()));
        }
        call.args.push(number(effects.jobs.len()));
        for job in &effects.jobs {
            self.add_job(call, job);
        }
    }

    fn add_job(&self, call: &mut CommitCall<'_>, job: &SubmittedJob) {
        let SubmittedJob {
            id,
            submitter,
            due,
            record,
            input,
            replaced,
        } = job;
        let most_waiting = most_waiting(self.durable.backlog.get(), submitter.is_some());
        let due = due.map_or("".into(), |due| Value::Integer(due.as_millisecond()));
        let replaced = replaced.as_ref();
        call.push_key(call.partition.job(*id));
        call.args.extend([
            id.to_string().into(),
            bytes(record),
            // What is stored is JSON, and so never empty.
            bytes(input.as_deref().unwrap_or_default()),
            replaced.map_or("".into(), |replaced| expected(Some(replaced))),
            submitter.map_or("".into(), |caller| caller.to_string().into()),
            due,
            number(most_waiting),
            self.redis.name().into(),
        ]);
    }

    fn add_durable(
        &self,
        call: &mut CommitCall<'_>,
        job: &JobRecord,
        no_final_of: Option<[u8; 32]>,
    ) {
        let key = call.partition.job(job.id);
        call.push_key(key);
        call.push(job.status.to_string());
        let record = serde_json::to_vec(job).unwrap_or_default();
        call.args.push(Value::Bytes(record.into()));
        if let Some(keep_for) = job.keep_for(&self.durable) {
            call.args.push(millis(keep_for));
        }
        if job.status != Status::Finished {
            let time = job.ended_at.or(job.due).unwrap_or(job.received_at);
            call.args.push(Value::Integer(time.as_millisecond()));
        }
        let last = |series| call.partition.final_delivery(&job.circle, series);
        let is_final = |series: &&Series| series.is_final && job.status == Status::Finished;
        if let Some(last) = no_final_of.as_ref().map(last) {
            call.push("void after");
            call.push_key(last);
        } else if let Some(series) = job.series.as_ref().filter(is_final) {
            let last = last(&series.identity);
            call.push("final");
            call.push_key(last);
        } else {
            call.push("");
        }
        call.push(if job.is_routine() { "1" } else { "" });
    }
}

impl<'a> CommitCall<'a> {
    fn push(&mut self, arg: impl Into<Value>) {
        self.args.push(arg.into());
    }

    /// Writes the kind of play, and the caller that it counts for, unless that is the one before.
    fn push_play(&mut self, counts_for: Option<&'a Caller<'static>>, has_waited: bool) {
        let is_same = self.counts_for == counts_for;
        self.push(match (is_same, has_waited) {
            (true, false) => "1",
            (true, true) => "2",
            (false, false) => "3",
            (false, true) => "4",
        });
        if !is_same {
            self.counts_for = counts_for;
            self.push(counts_for.map_or(String::new(), |caller| caller.to_string()));
        }
    }

    /// Adds a key, and an argument with its number.
    fn push_key(&mut self, key: String) {
        self.keys.push(key);
        self.args.push(number(self.keys.len()));
    }

    fn push_inbox(&mut self, gateway: &str) {
        let known = self.inboxes.iter().find(|(other, _)| other == gateway);
        if let Some((_, key)) = known {
            self.args.push(number(*key));
        } else {
            self.push_key(self.partition.inbox(gateway));
            self.inboxes.push((gateway.to_owned(), self.keys.len()));
        }
    }
}

impl CommitAnswer {
    /// Returns whether it was committed, or why not.
    pub(in crate::dispatch::redis) fn into_result(
        self,
        limits: &store::Settings,
    ) -> Result<(), CommitError> {
        Err(match self {
            Self::Done => return Ok(()),
            Self::Gone => CommitError::Gone,
            Self::Quota => CommitError::Quota {
                quota: limits.quota,
            },
            Self::Backlog => CommitError::Backlog,
            Self::Superseded => CommitError::Superseded,
            Self::Conflict(_) => CommitError::Conflict,
        })
    }

    fn read(answer: Value) -> Self {
        if let Some(word) = answer.as_bytes() {
            return match word {
                b"done" => Self::Done,
                b"quota" => Self::Quota,
                b"backlog" => Self::Backlog,
                b"superseded" => Self::Superseded,
                _ => Self::Gone,
            };
        }
        let values = answer.into_array().into_iter().skip(1);
        Self::Conflict(values.map(|value| stored(&value)).collect())
    }
}
