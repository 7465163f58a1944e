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
        record::json,
        redis::{
            conn::Connection,
            proto::{
                event_record,
                keys::Partition,
                script::{self, List, MoreKeys},
                scripts::{
                    self, Add, Commit, Delete, DurableRun, Emit, Push, Put, RangeDelete, Read,
                    ReadRange, Run, SubmittedJob,
                },
                values::{bytes, expected, millis, stored},
            },
        },
        room::most_waiting,
        settings,
        slow::TimedRun,
    },
    script::{Outcome, waited_for_lock},
    store::{
        self, AddError, CommitError, Effects, Found, Key, KeyRange, Preconditions, RangeRead,
        Unavailable, Write,
    },
};

/// The holder of a circle's lock that a commit names whom the lock doesn't concern, as `lua/commit.lua` has it.
const ANYBODY: &str = "*";
/// The pause between two looks at the lock of a circle: a few round trips to Redis.
pub(super) const LOCKED_PAUSE: Duration = Duration::from_millis(2);
/// The longest that one run keeps all others of its circle from committing. It is no setting: more would be felt by all
/// callers of the circle, also while the holder has died; and a run that needs more isn't run with a lock.
pub(super) const LOCKED: Duration = Duration::from_millis(100);

/// The result of a run, ready to be committed.
#[derive(Debug)]
pub(super) struct CommitRequest {
    pub(super) effects: Effects,
    pub(super) result: RunResult,
    /// The preconditions of a durable job, besides that it is this worker's still.
    pub(super) preconditions: Preconditions<'static>,
    /// Its run, which is timed if slow ones are logged.
    pub(super) timed: Option<TimedRun>,
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
            timed: None,
        }
    }

    pub(super) fn has_read(&self) -> bool {
        !self.effects.reads.is_empty()
    }

    /// Returns true if what others write matters to it, or what it writes to others.
    fn uses_store(&self) -> bool {
        self.has_read() || self.effects.writes_store()
    }

    /// Returns about how many bytes it has.
    pub(super) fn size(&self) -> usize {
        let reads = self.effects.reads.size();
        let result = match &self.result {
            RunResult::Play(Ok(success)) => {
                let logs: usize = success.logs.iter().map(String::len).sum();
                success.output.len() + success.value.get().len() + logs
            }
            RunResult::Play(_) => 0,
            RunResult::Durable(job, _) => job.size(),
        };
        reads + self.effects.size() + result + 512
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
    /// A number can't be added to the value of a key.
    Add(Key, AddError),
    /// Too many keys would be deleted by ranges.
    RangeDelete,
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
    pub(in crate::dispatch::redis) max_requests: usize,
    pub(in crate::dispatch::redis) inbox: usize,
    pub(in crate::dispatch::redis) inbox_bytes: usize,
}

