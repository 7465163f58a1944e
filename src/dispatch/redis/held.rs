//! A job that a worker has taken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use super::{reply::Entry, wire};
use crate::{
    auth::PublicKey,
    circle::Run,
    dispatch::{Account, JobId, JobRecord, submission::Input},
};

/// How long no place may become free before more are given out: what is held runs for long, and what comes next may be
/// short, and somebody else's.
const STUCK: Duration = Duration::from_millis(50);

/// A job that is this worker's to run, until it is committed, or another worker's.
pub(super) struct Held {
    pub(super) what: What,
    /// How many runs of it had begun when it was taken from another worker, which may have died of it.
    pub(super) begun: Option<i64>,
    /// When it was taken.
    pub(super) since: Instant,
    /// Until when it may run.
    pub(super) deadline: Option<Instant>,
    /// Runs that collided with others.
    pub(super) collisions: u32,
    /// Runs that began without something that they read.
    pub(super) misses: u32,
    /// Whether it is a play that had to wait in the queue.
    pub(super) has_waited: bool,
    /// Ends the run.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Where it is: its partition, and its entry there.
    pub(super) place: Place,
    /// Of what was fetched for it.
    pub(super) _room: Option<Room>,
}

/// What is to be run.
pub(super) enum What {
    Play(Box<wire::Play<'static>>),
    Durable {
        job: Box<JobRecord>,
        input: Box<Input>,
        /// Whose inbox is told.
        gateway: String,
    },
}

impl Held {
    pub(super) fn id(&self) -> JobId {
        match &self.what {
            What::Play(play) => play.id,
            What::Durable { job, .. } => job.id,
        }
    }

    pub(super) fn circle(&self) -> PublicKey {
        match &self.what {
            What::Play(play) => play.circle,
            What::Durable { job, .. } => job.circle,
        }
    }

    /// Whom its time is charged to.
    pub(super) fn accounts(&self) -> [Account; 2] {
        match &self.what {
            What::Play(play) => Account::of_caller(play.circle, play.caller.key()),
            What::Durable { job, .. } => Account::of_job(job.circle, job.submitter()),
        }
    }

    pub(super) fn gateway(&self) -> &str {
        match &self.what {
            What::Play(play) => &play.gateway,
            What::Durable { gateway, .. } => gateway,
        }
    }

    /// The name that the script has in its circle, for the log.
    pub(super) fn script(&self) -> Option<&str> {
        match &self.what {
            What::Play(play) => play.work.script(),
            What::Durable { job, .. } => job.name.as_deref(),
        }
    }

    /// Spells out what is run; `provided`: the script of a delivery's provider. Nothing, where there is none.
    pub(super) fn run<'a>(&'a self, provided: Option<&'a str>) -> Option<Run<'a>> {
        match &self.what {
            What::Play(play) => Some(play.run()),
            What::Durable { job, input, .. } => input.run(job, provided),
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("entry", &self.place.entry())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// What a worker holds, by partition and entry: it takes no more than it has places for.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    jobs: Mutex<Jobs>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Jobs {
    /// How many bytes each came with.
    bytes: HashMap<(usize, Arc<str>), usize>,
    all_bytes: usize,
}

/// One of them; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    job: (usize, Arc<str>),
}

impl Places {
    /// Nothing, where the job is held already.
    pub(super) fn take(&self, partition: usize, entry: &Entry) -> Option<Place> {
        let job = (partition, Arc::from(entry.id.as_str()));
        let mut held = self.held();
        if held.bytes.contains_key(&job) {
            return None;
        }
        held.bytes.insert(job.clone(), entry.len());
        held.all_bytes += entry.len();
        Some(Place {
            places: self.clone(),
            job,
        })
    }

    pub(super) fn has(&self, partition: usize, entry: &str) -> bool {
        let job = (partition, Arc::from(entry));
        self.held().bytes.contains_key(&job)
    }

