//! The end of Redis where jobs are run.
//!
//! A script that is known to be short is run right where its job is taken, on what is at hand of its circle's
//! store; what isn't at hand is fetched, for all that wait at once, and the run starts over. Everything else
//! goes to a script thread, which may wait for Redis. What runs of one circle come to is committed together.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fred::types::Value;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    commit::{Answer, Committer, Landing, Told, bytes, stored},
    fresh::FromRedis,
    held::{Held, Inputs, Places, What},
    landings::Landings,
    link::Link,
    recent::{AtHand, Missing, Recent, Wanted},
    scripts::Lua,
};
use crate::{
    auth::PublicKey,
    circle::{Ending, Executor},
    dispatch::{Account, JobError, Outcome, Progress, Scripts, record::later},
    script::{self, Runner},
    store::{CommitError, Effects, Key, RemoteReads, Transaction, Unavailable},
    units::duration::milliseconds,
};

/// Runs of a job that collide with others, before it is given up.
const COLLISIONS: u32 = 64;
/// The same for runs that take [`LONG`].
const LONG_COLLISIONS: u32 = 5;
/// A run that takes so long keeps a thread from the others, and collides again before long.
const LONG: Duration = Duration::from_millis(100);
/// A job that has waited so long for a thread may not be wanted any more.
const WAITED: Duration = Duration::from_millis(100);
/// Reads that a short run is started over for.
const MISSES: u32 = 4;
/// When to try again what Redis kept from happening.
const AGAIN: Duration = Duration::from_millis(100);
/// When a durable job runs again that was not to blame.
const LATER: Duration = Duration::from_millis(500);

/// Takes jobs, runs them, and commits what they come to.
pub(super) struct Worker {
    pub(super) link: Link,
    pub(super) committer: Committer,
    pub(super) executor: Executor,
    pub(super) runner: Arc<Runner<Account>>,
    pub(super) script_timeout: Duration,
    pub(super) scripts: Scripts,
    pub(super) recent: Arc<Recent>,
    pub(super) landings: Landings,
    pub(super) places: Places,
    pub(super) inputs: Inputs,
    /// What runs on script threads, by partition and entry.
    pub(super) running: Mutex<HashMap<(usize, String), Running>>,
    /// What other workers have had, and whether a run of it has begun here.
    pub(super) others: Mutex<HashMap<(usize, String), bool>>,
    /// Takes no more jobs, and starts none.
    pub(super) stopping: CancellationToken,
    /// Doesn't even wait for Redis any more.
    pub(super) halt: CancellationToken,
    /// When it showed last that it is there.
    pub(super) shown: watch::Sender<Option<Instant>>,
    /// Shows no more that it is there.
    pub(super) ending: CancellationToken,
    /// Take and commit.
    pub(super) tasks: TaskTracker,
    /// What goes on until all else has ended.
    pub(super) beside: TaskTracker,
    pub(super) handle: Handle,
}

