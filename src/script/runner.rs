//! Threads that run tasks which may block, and share time fairly among all who wait.

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

use super::{
    Limits,
    fair_queue::{Accounts, FairQueue, NextTurn},
    local, meter, run_slot, stack,
    waiting_room::{Place, WaitingRoom},
};

type Task = Box<dyn FnOnce() + Send>;

/// The pause between two checks of a run that is set aside, whether it is still wanted; longer if many are.
const CHECK_PAUSE: Duration = Duration::from_millis(50);
/// The time in which all who wait get a turn, as long as their slices are no shorter than the shortest.
const ROUND: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(2);
/// Slices that a run may be ahead of others while there is no room to set it aside: most end before.
const AHEAD: u32 = 10;
/// The time in which all who wait have been that far ahead, as long as one slice is enough for that: fewer slices do if
/// many wait.
const GRACE: Duration = Duration::from_secs(1);
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

/// A run that was set aside.
struct AsideRun {
    /// The time that it has used.
    used: Duration,
    memory: usize,
    has_turn: bool,
    /// It ends: there is no room for it.
    is_displaced: bool,
    wake: Arc<Condvar>,
}

/// A resource that is too scarce to set a run aside.
#[derive(Clone, Copy)]
enum Lack {
    Places,
    Memory,
}

/// The place of a task that has begun.
struct TaskSlot<K> {
    shared: Arc<Shared<K>>,
    accounts: Accounts<K>,
    run: Rc<RefCell<Charged>>,
    /// The time that its thread had used when it began.
    begun: Duration,
}

struct Charged {
    /// Until when its time is charged.
    until: Instant,
    /// The time that its thread had used when it was last charged.
    used: Duration,
    /// Not, once it ended while it was set aside.
    has_slot: bool,
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

impl<K: Hash + Eq + Copy + Send + 'static> run_slot::RunSlot for TaskSlot<K> {
    fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    fn slice(&self) -> Duration {
        Duration::from_micros(self.shared.slice.load(Ordering::Relaxed))
    }

    fn has_room(&self, memory: usize) -> bool {
        let shared = &self.shared;
        shared.lock().lack(&shared.limits, memory, None).is_none()
    }

