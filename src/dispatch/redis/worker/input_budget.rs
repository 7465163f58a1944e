//! A budget for the inputs of durable jobs that a worker has fetched.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;
use tokio::sync::Notify;

/// The budget, in bytes. One circle may have half of what the others leave. If a circle holds nothing, and its first
/// input finds no room, it comes before all that come after it, however small they are. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct InputBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    circles: HashMap<PublicKey, CircleInputs>,
    /// Circles that hold nothing and found no room, in the order in which they began to wait.
    starved: BTreeMap<u64, PublicKey>,
    next: u64,
}

#[derive(Debug, Default)]
struct CircleInputs {
    bytes: usize,
    /// Those who reserve room for its inputs, the first one first.
    queue: VecDeque<u64>,
    /// The number since when the first one waits for room.
    since: Option<u64>,
}

/// A position in the queue of a circle; the next one comes when this is dropped.
#[derive(Debug)]
pub(super) struct QueuePosition {
    budget: InputBudget,
    circle: PublicKey,
    number: u64,
}

/// Room for one input; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct InputReservation {
    budget: InputBudget,
    circle: PublicKey,
    bytes: usize,
}

impl InputBudget {
    /// Creates a budget of so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Joins the queue of a circle.
    pub(super) fn join_queue(&self, circle: PublicKey) -> QueuePosition {
        let mut state = self.lock();
        let number = state.number();
        state.of(circle).queue.push_back(number);
        QueuePosition {
            budget: self.clone(),
            circle,
            number,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn of(&mut self, circle: PublicKey) -> &mut CircleInputs {
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
        } else if of.queue.is_empty() {
            self.circles.remove(&circle);
        }
    }
}

impl QueuePosition {
    /// Waits for room for an input of so many bytes. The only one always has some.
    pub(super) async fn reserve(&self, bytes: usize) -> InputReservation {
        loop {
            let changed = self.budget.0.changed.notified();
            if let Some(room) = self.try_reserve(bytes) {
                return room;
            }
            self.mark_waiting();
            changed.await;
        }
    }

    /// Reserves room, if there is some, and nobody comes before.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<InputReservation> {
        let mut state = self.budget.lock();
        let all = state.all;
        let first = state.starved.first_key_value().map(|(since, _)| *since);
        let of = state.of(self.circle);
        let left = self.budget.0.most.saturating_sub(all - of.bytes);
        let fits = all == 0 || of.bytes + bytes <= left / 2;
        let is_first = of.queue.front() == Some(&self.number);
        if !fits || !is_first || first.is_some_and(|first| of.since != Some(first)) {
            return None;
        }
        of.bytes += bytes;
        let since = of.since.take();
        state.all += bytes;
        if let Some(since) = since {
            state.starved.remove(&since);
        }
        let is_next = since.is_some() && since == first;
        drop(state);
        if is_next {
            // Whoever waited behind it may have room.
            self.budget.0.changed.notify_waiters();
        }
        Some(InputReservation {
            budget: self.budget.clone(),
            circle: self.circle,
            bytes,
        })
    }

    /// Notes that it waits, if it is the first one of its circle.
    fn mark_waiting(&self) {
        let mut state = self.budget.lock();
        let number = state.number();
        let of = state.of(self.circle);
        if of.queue.front() == Some(&self.number) && of.since.is_none() {
            of.since = Some(number);
        }
        state.note(self.circle);
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        let is_awaited = {
            let mut state = self.budget.lock();
            let of = state.of(self.circle);
            let is_first = of.queue.front() == Some(&self.number);
            let since = of.since.take_if(|_| is_first);
            of.queue.retain(|number| *number != self.number);
            let is_awaited = since.is_some() || is_first && !of.queue.is_empty();
            if let Some(since) = since {
                state.starved.remove(&since);
            }
            state.note(self.circle);
            is_awaited
        };
        if is_awaited {
            self.budget.0.changed.notify_waiters();
        }
    }
}

