//! Runs jobs, and commits their results.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use circled_protocol::{PublicKey, methods::JobError};
use fred::types::Value;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{sync::watch, time::sleep};

use super::{
    RunningJob, Worker,
    claimed_job::{ClaimedJob, JobKind},
    commit::{CommitAnswer, CommitRequest, LOCKED, LOCKED_PAUSE, RunResult},
    direct_reads::{DirectReads, KnownValues, Moments},
    read_cache::{CachedReads, Miss, MissedRead},
};
use crate::{
    dispatch::{
        JobRecord,
        ended::{self, DurableRun},
        record::{later, no_provider, unreadable},
        redis::proto::{
            scripts::{Begin, Entry, Lost},
            values::{bytes, stored},
        },
        slow::{TimedRun, Times},
        submission::MAX_INLINE_INPUT,
    },
    metrics::metrics,
    script::{self, Outcome, RunError},
    store::{
        self, CommitError, Effects, Key, Preconditions, RemoteReads, Transaction, Unavailable,
    },
    units::duration::milliseconds,
};

// How often a run is tried, and when it locks its circle, are no settings: callers see these bounds only if one circle
// gets more writes to the same keys than one thread could do one after another, and no number mends that.

/// The conflicts after which a play fails, and a durable job waits. Nearly every run is committed long before, because it
/// locks its circle after [`UNLOCKED_COLLISIONS`].
const COLLISIONS: u32 = 64;
/// The same for a job whose runs take [`LONG`]: each keeps a thread, so few are wasted.
const LONG_COLLISIONS: u32 = 5;
/// A run that takes so long keeps a thread from the others, and collides again before long. It never locks its circle: this
/// is as long as a circle may be [`LOCKED`].
const LONG: Duration = Duration::from_millis(100);
/// A job that has waited so long for a thread may not be wanted any more.
const WAITED: Duration = Duration::from_millis(100);
/// Reads that a short run is started over for.
const MISSES: u32 = 4;
/// Conflicts of a job, before it locks its circle: fewer would have all others wait for what usually succeeds without.
const UNLOCKED_COLLISIONS: u32 = 8;
/// The pause before another attempt, when Redis couldn't be reached.
const AGAIN: Duration = Duration::from_millis(100);
/// The pause before a durable job runs again that was not to blame.
const LATER: Duration = Duration::from_millis(500);

/// Milliseconds by which this machine's idea of Redis' clock may be wrong.
const CLOCK_DIFFERENCE: i64 = 5_000;

/// The next step after a commit.
enum AfterCommit {
    Over,
    /// The job runs again.
    Run,
    /// Something else is committed instead.
    Commit(Box<CommitRequest>),
}

/// A run took longer than its circle may be locked.
struct TooLong;

/// The result of a run that mustn't wait.
enum Tried {
    Ran(Box<CommitRequest>),
    Missed(Key),
    Slow,
}

impl Worker {
    /// Runs jobs that were claimed, and commits their results. Those that can't run at once are given to script
    /// threads.
    pub(super) fn process(self: &Arc<Self>, jobs: Vec<ClaimedJob>) {
        let mut circles: Vec<(PublicKey, Vec<ClaimedJob>)> = Vec::new();
        for claimed in jobs {
            let circle = claimed.circle();
            match circles.iter_mut().find(|(other, _)| *other == circle) {
                Some((_, jobs)) => jobs.push(claimed),
                None => circles.push((circle, vec![claimed])),
            }
        }
        let mut circles = circles.into_iter();
        let first = circles.next();
        for (circle, jobs) in circles {
            let this = self.clone();
            self.tasks
                .spawn(async move { this.process_in(circle, jobs) });
        }
        if let Some((circle, jobs)) = first {
            self.process_in(circle, jobs);
        }
    }

