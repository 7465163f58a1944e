//! Threads that run tasks which may block, and share time fairly among all who wait.

mod aside;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use uuid::Uuid;

use self::aside::{AsideRun, Charged, TaskSlot};
use super::{
    Limits,
    fair_queue::{Accounts, FairQueue, NextTurn},
    local, meter, run_slot, stack,
    waiting_room::{Place, WaitingRoom},
};

type Task = Box<dyn FnOnce() + Send>;

/// The time in which all who wait get a turn, as long as their slices are no shorter than the shortest.
const ROUND: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(2);
/// Bytes that a thread takes which stands in for one that is set aside: its engine, and the stack that it touches. It is
/// no setting, for it depends on the code and not on the machine: `script.max_aside_memory` is how much of it there is.
const THREAD: usize = 512 << 10;
/// Bytes that a task allocates before what it has freed is given back to the system. It is no setting: what is less is in
/// use again soon, and costs more to give back than to keep. All threads together keep so much for each of them at most.
const HEAVY: usize = 2 << 20;
/// The part of the queue that is kept for those who can't wait for a place in it, while others do.
const FOR_OTHERS: usize = 4;
/// The time that an extra thread waits for something to do.
const LINGER: Duration = Duration::from_secs(1);

/// Runs tasks on threads of its own, which have stacks large enough for any script.
///
/// So many run at once as there are places. Whose task comes next depends on how much time each circle and caller has
/// used. A script that has run for a slice of time while others wait who have used less is set aside half-way, on its
/// thread, and goes on when it is its turn again: another thread has its place meanwhile. Where there is no room for
/// that, one that is far ahead of others ends: the one that holds the most, if it is memory that lacks, or else the one
/// that is ahead of all.
pub struct Runner<K> {
    shared: Arc<Shared<K>>,
}

/// The queue is full, or the runner was shut down. The task was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of scripts is full")]
pub struct QueueFull;

/// Too many bytes wait for a place in the queue, or the runner was shut down. The task was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much waits for a place in the queue of scripts")]
pub struct RoomFull;

/// The limits of a runner.
#[derive(Debug, Clone, Copy)]
pub struct RunnerLimits {
    /// Tasks that run.
    pub slots: usize,
    /// Tasks that wait.
    pub queue: usize,
    /// Bytes of the tasks of sessions that wait for a place in the queue.
    pub waiting: usize,
    /// Runs that are set aside half-way.
    pub aside: usize,
    /// Bytes that those hold, all together, with those of the threads that stand in for them.
    pub aside_memory: usize,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Something is ready, or the runner is closed.
    wake: Condvar,
    /// A run has ended that had no slot any more.
    ended: Condvar,
    /// True if anything waits for a slot.
    wanted: AtomicBool,
    /// Microseconds of a slice, with as many waiting as do.
    slice: AtomicU64,
    limits: RunnerLimits,
}

struct State<K> {
    queue: FairQueue<K, Task>,
    /// Tasks of sessions that wait for a place in the queue.
    room: WaitingRoom<K, Uuid, WaitingTask<K>>,
    /// Tasks that have a slot, and begin as soon as a thread takes them.
    ready: VecDeque<(Task, Accounts<K>)>,
    aside: HashMap<u64, AsideRun>,
    /// Places that are taken.
    running: usize,
    /// Runs that end without a place, so many at once as there are places: what they hold takes time to free.
    ending: usize,
    /// Threads that have nothing to do, or are about to take what is ready.
    idle: usize,
    live: usize,
    started: usize,
    threads: Vec<JoinHandle<()>>,
    /// Since when something waits for a place. What is used while nothing does is free.
    wanted_since: Instant,
    /// The time when it was last logged that a thread can't be started.
    told: Option<Instant>,
    closed: bool,
}

/// A task that waits for a place in the queue.
struct WaitingTask<K> {
    accounts: Accounts<K>,
    given_up: Arc<AtomicBool>,
    task: Task,
}

impl RunnerLimits {
    /// Returns the limits of the settings, with a queue of so many tasks, and so many bytes of those that wait for a place
    /// in it.
    pub fn of(settings: &Limits, queue: usize, waiting: usize) -> Self {
        Self {
            slots: settings.thread_count(),
            queue,
            waiting,
            aside: settings.max_aside,
            aside_memory: settings.max_aside_memory,
        }
    }
}