/// A call of the Lua script, being written.
struct CommitCall<'a> {
    partition: &'a Partition,
    commit: Commit,
    /// The name of this server.
    gateway: &'a str,
    /// The inboxes among the keys, by gateway.
    inboxes: Vec<(String, script::Key)>,
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
            max_requests: settings.max_requests,
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
    /// They may be committed or not: nobody knows.
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

    /// Finds the durable jobs that were committed when the runs were sent before, and whose answer was lost: they are gone
    /// the next time. Their records tell.
    pub(super) async fn find_done(
        &self,
        circle: PublicKey,
        runs: &[(ClaimedJob, CommitRequest)],
        answers: &mut [CommitAnswer],
    ) {
        let partition = self.redis.keys().of(&circle);
        for ((_, request), answer) in runs.iter().zip(answers) {
            if let (RunResult::Durable(job, _), CommitAnswer::Gone) = (&request.result, &answer) {
                let args = [partition.job(job.id).into(), "record".into()];
                let stored: Result<Value, _> = self.redis.send("HGET", partition, args).await;
                if stored.is_ok_and(|stored| stored.as_bytes() == Some(&json(job)[..])) {
                    *answer = CommitAnswer::Done;
                }
            }
        }
    }

    /// Commits effects that are no claimed job's. Sending the same again may commit them again.
    ///
    /// # Errors
    /// They may be committed or not: nobody knows.
    pub(in crate::dispatch::redis) async fn commit_effects(
        &self,
        circle: PublicKey,
        effects: &Effects,
    ) -> Result<CommitAnswer, Unavailable> {
        loop {
            let mut call = self.call(circle, String::new());
            let run = call.effects(&self.durable, effects);
            call.commit.runs.push(run);
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
            waited_for_lock(LOCKED_PAUSE);
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
        let commit = Commit {
            more_keys: MoreKeys::default(),
            circle,
            locked_by,
            most: self.per_circle,
            most_waiting: self.queue,
            quota: self.limits.quota,
            max_range_delete: self.limits.max_range_delete,
            max_requests: self.max_requests,
            inbox_length: self.inbox,
            inbox_bytes: self.inbox_bytes,
            log_length: self.limits.event_log.get(),
            log_bytes: self.limits.event_log_bytes.get(),
            backlog: script::Key::NONE,
            open_jobs: script::Key::NONE,
            pending: script::Key::NONE,
            delayed: script::Key::NONE,
            dead: script::Key::NONE,
            dead_by_circle: script::Key::NONE,
            index: script::Key::NONE,
            submitted: script::Key::NONE,
            event_sequence: script::Key::NONE,
            events: script::Key::NONE,
            event_excess: script::Key::NONE,
            watchers: script::Key::NONE,
            replies: script::Key::NONE,
            short_replies: script::Key::NONE,
            reply_bytes: script::Key::NONE,
            member_replies: script::Key::NONE,
            replies_by_member: script::Key::NONE,
            member_reply_bytes: script::Key::NONE,
            runs: List::new(),
            callers: List::new(),
            reads: List::new(),
            ranges: List::new(),
            puts: List::new(),
            deletes: List::new(),
            adds: List::new(),
            pushes: List::new(),
            range_deletes: List::new(),
            emits: List::new(),
            submits: List::new(),
            durables: List::new(),
        };
        CommitCall {
            partition: self.redis.keys().of(&circle),
            commit,
            gateway: self.redis.name(),
            inboxes: Vec::new(),
            counts_for: None,
        }
    }

    async fn send(
        &self,
        call: CommitCall<'_>,
        count: usize,
    ) -> Result<Option<Vec<CommitAnswer>>, Unavailable> {
        let answer = self.redis.call(call.partition, call.commit).await?;
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
        let message = match &request.result {
            RunResult::Play(outcome) => serde_json::to_vec(outcome),
            RunResult::Durable(_, progress) => serde_json::to_vec(progress),
        };
        let message = message.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to write an outcome");
            Vec::new()
        });
        let mut run = Run {
            entry: claimed.slot.entry().to_owned(),
            id: claimed.id().to_string(),
            message,
            inbox: call.inbox(claimed.gateway()),
            has_waited: claimed.has_waited,
            ..call.effects(&self.durable, &request.effects)
        };
        match &claimed.kind {
            JobKind::Play(play) => {
                run.is_play = true;
                run.is_query = play.job.task.is_query();
                run.is_of_other = call.play_of(play.counts_for());
            }
            JobKind::Durable { .. } => run.is_durable = true,
        }
        call.commit.runs.push(run);
        if let RunResult::Durable(job, _) = &request.result {
            let keep_for = job.keep_for(&self.durable).unwrap_or_default();
            call.durable(job, keep_for, request.preconditions.no_final_of);
        }
    }
}