    fn process_in(self: &Arc<Self>, circle: PublicKey, jobs: Vec<ClaimedJob>) {
        let mut missing = Vec::new();
        let mut ran = Vec::new();
        {
            // What comes after builds on what came before, and is committed after it.
            let _in_order = self.commit_queue.lock_order(&circle);
            for mut claimed in jobs {
                match self.try_run(&claimed) {
                    Tried::Ran(request) => ran.push((claimed, *request)),
                    Tried::Missed(key) if claimed.misses < MISSES => {
                        claimed.misses += 1;
                        missing.push((claimed, key));
                    }
                    Tried::Missed(_) | Tried::Slow => self.run_on_thread(claimed),
                }
            }
            self.enqueue(circle, ran);
        }
        if !missing.is_empty() {
            self.tasks.spawn(self.clone().fetch_and_process(missing));
        }
    }

    async fn fetch_and_process(self: Arc<Self>, missing: Vec<(ClaimedJob, Key)>) {
        if self.fetch(&missing).await {
            self.process(missing.into_iter().map(|(claimed, _)| claimed).collect());
        }
    }

    /// Runs a script that is known to be short, at once.
    fn try_run(&self, claimed: &ClaimedJob) -> Tried {
        if claimed.begun.is_some() || claimed.collisions >= UNLOCKED_COLLISIONS {
            return Tried::Slow;
        }
        // Nobody waits for it any more, and nobody may be there to take it back.
        if claimed
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Tried::Slow;
        }
        // Others wait for this thread.
        if claimed.input_size() > MAX_INLINE_INPUT {
            return Tried::Slow;
        }
        let Ok(input) = claimed.parse_input() else {
            return Tried::Slow;
        };
        let provided = self.provided(claimed);
        let spec = claimed.spec(input.as_ref(), provided.as_deref(), &self.executor);
        let Some(spec) = spec else {
            return Tried::Slow;
        };
        let circle = claimed.circle();
        let missing = MissedRead::default();
        let reads = CachedReads {
            cache: self.read_cache.clone(),
            circle,
            missed: missing.clone(),
        };
        let mut transaction = Some(Box::new(self.transaction(circle, Box::new(reads))));
        let begun = Instant::now();
        let outcome = tracing::debug_span!("job", id = %claimed.id())
            .in_scope(|| self.executor.try_run(&spec, &mut transaction));
        match (outcome, missing.take()) {
            (_, Some(Miss::Value(key))) => Tried::Missed(key),
            (_, Some(Miss::Range)) | (None, None) => Tried::Slow,
            (Some(outcome), None) => {
                match self.commit_request(claimed, outcome, transaction, false, begun.elapsed()) {
                    Some(request) => Tried::Ran(Box::new(request)),
                    None => Tried::Slow,
                }
            }
        }
    }

    fn provided(&self, claimed: &ClaimedJob) -> Option<Arc<str>> {
        let provider = match &claimed.kind {
            JobKind::Play(_) => None,
            JobKind::Durable { job, .. } => job.provider(),
        };
        provider.and_then(|name| self.scripts.get(name))
    }

    fn transaction(&self, circle: PublicKey, reads: Box<dyn RemoteReads>) -> Transaction {
        Transaction::remote(reads, self.committer.limits.clone(), circle)
    }

    /// Returns what is to be committed of a run, or nothing. `one_moment`: what it read is of one moment, and needn't
    /// be checked if it writes nothing.
    fn commit_request(
        &self,
        claimed: &ClaimedJob,
        outcome: Outcome,
        transaction: Option<Box<Transaction>>,
        one_moment: bool,
        took: Duration,
    ) -> Option<CommitRequest> {
        let times = Times {
            waited: claimed.waited,
            ran: claimed.ran + took,
            conflicts: claimed.collisions,
        };
        let timed;
        // Whether a key has expired, Redis knows.
        let is_sure = |transaction: &Transaction| !transaction.is_near_expiry(CLOCK_DIFFERENCE);
        let one_moment = one_moment && transaction.as_deref().is_none_or(is_sure);
        let mut effects = transaction
            .map(|transaction| transaction.into_effects())
            .unwrap_or_default();
        if outcome.is_err() {
            effects.discard_changes();
        }
        let result = match &claimed.kind {
            JobKind::Play(play) => {
                // Whoever cancelled it has taken it back already.
                if matches!(outcome, Err(RunError::Cancelled)) {
                    return None;
                }
                timed = TimedRun::of(&play.job, &outcome, times);
                RunResult::Play(outcome)
            }
            JobKind::Durable { job, .. } => {
                let mut job = job.clone();
                let durable = &self.committer.durable;
                let progress = job.ran(outcome, Timestamp::now(), durable)?;
                effects.events.push(job.change_event());
                timed = TimedRun::of_durable(&job, times);
                RunResult::Durable(job, progress)
            }
        };
        self.read_cache.insert_writes(claimed.circle(), &effects);
        // The commit finds out at which moment a query has read this.
        if one_moment && !effects.changes() && !claimed.is_query() {
            effects = Effects::default();
        }
        let no_final_of = match &result {
            RunResult::Play(_) => None,
            RunResult::Durable(job, _) => job.superseded_by().copied(),
        };
        Some(CommitRequest {
            effects,
            result,
            preconditions: Preconditions {
                no_final_of,
                ..Preconditions::NONE
            },
            timed,
        })
    }

    /// Fetches the values that runs would have had to wait for. Returns whether that was possible.
    async fn fetch(&self, missing: &[(ClaimedJob, Key)]) -> bool {
        let mut wanted: HashMap<PublicKey, Vec<Key>> = HashMap::new();
        for (claimed, key) in missing {
            wanted
                .entry(claimed.circle())
                .or_default()
                .push(key.clone());
        }
        let fetch = async |circle: PublicKey, keys: Vec<Key>| {
            loop {
                match self.read_values(circle, keys.clone()).await {
                    Ok(values) => {
                        for (key, value) in values {
                            self.read_cache.insert_fetched(circle, key, value);
                        }
                        return true;
                    }
                    Err(Unavailable) if self.halt.is_cancelled() => return false,
                    Err(Unavailable) => sleep(AGAIN).await,
                }
            }
        };
        let fetches = wanted.into_iter().map(|(circle, keys)| fetch(circle, keys));
        let fetched = join_all(fetches).await;
        fetched.into_iter().all(|fetched| fetched)
    }

    /// Queues runs of a circle to be committed, after those that wait for it already.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        circle: PublicKey,
        runs: Vec<(ClaimedJob, CommitRequest)>,
    ) {
        if self.commit_queue.add(circle, runs) {
            self.tasks.spawn(self.clone().commit_all(circle));
        }
    }

    /// Commits the queue of a circle, all of it at a time, and runs those again that conflicted.
    async fn commit_all(self: Arc<Self>, circle: PublicKey) {
        while let Some(runs) = self.commit_queue.next(&circle) {
            let Some(answers) = self.commit(circle, &runs).await else {
                // The lease ends, and another worker takes them.
                return;
            };
            let mut again = Vec::new();
            let mut others = Vec::new();
            if answers
                .iter()
                .any(|answer| matches!(answer, CommitAnswer::Conflict(_)))
            {
                // Those that wait have built on what isn't so.
                for (claimed, request) in self.commit_queue.take_readers(&circle) {
                    self.read_cache.remove_writes(circle, &request.effects);
                    ended::starts_over(&circle, claimed.id());
                    again.push(claimed);
                }
            }
            for ((mut claimed, request), answer) in runs.into_iter().zip(answers) {
                match self.next(&mut claimed, request, answer) {
                    AfterCommit::Over => {}
                    AfterCommit::Run => again.push(claimed),
                    AfterCommit::Commit(request) => others.push((claimed, *request)),
                }
            }
            self.process(again);
            self.enqueue(circle, others);
        }
    }

    /// Sends a commit until its answer is known. Returns nothing if the worker must end before.
    async fn commit(
        &self,
        circle: PublicKey,
        runs: &[(ClaimedJob, CommitRequest)],
    ) -> Option<Vec<CommitAnswer>> {
        let mut is_sent_again = false;
        loop {
            match self.committer.commit(circle, runs).await {
                Ok(Some(mut answers)) => {
                    if is_sent_again {
                        self.committer.find_done(circle, runs, &mut answers).await;
                    }
                    return Some(answers);
                }
                Ok(None) => self.committer.until_unlocked(circle).await,
                Err(Unavailable) if self.halt.is_cancelled() => return None,
                Err(Unavailable) => {
                    is_sent_again = true;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn next(
        &self,
        claimed: &mut ClaimedJob,
        request: CommitRequest,
        answer: CommitAnswer,
    ) -> AfterCommit {
        let circle = claimed.circle();
        if matches!(answer, CommitAnswer::Done | CommitAnswer::Gone) {
            self.taken_over().remove(&claimed.slot.name());
        }
        if !matches!(answer, CommitAnswer::Done) {
            self.read_cache.remove_writes(circle, &request.effects);
        }
        if let CommitAnswer::Conflict(values) = &answer {
            let mut known = KnownValues::new();
            for ((key, _), value) in request.effects.reads.keys().zip(values) {
                self.read_cache.insert(circle, key.clone(), value.clone());
                known.insert(key.clone(), value.clone());
            }
            claimed.set_known(known);
            claimed.ran = request.timed.as_ref().map_or(Duration::ZERO, TimedRun::ran);
            claimed.collisions += 1;
            if claimed.collisions < COLLISIONS {
                ended::starts_over(&circle, claimed.id());
                return AfterCommit::Run;
            }
        }
        match answer.into_result(&self.committer.limits) {
            Ok(()) => {
                metrics().commits.increment();
                if let RunResult::Durable(job, progress) = &request.result {
                    DurableRun::new(job, *progress, claimed.claimed_at).committed();
                }
                if let Some(timed) = request.timed {
                    timed.committed();
                }
                AfterCommit::Over
            }
            Err(CommitError::Gone) => {
                tracing::debug!(job = %claimed.id(), "it isn't this worker's any more");
                AfterCommit::Over
            }
            Err(why) => {
                let instead = self.refused(claimed, request.result, why);
                AfterCommit::Commit(Box::new(instead))
            }
        }
    }

    /// Returns what is committed instead of a commit that was refused.
    fn refused(&self, claimed: &ClaimedJob, result: RunResult, why: CommitError) -> CommitRequest {
        let now = Timestamp::now();
        let result = match (result, &claimed.kind) {
            (RunResult::Play(_), _) => RunResult::Play(Err(why.into())),
            (RunResult::Durable(ran, _), JobKind::Durable { job, .. }) => {
                let mut job = job.clone();
                job.version = ran.version;
                let progress = match why {
                    CommitError::Superseded => job.supersede(now),
                    CommitError::Quota { .. }
                    | CommitError::Add { .. }
                    | CommitError::RangeDelete { .. }
                    | CommitError::Backlog => {
                        let error = JobError::plain(why.to_string());
                        job.fail(error, now, &self.committer.durable)
                    }
                    CommitError::Conflict
                    | CommitError::Gone
                    | CommitError::Busy
                    | CommitError::Unavailable(_) => {
                        tracing::warn!(circle = %job.circle, job = %job.id, "a durable job keeps colliding with others; it runs again");
                        job.postpone(later(now, LATER))
                    }
                };
                RunResult::Durable(job, progress)
            }
            (result @ RunResult::Durable(..), JobKind::Play(_)) => result,
        };
        CommitRequest::without_effects(result)
    }

    /// Gives a job to a script thread.
    fn run_on_thread(self: &Arc<Self>, claimed: ClaimedJob) {
        let (accounts, cancelled) = (claimed.accounts(), claimed.cancelled.clone());
        let this = self.clone();
        let task = Box::new(move || this.run(claimed));
        if self.runner.submit(accounts, cancelled, task).is_err() {
            tracing::debug!("a job was taken while the worker ends; it is another worker's");
        }
    }

    /// Waits on a script thread.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        script::waiting(|| self.handle.block_on(future))
    }

    /// Runs a job on a script thread, again if it conflicts; if it is short and keeps conflicting, with its circle
    /// locked.
    fn run(self: &Arc<Self>, mut claimed: ClaimedJob) {
        let circle = claimed.circle();
        let mut took = Duration::ZERO;
        loop {
            if self.stopping.is_cancelled() || !self.begin(&claimed) {
                return;
            }
            claimed.has_lock = claimed.collisions >= UNLOCKED_COLLISIONS
                && took < LONG
                && self.wait(self.lock(&claimed));
            let begun = Instant::now();
            let request = if claimed.has_lock {
                let known = self.wait(self.read_again(&claimed));
                claimed.set_known(known.unwrap_or_default());
                // The others wait for it.
                script::keep_slot(|| self.run_once(&claimed, Some(begun + LOCKED)))
            } else {
                self.run_once(&claimed, None)
            };
            took = begun.elapsed();
            self.running().remove(&claimed.slot.name());
            if claimed.has_lock && !matches!(request, Ok(Some(_))) {
                self.wait(self.committer.unlock(&claimed));
            }
            let request = match request {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(TooLong) => {
                    claimed.collisions += COLLISIONS / (LONG_COLLISIONS - 1);
                    took = took.max(LONG);
                    continue;
                }
            };
            let mut runs = vec![(claimed, request)];
            loop {
                let committed = self.wait(self.commit(circle, &runs));
                let (Some(answer), Some((mut job, request))) =
                    (committed.and_then(|mut answers| answers.pop()), runs.pop())
                else {
                    return;
                };
                match self.next(&mut job, request, answer) {
                    AfterCommit::Over => return,
                    AfterCommit::Commit(request) => runs.push((job, *request)),
                    AfterCommit::Run => {
                        if took >= LONG {
                            job.collisions += COLLISIONS / (LONG_COLLISIONS - 1);
                        }
                        claimed = job;
                        break;
                    }
                }
            }
        }
    }

    /// Locks the circle of a job. Returns false if that isn't possible in time; the job runs unlocked then.
    async fn lock(&self, claimed: &ClaimedJob) -> bool {
        // Its caller may leave meanwhile.
        self.note_running(claimed);
        let name = self.committer.lock_name(claimed);
        loop {
            match self.committer.lock(claimed.circle(), &name).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(Unavailable) => return false,
            }
            let is_late = |deadline| deadline <= Instant::now();
            if claimed.deadline.is_some_and(is_late)
                || claimed.cancelled.load(Ordering::Acquire)
                || self.stopping.is_cancelled()
            {
                return false;
            }
            sleep(LOCKED_PAUSE).await;
            script::waited_for_lock(LOCKED_PAUSE);
        }
    }

    /// Reads the values again that the last run of a job has read.
    async fn read_again(&self, claimed: &ClaimedJob) -> Result<KnownValues, Unavailable> {
        let keys = claimed.known.keys().cloned().collect();
        let values = self.read_values(claimed.circle(), keys).await?;
        Ok(values.into_iter().collect())
    }

    /// Reads values of a circle, all of one moment.
    async fn read_values(
        &self,
        circle: PublicKey,
        keys: Vec<Key>,
    ) -> Result<Vec<(Key, Option<store::Value>)>, Unavailable> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let partition = self.redis.keys().of(&circle);
        let store = Value::from(partition.store(&circle));
        let args = std::iter::once(store).chain(keys.iter().map(|key| bytes(key)));
        let values = self.redis.send("HMGET", partition, args).await?;
        let values = values.into_array();
        Ok(keys.into_iter().zip(values.iter().map(stored)).collect())
    }

    /// Counts a run of a job that another worker may have died of, and checks that one that has waited is still wanted.
    /// Returns whether it may run.
    fn begin(&self, claimed: &ClaimedJob) -> bool {
        let name = claimed.slot.name();
        let is_wanted = async || match claimed.begun {
            Some(begun) => self.count_run(&name, begun + 1).await,
            None => self.is_claimed(&name).await,
        };
        if claimed.begun.is_none() && claimed.claimed_at.elapsed() < WAITED {
            return true;
        }
        let may_run = self.wait(async {
            loop {
                match is_wanted().await {
                    Ok(is_wanted) => return is_wanted,
                    Err(Unavailable) if self.stopping.is_cancelled() => return false,
                    Err(Unavailable) => sleep(AGAIN).await,
                }
            }
        });
        if claimed.begun.is_some() && may_run {
            self.taken_over().insert(name, true);
        }
        may_run
    }

    /// Has Redis count so many begun runs of a job. Returns false if it isn't this worker's any more.
    async fn count_run(
        &self,
        (partition, entry): &(usize, String),
        begun: i64,
    ) -> Result<bool, Unavailable> {
        let begin = Begin {
            me: self.redis.name().to_owned(),
            entry: entry.clone(),
            begun,
        };
        let partition = &self.redis.keys().partitions()[*partition];
        let answer = self.redis.call(partition, begin).await?;
        Ok(answer.as_i64() == Some(1))
    }

    /// Returns whether a job is this worker's.
    async fn is_claimed(&self, (partition, entry): &(usize, String)) -> Result<bool, Unavailable> {
        let entry = entry.clone();
        let lost = Lost {
            me: self.redis.name().to_owned(),
            entries: [Entry { entry }].into_iter().collect(),
        };
        let partition = &self.redis.keys().partitions()[*partition];
        let lost = self.redis.call(partition, lost).await?;
        Ok(lost.into_array().is_empty())
    }

    /// Returns an observer that has a run not counted as begun while it is set aside, of a job that another worker may
    /// have died of: if this worker dies meanwhile, it isn't of that run. Redis is asked on another thread, so that
    /// this takes none of the run's memory. The run goes on when it is counted, or Redis can't be asked.
    fn recount_while_aside(
        self: &Arc<Self>,
        claimed: &ClaimedJob,
        begun: i64,
    ) -> impl Fn(bool) + use<> {
        // How often it was set aside and went on: even numbers go on.
        let (changed, mut changes) = watch::channel(0_u64);
        let (done, counted) = watch::channel(0_u64);
        let (this, name, handle) = (self.clone(), claimed.slot.name(), self.handle.clone());
        let count = async move {
            let mut is_counted = true;
            while changes.changed().await.is_ok() {
                let number = *changes.borrow_and_update();
                let goes_on = number.is_multiple_of(2);
                if goes_on != is_counted && this.recount(&name, begun, goes_on).await {
                    is_counted = goes_on;
                }
                done.send_replace(number);
            }
        };
        self.tasks.spawn_on(count, &self.handle);
        move |goes_on| {
            let mut number = 0;
            changed.send_modify(|changes| {
                *changes += 1;
                number = *changes;
            });
            if goes_on {
                let mut counted = counted.clone();
                // Nobody counts any more where the worker ends.
                let _ = handle.block_on(counted.wait_for(|counted| *counted >= number));
            }
        }
    }

    /// Changes the count of begun runs. Returns whether Redis counts it so.
    async fn recount(&self, name: &(usize, String), begun: i64, goes_on: bool) -> bool {
        let count = self.count_run(name, begun + i64::from(goes_on));
        // Where Redis can't be reached, it counts as it did; and it may be another worker's by now.
        let is_so = count.await.unwrap_or(false);
        if is_so {
            self.taken_over().insert(name.clone(), goes_on);
        }
        is_so
    }

    /// Runs a job. Returns what is to be committed of it, or nothing.
    ///
    /// # Errors
    /// It takes longer than until `locked_until`.
    fn run_once(
        self: &Arc<Self>,
        claimed: &ClaimedJob,
        locked_until: Option<Instant>,
    ) -> Result<Option<CommitRequest>, TooLong> {
        if let JobKind::Durable { job, .. } = &claimed.kind
            && job.needs_room()
            && !script::has_room(claimed.input_size())
        {
            let error = Err(RunError::Displaced);
            return Ok(self.commit_request(claimed, error, None, true, Duration::ZERO));
        }
        let Ok(input) = claimed.parse_input() else {
            return Ok(self.fail(claimed, |job| {
                job.log_unreadable();
                unreadable()
            }));
        };
        let provided = self.provided(claimed);
        let spec = claimed.spec(input.as_ref(), provided.as_deref(), &self.executor);
        let Some(spec) = spec else {
            return Ok(self.fail(claimed, no_provider));
        };
        let now = Instant::now();
        let late = |error: RunError| match (claimed.deadline, &claimed.kind) {
            (Some(deadline), JobKind::Play(play)) => error.by_deadline(deadline, play.job.timeout),
            _ => error,
        };
        if claimed.deadline.is_some_and(|deadline| deadline <= now) {
            let error = late(RunError::TimedOut {
                after: Duration::ZERO,
                version: None,
            });
            return Ok(self.commit_request(claimed, Err(error), None, true, Duration::ZERO));
        }
        let circle = claimed.circle();
        let moments = Moments::default();
        let reads = DirectReads {
            known: claimed.known.clone(),
            moments: moments.clone(),
            redis: self.redis.clone(),
            handle: self.handle.clone(),
            circle,
        };
        let mut transaction = Some(Box::new(self.transaction(circle, Box::new(reads))));
        self.note_running(claimed);
        let capped = locked_until.filter(|until| claimed.deadline.is_none_or(|own| *until < own));
        let outcome = tracing::debug_span!("job", id = %claimed.id()).in_scope(|| {
            let cancelled = &claimed.cancelled;
            let deadline = capped.or(claimed.deadline);
            let mut run = || {
                self.executor
                    .run(&spec, &mut transaction, deadline, cancelled)
            };
            let outcome = script::holding(claimed.input_size(), || match claimed.begun {
                None => run(),
                Some(begun) => script::observe_aside(self.recount_while_aside(claimed, begun), run),
            });
            // What never ran may be called by anything that somebody has sent.
            let has_run = !outcome.as_ref().is_err_and(RunError::is_refusal);
            tracing::debug!(
                script = claimed.script().filter(|_| has_run),
                duration_ms = milliseconds(now.elapsed()),
                "ran"
            );
            outcome
        });
        if capped.is_some() && matches!(outcome, Err(RunError::TimedOut { .. })) {
            return Err(TooLong);
        }
        let outcome = outcome.map_err(late);
        let (are_one, took) = (moments.are_one(), now.elapsed());
        Ok(self.commit_request(claimed, outcome, transaction, are_one, took))
    }

    /// Has a job looked at from time to time, whether it is still wanted.
    fn note_running(&self, claimed: &ClaimedJob) {
        let running = RunningJob {
            since: Instant::now(),
            cancelled: claimed.cancelled.clone(),
        };
        self.running().insert(claimed.slot.name(), running);
    }

    /// Returns the commit of a durable job that can't run.
    fn fail(
        &self,
        claimed: &ClaimedJob,
        why: impl FnOnce(&JobRecord) -> JobError,
    ) -> Option<CommitRequest> {
        let JobKind::Durable { job, .. } = &claimed.kind else {
            return None;
        };
        let mut job = job.clone();
        let error = why(&job);
        let progress = job.fail(error, Timestamp::now(), &self.committer.durable);
        Some(CommitRequest::without_effects(RunResult::Durable(
            job, progress,
        )))
    }
}
