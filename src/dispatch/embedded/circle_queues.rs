//! The queues of durable jobs: which of them wait, in which order, and which of them run.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    commit_gate::CommitGate,
    job_store::NewJob,
    waiting_by_caller::{Submitter, WaitingByCaller},
};
use crate::{
    dispatch::Progress,
    memory::{MemoryBudget, Reservation},
};

/// The durable jobs of all circles: first in, first out within each.
#[derive(Debug)]
pub(super) struct CircleQueues {
    circles: HashMap<PublicKey, CircleQueue>,
    /// Jobs that run again later.
    delayed: BTreeMap<(Timestamp, JobId), DelayedJob>,
    /// The time when each of those runs, by job.
    due: HashMap<JobId, Timestamp>,
    /// Circles whose next job found no room in the runner's queue.
    throttled: HashSet<PublicKey>,
    running: HashMap<JobId, Arc<CommitGate>>,
    /// Those who wait for the end of a job's next run.
    waiters: HashMap<JobId, oneshot::Sender<Progress>>,
    new_jobs: MemoryBudget,
    /// Set at shutdown: no more jobs are started.
    pub(super) stopping: bool,
}

#[derive(Debug, Default)]
struct CircleQueue {
    ready: VecDeque<ReadyJob>,
    /// The number of its jobs that run again later.
    delayed: usize,
    /// Both of these, by caller.
    by_caller: WaitingByCaller,
    running: usize,
}

/// A job that runs again later.
#[derive(Debug)]
struct DelayedJob {
    circle: PublicKey,
    submitter: Option<Submitter>,
}

/// A job that waits for its turn.
#[derive(Debug)]
pub(super) struct ReadyJob {
    pub(super) id: JobId,
    /// The caller who submitted it, if it is no delivery.
    pub(super) submitter: Option<Submitter>,
    /// The job itself, if it needn't be read from the disk.
    pub(super) new_job: Option<Box<ReservedJob>>,
}

/// A new job that is in memory from its acceptance to the end of its first run.
#[derive(Debug)]
pub(super) struct ReservedJob {
    pub(super) new_job: NewJob,
    _reservation: Reservation,
}

/// Bytes of new jobs that stay in memory until they have run. The others are read from the disk.
const MAX_NEW_JOB_BYTES: usize = 16 << 20;

impl Default for CircleQueues {
    fn default() -> Self {
        Self {
            circles: HashMap::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            throttled: HashSet::new(),
            running: HashMap::new(),
            waiters: HashMap::new(),
            new_jobs: MemoryBudget::new("the room for new jobs", MAX_NEW_JOB_BYTES),
            stopping: false,
        }
    }
}

impl CircleQueues {
    /// Returns how many jobs of the circle wait, for their turn or for their next try.
    pub(super) fn backlog(&self, circle: &PublicKey) -> usize {
        let queue = self.circles.get(circle);
        queue.map_or(0, |queue| queue.ready.len() + queue.delayed)
    }

    /// Returns how many jobs of the circle wait of a caller, and of all guests.
    pub(super) fn waiting_of(
        &self,
        circle: &PublicKey,
        caller: Option<PublicKey>,
    ) -> (usize, usize) {
        let by_caller = self.circles.get(circle).map(|queue| &queue.by_caller);
        by_caller.map_or((0, 0), |by_caller| {
            let own = caller.map_or(0, |caller| by_caller.of(&caller));
            (own, by_caller.of_guests())
        })
    }

    /// Returns how many jobs wait or run.
    pub(super) fn len(&self) -> usize {
        let ready: usize = self.circles.values().map(|queue| queue.ready.len()).sum();
        ready + self.delayed.len() + self.running.len()
    }

    /// Returns the oldest job that runs, or may run now.
    pub(super) fn oldest(&self) -> Option<JobId> {
        let ready = self
            .circles
            .values()
            .filter_map(|queue| queue.ready.front());
        let ready = ready.map(|ready| ready.id);
        ready.chain(self.running.keys().copied()).min()
    }

    pub(super) fn push(&mut self, circle: PublicKey, id: JobId, submitter: Option<Submitter>) {
        let ready = ReadyJob {
            id,
            submitter,
            new_job: None,
        };
        let queue = self.circles.entry(circle).or_default();
        queue.by_caller.add(submitter);
        queue.ready.push_back(ready);
    }

    /// Adds a job that has just been accepted.
    pub(super) fn push_new(&mut self, circle: PublicKey, new_job: NewJob) {
        let (id, submitter) = (new_job.job.id, Submitter::of(&new_job.job));
        let reservation = self.new_jobs.try_reserve(new_job.size).ok();
        let new_job = reservation.map(|reservation| {
            Box::new(ReservedJob {
                new_job,
                _reservation: reservation,
            })
        });
        let queue = self.circles.entry(circle).or_default();
        queue.by_caller.add(submitter);
        queue.ready.push_back(ReadyJob {
            id,
            submitter,
            new_job,
        });
    }

    /// Has the job run at the time `due`, or at the one that was set before, if that is earlier.
    pub(super) fn delay(
        &mut self,
        circle: PublicKey,
        job: JobId,
        submitter: Option<Submitter>,
        due: Timestamp,
    ) {
        if let Some(before) = self.due.get(&job) {
            if *before <= due {
                return;
            }
            self.delayed.remove(&(*before, job));
        } else {
            let queue = self.circles.entry(circle).or_default();
            queue.delayed += 1;
            queue.by_caller.add(submitter);
        }
        self.due.insert(job, due);
        let later = DelayedJob { circle, submitter };
        self.delayed.insert((due, job), later);
    }

