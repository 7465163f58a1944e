//! Room for bodies that are being received and handed on: so many bytes in all, for one address, and for one
//! provider's deliveries to one circle.
//!
//! Room is taken as bytes arrive, whatever was announced. Where there is none left, the body that has been arriving for
//! longest gives way: who sends slowly keeps nobody out, and what comes at once always finds room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{address::Network, auth::PublicKey};

/// Bytes that there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_address: usize,
    pub(super) per_mailbox: usize,
}

/// Where a provider's deliveries to a circle arrive.
pub(super) type Mailbox = (Arc<str>, PublicKey);

/// The room there is. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_address: HashMap<Network, Share>,
    by_mailbox: HashMap<Mailbox, Share>,
    /// Bodies that aren't whole yet, in the order in which they began.
    arriving: BTreeMap<u64, Arriving>,
    begun: u64,
}

/// What one address or mailbox has.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    arriving: BTreeSet<u64>,
}

#[derive(Debug)]
struct Arriving {
    who: Who,
    bytes: usize,
    given_up: CancellationToken,
}

/// Whose room it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    address: Network,
    mailbox: Mailbox,
}

/// There is no room, and nobody gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// One body's room. Given back when it is dropped.
pub(super) struct Place {
    room: Room,
    who: Who,
    held: Held,
}

enum Held {
    /// By a body that is whole, or hasn't begun.
    Whole(usize),
    /// By one that is arriving, under this number.
    Arriving(u64, CancellationToken),
}

impl Room {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            limits,
            state: Mutex::default(),
        }))
    }

    /// Begins with nothing.
    pub(super) fn place(&self, address: Network, mailbox: Mailbox) -> Place {
        Place {
            room: self.clone(),
            who: Who { address, mailbox },
            held: Held::Whole(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Takes room for a body that is here as a whole.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let limits = &self.room.0.limits;
        self.room.lock().take(limits, &self.who, bytes, None)?;
        self.held = Held::Whole(bytes);
        Ok(())
    }

    /// Takes more room for a body of which more is to come. From then on, it may have to give way.
    ///
    /// # Errors
    /// There is none, or it had to give way.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let limits = &self.room.0.limits;
        let mut state = self.room.lock();
        let number = match self.held {
            Held::Arriving(number, _) => number,
            Held::Whole(_) => {
                let given_up = CancellationToken::new();
                let number = state.begin(&self.who, given_up.clone());
                self.held = Held::Arriving(number, given_up);
                number
            }
        };
        if !state.arriving.contains_key(&number) {
            return Err(NoRoom);
        }
        state.take(limits, &self.who, bytes, Some(number))
    }

    /// The body is whole, and takes so many bytes: it doesn't give way any more.
    ///
    /// # Errors
    /// It had to.
    pub(super) fn settle(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let Held::Arriving(number, _) = self.held else {
            return Ok(());
        };
        let mut state = self.room.lock();
        let held = state.end(number).ok_or(NoRoom)?;
        // It may have been given more than it came to need.
        state.give_back(&self.who, held - bytes.min(held));
        self.held = Held::Whole(bytes.min(held));
        Ok(())
    }

    /// Waits until the body has to give way, for as long as it needn't.
    pub(super) async fn given_up(&self) {
        match &self.held {
            Held::Arriving(_, given_up) => given_up.cancelled().await,
            Held::Whole(_) => std::future::pending().await,
        }
    }
}

impl State {
    fn begin(&mut self, who: &Who, given_up: CancellationToken) -> u64 {
        let number = self.begun;
        self.begun += 1;
        of(&mut self.by_address, &who.address)
            .arriving
            .insert(number);
        of(&mut self.by_mailbox, &who.mailbox)
            .arriving
            .insert(number);
        let arriving = Arriving {
            who: who.clone(),
            bytes: 0,
            given_up,
        };
        self.arriving.insert(number, arriving);
        number
    }

    /// It isn't arriving any more. Returns the bytes that it has.
    fn end(&mut self, number: u64) -> Option<usize> {
        let Arriving { who, bytes, .. } = self.arriving.remove(&number)?;
        if let Some(share) = self.by_address.get_mut(&who.address) {
            share.arriving.remove(&number);
        }
        if let Some(share) = self.by_mailbox.get_mut(&who.mailbox) {
            share.arriving.remove(&number);
        }
        Some(bytes)
    }

