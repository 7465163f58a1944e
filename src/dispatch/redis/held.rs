//! A job that a worker has taken.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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
/// of what others leave. A circle that holds nothing and whose first input has found no room comes before all that come after
/// it, however small they are. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Inputs(Arc<Fetched>);

#[derive(Debug)]
struct Fetched {
    most: usize,
    held: Mutex<InputBytes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct InputBytes {
    all: usize,
    circles: HashMap<PublicKey, OfCircle>,
    /// Circles that hold nothing and found no room, in the order in which they began to wait.
    starved: BTreeMap<u64, PublicKey>,
    next: u64,
}

#[derive(Debug, Default)]
struct OfCircle {
    bytes: usize,
    /// Those who take room for its inputs, the first one first.
    lines: VecDeque<u64>,
    /// Since when the first one waits for room.
    since: Option<u64>,
}

/// A place among those who take room for inputs of a circle; the next one comes when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    inputs: Inputs,
    circle: PublicKey,
    number: u64,
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
            changed: Notify::new(),
        }))
    }

    /// Takes a place behind all that have one for inputs of the circle.
    pub(super) fn line(&self, circle: PublicKey) -> Line {
        let mut held = self.held();
        let number = held.number();
        held.of(circle).lines.push_back(number);
        Line {
            inputs: self.clone(),
            circle,
            number,
        }
    }

    fn held(&self) -> MutexGuard<'_, InputBytes> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputBytes {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn of(&mut self, circle: PublicKey) -> &mut OfCircle {
        self.circles.entry(circle).or_default()
    }

    /// Notes whether a circle is starved, or forgets it.
    fn note(&mut self, circle: PublicKey) {
        let Some(of) = self.circles.get(&circle) else {
            return;
        };
        if of.bytes > 0 {
            return;
        }
        if let Some(since) = of.since {
            self.starved.insert(since, circle);
        } else if of.lines.is_empty() {
            self.circles.remove(&circle);
        }
    }
}

