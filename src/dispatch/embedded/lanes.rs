//! Which durable jobs wait, in which order, and which of them run.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{claim::Claim, ledger::Fresh};
use crate::{
    auth::PublicKey,
    dispatch::{JobId, Progress},
};

/// The jobs of all circles: first in, first out within each.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    circles: HashMap<PublicKey, Lane>,
    /// Jobs that run again later.
    delayed: BTreeMap<(Timestamp, JobId), Later>,
    /// When those run, by job: each of them once.
    due: HashMap<JobId, Timestamp>,
    /// Circles whose next job found no place with the runner.
    held: HashSet<PublicKey>,
    running: HashMap<JobId, Arc<Claim>>,
    /// Who wants to know how a job's next run ends.
    waiters: HashMap<JobId, oneshot::Sender<Progress>>,
    fresh: usize,
    /// No more jobs are started.
    pub(super) stopping: bool,
}

#[derive(Debug, Default)]
struct Lane {
    ready: VecDeque<Ready>,
    /// How many of its jobs run again later.
    delayed: usize,
    running: usize,
}

/// A job that runs again later.
#[derive(Debug)]
struct Later {
    circle: PublicKey,
    submitter: Option<PublicKey>,
}

/// A job that waits for its turn.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) id: JobId,
    /// Who asked for it, if nobody sent it.
    pub(super) submitter: Option<PublicKey>,
    /// What its run takes, where it needn't be read from the disk.
    pub(super) fresh: Option<Box<Fresh>>,
}

/// Bytes of new jobs that are kept in memory until they run. The others are read from the disk.
const MAX_FRESH: usize = 16 << 20;

impl Lanes {
    /// Jobs of the circle that wait for their turn, or for their next try.
    pub(super) fn backlog(&self, circle: &PublicKey) -> usize {
        let lane = self.circles.get(circle);
        lane.map_or(0, |lane| lane.ready.len() + lane.delayed)
    }

    /// All jobs that wait, or run.
    pub(super) fn len(&self) -> usize {
        let ready: usize = self.circles.values().map(|lane| lane.ready.len()).sum();
        ready + self.delayed.len() + self.running.len()
    }

    pub(super) fn push(&mut self, circle: PublicKey, id: JobId, submitter: Option<PublicKey>) {
        let ready = Ready {
            id,
            submitter,
            fresh: None,
        };
        let lane = self.circles.entry(circle).or_default();
        lane.ready.push_back(ready);
    }

    /// A job that has just been made.
    pub(super) fn push_fresh(&mut self, circle: PublicKey, fresh: Fresh) {
        let (id, submitter) = (fresh.job.id, fresh.job.submitter());
        let fits = self.fresh + fresh.size <= MAX_FRESH;
        let fresh = fits.then(|| Box::new(fresh));
        self.fresh += fresh.as_ref().map_or(0, |fresh| fresh.size);
        let lane = self.circles.entry(circle).or_default();
        lane.ready.push_back(Ready {
            id,
            submitter,
            fresh,
        });
    }

    /// Has the job run at that time, or at the one that it was told before, if that is earlier.
    pub(super) fn delay(
        &mut self,
        circle: PublicKey,
        job: JobId,
        submitter: Option<PublicKey>,
        due: Timestamp,
    ) {
        if let Some(before) = self.due.get(&job) {
            if *before <= due {
                return;
            }
            self.delayed.remove(&(*before, job));
        } else {
            self.circles.entry(circle).or_default().delayed += 1;
        }
        self.due.insert(job, due);
        let later = Later { circle, submitter };
        self.delayed.insert((due, job), later);
    }

    pub(super) fn wait_for(&mut self, job: JobId, waiter: oneshot::Sender<Progress>) {
        self.waiters.insert(job, waiter);
    }

    pub(super) fn waiter(&mut self, job: JobId) -> Option<oneshot::Sender<Progress>> {
        self.waiters.remove(&job)
    }

    /// The circle's next job, if it may run now. It counts as running from here on.
    pub(super) fn start(&mut self, circle: &PublicKey, at_once: usize) -> Option<Ready> {
        if self.stopping {
            return None;
        }
        let lane = self.circles.get_mut(circle)?;
        if lane.running >= at_once {
            return None;
        }
        let job = lane.ready.pop_front()?;
        lane.running += 1;
        self.fresh -= job.fresh.as_ref().map_or(0, |fresh| fresh.size);
        Some(job)
    }

    /// The job found no place with the runner: it is the next one still.
    pub(super) fn hold(&mut self, circle: PublicKey, id: JobId, submitter: Option<PublicKey>) {
        let lane = self.circles.entry(circle).or_default();
        lane.running = lane.running.saturating_sub(1);
        lane.ready.push_front(Ready {
            id,
            submitter,
            fresh: None,
        });
        self.held.insert(circle);
    }

    /// Whether a job runs right now.
    pub(super) fn is_running(&self, job: JobId) -> bool {
        self.running.contains_key(&job)
    }

    /// Ends a job's run, if there is one and it isn't about to be committed.
    pub(super) fn cancel(&self, job: JobId) {
        if let Some(claim) = self.running.get(&job) {
            claim.cancel();
        }
    }

    /// A job that waits is not to run.
    pub(super) fn forget(&mut self, circle: &PublicKey, job: JobId) {
        self.waiters.remove(&job);
        let due = self.due.remove(&job);
        let Some(lane) = self.circles.get_mut(circle) else {
            return;
        };
        if let Some(due) = due {
            self.delayed.remove(&(due, job));
            lane.delayed = lane.delayed.saturating_sub(1);
        }
        if let Some(place) = lane.ready.iter().position(|ready| ready.id == job)
            && let Some(ready) = lane.ready.remove(place)
        {
            self.fresh -= ready.fresh.as_ref().map_or(0, |fresh| fresh.size);
        }
        if lane.running == 0 && lane.ready.is_empty() && lane.delayed == 0 {
            self.circles.remove(circle);
        }
    }

    /// A job is running: this decides how it ends.
    pub(super) fn running(&mut self, job: JobId, claim: Arc<Claim>) {
        self.running.insert(job, claim);
    }

    /// This run of a job is over. Another one may have begun, where the job came again meanwhile.
    pub(super) fn stopped(&mut self, circle: &PublicKey, job: JobId, claim: &Arc<Claim>) {
        let own = self.running.get(&job);
        if own.is_some_and(|own| Arc::ptr_eq(own, claim)) {
            self.running.remove(&job);
        }
        if let Some(lane) = self.circles.get_mut(circle) {
            lane.running = lane.running.saturating_sub(1);
            if lane.running == 0 && lane.ready.is_empty() && lane.delayed == 0 {
                self.circles.remove(circle);
            }
        }
    }

    /// Has what is due by now wait for its turn. Answers the circles to look at, and when to look again.
    pub(super) fn wake(&mut self, now: Timestamp) -> (HashSet<PublicKey>, Option<Timestamp>) {
        let mut circles = std::mem::take(&mut self.held);
        while let Some(entry) = self.delayed.first_entry() {
            let (due, job) = *entry.key();
            if due > now {
                return (circles, Some(due));
            }
            let Later { circle, submitter } = entry.remove();
            self.due.remove(&job);
            if let Some(lane) = self.circles.get_mut(&circle) {
                lane.delayed = lane.delayed.saturating_sub(1);
            }
            self.push(circle, job, submitter);
            circles.insert(circle);
        }
        (circles, None)
    }

    /// Whether a circle waits for a place with the runner.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Cancels what runs.
    pub(super) fn cancel_all(&self) {
        for claim in self.running.values() {
            claim.cancel();
        }
    }
}