    pub(super) fn wait_for(&mut self, job: JobId, waiter: oneshot::Sender<Progress>) {
        self.waiters.insert(job, waiter);
    }

    pub(super) fn waiter(&mut self, job: JobId) -> Option<oneshot::Sender<Progress>> {
        self.waiters.remove(&job)
    }

    /// Returns whether a new job of the circle may run before it is stored: none waits that came before.
    pub(super) fn may_run_first(&self, circle: &PublicKey) -> bool {
        let queue = self.circles.get(circle);
        !self.stopping && queue.is_none_or(|queue| queue.ready.is_empty())
    }

    /// Takes out the circle's next job, if it may run now. It counts as running from here on.
    pub(super) fn start(&mut self, circle: &PublicKey, at_once: usize) -> Option<ReadyJob> {
        if self.stopping {
            return None;
        }
        let queue = self.circles.get_mut(circle)?;
        if queue.running >= at_once {
            return None;
        }
        let job = queue.ready.pop_front()?;
        queue.by_caller.remove(job.submitter);
        queue.running += 1;
        Some(job)
    }

    /// Puts a job back in front: the runner's queue had no room for it.
    pub(super) fn throttle(&mut self, circle: PublicKey, id: JobId, submitter: Option<Submitter>) {
        let queue = self.circles.entry(circle).or_default();
        queue.running = queue.running.saturating_sub(1);
        queue.by_caller.add(submitter);
        queue.ready.push_front(ReadyJob {
            id,
            submitter,
            new_job: None,
        });
        self.throttled.insert(circle);
    }

    /// Returns whether a job runs right now.
    pub(super) fn is_running(&self, job: JobId) -> bool {
        self.running.contains_key(&job)
    }

    /// Ends a job's run, if there is one and it isn't about to be committed.
    pub(super) fn cancel(&self, job: JobId) {
        if let Some(gate) = self.running.get(&job) {
            gate.cancel();
        }
    }

    /// Removes a job that waits.
    pub(super) fn forget(&mut self, circle: &PublicKey, job: JobId) {
        self.waiters.remove(&job);
        let due = self.due.remove(&job);
        let Some(queue) = self.circles.get_mut(circle) else {
            return;
        };
        if let Some(due) = due {
            let later = self.delayed.remove(&(due, job));
            queue.delayed = queue.delayed.saturating_sub(1);
            queue
                .by_caller
                .remove(later.and_then(|later| later.submitter));
        }
        if let Some(index) = queue.ready.iter().position(|ready| ready.id == job) {
            let ready = queue.ready.remove(index);
            queue
                .by_caller
                .remove(ready.and_then(|ready| ready.submitter));
        }
        if queue.running == 0 && queue.ready.is_empty() && queue.delayed == 0 {
            self.circles.remove(circle);
        }
    }

    /// Removes the jobs of a circle that wait.
    pub(super) fn forget_circle(&mut self, circle: &PublicKey) {
        let Some(queue) = self.circles.get(circle) else {
            return;
        };
        let ready = queue.ready.iter().map(|ready| ready.id);
        let delayed = self.delayed.iter();
        let delayed = delayed.filter(|(_, later)| later.circle == *circle);
        let waiting: Vec<_> = ready.chain(delayed.map(|((_, job), _)| *job)).collect();
        for job in waiting {
            self.forget(circle, job);
        }
    }

    /// Notes that a job runs, with the gate that decides how it ends.
    pub(super) fn mark_running(&mut self, job: JobId, gate: Arc<CommitGate>) {
        self.running.insert(job, gate);
    }

    /// Notes that this run of a job is over. Another one may have begun, if the job came again meanwhile.
    pub(super) fn stopped(&mut self, circle: &PublicKey, job: JobId, gate: &Arc<CommitGate>) {
        let own = self.running.get(&job);
        if own.is_some_and(|own| Arc::ptr_eq(own, gate)) {
            self.running.remove(&job);
        }
        if let Some(queue) = self.circles.get_mut(circle) {
            queue.running = queue.running.saturating_sub(1);
            if queue.running == 0 && queue.ready.is_empty() && queue.delayed == 0 {
                self.circles.remove(circle);
            }
        }
    }

    /// Moves the jobs that are due by now into their queues. Returns the circles to start jobs of, and the time of the
    /// next job that is due.
    pub(super) fn wake(&mut self, now: Timestamp) -> (HashSet<PublicKey>, Option<Timestamp>) {
        let mut circles = std::mem::take(&mut self.throttled);
        while let Some(entry) = self.delayed.first_entry() {
            let (due, job) = *entry.key();
            if due > now {
                return (circles, Some(due));
            }
            let DelayedJob { circle, submitter } = entry.remove();
            self.due.remove(&job);
            if let Some(queue) = self.circles.get_mut(&circle) {
                queue.delayed = queue.delayed.saturating_sub(1);
                queue.by_caller.remove(submitter);
            }
            self.push(circle, job, submitter);
            circles.insert(circle);
        }
        (circles, None)
    }

    /// Returns whether a circle waits for room in the runner's queue.
    pub(super) fn has_throttled(&self) -> bool {
        !self.throttled.is_empty()
    }

    /// Cancels what runs.
    pub(super) fn cancel_all(&self) {
        for gate in self.running.values() {
            gate.cancel();
        }
    }
}