    /// Waits until fewer than so many are taken; or for a while, if they have no more than so many bytes. Returns how
    /// many more may be taken.
    pub(super) async fn free(&self, most: usize, most_bytes: usize) -> usize {
        let since = Instant::now();
        loop {
            let notified = self.0.freed.notified();
            let (taken, bytes) = {
                let held = self.held();
                (held.bytes.len(), held.all_bytes)
            };
            if taken < most {
                return most - taken;
            }
            let left = STUCK.saturating_sub(since.elapsed());
            if left.is_zero() && bytes < most_bytes {
                return most.div_ceil(4);
            }
            let wait = if left.is_zero() { STUCK } else { left };
            let _ = timeout(wait, notified).await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Jobs> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was fetched of the inputs of durable jobs, in bytes: no more than so many, of which one circle's are no more than half
/// of what others leave. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Inputs(Arc<Fetched>);

#[derive(Debug)]
struct Fetched {
    most: usize,
    held: Mutex<InputBytes>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct InputBytes {
    all: usize,
    by_circle: HashMap<PublicKey, usize>,
}

/// Room for one input; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    inputs: Inputs,
    circle: PublicKey,
    bytes: usize,
}

impl Inputs {
    /// With room for so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Fetched {
            most,
            held: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// Waits for room for an input of so many bytes. The only one always has some.
    pub(super) async fn room(&self, circle: PublicKey, bytes: usize) -> Room {
        loop {
            let freed = self.0.freed.notified();
            if let Some(room) = self.try_room(circle, bytes) {
                return room;
            }
            freed.await;
        }
    }

    /// Takes room, if there is some.
    pub(super) fn try_room(&self, circle: PublicKey, bytes: usize) -> Option<Room> {
        let mut held = self.held();
        let own = held.by_circle.get(&circle).copied().unwrap_or(0);
        let left = self.0.most.saturating_sub(held.all - own);
        if held.all > 0 && own + bytes > left / 2 {
            return None;
        }
        held.all += bytes;
        held.by_circle.insert(circle, own + bytes);
        drop(held);
        Some(Room {
            inputs: self.clone(),
            circle,
            bytes,
        })
    }

    fn held(&self) -> MutexGuard<'_, InputBytes> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        {
            let mut held = self.inputs.held();
            held.all -= self.bytes;
            if let Some(own) = held.by_circle.get_mut(&self.circle) {
                *own -= self.bytes;
                if *own == 0 {
                    held.by_circle.remove(&self.circle);
                }
            }
        }
        self.inputs.0.freed.notify_waiters();
    }
}

impl Place {
    pub(super) fn partition(&self) -> usize {
        self.job.0
    }

    pub(super) fn entry(&self) -> &str {
        &self.job.1
    }

    /// Both.
    pub(super) fn name(&self) -> (usize, String) {
        (self.job.0, self.job.1.to_string())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut held = self.places.held();
            let bytes = held.bytes.remove(&self.job).unwrap_or(0);
            held.all_bytes -= bytes;
        }
        self.places.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use fred::types::Value;

    use super::{Entry, Inputs, Places};
    use crate::auth::SecretKey;

    fn entry(id: usize) -> Entry {
        let fields = ["play", "0123456789"].map(Value::from);
        Entry::new(id.to_string(), Value::Array(fields.to_vec()))
    }

    #[test]
    fn inputs_have_a_budget_of_which_one_circle_has_half() {
        let inputs = Inputs::new(100);
        let circle = |n: u8| SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public();
        let first = inputs.try_room(circle(1), 1000).expect("the only one");
        assert!(inputs.try_room(circle(2), 1).is_none());
        drop(first);
        let mut rooms: Vec<_> = (0..10)
            .map_while(|_| inputs.try_room(circle(1), 10))
            .collect();
        assert_eq!(rooms.len(), 5);
        rooms.extend(inputs.try_room(circle(2), 25));
        assert_eq!(rooms.len(), 6);
        assert!(inputs.try_room(circle(2), 1).is_none());
        rooms.remove(0);
        assert!(inputs.try_room(circle(2), 5).is_some());
        drop(rooms);
        assert_eq!((inputs.held().all, inputs.held().by_circle.len()), (0, 0));
    }

    #[tokio::test]
    async fn more_is_taken_where_what_is_held_runs_for_long() {
        let places = Places::default();
        let held: Vec<_> = (0..8).filter_map(|n| places.take(0, &entry(n))).collect();
        assert_eq!(held.len(), 8);
        assert!(places.take(0, &entry(0)).is_none(), "it is held");
        assert_eq!(places.free(10, 0).await, 2);
        assert_eq!(places.free(8, 1000).await, 2, "after a while");
        let bytes = 8 * 14;
        let (free, ()) = tokio::join!(places.free(8, bytes), async move {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert_eq!(
            free, 8,
            "one that has room in bytes no more waits for a place"
        );
    }
}
