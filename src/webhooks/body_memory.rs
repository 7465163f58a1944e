//! Memory for bodies that are being received and handled: limited in all, for one address, and for one provider's
//! deliveries to one circle.
//!
//! Memory is reserved as bytes arrive, not as announced. When there is none left, one arriving body is given up: the
//! one that has been slower than [`RATE`] for longest. If none is too slow, it is the oldest body of the address that
//! has the most arriving. So slow senders keep nobody out, however many addresses they have; large senders keep out
//! only themselves and slow ones; and a body that comes at once always finds memory. Each step is O(log n).

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use circled_protocol::PublicKey;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{address::Network, pace::Pace};

/// The bytes each second at which a body must arrive, once it isn't young, to keep its memory when others need it. It
/// is measured by the reserved memory, which is up to twice the bytes that have come.
const RATE: usize = 128 << 10;
/// The time for which a body is young.
const YOUNG: Duration = Duration::from_secs(1);

/// The limits in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_address: usize,
    pub(super) per_mailbox: usize,
}

/// A provider and a circle: the address of a delivery.
pub(super) type Mailbox = (Arc<str>, PublicKey);

/// The memory for bodies. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct BodyMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: Part,
    by_address: HashMap<Network, Part>,
    by_mailbox: HashMap<Mailbox, Part>,
    /// The unfinished bodies. A lower number is an older body.
    arriving: HashMap<u64, Arriving>,
    begun: u64,
}

/// The memory in use: of all, or of one address or mailbox.
#[derive(Debug, Default)]
struct Part {
    bytes: usize,
    /// The senders of unfinished bodies.
    senders: HashMap<Network, Sender>,
    /// The senders, ordered by the memory of their unfinished bodies.
    ranking: BTreeSet<(usize, Network)>,
    /// Their bodies, ordered by when they become too slow.
    deadlines: BTreeSet<Deadline>,
}

/// The time from which a body is too slow, and its number.
type Deadline = (Instant, u64);

/// The unfinished bodies of one address.
#[derive(Debug, Default)]
struct Sender {
    bytes: usize,
    bodies: BTreeSet<u64>,
}

#[derive(Debug)]
struct Arriving {
    who: Who,
    begun: Instant,
    bytes: usize,
    given_up: CancellationToken,
}

/// The owner of reserved memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    address: Network,
    mailbox: Mailbox,
}

/// The error that there is no memory, and that no body can be given up for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMemory;

/// The memory of one body, released when this is dropped.
pub(super) struct BodyReservation {
    memory: BodyMemory,
    who: Who,
    held: Reserved,
}

enum Reserved {
    /// The body is whole, or hasn't begun.
    Whole(usize),
    /// The body is arriving under this number.
    Arriving(u64, CancellationToken),
}