impl Drop for InputReservation {
    fn drop(&mut self) {
        {
            let mut state = self.budget.lock();
            state.all -= self.bytes;
            state.of(self.circle).bytes -= self.bytes;
            state.note(self.circle);
        }
        self.budget.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use circled_protocol::{PublicKey, SecretKey};

    use super::{InputBudget, InputReservation};

    fn circle(n: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
    }

    /// Takes room, if there is some right now; else it waits.
    fn poll(
        room: &mut Pin<Box<impl Future<Output = InputReservation>>>,
    ) -> Option<InputReservation> {
        let mut context = Context::from_waker(Waker::noop());
        match room.as_mut().poll(&mut context) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn inputs_have_a_budget_of_which_one_circle_has_half() {
        let budget = InputBudget::new(100);
        let [one, two] = [1, 2].map(|n| budget.join_queue(circle(n)));
        let first = one.try_reserve(1000).expect("the only one");
        assert!(two.try_reserve(1).is_none());
        drop(first);
        let mut rooms: Vec<_> = (0..10).map_while(|_| one.try_reserve(10)).collect();
        assert_eq!(rooms.len(), 5);
        rooms.extend(two.try_reserve(25));
        assert_eq!(rooms.len(), 6);
        assert!(two.try_reserve(1).is_none());
        rooms.remove(0);
        assert!(two.try_reserve(5).is_some());
        drop((rooms, one, two));
        let state = budget.lock();
        assert_eq!((state.all, state.circles.len()), (0, 0));
    }

    #[test]
    fn a_large_input_that_waits_comes_before_small_ones_that_come_later() {
        let budget = InputBudget::new(100);
        let [a, b, c] = [1, 2, 3].map(|n| budget.join_queue(circle(n)));
        let mut held: Vec<_> = (0..4).filter_map(|_| a.try_reserve(10)).collect();
        held.extend(b.try_reserve(10));
        assert_eq!(held.len(), 5);
        let mut large = Box::pin(c.reserve(40));
        assert!(poll(&mut large).is_none());
        let mut small = Box::pin(b.reserve(1));
        let later = budget.join_queue(circle(4));
        let mut other = Box::pin(later.reserve(1));
        while held.len() > 1 {
            held.remove(0);
            assert!(poll(&mut small).is_none() && poll(&mut other).is_none());
            assert!(a.try_reserve(1).is_none());
            if held.len() > 2 {
                assert!(poll(&mut large).is_none());
            }
        }
        let large = poll(&mut large).expect("half of what is left is enough");
        assert!(poll(&mut small).is_none(), "its circle holds something");
        let other = poll(&mut other).expect("it comes next");
        let small = poll(&mut small).expect("nobody comes before it");
        drop((large, small, other, held));
        assert!(budget.lock().starved.is_empty());
    }

    #[test]
    fn a_circle_that_holds_much_keeps_nobody_waiting_for_more_of_its_own() {
        let budget = InputBudget::new(100);
        let [a, b] = [1, 2].map(|n| budget.join_queue(circle(n)));
        let held = a.try_reserve(40).unwrap();
        let mut more = Box::pin(a.reserve(40));
        assert!(poll(&mut more).is_none());
        let other = b.try_reserve(10).expect("there is room");
        // Now it holds nothing.
        drop(held);
        assert!(b.try_reserve(1).is_none());
        let more = poll(&mut more).expect("there is room");
        assert!(b.try_reserve(1).is_some());
        drop((other, more));
    }

    #[test]
    fn inputs_of_a_circle_have_room_in_the_order_in_which_they_came() {
        let budget = InputBudget::new(100);
        let queue: Vec<_> = (0..3).map(|_| budget.join_queue(circle(1))).collect();
        let other = budget.join_queue(circle(2)).try_reserve(40).unwrap();
        let held = queue[0].try_reserve(30).unwrap();
        let [first, second, third] = queue.try_into().unwrap();
        let mut large = Box::pin(first.reserve(20));
        assert!(poll(&mut large).is_none());
        assert!(second.try_reserve(0).is_none() && third.try_reserve(0).is_none());
        drop(held);
        let _large = poll(&mut large).unwrap();
        drop(large);
        assert!(second.try_reserve(1).is_none(), "the first one isn't done");
        drop(second);
        assert!(third.try_reserve(1).is_none());
        drop(first);
        assert!(third.try_reserve(1).is_some());
        drop((third, other));
    }

    #[test]
    fn who_leaves_while_waiting_for_room_keeps_nobody_waiting() {
        let budget = InputBudget::new(100);
        let [a, b] = [1, 2].map(|n| budget.join_queue(circle(n)));
        let _held = a.try_reserve(20).unwrap();
        let mut large = Box::pin(b.reserve(60));
        assert!(poll(&mut large).is_none() && a.try_reserve(1).is_none());
        drop(large);
        drop(b);
        assert!(a.try_reserve(1).is_some());
    }
}