/// A run on a script thread.
pub(super) struct Running {
    pub(super) since: Instant,
    /// Ends it.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// What comes after a commit.
enum Next {
    Over,
    /// It is to run again.
    Run,
    /// Something else is to be committed.
    Land(Landing),
}

/// How far a run came that mustn't wait.
enum Tried {
    Ran(Box<Landing>),
    Missing(Key),
    Slow,
}

impl Worker {
    /// Runs jobs that were taken, and sees to what becomes of them. Those that can't run here and now are begun.
    pub(super) fn process(self: &Arc<Self>, jobs: Vec<Held>) {
        let mut circles: Vec<(PublicKey, Vec<Held>)> = Vec::new();
        for held in jobs {
            let circle = held.circle();
            match circles.iter_mut().find(|(other, _)| *other == circle) {
                Some((_, jobs)) => jobs.push(held),
                None => circles.push((circle, vec![held])),
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

    fn process_in(self: &Arc<Self>, circle: PublicKey, jobs: Vec<Held>) {
        let mut missing = Vec::new();
        let mut ran = Vec::new();
        {
            // What comes after builds on what came before, and is committed after it.
            let _in_order = self.landings.in_order(&circle);
            for mut held in jobs {
                match self.try_run(&held) {
                    Tried::Ran(landing) => ran.push((held, *landing)),
                    Tried::Missing(key) if held.misses < MISSES => {
                        held.misses += 1;
                        missing.push((held, key));
                    }
                    Tried::Missing(_) | Tried::Slow => self.start(held),
                }
            }
            self.land(circle, ran);
        }
        if !missing.is_empty() {
            self.tasks.spawn(self.clone().fetch_and_process(missing));
        }
    }

    async fn fetch_and_process(self: Arc<Self>, missing: Vec<(Held, Key)>) {
        if self.fetch(&missing).await {
            self.process(missing.into_iter().map(|(held, _)| held).collect());
        }
    }

    /// Runs a script that is known to be short, here and now.
    fn try_run(&self, held: &Held) -> Tried {
        if held.begun.is_some() {
            return Tried::Slow;
        }
        // Nobody waits for it any more, and nobody may be there to take it back.
        if held
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Tried::Slow;
        }
        let provided = self.provided(held);
        let Some(run) = held.run(provided.as_deref()) else {
            return Tried::Slow;
        };
        let circle = held.circle();
        let missing = Missing::default();
        let reads = AtHand {
            recent: self.recent.clone(),
            circle,
            missing: missing.clone(),
        };
        let mut transaction = Some(self.transaction(circle, Box::new(reads)));
        let ending = tracing::debug_span!("job", id = %held.id())
            .in_scope(|| self.executor.try_run(&run, &mut transaction));
        match (ending, missing.take()) {
            (_, Some(Wanted::Value(key))) => Tried::Missing(key),
            (_, Some(Wanted::List)) | (None, None) => Tried::Slow,
            (Some(ending), None) => {
                match self.landing(held, ending, transaction, self.script_timeout, false) {
                    Some(landing) => Tried::Ran(Box::new(landing)),
                    None => Tried::Slow,
                }
            }
        }
    }

    fn provided(&self, held: &Held) -> Option<Arc<str>> {
        let provider = match &held.what {
            What::Play(_) => None,
            What::Durable { job, .. } => job.provider(),
        };
        provider.and_then(|name| self.scripts.get(name))
    }

    fn transaction(&self, circle: PublicKey, reads: Box<dyn RemoteReads>) -> Transaction {
        Transaction::remote(reads, self.committer.limits.clone(), circle)
    }

    /// What is to be committed of a run. `None`: nothing. `fresh`: what it read, it read in Redis.
    fn landing(
        &self,
        held: &Held,
        ending: Ending,
        transaction: Option<Transaction>,
        after: Duration,
        fresh: bool,
    ) -> Option<Landing> {
        let well = matches!(ending, Ending::Finished(Ok(_)));
        let mut effects = transaction
            .map(Transaction::into_effects)
            .unwrap_or_default();
        if !well {
            effects.writes.clear();
            effects.events.clear();
        }
        let told = match &held.what {
            What::Play(_) => {
                // Whoever cancelled it has taken it back already.
                if matches!(ending, Ending::Cancelled) {
                    return None;
                }
                Told::Play(Outcome::of(ending, after))
            }
            What::Durable { job, .. } => {
                let mut job = job.clone();
                let durable = &self.committer.durable;
                let progress = job.ran(ending, after, Timestamp::now(), durable)?;
                effects.events.push(job.change_event());
                Told::Durable(job, progress)
            }
        };
        if well {
            self.recent.expect(held.circle(), &effects);
        }
        if fresh
            && effects.writes.is_empty()
            && effects.events.is_empty()
            && effects.reads.len() + effects.lists.len() == 1
        {
            // One look sees one state.
            effects = Effects::default();
        }
        Some(Landing {
            effects,
            told,
            may_be_superseded: true,
        })
    }

    /// Fetches what runs would have had to wait for. Answers whether that was possible.
    async fn fetch(&self, missing: &[(Held, Key)]) -> bool {
        let mut wanted: HashMap<PublicKey, Vec<Key>> = HashMap::new();
        for (held, key) in missing {
            wanted.entry(held.circle()).or_default().push(key.clone());
        }
        let fetch = async |circle: PublicKey, keys: Vec<Key>| {
            let partition = self.link.keys().of(&circle);
            let store = Value::from(partition.store(&circle));
            let args = std::iter::once(store).chain(keys.iter().map(|key| bytes(key)));
            loop {
                match self.link.send("HMGET", partition, args.clone()).await {
                    Ok(values) => {
                        for (key, value) in keys.into_iter().zip(values.into_array()) {
                            self.recent.learn(circle, key, stored(&value));
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

    /// Has runs of a circle committed, after those that wait for it already.
    pub(super) fn land(self: &Arc<Self>, circle: PublicKey, runs: Vec<(Held, Landing)>) {
        if self.landings.add(circle, runs) {
            self.tasks.spawn(self.clone().land_all(circle));
        }
    }

    /// Commits what waits for it in a circle, all of it at a time, and runs those again that collided.
    async fn land_all(self: Arc<Self>, circle: PublicKey) {
        while let Some(runs) = self.landings.next(&circle) {
            let Some(answers) = self.commit(circle, &runs).await else {
                // The lease ends, and another worker takes them.
                return;
            };
            let mut again = Vec::new();
            let mut others = Vec::new();
            if answers
                .iter()
                .any(|answer| matches!(answer, Answer::Conflict(_)))
            {
                // Those that wait have built on what isn't so.
                for (held, landing) in self.landings.take_readers(&circle) {
                    self.recent.forget(circle, &landing.effects);
                    again.push(held);
                }
            }
            for ((mut held, landing), answer) in runs.into_iter().zip(answers) {
                match self.next(&mut held, landing, answer) {
                    Next::Over => {}
                    Next::Run => again.push(held),
                    Next::Land(landing) => others.push((held, landing)),
                }
            }
            self.process(again);
            self.land(circle, others);
        }
    }

    /// Sends a commit until it is known what became of it. Nothing: the worker must end before.
    async fn commit(&self, circle: PublicKey, runs: &[(Held, Landing)]) -> Option<Vec<Answer>> {
        loop {
            match self.committer.commit(circle, runs).await {
                Ok(answers) => return Some(answers),
                Err(Unavailable) if self.halt.is_cancelled() => return None,
                Err(Unavailable) => sleep(AGAIN).await,
            }
        }
    }

    fn next(&self, held: &mut Held, landing: Landing, answer: Answer) -> Next {
        let circle = held.circle();
        if matches!(answer, Answer::Done | Answer::Gone) {
            self.others().remove(&held.place.name());
        }
        if !matches!(answer, Answer::Done) {
            self.recent.forget(circle, &landing.effects);
        }
        let why = match answer {
            Answer::Done => {
                if let Told::Durable(job, Progress::Failed) = &landing.told {
                    job.log_failure();
                }
                return Next::Over;
            }
            Answer::Gone => {
                tracing::debug!(job = %held.id(), "it isn't this worker's any more");
                return Next::Over;
            }
            Answer::Quota => CommitError::Quota {
                quota: self.committer.limits.quota,
            },
            Answer::Superseded => CommitError::Superseded,
            Answer::Conflict(values) => {
                for (key, value) in landing.effects.reads.keys().zip(values) {
                    self.recent.learn(circle, key.clone(), value);
                }
                held.collisions += 1;
                if held.collisions < COLLISIONS {
                    return Next::Run;
                }
                CommitError::Conflict
            }
        };
        Next::Land(self.refused(held, landing.told, why))
    }

    /// What is committed instead of what can't be.
    fn refused(&self, held: &Held, told: Told, why: CommitError) -> Landing {
        let now = Timestamp::now();
        let told = match (told, &held.what) {
            (Told::Play(_), _) => Told::Play(Outcome::refused(why)),
            (Told::Durable(ran, _), What::Durable { job, .. }) => {
                let mut job = job.clone();
                job.version = ran.version;
                let progress = match why {
                    CommitError::Superseded => job.supersede(now),
                    CommitError::Quota { .. } => {
                        let error = JobError::plain(why.to_string());
                        job.fail(error, now, &self.committer.durable)
                    }
                    CommitError::Conflict
                    | CommitError::Gone
                    | CommitError::Busy
                    | CommitError::Unavailable(_) => {
                        tracing::warn!(circle = %job.circle, job = %job.id, "a webhook's script keeps colliding with others; it runs again");
                        job.postpone(later(now, LATER))
                    }
                };
                Told::Durable(job, progress)
            }
            (told @ Told::Durable(..), What::Play(_)) => told,
        };
        Landing::bare(told)
    }

    /// Gives a job to a script thread.
    pub(super) fn start(self: &Arc<Self>, held: Held) {
        let (accounts, cancelled) = (held.accounts(), held.cancelled.clone());
        let this = self.clone();
        let task = Box::new(move || this.run(held));
        if self.runner.submit(accounts, cancelled, task).is_err() {
            tracing::debug!("a job was taken while the worker ends; it is another worker's");
        }
    }

    /// Runs a job on a script thread, over again where it collides.
    fn run(self: &Arc<Self>, mut held: Held) {
        let circle = held.circle();
        loop {
            if self.stopping.is_cancelled() || !self.begin(&held) {
                return;
            }
            let begun = Instant::now();
            let Some(landing) = self.run_once(&held) else {
                return;
            };
            let took = begun.elapsed();
            let mut runs = vec![(held, landing)];
            loop {
                let committed = self.handle.block_on(self.commit(circle, &runs));
                let (Some(answer), Some((mut job, landing))) =
                    (committed.and_then(|mut answers| answers.pop()), runs.pop())
                else {
                    return;
                };
                match self.next(&mut job, landing, answer) {
                    Next::Over => return,
                    Next::Land(landing) => runs.push((job, landing)),
                    Next::Run => {
                        if took >= LONG {
                            job.collisions += COLLISIONS / (LONG_COLLISIONS - 1);
                        }
                        held = job;
                        break;
                    }
                }
            }
        }
    }

    /// Counts the run of a job that another worker may have died of, and looks whether one that has waited is still
    /// wanted. Answers whether it may run.
    fn begin(&self, held: &Held) -> bool {
        let (lua, begun) = match held.begun {
            Some(begun) => (Lua::Begin, Some(begun + 1)),
            None if held.since.elapsed() >= WAITED => (Lua::Lost, None),
            None => return true,
        };
        let partition = &self.link.keys().partitions()[held.place.partition()];
        let keys = [partition.jobs()];
        let mut args = vec![Value::from(self.link.name()), held.place.entry().into()];
        args.extend(begun.map(Value::Integer));
        let may_run = self.handle.block_on(async {
            loop {
                let answer = self.link.call(lua, partition, keys.clone(), args.clone());
                match answer.await {
                    // Whether it is this worker's; or the jobs that aren't.
                    Ok(answer) if lua == Lua::Begin => return answer.as_i64() == Some(1),
                    Ok(lost) => return lost.into_array().is_empty(),
                    Err(Unavailable) if self.stopping.is_cancelled() => return false,
                    Err(Unavailable) => sleep(AGAIN).await,
                }
            }
        });
        if begun.is_some() && may_run {
            self.others().insert(held.place.name(), true);
        }
        may_run
    }

    /// Returns what has a run not counted as begun while it is set aside, of a job that another worker may have died of: if
    /// this one dies, it isn't of that. Redis is asked on another thread, so what that takes is no memory of the run. It goes
    /// on when it is counted, or Redis can't be asked.
    fn recounting(self: &Arc<Self>, held: &Held, begun: i64) -> impl Fn(bool) + use<> {
        // How often it was set aside and went on: even numbers go on.
        let (changed, mut changes) = watch::channel(0_u64);
        let (done, counted) = watch::channel(0_u64);
        let (this, name, handle) = (self.clone(), held.place.name(), self.handle.clone());
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

    /// Answers whether Redis counts it so.
    async fn recount(
        &self,
        (partition, entry): &(usize, String),
        begun: i64,
        goes_on: bool,
    ) -> bool {
        let names = &self.link.keys().partitions()[*partition];
        let args = [
            Value::from(self.link.name()),
            entry.as_str().into(),
            Value::Integer(begun + i64::from(goes_on)),
        ];
        let count = self.link.call(Lua::Begin, names, [names.jobs()], args);
        // Where Redis can't be reached, it counts as it did; and it may be another worker's by now.
        let is_so = count.await.is_ok_and(|answer| answer.as_i64() == Some(1));
        if is_so {
            let name = (*partition, entry.clone());
            self.others().insert(name, goes_on);
        }
        is_so
    }

    fn run_once(self: &Arc<Self>, held: &Held) -> Option<Landing> {
        let provided = self.provided(held);
        let Some(run) = held.run(provided.as_deref()) else {
            return self.no_script(held);
        };
        let now = Instant::now();
        // What it had: all the time that its caller waits for it, or what a script may run.
        let had = || match (held.deadline, &held.what) {
            (Some(deadline), What::Play(play)) if deadline <= Instant::now() => {
                Duration::from_millis(play.timeout_ms)
            }
            _ => self.script_timeout,
        };
        if held.deadline.is_some_and(|deadline| deadline <= now) {
            let ending = Ending::TimedOut { version: None };
            return self.landing(held, ending, None, had(), true);
        }
        let circle = held.circle();
        let reads = FromRedis {
            link: self.link.clone(),
            handle: self.handle.clone(),
            circle,
        };
        let mut transaction = Some(self.transaction(circle, Box::new(reads)));
        let running = Running {
            since: now,
            cancelled: held.cancelled.clone(),
        };
        self.running().insert(held.place.name(), running);
        let ending = tracing::debug_span!("job", id = %held.id()).in_scope(|| {
            let cancelled = &held.cancelled;
            let deadline = held.deadline;
            let mut run = || {
                self.executor
                    .run(&run, &mut transaction, deadline, cancelled)
            };
            let ending = match held.begun {
                None => run(),
                Some(begun) => script::noting(self.recounting(held, begun), run),
            };
            // What never ran may be called by anything that somebody has sent.
            let has_run = !matches!(ending, Ending::Refused(_));
            tracing::debug!(
                script = held.script().filter(|_| has_run),
                duration_ms = milliseconds(now.elapsed()),
                "ran"
            );
            ending
        });
        self.running().remove(&held.place.name());
        self.landing(held, ending, transaction, had(), true)
    }

    fn no_script(&self, held: &Held) -> Option<Landing> {
        let What::Durable { job, .. } = &held.what else {
            return None;
        };
        let mut job = job.clone();
        let error = JobError::no_provider(&job);
        let progress = job.fail(error, Timestamp::now(), &self.committer.durable);
        Some(Landing::bare(Told::Durable(job, progress)))
    }

    pub(super) fn others(&self) -> MutexGuard<'_, HashMap<(usize, String), bool>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<(usize, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what runs.
    pub(super) fn cancel_all(&self) {
        self.stopping.cancel();
        self.halt.cancel();
        for running in self.running().values() {
            running.cancelled.store(true, Ordering::Release);
        }
    }
}