impl<'a> CommitCall<'a> {
    /// Adds effects. Returns a run that has them, and nothing else.
    fn effects(&mut self, settings: &settings::Durable, effects: &Effects) -> Run {
        let commit = &mut self.commit;
        for (key, value) in effects.reads.keys() {
            commit.reads.push(Read {
                key: bytes(key),
                expected: expected(value.as_ref()),
            });
        }
        for RangeRead { range, found } in effects.reads.ranges() {
            let KeyRange {
                start,
                end,
                limit,
                reverse,
            } = range;
            commit.ranges.push(ReadRange {
                start: bytes(start),
                stop: bytes(end),
                found: match found {
                    Found::Keys(digest) | Found::Entries(digest) => hex::encode(digest),
                    Found::Count(count) => count.to_string(),
                },
                limit: *limit,
                reverse: *reverse,
                is_count: matches!(found, Found::Count(_)),
                has_values: matches!(found, Found::Entries(_)),
            });
        }
        let mut run = Run {
            num_reads: count(effects.reads.keys().len()),
            num_ranges: count(effects.reads.ranges().len()),
            num_range_deletes: count(effects.range_deletes.len()),
            num_pushes: count(effects.pushes.len()),
            num_emits: count(effects.events.len()),
            num_submits: count(effects.jobs.len()),
            ..Run::default()
        };
        let mut has_reply = false;
        for (key, write) in &effects.writes {
            match write {
                Write::Put(value) => {
                    run.num_puts += 1;
                    has_reply |= store::is_request(key);
                    commit.puts.push(Put {
                        put_key: bytes(key),
                        value: bytes(value),
                    });
                }
                Write::Delete => {
                    run.num_deletes += 1;
                    commit.deletes.push(Delete {
                        deleted_key: bytes(key),
                    });
                }
                Write::Add(by) => {
                    run.num_adds += 1;
                    commit.adds.push(Add {
                        added_key: bytes(key),
                        by: by.to_string(),
                    });
                }
            }
        }
        if has_reply && commit.replies == script::Key::NONE {
            let (partition, keys) = (self.partition, &mut commit.more_keys);
            commit.replies = keys.add(partition.replies(&commit.circle));
            commit.short_replies = keys.add(partition.short_replies(&commit.circle));
            commit.reply_bytes = keys.add(partition.reply_bytes(&commit.circle));
            commit.member_replies = keys.add(partition.member_replies(&commit.circle));
            commit.replies_by_member = keys.add(partition.replies_by_member(&commit.circle));
            commit.member_reply_bytes = keys.add(partition.member_reply_bytes(&commit.circle));
        }
        for range in &effects.range_deletes {
            commit.range_deletes.push(RangeDelete {
                deleted_from: bytes(&range.start),
                deleted_to: bytes(&range.end),
            });
        }
        for (prefix, value) in &effects.pushes {
            commit.pushes.push(Push {
                prefix: bytes(prefix),
                pushed: bytes(value),
            });
        }
        for event in &effects.events {
            let event = event_record::encode(event);
            commit.emits.push(Emit { event });
        }
        if !effects.events.is_empty() && commit.events == script::Key::NONE {
            let (partition, keys) = (self.partition, &mut commit.more_keys);
            commit.event_sequence = keys.add(partition.event_sequence(&commit.circle));
            commit.events = keys.add(partition.events(&commit.circle));
            commit.event_excess = keys.add(partition.event_excess(&commit.circle));
            commit.watchers = keys.add(partition.watchers(&commit.circle));
        }
        for job in &effects.jobs {
            self.submit(settings, job);
        }
        run
    }

    fn submit(&mut self, settings: &settings::Durable, job: &store::SubmittedJob) {
        let store::SubmittedJob {
            id,
            submitter,
            due,
            record,
            input,
            replaced,
        } = job;
        let replaced = replaced.as_ref();
        self.needs_durable_keys();
        self.commit.submits.push(SubmittedJob {
            new_id: *id,
            new_record: bytes(record),
            // What is stored is JSON, and so never empty.
            new_input: bytes(input.as_deref().unwrap_or_default()),
            replaced: replaced.map_or("".into(), |replaced| expected(Some(replaced))),
            submitter: submitter.map_or(String::new(), |caller| caller.to_string()),
            due: due.map_or("".into(), |due| Value::Integer(due.as_millisecond())),
            gateway: self.gateway.to_owned(),
            new_job: self.commit.more_keys.add(self.partition.job(*id)),
            room: most_waiting(settings.backlog.get(), submitter.is_some()),
        });
    }