impl BodyMemory {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            limits,
            state: Mutex::default(),
        }))
    }

    /// Creates a reservation of nothing.
    pub(super) fn reserve(&self, address: Network, mailbox: Mailbox) -> BodyReservation {
        BodyReservation {
            memory: self.clone(),
            who: Who { address, mailbox },
            held: Reserved::Whole(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyReservation {
    /// Reserves memory for a body that is here as a whole.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), NoMemory> {
        let limits = &self.memory.0.limits;
        let mut state = self.memory.lock();
        state.take(limits, &self.who, bytes, None, now)?;
        self.held = Reserved::Whole(bytes);
        Ok(())
    }

    /// Reserves more memory for an unfinished body. From then on, the body may be given up.
    ///
    /// # Errors
    /// There is no memory, or the body was given up.
    pub(super) fn grow(&mut self, bytes: usize, now: Instant) -> Result<(), NoMemory> {
        let limits = &self.memory.0.limits;
        let mut state = self.memory.lock();
        let number = match self.held {
            Reserved::Arriving(number, _) => number,
            Reserved::Whole(_) => {
                let given_up = CancellationToken::new();
                let number = state.begin(&self.who, now, given_up.clone());
                self.held = Reserved::Arriving(number, given_up);
                number
            }
        };
        if !state.arriving.contains_key(&number) {
            return Err(NoMemory);
        }
        state.take(limits, &self.who, bytes, Some(number), now)
    }

    /// Notes that the body is whole and needs so many bytes. It can't be given up any more.
    ///
    /// # Errors
    /// The body was given up before.
    pub(super) fn settle(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let Reserved::Arriving(number, _) = self.held else {
            return Ok(());
        };
        let mut state = self.memory.lock();
        let held = state.end(number).ok_or(NoMemory)?;
        // More may have been reserved than the body needs.
        state.give_back(&self.who, held - bytes.min(held));
        self.held = Reserved::Whole(bytes.min(held));
        Ok(())
    }

    /// Returns true if the body was given up.
    pub(super) fn has_given_way(&self) -> bool {
        match &self.held {
            Reserved::Arriving(_, given_up) => given_up.is_cancelled(),
            Reserved::Whole(_) => false,
        }
    }

    /// Waits until the body is given up.
    pub(super) async fn given_up(&self) {
        match &self.held {
            Reserved::Arriving(_, given_up) => given_up.cancelled().await,
            Reserved::Whole(_) => std::future::pending().await,
        }
    }
}

impl Part {
    /// Returns the body that would be given up, if one is arriving.
    fn first(&self, now: Instant) -> Option<u64> {
        if let Some((deadline, number)) = self.deadlines.first()
            && *deadline < now
        {
            return Some(*number);
        }
        let (_, address) = self.ranking.last()?;
        self.senders.get(address)?.bodies.first().copied()
    }

    fn change(&mut self, address: Network, change: impl FnOnce(&mut Sender)) {
        let sender = self.senders.entry(address).or_default();
        self.ranking.remove(&(sender.bytes, address));
        change(sender);
        if sender.bodies.is_empty() {
            self.senders.remove(&address);
        } else {
            self.ranking.insert((sender.bytes, address));
        }
    }

    fn is_nothing(&self) -> bool {
        self.bytes == 0 && self.senders.is_empty()
    }
}

impl Arriving {
    /// Returns the time from which the body is too slow if no more comes.
    fn deadline(&self) -> Instant {
        let pace = Pace {
            first: Duration::ZERO,
            rate: RATE,
        };
        let young = self.begun + YOUNG;
        young.max(pace.deadline(self.begun, self.bytes))
    }
}

impl State {
    /// Returns the three parts in which somebody's bodies count, the smallest first.
    fn parts(&mut self, who: &Who) -> [&mut Part; 3] {
        [
            of(&mut self.by_address, &who.address),
            of(&mut self.by_mailbox, &who.mailbox),
            &mut self.all,
        ]
    }

    fn begin(&mut self, who: &Who, begun: Instant, given_up: CancellationToken) -> u64 {
        let number = self.begun;
        self.begun += 1;
        let arriving = Arriving {
            who: who.clone(),
            begun,
            bytes: 0,
            given_up,
        };
        let deadline = (arriving.deadline(), number);
        self.arriving.insert(number, arriving);
        for part in self.parts(who) {
            part.deadlines.insert(deadline);
            part.change(who.address, |sender| {
                sender.bodies.insert(number);
            });
        }
        number
    }

    /// Removes an unfinished body. Returns its bytes.
    fn end(&mut self, number: u64) -> Option<usize> {
        let arriving = self.arriving.remove(&number)?;
        let deadline = (arriving.deadline(), number);
        let Arriving { who, bytes, .. } = arriving;
        for part in self.parts(&who) {
            part.deadlines.remove(&deadline);
            part.change(who.address, |sender| {
                sender.bytes -= bytes;
                sender.bodies.remove(&number);
            });
        }
        Some(bytes)
    }

    fn take(
        &mut self,
        limits: &Limits,
        who: &Who,
        bytes: usize,
        number: Option<u64>,
        now: Instant,
    ) -> Result<(), NoMemory> {
        let limits = [limits.per_address, limits.per_mailbox, limits.all];
        loop {
            let first = {
                let mut parts = self.parts(who).into_iter().zip(limits);
                let full = parts.find(|(part, limit)| part.bytes + bytes > *limit);
                full.map(|(part, _)| part.first(now))
            };
            let Some(first) = first else { break };
            // The oldest body of the largest sender is the one that asks: it has had its time.
            let Some(first) = first.filter(|first| Some(*first) != number) else {
                self.give_back(who, 0);
                return Err(NoMemory);
            };
            self.give_up(first);
        }
        let moved = number.and_then(|number| {
            let arriving = self.arriving.get_mut(&number)?;
            let before = (arriving.deadline(), number);
            arriving.bytes += bytes;
            Some((before, (arriving.deadline(), number)))
        });
        for part in self.parts(who) {
            part.bytes += bytes;
            if let Some((before, after)) = moved {
                part.deadlines.remove(&before);
                part.deadlines.insert(after);
                part.change(who.address, |sender| sender.bytes += bytes);
            }
        }
        Ok(())
    }

    /// Gives a body up. Its task drops the bytes as soon as it runs.
    fn give_up(&mut self, number: u64) {
        let Some(arriving) = self.arriving.get(&number) else {
            return;
        };
        arriving.given_up.cancel();
        let who = arriving.who.clone();
        if let Some(bytes) = self.end(number) {
            self.give_back(&who, bytes);
        }
    }

    fn give_back(&mut self, who: &Who, bytes: usize) {
        self.all.bytes -= bytes;
        less(&mut self.by_address, &who.address, bytes);
        less(&mut self.by_mailbox, &who.mailbox, bytes);
    }
}

fn of<'a, K: Eq + Hash + Clone>(parts: &'a mut HashMap<K, Part>, key: &K) -> &'a mut Part {
    parts.entry(key.clone()).or_default()
}