impl<K: Hash + Eq + Copy + Send + 'static> Runner<K> {
    /// Starts a thread for each place.
    ///
    /// # Errors
    /// They can't be started.
    pub fn start(limits: RunnerLimits) -> io::Result<Self> {
        let state = State {
            queue: FairQueue::new(limits.queue),
            room: WaitingRoom::new(limits.waiting),
            ready: VecDeque::new(),
            aside: HashMap::new(),
            running: 0,
            ending: 0,
            idle: 0,
            live: 0,
            started: 0,
            threads: Vec::new(),
            wanted_since: Instant::now(),
            told: None,
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            ended: Condvar::new(),
            wanted: AtomicBool::new(false),
            slice: AtomicU64::new(micros(run_slot::SLICE)),
            limits,
        });
        // Dropping it on an error ends the threads that did start.
        let runner = Self { shared };
        for _ in 0..limits.slots {
            let shared = &runner.shared;
            shared.start_thread(&mut shared.lock(), false)?;
        }
        Ok(runner)
    }

    /// Has `task` run when it is its turn, and charges its time to `accounts`. A task that is `given_up` meanwhile
    /// leaves its place in the queue to others.
    ///
    /// # Errors
    /// The queue is full.
    pub fn submit(
        &self,
        accounts: Accounts<K>,
        given_up: Arc<AtomicBool>,
        task: Task,
    ) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(QueueFull);
        }
        state.queue.push(accounts, given_up, task)?;
        let ready = self.shared.advance(&mut state);
        drop(state);
        self.shared.wake(ready);
        Ok(())
    }

    /// Has a session's `task` run when it is its turn, as [`submit`](Self::submit) does. Where the queue is full, the task
    /// waits for a place in it: it counts as so many bytes. The first task of a caller who has none in the queue gets a
    /// place at once, and one of those that wait another one.
    ///
    /// # Errors
    /// Too many bytes wait.
    pub fn submit_waiting(
        &self,
        session: Uuid,
        bytes: usize,
        accounts: Accounts<K>,
        given_up: Arc<AtomicBool>,
        task: Task,
    ) -> Result<(), RoomFull> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(RoomFull);
        }
        if state.room.is_empty() && state.queue.has_room(&accounts) {
            state.queue.add(accounts, given_up, task);
        } else if state.queue.is_first(&accounts) && !state.room.has(&accounts[0], &session) {
            state.queue.add(accounts, given_up, task);
            state.let_one_in();
        } else {
            let waiting = WaitingTask {
                accounts,
                given_up,
                task,
            };
            let (room, waiting) = (&mut state.room, (bytes, waiting));
            let entered = room.enter(
                accounts[0],
                session,
                Place::Last,
                waiting,
                WaitingTask::is_wanted,
            );
            entered.map_err(|_| RoomFull)?;
        }
        let ready = self.shared.advance(&mut state);
        drop(state);
        self.shared.wake(ready);
        Ok(())
    }
}

impl<K> WaitingTask<K> {
    fn is_wanted(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }
}

impl<K: Hash + Eq + Copy> Runner<K> {
    /// Returns how many tasks wait for a thread, and how many of sessions for a place in that queue.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.queue.waiting(), state.room.len())
    }
}

impl<K> Runner<K> {
    /// Takes no more tasks, runs those that wait, and returns when the last one has ended. Calling it again
    /// does nothing more.
    pub fn shutdown(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.wake.notify_all();
        // A thread may put another one here while it is joined.
        while let Some(thread) = state.threads.pop() {
            drop(state);
            if thread.thread().id() != std::thread::current().id() {
                // It catches panics, so there is nothing to learn from the result.
                let _ = thread.join();
            }
            state = self.shared.lock();
        }
    }
}

impl<K> Drop for Runner<K> {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl<K> fmt::Debug for Runner<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Runner")
            .field("running", &state.running)
            .field("aside", &state.aside.len())
            .finish_non_exhaustive()
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Tasks never run under the lock, so its state is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, threads: usize) {
        for _ in 0..threads {
            self.wake.notify_one();
        }
    }
}