    fn yield_slot(&self, memory: usize, is_over: &dyn Fn() -> bool) -> bool {
        let (shared, run) = (&self.shared, &mut *self.run.borrow_mut());
        let mut state = shared.lock();
        shared.charge(&mut state, &self.accounts, run);
        if !run.has_slot || shared.limits.aside == 0 {
            return true;
        }
        let Some(before) = state.queue.comes_before(&self.accounts) else {
            return true;
        };
        let ahead = ahead(shared.limits.slots, state.queue.contenders());
        let used = run.used - self.begun;
        while let Some(lack) = state.lack(&shared.limits, memory, before.resumes) {
            let State { queue, aside, .. } = &mut *state;
            // For want of places, no run ends that has used less itself: its caller may have run much before, or the
            // machine be busy with others.
            let weight = |number: Option<u64>| {
                let aside = number.and_then(|number| aside.get(&number));
                let (used, memory) = aside.map_or((used, memory), |run| (run.used, run.memory));
                match lack {
                    Lack::Places => (used >= ahead).then_some(0),
                    Lack::Memory => Some(memory),
                }
            };
            match queue.last(&self.accounts, &before, ahead, weight) {
                None => return true,
                Some(None) => return false,
                Some(Some(number)) => state.displace(number),
            }
        }
        let wake = Arc::new(Condvar::new());
        let number = state.queue.set_aside(&self.accounts);
        let aside = AsideRun {
            memory,
            used,
            has_turn: false,
            is_displaced: false,
            wake: wake.clone(),
        };
        state.aside.insert(number, aside);
        state.running -= 1;
        let ready = shared.advance(&mut state);
        shared.wake(ready);
        drop(state);
        run_slot::note(false);
        let mut state = shared.lock();
        while let Some(aside) = state.aside.get(&number) {
            if aside.has_turn {
                break;
            }
            if aside.is_displaced || is_over() {
                state.queue.take_back(number);
                run.has_slot = false;
                break;
            }
            let waited = wake.wait_timeout(state, CHECK_PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !run.has_slot {
            let is_full = |state: &mut State<K>| state.ending >= shared.limits.slots;
            let waited = shared.ended.wait_while(state, is_full);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.ending += 1;
        }
        let aside = state.aside.remove(&number);
        drop(state);
        if run.has_slot {
            run_slot::note(true);
        }
        run.until = Instant::now();
        aside.is_none_or(|aside| !aside.is_displaced)
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

    /// Returns what there is too little of to set one more run aside, while another of them goes on.
    fn lack(&self, limits: &RunnerLimits, memory: usize, resumes: Option<u64>) -> Option<Lack> {
        let others = self.aside.iter();
        let others = others
            .filter(|(number, aside)| Some(**number) != resumes && !aside.is_displaced)
            .map(|(_, aside)| aside.memory);
        let (count, held) = others.fold((0, memory), |(count, held), memory| {
            (count + 1, held.saturating_add(memory + THREAD))
        });
        if count >= limits.aside {
            Some(Lack::Places)
        } else if held > limits.aside_memory {
            Some(Lack::Memory)
        } else {
            None
        }
    }

    /// Has a run end that was set aside.
    fn displace(&mut self, number: u64) {
        self.queue.take_back(number);
        if let Some(aside) = self.aside.get_mut(&number) {
            aside.is_displaced = true;
            aside.wake.notify_one();
        }
    }
}

/// Returns how long a run goes on while so many wait for so many slots.
fn slice(slots: usize, waiting: usize) -> Duration {
    let turns = u32::try_from(waiting.div_ceil(slots.max(1))).unwrap_or(u32::MAX);
    (ROUND / turns.max(1)).clamp(SHORTEST, run_slot::SLICE)
}

/// Returns how far ahead of others a run is that ends when it can't be set aside, while so many wait for so many slots.
fn ahead(slots: usize, waiting: usize) -> Duration {
    let slice = slice(slots, waiting);
    let turns = u32::try_from(waiting.div_ceil(slots.max(1))).unwrap_or(u32::MAX);
    (GRACE / turns.max(1)).clamp(slice, slice * AHEAD)
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
mod tests {
    use std::sync::mpsc;

    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use std::time::Duration;

    use uuid::Uuid;

    use super::{QueueFull, RoomFull, Runner, RunnerLimits, ahead, run_slot};

    fn wanted() -> Arc<AtomicBool> {
        Arc::default()
    }

    fn limits(slots: usize, queue: usize) -> RunnerLimits {
        RunnerLimits {
            slots,
            queue,
            waiting: 3,
            aside: 2,
            aside_memory: 1000 << 20,
        }
    }

    /// A runner of one thread that is busy until the gate is opened.
    fn busy(queue: usize) -> (Runner<u8>, mpsc::Sender<()>) {
        let runner = Runner::start(limits(1, queue)).unwrap();
        let (gate, closed) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let first = move || {
            started.send(()).unwrap();
            closed.recv().unwrap();
        };
        runner.submit([0; 2], wanted(), Box::new(first)).unwrap();
        running.recv().unwrap();
        (runner, gate)
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_too() {
        let (runner, gate) = busy(2);
        let submit = |key| runner.submit([key; 2], wanted(), Box::new(|| ()));
        assert_eq!([submit(1), submit(1)], [Ok(()); 2]);
        assert_eq!(submit(1), Err(QueueFull));
        assert_eq!([submit(2), submit(3)], [Ok(()); 2], "one key leaves room");
        assert_eq!([submit(2), submit(4)], [Err(QueueFull); 2]);
        gate.send(()).unwrap();
        runner.shutdown();
        runner.shutdown();
        assert_eq!(submit(5), Err(QueueFull));
    }

    #[test]
    fn a_full_queue_takes_as_much_of_a_key_as_is_its_share() {
        let (runner, gate) = busy(4);
        let submit = |key| runner.submit([key; 2], wanted(), Box::new(|| ()));
        assert_eq!([(); 4].map(|()| submit(1)), [Ok(()); 4]);
        assert_eq!([submit(2), submit(2)], [Ok(()); 2]);
        assert_eq!([submit(1), submit(2)], [Err(QueueFull); 2]);
        gate.send(()).unwrap();
        runner.shutdown();
    }

    #[test]
    fn sessions_wait_for_a_place_in_their_turns_until_too_many_bytes_do() {
        let (runner, gate) = busy(2);
        let (done, ran) = mpsc::channel();
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let submit = |session, key, given_up: &Arc<AtomicBool>, n| {
            let done = done.clone();
            let task = Box::new(move || done.send(n).unwrap());
            runner.submit_waiting(session, 1, [key; 2], given_up.clone(), task)
        };
        let (wanted, given_up) = (wanted(), wanted());
        for n in 0..4 {
            assert_eq!(submit(first, 1, &wanted, n), Ok(()));
        }
        assert_eq!(submit(second, 1, &given_up, 100), Ok(()));
        assert_eq!(submit(first, 1, &wanted, 101), Err(RoomFull));
        given_up.store(true, Ordering::Relaxed);
        assert_eq!(submit(second, 1, &wanted, 4), Ok(()));
        gate.send(()).unwrap();
        runner.shutdown();
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 3]);
        assert_eq!(submit(first, 1, &wanted, 5), Err(RoomFull));
    }

    #[test]
    fn the_first_task_of_a_caller_does_not_wait_for_a_place() {
        let (runner, gate) = busy(4);
        let (done, ran) = mpsc::channel();
        let submit = |session, key, n| {
            let done = done.clone();
            let task = Box::new(move || done.send(n).unwrap());
            let session = Uuid::from_u128(session);
            runner.submit_waiting(session, 0, [key; 2], wanted(), task)
        };
        for n in 0..20 {
            assert_eq!(submit(1, 1, n), Ok(()));
        }
        for key in 2..5 {
            assert_eq!(submit(key.into(), key, 100), Ok(()));
        }
        gate.send(()).unwrap();
        runner.shutdown();
        let order: Vec<_> = ran.try_iter().collect();
        let last = order.iter().rposition(|n| *n == 100).unwrap();
        assert!(last < 8, "{order:?}");
        assert_eq!(order.len(), 23);
        assert!(order.iter().filter(|n| **n < 100).is_sorted(), "{order:?}");
    }

    #[test]
    fn what_is_given_up_leaves_its_place() {
        let (runner, gate) = busy(2);
        let given_up = wanted();
        for _ in 0..2 {
            let never = || panic!("nobody wants it");
            runner
                .submit([1; 2], given_up.clone(), Box::new(never))
                .unwrap();
        }
        given_up.store(true, Ordering::Relaxed);
        let (done, ran) = mpsc::channel();
        for n in 0..2 {
            let done = done.clone();
            let task = move || done.send(n).unwrap();
            runner.submit([1; 2], wanted(), Box::new(task)).unwrap();
        }
        gate.send(()).unwrap();
        runner.shutdown();
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_panicking_task_harms_no_other() {
        let runner = Runner::start(limits(1, 10)).unwrap();
        let (done, order) = mpsc::channel();
        runner
            .submit(
                [1; 2],
                wanted(),
                Box::new(|| std::panic::resume_unwind(Box::new(()))),
            )
            .unwrap();
        runner
            .submit([1; 2], wanted(), Box::new(move || done.send(()).unwrap()))
            .unwrap();
        order.recv().unwrap();
    }

    #[test]
    fn a_thread_with_a_spent_stack_is_replaced() {
        let runner = Runner::start(limits(1, 10)).unwrap();
        let (done, threads) = mpsc::channel();
        for spend in [false, true, false] {
            let done = done.clone();
            let task = move || {
                if spend {
                    super::stack::mark_spent();
                }
                done.send(std::thread::current().id()).unwrap();
            };
            runner.submit([1; 2], wanted(), Box::new(task)).unwrap();
        }
        drop(done);
        let threads: Vec<_> = threads.iter().collect();
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[1], threads[2]);
        runner.shutdown();
    }

    /// Gives way until `done`, as a script does from within the interpreter.
    fn spin(done: &AtomicBool, memory: usize) {
        while !done.load(Ordering::Relaxed) {
            if run_slot::is_wanted() {
                let may_go_on = run_slot::yield_slot(memory, &|| false);
                assert!(may_go_on);
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_long_run_is_set_aside_for_others_and_goes_on() {
        let runner = Runner::start(limits(1, 10)).unwrap();
        let (begun, begins) = mpsc::channel();
        let (over, ended) = (wanted(), wanted());
        let (is_over, has_ended) = (over.clone(), ended.clone());
        let long = move || {
            begun.send(()).unwrap();
            spin(&is_over, 1);
            has_ended.store(true, Ordering::Relaxed);
        };
        runner.submit([1; 2], wanted(), Box::new(long)).unwrap();
        begins.recv().unwrap();
        let (done, ran) = mpsc::channel();
        for n in 0..3 {
            let done = done.clone();
            let short = move || done.send(n).unwrap();
            runner.submit([2; 2], wanted(), Box::new(short)).unwrap();
            assert_eq!(ran.recv().unwrap(), n);
        }
        assert!(!ended.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        runner.shutdown();
        assert!(ended.load(Ordering::Relaxed));
    }

    /// Has the processor for so long.
    fn compute(time: Duration) {
        let begun = super::used_time();
        while super::used_time() - begun < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_without_the_processor_is_not_charged_but_each_wait_is() {
        let runner = Runner::start(limits(1, 10)).unwrap();
        let ms = Duration::from_millis;
        let sleep = move || std::thread::sleep(ms(200));
        let waits = move || (0..200).for_each(|_| run_slot::waiting(|| std::thread::sleep(ms(1))));
        let uses: [(u8, Box<dyn FnOnce() + Send>); 4] = [
            (1, Box::new(sleep)),
            (2, Box::new(move || run_slot::waiting(sleep))),
            (3, Box::new(move || compute(ms(10)))),
            (4, Box::new(waits)),
        ];
        let (done, ran) = mpsc::channel();
        let (gate, closed) = mpsc::channel::<()>();
        let hold = Box::new(move || closed.recv().unwrap());
        runner.submit([0; 2], wanted(), hold).unwrap();
        for (key, work) in uses {
            runner.submit([key; 2], wanted(), work).unwrap();
        }
        for key in [4, 3, 2, 1] {
            let done = done.clone();
            let tell = Box::new(move || done.send(key).unwrap());
            runner.submit([key; 2], wanted(), tell).unwrap();
        }
        gate.send(()).unwrap();
        runner.shutdown();
        let order: Vec<_> = ran.try_iter().collect();
        assert_eq!(order[2..], [3, 4], "{order:?}");
    }

    #[test]
    fn all_who_wait_are_far_ahead_within_a_second_or_after_a_slice() {
        let ahead = |waiting| ahead(2, waiting);
        let ms = Duration::from_millis;
        assert_eq!(
            [2, 20, 100, 400, 1000].map(ahead),
            [100, 100, 20, 5, 2].map(ms)
        );
    }

    #[test]
    fn few_of_those_that_end_while_they_are_set_aside_end_at_once() {
        let limits = RunnerLimits {
            aside: 10,
            ..limits(1, 10)
        };
        let runner = Runner::start(limits).unwrap();
        let (begun, begins) = mpsc::channel();
        let (over, ending, most) = (wanted(), Arc::new(AtomicUsize::new(0)), Arc::default());
        for key in 0..6 {
            let (begun, over) = (begun.clone(), over.clone());
            let (ending, most): (_, Arc<AtomicUsize>) = (ending.clone(), Arc::clone(&most));
            let long = move || {
                begun.send(()).unwrap();
                while !over.load(Ordering::Relaxed) {
                    if run_slot::is_wanted() {
                        run_slot::yield_slot(0, &|| over.load(Ordering::Relaxed));
                    }
                    std::thread::yield_now();
                }
                most.fetch_max(ending.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(30));
                ending.fetch_sub(1, Ordering::SeqCst);
            };
            runner.submit([key; 2], wanted(), Box::new(long)).unwrap();
            begins.recv().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        runner.shutdown();
        assert!(
            most.load(Ordering::SeqCst) <= 2,
            "one with the slot, and one without"
        );
    }

    #[test]
    fn what_there_is_no_room_to_set_aside_ends() {
        let runner = Runner::start(limits(1, 10)).unwrap();
        let (begun, begins) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let over = wanted();
        for (key, memory) in [(1, 600 << 20), (2, 600 << 20), (3, 1001 << 20)] {
            let (begun, tell, over) = (begun.clone(), tell.clone(), over.clone());
            let long = move || {
                begun.send(key).unwrap();
                while !over.load(Ordering::Relaxed) {
                    if run_slot::is_wanted() && !run_slot::yield_slot(memory, &|| false) {
                        return tell.send(key).unwrap();
                    }
                    std::thread::yield_now();
                }
            };
            runner.submit([key; 2], wanted(), Box::new(long)).unwrap();
            assert_eq!(begins.recv().unwrap(), key);
        }
        assert_ne!(told.recv().unwrap(), 3, "one of those that had begun");
        let (done, ran) = mpsc::channel();
        for n in 0..100 {
            let done = done.clone();
            let short = move || done.send(n).unwrap();
            runner.submit([9; 2], wanted(), Box::new(short)).unwrap();
            assert_eq!(ran.recv().unwrap(), n);
        }
        assert!(told.try_iter().any(|key| key == 3), "it never fits");
        over.store(true, Ordering::Relaxed);
    }
}
