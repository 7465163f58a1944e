//! The worker: takes jobs out of Redis, runs them, and commits their results.
//!
//! A script that is known to be short runs right where its job is taken, on cached reads of its circle's store; values
//! that aren't in the cache are fetched, for all that wait at once, and the run starts over. All others go to a script
//! thread, which may wait for Redis. Results of one circle are committed together.

mod claimed_job;
mod commit;
mod commit_queue;
mod direct_reads;
mod input_budget;
mod lease;
mod read_cache;
mod run;
mod slots;
mod sweep;
mod take;
mod take_over;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::{runtime::Handle, time::Interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use commit::Committer;
pub(super) use direct_reads::{DirectReads, KnownValues, Moments};

use self::{
    commit_queue::CommitQueue, input_budget::InputBudget, lease::Lease, read_cache::ReadCache,
    slots::Slots, sweep::Sweep,
};
use super::conn::Connection;
use crate::{
    circle::Executor,
    dispatch::{Account, Scripts, Settings, StartError},
    script::{Runner, RunnerLimits},
    store,
};

/// Runs that may wait for a script thread: a worker's jobs are bounded already.
const UNBOUNDED: usize = usize::MAX / 4;

/// Takes jobs, runs them, and commits what they come to.
pub(in crate::dispatch::redis) struct Worker {
    redis: Connection,
    committer: Committer,
    executor: Executor,
    runner: Arc<Runner<Account>>,
    scripts: Scripts,
    read_cache: Arc<ReadCache>,
    commit_queue: CommitQueue,
    slots: Slots,
    input_budget: InputBudget,
    /// The runs on script threads, by partition and entry.
    running: Mutex<HashMap<(usize, String), RunningJob>>,
    /// The jobs that other workers have had, and whether a run of each has begun here.
    taken_over: Mutex<HashMap<(usize, String), bool>>,
    /// Cancelled when it takes no more jobs, and starts none.
    stopping: CancellationToken,
    /// Cancelled when it doesn't even wait for Redis any more.
    halt: CancellationToken,
    lease: Arc<Lease>,
    /// Cancelled when its background tasks end.
    ending: CancellationToken,
    /// Tasks that take and commit jobs.
    tasks: TaskTracker,
    /// Tasks that go on until all else has ended.
    background: TaskTracker,
    handle: Handle,
}

/// A run on a script thread.
struct RunningJob {
    since: Instant,
    /// Set to end it.
    cancelled: Arc<AtomicBool>,
}

impl Worker {
    /// Starts a worker, and all of its tasks.
    pub(super) fn start(
        settings: &Settings,
        redis: &Connection,
        executor: Executor,
        store: Arc<store::Settings>,
        scripts: Scripts,
    ) -> Result<Arc<Self>, StartError> {
        let own = &settings.redis;
        let limits = executor.sandbox.limits();
        let runner = Runner::start(RunnerLimits::of(limits, UNBOUNDED, settings.max_waiting));
        let ending = CancellationToken::new();
        let time = own.lease.get();
        let worker = Arc::new(Self {
            redis: redis.clone(),
            committer: Committer::new(settings, redis, &store),
            runner: Arc::new(runner.map_err(StartError::Threads)?),
            executor: executor.clone(),
            scripts,
            read_cache: Arc::new(ReadCache::new(own.cache, redis.clone())),
            commit_queue: CommitQueue::new(),
            slots: Slots::default(),
            input_budget: InputBudget::new(own.hold_bytes),
            running: Mutex::default(),
            taken_over: Mutex::default(),
            stopping: CancellationToken::new(),
            halt: CancellationToken::new(),
            lease: Arc::new(Lease::new(redis.clone(), time, ending.clone())),
            ending: ending.clone(),
            tasks: TaskTracker::new(),
            background: TaskTracker::new(),
            handle: Handle::current(),
        });
        for partitions in redis.shared_reads() {
            let reader = redis.blocking().map_err(StartError::redis)?;
            let hold = (own.hold.get(), own.hold_bytes);
            let take = worker.clone().take(reader, partitions, hold);
            worker.tasks.spawn(take);
        }
        let sweep = Arc::new(Sweep {
            redis: redis.clone(),
            durable: settings.durable.clone(),
            per_circle: own.per_circle.get(),
            inbox: own.inbox.get(),
            inbox_bytes: own.inbox_bytes.get(),
            ending,
        });
        let background = &worker.background;
        background.spawn(worker.lease.clone().keep(executor));
        background.spawn(worker.clone().take_over_silent(time));
        background.spawn(worker.clone().cancel_lost());
        background.spawn(sweep.clone().wake_delayed());
        background.spawn(sweep.clone().expire_keys());
        background.spawn(sweep.forget_old());
        Ok(worker)
    }

    /// Returns the threads that scripts run on.
    pub(super) fn runner(&self) -> &Arc<Runner<Account>> {
        &self.runner
    }

    /// Takes no more jobs, and starts none.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Waits for runs to finish, and hands over the other jobs. Blocks.
    pub(super) fn shutdown(&self) {
        self.runner.shutdown();
        self.tasks.close();
        self.handle.block_on(async {
            self.tasks.wait().await;
            self.ending.cancel();
            self.background.close();
            self.background.wait().await;
            self.leave().await;
        });
    }

    fn taken_over(&self) -> MutexGuard<'_, HashMap<(usize, String), bool>> {
        self.taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(usize, String), RunningJob>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancels all runs.
    pub(super) fn cancel_all(&self) {
        self.stopping.cancel();
        self.halt.cancel();
        for running in self.running().values() {
            running.cancelled.store(true, Ordering::Release);
        }
    }
}

/// Waits for the next tick; returns false if `ending` is cancelled before.
async fn next_tick(tick: &mut Interval, ending: &CancellationToken) -> bool {
    tokio::select! {
        _ = tick.tick() => true,
        () = ending.cancelled() => false,
    }
}