impl<K: Hash + Eq + Copy + Send + 'static> Shared<K> {
    /// Fills the places that are free. Returns how many tasks are ready that were not before.
    fn advance(self: &Arc<Self>, state: &mut State<K>) -> usize {
        let mut ready = 0;
        state.let_in(self.limits.queue);
        while state.running < self.limits.slots {
            let has_thread = state.idle > state.ready.len()
                || (state.queue.begins_next() && self.has_started_thread(state));
            match state.queue.next(has_thread) {
                Some(NextTurn::Begin(task, accounts)) => {
                    state.ready.push_back((task, accounts));
                    ready += 1;
                }
                Some(NextTurn::Resume(number)) => {
                    if let Some(aside) = state.aside.get_mut(&number) {
                        aside.has_turn = true;
                        aside.wake.notify_one();
                    }
                }
                None => break,
            }
            state.running += 1;
        }
        let is_wanted = state.queue.is_wanted();
        if is_wanted && !self.wanted.load(Ordering::Relaxed) {
            state.wanted_since = Instant::now();
        }
        self.wanted.store(is_wanted, Ordering::Relaxed);
        let slice = slice(self.limits.slots, state.queue.contenders());
        self.slice.store(micros(slice), Ordering::Relaxed);
        ready
    }

    /// Starts one more thread, if there may be one. Without it, what waits goes on waiting.
    fn has_started_thread(self: &Arc<Self>, state: &mut State<K>) -> bool {
        // Those that end half-way have theirs a moment longer.
        if state.live >= 2 * self.limits.slots + self.limits.aside {
            return false;
        }
        let Err(error) = self.start_thread(state, true) else {
            return true;
        };
        if state.told.is_none_or(|told| told.elapsed() >= stack::QUIET) {
            state.told = Some(Instant::now());
            tracing::error!(%error, threads = state.live, "failed to start a script thread; scripts use those that there are");
        }
        false
    }

    /// Starts a thread for a place, or an extra one, which stands in while others are set aside.
    fn start_thread(self: &Arc<Self>, state: &mut State<K>, is_extra: bool) -> io::Result<()> {
        let (number, this) = (state.started, self.clone());
        let thread = stack::spawn(format!("script-{number}"), move || this.work(is_extra))?;
        state.started += 1;
        state.live += 1;
        state.idle += 1;
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
        Ok(())
    }

    /// Works through tasks on a thread. It counts as idle when it starts.
    fn work(self: Arc<Self>, is_extra: bool) {
        if is_extra {
            local::keep_nothing();
        }
        let mut state = self.lock();
        let mut since = Instant::now();
        loop {
            if let Some((task, accounts)) = state.ready.pop_front() {
                state.idle -= 1;
                drop(state);
                self.run(task, accounts);
                state = self.lock();
                if stack::is_spent() && self.start_thread(&mut state, is_extra).is_ok() {
                    state.live -= 1;
                    let ready = self.advance(&mut state);
                    drop(state);
                    self.wake(ready);
                    return;
                }
                state.idle += 1;
                let ready = self.advance(&mut state);
                // This thread takes the first one.
                self.wake(ready.saturating_sub(1));
                since = Instant::now();
                continue;
            }
            let is_spare = is_extra && state.live - state.aside.len() > self.limits.slots;
            // Those that keep what they compile come first again as soon as they can.
            let linger = match state.aside.is_empty() {
                true => Duration::ZERO,
                false => LINGER,
            };
            let is_done = state.closed && state.queue.waiting() == 0;
            if is_done || (is_spare && since.elapsed() >= linger) {
                state.idle -= 1;
                state.live -= 1;
                return;
            }
            state = if is_extra {
                let waited = self.wake.wait_timeout(state, LINGER);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = self.wake.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn run(self: &Arc<Self>, task: Task, accounts: Accounts<K>) {
        let begun = used_time();
        let run = Rc::new(RefCell::new(Charged {
            until: Instant::now(),
            used: begun,
            has_slot: true,
        }));
        let slot = TaskSlot {
            shared: self.clone(),
            accounts,
            run: run.clone(),
            begun,
        };
        let before = meter::gross();
        if catch_unwind(AssertUnwindSafe(|| run_slot::with(slot, task))).is_err() {
            tracing::error!("a task panicked on a script thread");
        }
        if meter::gross().wrapping_sub(before) > HEAVY {
            meter::give_back();
        }
        let mut state = self.lock();
        self.charge(&mut state, &accounts, &mut run.borrow_mut());
        state.queue.end(&accounts);
        if run.borrow().has_slot {
            state.running -= 1;
        } else {
            state.ending -= 1;
            self.ended.notify_one();
        }
        if state.closed {
            self.wake.notify_all();
        }
    }

    /// Charges the time that a run has used since the last time: not that during which its thread would run, and others
    /// have the processor.
    fn charge(&self, state: &mut State<K>, accounts: &Accounts<K>, run: &mut Charged) {
        let (now, used) = (Instant::now(), used_time());
        if self.wanted.load(Ordering::Relaxed) {
            // What was used before somebody waited isn't told apart, so it is charged for as long as somebody has waited.
            let since = run.until.max(state.wanted_since);
            let time = now.saturating_duration_since(since).min(used - run.used);
            state.queue.charge(accounts, time);
        }
        (run.until, run.used) = (now, used);
    }
}

impl<K: Hash + Eq + Copy> State<K> {
    /// Lets tasks of sessions into the queue until it has room for others only.
    fn let_in(&mut self, queue: usize) {
        while !self.room.is_empty() && self.queue.waiting() < queue - queue / FOR_OTHERS {
            self.let_one_in();
        }
    }

    fn let_one_in(&mut self) {
        let next = self.room.next().filter(WaitingTask::is_wanted);
        if let Some(next) = next {
            self.queue.add(next.accounts, next.given_up, next.task);
        }
    }
}

/// Returns how long a run goes on while so many wait for so many slots.
fn slice(slots: usize, waiting: usize) -> Duration {
    let turns = u32::try_from(waiting.div_ceil(slots.max(1))).unwrap_or(u32::MAX);
    (ROUND / turns.max(1)).clamp(SHORTEST, run_slot::SLICE)
}

/// Returns the time that this thread has used: of the processor, and a little for each wait.
fn used_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default() + run_slot::waited()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