    fn take(
        &mut self,
        limits: &Limits,
        who: &Who,
        bytes: usize,
        number: Option<u64>,
    ) -> Result<(), NoRoom> {
        loop {
            let (address, mailbox) = (
                self.by_address.get(&who.address),
                self.by_mailbox.get(&who.mailbox),
            );
            let is_full =
                |share: Option<&Share>, limit| share.map_or(0, |share| share.bytes) + bytes > limit;
            let first = |share: Option<&Share>| share?.arriving.first().copied();
            let oldest = if is_full(address, limits.per_address) {
                first(address)
            } else if is_full(mailbox, limits.per_mailbox) {
                first(mailbox)
            } else if self.taken + bytes > limits.all {
                self.arriving.first_key_value().map(|(number, _)| *number)
            } else {
                break;
            };
            // Whoever is the oldest itself has had its time.
            let oldest = oldest.filter(|oldest| Some(*oldest) != number);
            self.give_up(oldest.ok_or(NoRoom)?);
        }
        self.taken += bytes;
        of(&mut self.by_address, &who.address).bytes += bytes;
        of(&mut self.by_mailbox, &who.mailbox).bytes += bytes;
        if let Some(arriving) = number.and_then(|number| self.arriving.get_mut(&number)) {
            arriving.bytes += bytes;
        }
        Ok(())
    }

    /// Has a body give way. Its task drops what it has as soon as it runs.
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
        self.taken -= bytes;
        less(&mut self.by_address, &who.address, bytes);
        less(&mut self.by_mailbox, &who.mailbox, bytes);
    }
}

fn of<'a, K: Eq + Hash + Clone>(shares: &'a mut HashMap<K, Share>, key: &K) -> &'a mut Share {
    shares.entry(key.clone()).or_default()
}

fn less<K: Eq + Hash>(shares: &mut HashMap<K, Share>, key: &K, bytes: usize) {
    if let Some(share) = shares.get_mut(key) {
        share.bytes -= bytes;
        if share.bytes == 0 && share.arriving.is_empty() {
            shares.remove(key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        match mem::replace(&mut self.held, Held::Whole(0)) {
            Held::Whole(0) => {}
            Held::Whole(bytes) => state.give_back(&self.who, bytes),
            Held::Arriving(number, _) => {
                if let Some(bytes) = state.end(number) {
                    state.give_back(&self.who, bytes);
                }
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.who).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::auth::SecretKey;

    const ROOM: Limits = Limits {
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

    fn gave_way(place: &Place) -> bool {
        place.given_up().now_or_never().is_some()
    }

    #[test]
    fn who_has_been_arriving_for_longest_gives_way() {
        let room = Room::new(ROOM);
        let [stripe, idenfy] = mailboxes();
        // Of one address.
        let mut one = room.place(network(1), stripe.clone());
        let mut two = room.place(network(1), stripe.clone());
        one.grow(30).unwrap();
        two.grow(20).unwrap();
        assert!(gave_way(&one) && !gave_way(&two));
        assert_eq!(one.grow(1), Err(NoRoom));
        assert_eq!(one.settle(30), Err(NoRoom));
        // Of one mailbox.
        let mut three = room.place(network(2), stripe.clone());
        let mut four = room.place(network(3), stripe.clone());
        three.grow(40).unwrap();
        assert!(!gave_way(&two));
        four.take(20).unwrap();
        assert!(gave_way(&two) && !gave_way(&three));
        // Of all.
        let mut five = room.place(network(4), idenfy.clone());
        five.take(40).unwrap();
        let mut six = room.place(network(5), idenfy.clone());
        six.take(1).unwrap();
        assert!(gave_way(&three));
        // What is whole stays; and the oldest itself has had its time.
        let mut seven = room.place(network(5), stripe.clone());
        seven.grow(39).unwrap();
        assert_eq!(seven.grow(1), Err(NoRoom));
        seven.settle(30).unwrap();
        assert_eq!(room.lock().taken, 20 + 40 + 1 + 30);
        let mut eight = room.place(network(6), stripe);
        assert_eq!(eight.take(11), Err(NoRoom));
        drop((one, two, three, four, five, six, seven, eight));
        let state = room.lock();
        assert_eq!(state.taken, 0);
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
        assert!(state.arriving.is_empty());
    }

    #[test]
    fn nothing_is_kept_of_what_came_to_nothing() {
        let room = Room::new(ROOM);
        let [stripe, _] = mailboxes();
        let mut place = room.place(network(1), stripe.clone());
        assert_eq!(place.grow(41), Err(NoRoom));
        drop(place);
        let mut place = room.place(network(1), stripe);
        assert_eq!(place.take(41), Err(NoRoom));
        drop(place);
        let state = room.lock();
        assert!(state.by_address.is_empty() && state.by_mailbox.is_empty());
    }
}
