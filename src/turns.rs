//! Turns at costly work: of those who wait, the one that has used the least time comes next.

use std::{
    fmt,
    hash::Hash,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Instant,
};

use tokio::{sync::oneshot, task::yield_now};

use crate::script::fair_queue::{Accounts, FairQueue, NextTurn};

/// A bounded number of slots, with a queue that is fair by the time of use. A cheap handle.
pub(crate) struct Turns<K: Copy + Eq + Hash>(Arc<Inner<K>>);

struct Inner<K: Copy + Eq + Hash> {
    slots: usize,
    state: Mutex<State<K>>,
}

struct State<K: Copy + Eq + Hash> {
    queue: FairQueue<K, oneshot::Sender<Turn<K>>>,
    taken: usize,
}

/// A slot, released when this is dropped.
pub(crate) struct Turn<K: Copy + Eq + Hash> {
    turns: Turns<K>,
    accounts: Accounts<K>,
    since: Instant,
}

/// Has the present task polled again after all others on its thread, and their sockets, have had their turn.
pub(crate) fn after_others(context: &mut Context<'_>) {
    // One poll is enough for that.
    let _ = pin!(yield_now()).poll(context);
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Creates so many slots, and a queue for so many that wait, see [`FairQueue::push`].
    pub(crate) fn new(slots: usize, queue: usize) -> Self {
        Self(Arc::new(Inner {
            slots,
            state: Mutex::new(State {
                queue: FairQueue::new(queue),
                taken: 0,
            }),
        }))
    }

    /// Takes a slot, whose time is charged to these accounts. Returns `None` if none is free.
    pub(crate) fn try_take(&self, accounts: Accounts<K>) -> Option<Turn<K>> {
        let mut state = self.lock();
        if state.taken >= self.0.slots || state.queue.waiting() > 0 {
            return None;
        }
        state.queue.begin(&accounts);
        state.taken += 1;
        Some(self.turn(accounts))
    }

    /// Waits for a slot, whose time is charged to these accounts. Returns `None` if the queue is full.
    pub(crate) async fn take(&self, accounts: Accounts<K>) -> Option<Turn<K>> {
        /// Set when the waiting task has given up.
        struct Left(Arc<AtomicBool>);

        impl Drop for Left {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        if let Some(turn) = self.try_take(accounts) {
            return Some(turn);
        }
        let left = Left(Arc::default());
        let (tell, told) = oneshot::channel();
        let pushed = self.lock().queue.push(accounts, left.0.clone(), tell);
        pushed.ok()?;
        self.advance();
        let mut turn = told.await.ok()?;
        // The time until the task's thread continues is charged to nobody.
        turn.since = Instant::now();
        Some(turn)
    }

    /// Hands out the free slots.
    fn advance(&self) {
        let mut next = Vec::new();
        let mut state = self.lock();
        while state.taken < self.0.slots
            && let Some(NextTurn::Begin(tell, accounts)) = state.queue.next(true)
        {
            if tell.is_closed() {
                state.queue.end(&accounts);
                continue;
            }
            state.taken += 1;
            next.push((tell, self.turn(accounts)));
        }
        drop(state);
        for (tell, turn) in next {
            // A turn that nobody waits for any more ends at once.
            let _ = tell.send(turn);
        }
    }

    fn turn(&self, accounts: Accounts<K>) -> Turn<K> {
        Turn {
            turns: self.clone(),
            accounts,
            since: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash + Send + Sync + 'static> Turn<K> {
    /// Releases the slot once all others on this thread, and their sockets, have had their turn. Nobody waits for that.
    pub(crate) fn end_after_others(self) {
        after_others(&mut Context::from_waker(&Waker::from(Arc::new(self))));
    }
}

impl<K: Copy + Eq + Hash + Send + Sync + 'static> Wake for Turn<K> {
    /// Drops the turn.
    fn wake(self: Arc<Self>) {}
}

impl<K: Copy + Eq + Hash> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.taken -= 1;
        state.queue.charge(&self.accounts, self.since.elapsed());
        state.queue.end(&self.accounts);
        let is_wanted = state.queue.waiting() > 0;
        drop(state);
        if is_wanted {
            self.turns.advance();
        }
    }
}

impl<K: Copy + Eq + Hash> fmt::Debug for Turns<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("places", &self.0.slots)
            .field("taken", &self.lock().taken)
            .finish_non_exhaustive()
    }
}

impl<K: Copy + Eq + Hash> fmt::Debug for Turn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::{Turn, Turns};

    fn poll<F: Future<Output = Option<Turn<u8>>>>(
        turn: &mut Pin<&mut F>,
    ) -> Poll<Option<Turn<u8>>> {
        turn.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_full_queue_still_has_a_place_for_others() {
        let turns = Turns::new(1, 4);
        let mut first = pin!(turns.take([1; 2]));
        let Poll::Ready(Some(goes_on)) = poll(&mut first) else {
            panic!("a place is free");
        };
        let mut flood: Vec<_> = (0..4).map(|_| Box::pin(turns.take([1; 2]))).collect();
        for turn in &mut flood {
            assert!(poll(&mut turn.as_mut()).is_pending());
        }
        let mut refused = pin!(turns.take([1; 2]));
        assert!(matches!(poll(&mut refused), Poll::Ready(None)));
        let mut other = pin!(turns.take([2; 2]));
        assert!(poll(&mut other).is_pending());
        drop(goes_on);
        assert!(matches!(poll(&mut other), Poll::Ready(Some(_))));
        assert!(poll(&mut flood[0].as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_slot_is_free_once_others_have_had_their_turn() {
        let turns = Turns::new(1, 4);
        let turn = turns.try_take([1; 2]).unwrap();
        assert!(turns.try_take([2; 2]).is_none());
        turn.end_after_others();
        assert!(turns.try_take([2; 2]).is_none());
        let mut waits = pin!(turns.take([2; 2]));
        assert!(poll(&mut waits).is_pending());
        tokio::task::yield_now().await;
        assert!(matches!(poll(&mut waits), Poll::Ready(Some(_))));
        assert!(turns.try_take([1; 2]).is_some());
    }

    #[test]
    fn those_who_leave_are_forgotten_while_others_wait() {
        let turns = Turns::new(1, usize::MAX);
        let mut first = pin!(turns.take([1; 2]));
        let _goes_on = poll(&mut first);
        let mut waits: Vec<_> = (2..32).map(|n| Box::pin(turns.take([n; 2]))).collect();
        for turn in &mut waits {
            assert!(poll(&mut turn.as_mut()).is_pending());
        }
        for _ in 0..10_000 {
            assert!(poll(&mut Box::pin(turns.take([2; 2])).as_mut()).is_pending());
        }
        let waiting = turns.lock().queue.waiting();
        assert!((30..=128).contains(&waiting), "{waiting}");
    }
}