impl Line {
    /// Waits for room for an input of so many bytes. The only one always has some.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        loop {
            let changed = self.inputs.0.changed.notified();
            if let Some(room) = self.try_room(bytes) {
                return room;
            }
            self.wait();
            changed.await;
        }
    }

    /// Takes room, if there is some, and nobody comes before.
    pub(super) fn try_room(&self, bytes: usize) -> Option<Room> {
        let mut held = self.inputs.held();
        let all = held.all;
        let first = held.starved.first_key_value().map(|(since, _)| *since);
        let of = held.of(self.circle);
        let left = self.inputs.0.most.saturating_sub(all - of.bytes);
        let fits = all == 0 || of.bytes + bytes <= left / 2;
        let is_first = of.lines.front() == Some(&self.number);
        if !fits || !is_first || first.is_some_and(|first| of.since != Some(first)) {
            return None;
        }
        of.bytes += bytes;
        let since = of.since.take();
        held.all += bytes;
        if let Some(since) = since {
            held.starved.remove(&since);
        }
        let is_next = since.is_some() && since == first;
        drop(held);
        if is_next {
            // Whoever waited behind it may have room.
            self.inputs.0.changed.notify_waiters();
        }
        Some(Room {
            inputs: self.inputs.clone(),
            circle: self.circle,
            bytes,
        })
    }

    /// Notes that it waits, if it is the first one of its circle.
    fn wait(&self) {
        let mut held = self.inputs.held();
        let number = held.number();
        let of = held.of(self.circle);
        if of.lines.front() == Some(&self.number) && of.since.is_none() {
            of.since = Some(number);
        }
        held.note(self.circle);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let is_awaited = {
            let mut held = self.inputs.held();
            let of = held.of(self.circle);
            let is_first = of.lines.front() == Some(&self.number);
            let since = of.since.take_if(|_| is_first);
            of.lines.retain(|number| *number != self.number);
            let is_awaited = since.is_some() || is_first && !of.lines.is_empty();
            if let Some(since) = since {
                held.starved.remove(&since);
            }
            held.note(self.circle);
            is_awaited
        };
        if is_awaited {
            self.inputs.0.changed.notify_waiters();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        {
            let mut held = self.inputs.held();
            held.all -= self.bytes;
            held.of(self.circle).bytes -= self.bytes;
            held.note(self.circle);
        }
        self.inputs.0.changed.notify_waiters();
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
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use fred::types::Value;

    use super::{Entry, Inputs, Places, Room};
    use crate::auth::{PublicKey, SecretKey};

    fn entry(id: usize) -> Entry {
        let fields = ["play", "0123456789"].map(Value::from);
        Entry::new(id.to_string(), Value::Array(fields.to_vec()))
    }

    fn circle(n: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
    }

    /// Takes room, if there is some right now; else it waits.
    fn poll(room: &mut Pin<Box<impl Future<Output = Room>>>) -> Option<Room> {
        let mut context = Context::from_waker(Waker::noop());
        match room.as_mut().poll(&mut context) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn inputs_have_a_budget_of_which_one_circle_has_half() {
        let inputs = Inputs::new(100);
        let [one, two] = [1, 2].map(|n| inputs.line(circle(n)));
        let first = one.try_room(1000).expect("the only one");
        assert!(two.try_room(1).is_none());
        drop(first);
        let mut rooms: Vec<_> = (0..10).map_while(|_| one.try_room(10)).collect();
        assert_eq!(rooms.len(), 5);
        rooms.extend(two.try_room(25));
        assert_eq!(rooms.len(), 6);
        assert!(two.try_room(1).is_none());
        rooms.remove(0);
        assert!(two.try_room(5).is_some());
        drop((rooms, one, two));
        let held = inputs.held();
        assert_eq!((held.all, held.circles.len()), (0, 0));
    }

    #[test]
    fn a_large_input_that_waits_comes_before_small_ones_that_come_later() {
        let inputs = Inputs::new(100);
        let [a, b, c] = [1, 2, 3].map(|n| inputs.line(circle(n)));
        let mut held: Vec<_> = (0..4).filter_map(|_| a.try_room(10)).collect();
        held.extend(b.try_room(10));
        assert_eq!(held.len(), 5);
        let mut large = Box::pin(c.room(40));
        assert!(poll(&mut large).is_none());
        let mut small = Box::pin(b.room(1));
        let later = inputs.line(circle(4));
        let mut other = Box::pin(later.room(1));
        while held.len() > 1 {
            held.remove(0);
            assert!(poll(&mut small).is_none() && poll(&mut other).is_none());
            assert!(a.try_room(1).is_none());
            if held.len() > 2 {
                assert!(poll(&mut large).is_none());
            }
        }
        let large = poll(&mut large).expect("half of what is left is enough");
        assert!(poll(&mut small).is_none(), "its circle holds something");
        let other = poll(&mut other).expect("it comes next");
        let small = poll(&mut small).expect("nobody comes before it");
        drop((large, small, other, held));
        assert!(inputs.held().starved.is_empty());
    }

    #[test]
    fn a_circle_that_holds_much_keeps_nobody_waiting_for_more_of_its_own() {
        let inputs = Inputs::new(100);
        let [a, b] = [1, 2].map(|n| inputs.line(circle(n)));
        let held = a.try_room(40).unwrap();
        let mut more = Box::pin(a.room(40));
        assert!(poll(&mut more).is_none());
        let other = b.try_room(10).expect("there is room");
        // Now it holds nothing.
        drop(held);
        assert!(b.try_room(1).is_none());
        let more = poll(&mut more).expect("there is room");
        assert!(b.try_room(1).is_some());
        drop((other, more));
    }

    #[test]
    fn inputs_of_a_circle_have_room_in_the_order_in_which_they_came() {
        let inputs = Inputs::new(100);
        let lines: Vec<_> = (0..3).map(|_| inputs.line(circle(1))).collect();
        let other = inputs.line(circle(2)).try_room(40).unwrap();
        let held = lines[0].try_room(30).unwrap();
        let [first, second, third] = lines.try_into().unwrap();
        let mut large = Box::pin(first.room(20));
        assert!(poll(&mut large).is_none());
        assert!(second.try_room(0).is_none() && third.try_room(0).is_none());
        drop(held);
        let _large = poll(&mut large).unwrap();
        drop(large);
        assert!(second.try_room(1).is_none(), "the first one isn't done");
        drop(second);
        assert!(third.try_room(1).is_none());
        drop(first);
        assert!(third.try_room(1).is_some());
        drop((third, other));
    }

    #[test]
    fn who_leaves_while_waiting_for_room_keeps_nobody_waiting() {
        let inputs = Inputs::new(100);
        let [a, b] = [1, 2].map(|n| inputs.line(circle(n)));
        let _held = a.try_room(20).unwrap();
        let mut large = Box::pin(b.room(60));
        assert!(poll(&mut large).is_none() && a.try_room(1).is_none());
        drop(large);
        drop(b);
        assert!(a.try_room(1).is_some());
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
