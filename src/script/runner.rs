//! Threads that run tasks which may block, taking the keys that wait in turn.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::stack;

type Task = Box<dyn FnOnce() + Send>;

/// A task that waits, and whether anybody still wants it.
struct Waiting {
    task: Task,
    given_up: Arc<AtomicBool>,
}

/// Runs tasks on threads of its own, which have stacks large enough for any script.
///
/// Tasks of one key start first in, first out; the keys that wait are served in turn, one task each, so a
/// key with a long backlog delays the others by one task at most.
pub struct Runner<K> {
    shared: Arc<Shared<K>>,
}

/// The queue is full, or the runner was shut down. The task was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of scripts is full")]
pub struct QueueFull;

struct Shared<K> {
    state: Mutex<State<K>>,
    wake: Condvar,
    capacity: usize,
}

struct State<K> {
    backlogs: HashMap<K, VecDeque<Waiting>>,
    /// Keys with a backlog, each once, in the order they are served.
    turns: VecDeque<K>,
    waiting: usize,
    closed: bool,
    threads: Vec<JoinHandle<()>>,
    started: usize,
}

impl<K: Hash + Eq + Clone + Send + 'static> Runner<K> {
    /// Starts so many `threads`; up to `queue` tasks may wait for one.
    pub fn start(threads: usize, queue: usize) -> io::Result<Self> {
        let state = State {
            backlogs: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            closed: false,
            threads: Vec::new(),
            started: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            capacity: queue,
        });
        // Dropping it on an error ends the threads that did start.
        let runner = Self { shared };
        for _ in 0..threads {
            Shared::add_thread(&runner.shared)?;
        }
        Ok(runner)
    }

    /// Has `task` run when a thread is free and it is the key's turn. A task that is `given_up` meanwhile
    /// leaves its place to others. When the queue is full, a key with less in it than its share, were all
    /// places shared alike, still gets one, up to twice the queue in all: one key can't fill it for the others.
    pub fn submit(&self, key: K, given_up: Arc<AtomicBool>, task: Task) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        let capacity = self.shared.capacity;
        if state.waiting >= capacity {
            state.clear_out();
        }
        let own = state.backlogs.get(&key).map_or(0, VecDeque::len);
        let keys = state.backlogs.len() + usize::from(own == 0);
        let bound = if own < (capacity / keys).max(1) {
            capacity.saturating_mul(2)
        } else {
            capacity
        };
        if state.closed || state.waiting >= bound {
            return Err(QueueFull);
        }
        state.waiting += 1;
        let waiting = Waiting { task, given_up };
        match state.backlogs.get_mut(&key) {
            Some(backlog) => backlog.push_back(waiting),
            None => {
                state
                    .backlogs
                    .insert(key.clone(), VecDeque::from([waiting]));
                state.turns.push_back(key);
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl<K: Hash + Eq> State<K> {
    /// Drops the tasks that nobody wants any more.
    fn clear_out(&mut self) {
        self.backlogs.retain(|_, backlog| {
            backlog.retain(|waiting| !waiting.given_up.load(Ordering::Relaxed));
            !backlog.is_empty()
        });
        self.turns.retain(|key| self.backlogs.contains_key(key));
        self.waiting = self.backlogs.values().map(VecDeque::len).sum();
    }
}

impl<K> Runner<K> {
    /// Takes no more tasks, runs those that wait, and returns when the last one has ended. Calling it again
    /// does nothing more.
    pub fn shutdown(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.wake.notify_all();
        // A thread may put its replacement here while it is joined.
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
        f.debug_struct("Runner")
            .field("waiting", &self.shared.lock().waiting)
            .finish_non_exhaustive()
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Tasks never run under the lock, so its state is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Shared<K> {
    fn add_thread(shared: &Arc<Self>) -> io::Result<()> {
        let mut state = shared.lock();
        let number = state.started;
        let worker = Arc::clone(shared);
        let thread = stack::spawn(format!("script-{number}"), move || worker.work())?;
        state.started += 1;
        // The threads that have ended were replaced.
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
        Ok(())
    }

    fn work(self: Arc<Self>) {
        while let Some(task) = self.next() {
            if catch_unwind(AssertUnwindSafe(task)).is_err() {
                tracing::error!("a task panicked on a script thread");
            }
            if stack::is_spent() && Self::add_thread(&self).is_ok() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(key) = state.turns.pop_front() {
                state.waiting -= 1;
                let backlog = state.backlogs.get_mut(&key);
                let (task, more) = backlog.map_or((None, false), |tasks| {
                    (tasks.pop_front(), !tasks.is_empty())
                });
                if more {
                    state.turns.push_back(key);
                } else {
                    state.backlogs.remove(&key);
                }
                if let Some(waiting) = task {
                    return Some(waiting.task);
                }
            } else if state.closed {
                return None;
            } else {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::{QueueFull, Runner};

    fn wanted() -> Arc<AtomicBool> {
        Arc::default()
    }

    #[test]
    fn keys_take_turns_and_keep_their_order() {
        let runner = Runner::start(1, 10).unwrap();
        let (gate, closed) = mpsc::channel::<()>();
        runner
            .submit("gate", wanted(), Box::new(move || closed.recv().unwrap()))
            .unwrap();
        let (done, order) = mpsc::channel();
        for task in ["a1", "a2", "a3", "b1", "b2", "c1"] {
            let done = done.clone();
            runner
                .submit(
                    &task[..1],
                    wanted(),
                    Box::new(move || done.send(task).unwrap()),
                )
                .unwrap();
        }
        gate.send(()).unwrap();
        runner.shutdown();
        drop(done);
        assert_eq!(
            order.iter().collect::<Vec<_>>(),
            ["a1", "b1", "c1", "a2", "b2", "a3"]
        );
    }

    /// A runner of one thread that is busy until the gate is opened.
    fn busy(queue: usize) -> (Runner<u8>, mpsc::Sender<()>) {
        let runner = Runner::start(1, queue).unwrap();
        let (gate, closed) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let first = move || {
            started.send(()).unwrap();
            closed.recv().unwrap();
        };
        runner.submit(0, wanted(), Box::new(first)).unwrap();
        running.recv().unwrap();
        (runner, gate)
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_too() {
        let (runner, gate) = busy(2);
        let submit = |key| runner.submit(key, wanted(), Box::new(|| ()));
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
        let submit = |key| runner.submit(key, wanted(), Box::new(|| ()));
        assert_eq!([(); 4].map(|()| submit(1)), [Ok(()); 4]);
        assert_eq!([submit(2), submit(2)], [Ok(()); 2]);
        assert_eq!([submit(1), submit(2)], [Err(QueueFull); 2]);
        gate.send(()).unwrap();
        runner.shutdown();
    }

    #[test]
    fn what_is_given_up_leaves_its_place() {
        let (runner, gate) = busy(2);
        let given_up = wanted();
        for _ in 0..2 {
            let never = || panic!("nobody wants it");
            runner.submit(1, given_up.clone(), Box::new(never)).unwrap();
        }
        given_up.store(true, Ordering::Relaxed);
        let (done, ran) = mpsc::channel();
        for n in 0..2 {
            let done = done.clone();
            let task = move || done.send(n).unwrap();
            runner.submit(1, wanted(), Box::new(task)).unwrap();
        }
        gate.send(()).unwrap();
        runner.shutdown();
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_panicking_task_harms_no_other() {
        let runner = Runner::start(1, 10).unwrap();
        let (done, order) = mpsc::channel();
        runner
            .submit(
                1,
                wanted(),
                Box::new(|| std::panic::resume_unwind(Box::new(()))),
            )
            .unwrap();
        runner
            .submit(1, wanted(), Box::new(move || done.send(()).unwrap()))
            .unwrap();
        order.recv().unwrap();
    }

    #[test]
    fn a_thread_with_a_spent_stack_is_replaced() {
        let runner = Runner::start(1, 10).unwrap();
        let (done, threads) = mpsc::channel();
        for spend in [false, true, false] {
            let done = done.clone();
            let task = move || {
                if spend {
                    super::stack::mark_spent();
                }
                done.send(std::thread::current().id()).unwrap();
            };
            runner.submit(1, wanted(), Box::new(task)).unwrap();
        }
        drop(done);
        let threads: Vec<_> = threads.iter().collect();
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[1], threads[2]);
        runner.shutdown();
    }
}