    /// Adds what becomes of a durable job.
    fn durable(&mut self, job: &JobRecord, keep_for: Duration, no_final_of: Option<[u8; 32]>) {
        self.needs_durable_keys();
        let (partition, keys) = (self.partition, &mut self.commit.more_keys);
        let mut last = |series: &[u8; 32]| keys.add(partition.final_delivery(&job.circle, series));
        let is_final = |series: &&Series| series.is_final && job.status == Status::Finished;
        let (mut no_final, mut final_delivery) = (script::Key::NONE, script::Key::NONE);
        if let Some(series) = &no_final_of {
            no_final = last(series);
        } else if let Some(series) = job.series.as_ref().filter(is_final) {
            final_delivery = last(&series.identity);
        }
        let time = job.ended_at.or(job.due).unwrap_or(job.received_at);
        self.commit.durables.push(DurableRun {
            status: job.status.to_string(),
            record: serde_json::to_vec(job).unwrap_or_default(),
            submitted_by: job.submitted_by().to_owned(),
            time: Value::Integer(time.as_millisecond()),
            job: keys.add(partition.job(job.id)),
            no_final,
            final_delivery,
            keep_for,
            is_routine: job.is_routine(),
        });
    }

    /// Adds the keys that change with durable jobs, unless they are there.
    fn needs_durable_keys(&mut self) {
        let (partition, commit) = (self.partition, &mut self.commit);
        if commit.backlog != script::Key::NONE {
            return;
        }
        let keys = &mut commit.more_keys;
        commit.backlog = keys.add(partition.backlog(&commit.circle));
        commit.open_jobs = keys.add(partition.open_jobs(&commit.circle));
        commit.pending = keys.add(partition.pending());
        commit.delayed = keys.add(partition.delayed());
        commit.dead = keys.add(partition.dead());
        commit.dead_by_circle = keys.add(partition.dead_by_circle());
        commit.index = keys.add(partition.index());
        commit.submitted = keys.add(partition.submitted());
    }

    /// Notes the caller that a play counts for. Returns whether it is another one than that of the play before.
    fn play_of(&mut self, counts_for: Option<&'a Caller<'static>>) -> bool {
        let is_other = self.counts_for != counts_for;
        if is_other {
            self.counts_for = counts_for;
            let new_caller = counts_for.map_or(String::new(), |caller| caller.to_string());
            self.commit.callers.push(scripts::Caller { new_caller });
        }
        is_other
    }

    /// Returns the key of a gateway's inbox.
    fn inbox(&mut self, gateway: &str) -> script::Key {
        let known = self.inboxes.iter().find(|(other, _)| other == gateway);
        if let Some((_, key)) = known {
            return *key;
        }
        let key = self.commit.more_keys.add(self.partition.inbox(gateway));
        self.inboxes.push((gateway.to_owned(), key));
        key
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
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
            Self::Add(key, why) => CommitError::Add { key, why },
            Self::RangeDelete => CommitError::RangeDelete {
                max: limits.max_range_delete,
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
                b"range_delete" => Self::RangeDelete,
                b"backlog" => Self::Backlog,
                b"superseded" => Self::Superseded,
                _ => Self::Gone,
            };
        }
        let values = answer.into_array();
        if let [word, key, why] = &values[..]
            && word.as_bytes() == Some(b"add")
        {
            let key = stored(key).unwrap_or_default();
            let is_overflow = why.as_bytes() == Some(b"overflow");
            let why = if is_overflow {
                AddError::Overflow
            } else {
                AddError::NotWhole
            };
            return Self::Add(key, why);
        }
        let values = values.into_iter().skip(1);
        Self::Conflict(values.map(|value| stored(&value)).collect())
    }
}