fn less<K: Eq + Hash>(parts: &mut HashMap<K, Part>, key: &K, bytes: usize) {
    if let Some(part) = parts.get_mut(key) {
        part.bytes -= bytes;
        if part.is_nothing() {
            parts.remove(key);
        }
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        let mut state = self.memory.lock();
        match mem::replace(&mut self.held, Reserved::Whole(0)) {
            Reserved::Whole(0) => {}
            Reserved::Whole(bytes) => state.give_back(&self.who, bytes),
            Reserved::Arriving(number, _) => {
                if let Some(bytes) = state.end(number) {
                    state.give_back(&self.who, bytes);
                }
            }
        }
    }
}

impl fmt::Debug for BodyReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.who).finish()
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;
    use futures_util::FutureExt;

    use super::*;

    const LIMITS: Limits = Limits {
        all: 100,
        per_address: 40,
        per_mailbox: 60,
    };

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    fn mailboxes() -> [Mailbox; 2] {
        let circle = SecretKey::generate().unwrap().public();
        [("stripe".into(), circle), ("idenfy".into(), circle)]
    }

    fn gave_way(reservation: &BodyReservation) -> bool {
        reservation.given_up().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_body_gives_way() {
        let memory = BodyMemory::new(LIMITS);
        let now = Instant::now();
        let [stripe, idenfy] = mailboxes();
        // The limit of one address.
        let mut one = memory.reserve(network(1), stripe.clone());
        let mut two = memory.reserve(network(1), stripe.clone());
        one.grow(30, now).unwrap();
        two.grow(20, now).unwrap();
        assert!(gave_way(&one) && !gave_way(&two));
        assert_eq!(one.grow(1, now), Err(NoMemory));
        assert_eq!(one.settle(30), Err(NoMemory));
        // The limit of one mailbox.
        let mut three = memory.reserve(network(2), stripe.clone());
        let mut four = memory.reserve(network(3), stripe.clone());
        three.grow(40, now).unwrap();
        assert!(!gave_way(&two));
        four.take(30, now).unwrap();
        assert!(gave_way(&three) && !gave_way(&two), "of whom most arrives");
        // The limit of all.
        let mut five = memory.reserve(network(4), idenfy.clone());
        five.take(40, now).unwrap();
        let mut six = memory.reserve(network(5), idenfy.clone());
        six.take(20, now).unwrap();
        assert!(gave_way(&two));
        // A whole body stays; and the oldest body itself can't take from others.
        let mut seven = memory.reserve(network(5), stripe.clone());
        seven.grow(10, now).unwrap();
        assert_eq!(seven.grow(1, now), Err(NoMemory));
        seven.settle(5).unwrap();
        assert_eq!(memory.lock().all.bytes, 30 + 40 + 20 + 5);
        let mut eight = memory.reserve(network(6), stripe);
        assert_eq!(eight.take(6, now), Err(NoMemory));
        drop((one, two, three, four, five, six, seven, eight));
        let state = memory.lock();
        assert_eq!(state.all.bytes, 0);
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
        assert!(state.arriving.is_empty());
    }

    #[test]
    fn the_largest_sender_gives_way_and_nobody_else() {
        let memory = BodyMemory::new(LIMITS);
        let now = Instant::now();
        let [stripe, _] = mailboxes();
        // The provider's body is the oldest.
        let mut provider = memory.reserve(network(1), stripe.clone());
        provider.grow(2, now).unwrap();
        let mut flood = Vec::new();
        for n in 0..1000_u16 {
            let last = u8::try_from(2 + n % 5).unwrap();
            let mut reservation = memory.reserve(network(last), stripe.clone());
            reservation.grow(10, now).unwrap();
            flood.push(reservation);
            if n % 200 == 0 && provider.grow(1, now).is_err() {
                panic!("it gave way to {n}");
            }
        }
        assert!(!gave_way(&provider));
        provider.settle(7).unwrap();
        drop((provider, flood));
        let state = memory.lock();
        assert!(state.all.is_nothing() && state.all.ranking.is_empty());
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
    }

    #[test]
    fn the_longest_slow_body_gives_way_before_the_largest_sender() {
        let kib = |n: usize| n << 10;
        let memory = BodyMemory::new(Limits {
            all: kib(1024),
            per_address: kib(512),
            per_mailbox: kib(768),
        });
        let [stripe, idenfy] = mailboxes();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        // Each body arrives slowly: one has had time for 256 KiB, the others for less.
        let mut drips = Vec::new();
        for (last, begun, bytes) in [(1, 1000, 256), (2, 100, 64), (3, 200, 64), (4, 2900, 64)] {
            let mut reservation = memory.reserve(network(last), stripe.clone());
            reservation.grow(kib(bytes), after(begun)).unwrap();
            drips.push(reservation);
        }
        let gone = |drips: &[BodyReservation]| drips.iter().map(gave_way).collect::<Vec<_>>();
        // The mailbox has 320 KiB left, and this body becomes the largest.
        let mut large = memory.reserve(network(5), stripe.clone());
        large.grow(kib(256), after(2950)).unwrap();
        large.grow(kib(128), after(2950)).unwrap();
        assert_eq!(gone(&drips), [false, true, false, false], "the slowest");
        large.grow(kib(64), after(2950)).unwrap();
        assert_eq!(gone(&drips), [false, true, true, false]);
        // None is too slow, so the largest sender's oldest body goes, even if it is the one that asks.
        assert_eq!(large.grow(kib(1), after(2999)), Err(NoMemory));
        // 256 KiB are enough for two seconds.
        large.grow(kib(1), after(3001)).unwrap();
        assert_eq!(gone(&drips), [true, true, true, false]);
        // The same with the limit of all.
        let mut other = memory.reserve(network(6), idenfy.clone());
        other.take(kib(511), after(3100)).unwrap();
        assert_eq!(gone(&drips), [true, true, true, false]);
        let mut more = memory.reserve(network(7), idenfy);
        more.take(kib(63), after(4500)).unwrap();
        assert_eq!(gone(&drips), [true; 4]);
        assert!(!gave_way(&large));
        drop((large, other, more, drips));
        let state = memory.lock();
        assert!(state.all.is_nothing() && state.all.deadlines.is_empty());
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
    }

    #[test]
    fn a_fast_enough_body_is_never_too_slow() {
        let memory = BodyMemory::new(Limits {
            all: 4 << 20,
            per_address: 2 << 20,
            per_mailbox: 4 << 20,
        });
        let [stripe, _] = mailboxes();
        let start = Instant::now();
        let mut steady = memory.reserve(network(1), stripe.clone());
        let mut flood = Vec::new();
        // This body comes at the required rate, the others at full speed.
        for second in 0..8 {
            let now = start + Duration::from_secs(second);
            steady.grow(RATE, now).unwrap();
            for n in 0..20_u8 {
                let mut reservation = memory.reserve(network(2 + n % 2), stripe.clone());
                reservation.grow(1 << 20, now).unwrap();
                flood.push(reservation);
            }
        }
        assert!(!gave_way(&steady));
        // It stops.
        let mut late = memory.reserve(network(4), stripe.clone());
        let now = start + Duration::from_secs(20);
        flood.clear();
        for _ in 0..2 {
            let mut reservation = memory.reserve(network(2), stripe.clone());
            reservation.grow(1 << 20, now).unwrap();
            flood.push(reservation);
        }
        late.grow(2 << 20, now).unwrap();
        assert!(gave_way(&steady));
        assert!(!flood.iter().any(gave_way));
    }

    #[test]
    fn nothing_is_kept_of_abandoned_bodies() {
        let memory = BodyMemory::new(LIMITS);
        let now = Instant::now();
        let [stripe, _] = mailboxes();
        let mut reservation = memory.reserve(network(1), stripe.clone());
        assert_eq!(reservation.grow(41, now), Err(NoMemory));
        drop(reservation);
        let mut reservation = memory.reserve(network(1), stripe);
        assert_eq!(reservation.take(41, now), Err(NoMemory));
        drop(reservation);
        let state = memory.lock();
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
    }
}
