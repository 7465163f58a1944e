//! Who may look at the durable jobs right now: each look may have a page of them in memory.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::job::Account;
use crate::script::shares::{Next, Shares};

/// Places for looks, of which whoever waits and has used the least time gets the next one, in which circle they may be.
/// A cheap handle.
#[derive(Clone)]
pub(super) struct Looks(Arc<Inner>);

struct Inner {
    places: usize,
    state: Mutex<State>,
    /// For whoever runs the server.
    operator: Semaphore,
}

struct State {
    /// Bounded by what sessions may have under way.
    shares: Shares<Account, oneshot::Sender<Look>>,
    taken: usize,
}

/// A place. It is free again when this is dropped.
#[expect(dead_code, reason = "they are held, not looked at")]
pub(super) enum Turn<'a> {
    Shared(Look),
    Operators(SemaphorePermit<'a>),
}

/// A look that goes on.
pub(super) struct Look {
    looks: Looks,
    accounts: [Account; 2],
    since: Instant,
}

impl Looks {
    /// With so many places.
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Inner {
            places,
            state: Mutex::new(State {
                shares: Shares::new(usize::MAX),
                taken: 0,
            }),
            operator: Semaphore::new(1),
        }))
    }

    /// Waits for a place; for whoever runs the server, where there are no accounts. Nothing, if there will be none.
    pub(super) async fn turn(&self, accounts: Option<[Account; 2]>) -> Option<Turn<'_>> {
        match accounts {
            Some(accounts) => self.shared(accounts).await.map(Turn::Shared),
            None => self.operator().await.map(Turn::Operators),
        }
    }

    async fn shared(&self, accounts: [Account; 2]) -> Option<Look> {
        /// Whoever waited has left.
        struct Left(Arc<AtomicBool>);

        impl Drop for Left {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        let left = Left(Arc::default());
        let (tell, told) = oneshot::channel();
        let pushed = self.lock().shares.push(accounts, left.0.clone(), tell);
        pushed.ok()?;
        self.advance();
        told.await.ok()
    }

    /// Waits for the place of whoever runs the server.
    pub(super) async fn operator(&self) -> Option<SemaphorePermit<'_>> {
        self.0.operator.acquire().await.ok()
    }

    /// Gives out the places that are free.
    fn advance(&self) {
        let mut next = Vec::new();
        let mut state = self.lock();
        while state.taken < self.0.places
            && let Some(Next::Begin(tell, accounts)) = state.shares.next(true)
        {
            if tell.is_closed() {
                state.shares.end(&accounts);
                continue;
            }
            state.taken += 1;
            let look = Look {
                looks: self.clone(),
                accounts,
                since: Instant::now(),
            };
            next.push((tell, look));
        }
        drop(state);
        for (tell, look) in next {
            // One that nobody waits for any more is over at once.
            let _ = tell.send(look);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut state = self.looks.lock();
        state.taken -= 1;
        state.shares.charge(&self.accounts, self.since.elapsed());
        state.shares.end(&self.accounts);
        drop(state);
        self.looks.advance();
    }
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looks")
            .field("places", &self.0.places)
            .field("taken", &self.lock().taken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::{Account, Look, Looks};
    use crate::auth::{PublicKey, SecretKey};

    fn key(n: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
    }

    fn look<F: Future<Output = Option<Look>>>(turn: &mut Pin<&mut F>) -> Option<Look> {
        let mut context = Context::from_waker(Waker::noop());
        match turn.as_mut().poll(&mut context) {
            Poll::Ready(look) => Some(look.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_circle_whose_members_look_on_and_on_keeps_no_other_waiting() {
        let looks = Looks::new(2);
        let many = |n: u8| looks.shared(Account::of_caller(key(1), Some(&key(n))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let mut goes_on: Vec<_> = flood.iter_mut().filter_map(look).collect();
        assert_eq!(goes_on.len(), 2);
        let mut other = pin!(looks.shared(Account::of_caller(key(2), Some(&key(3)))));
        let mut member = pin!(looks.shared(Account::of_caller(key(1), Some(&key(3)))));
        assert!(look(&mut other).is_none() && look(&mut member).is_none());
        goes_on.pop();
        let other = look(&mut other).expect("another circle comes first");
        assert!(flood[2..].iter_mut().filter_map(look).next().is_none());
        drop((other, goes_on));
        let goes_on: Vec<_> = flood[2..].iter_mut().filter_map(look).collect();
        assert_eq!(goes_on.len(), 2);
    }

    #[test]
    fn a_caller_who_looks_on_and_on_keeps_no_other_waiting_in_any_circle() {
        let looks = Looks::new(1);
        let many = |n: u8| looks.shared(Account::of_caller(key(n), Some(&key(9))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let goes_on: Vec<_> = flood.iter_mut().filter_map(look).collect();
        assert_eq!(goes_on.len(), 1);
        let mut victim = pin!(looks.shared(Account::of_caller(key(10), Some(&key(3)))));
        assert!(look(&mut victim).is_none());
        drop(goes_on);
        assert!(look(&mut victim).is_some());
    }

    #[test]
    fn whoever_runs_the_server_has_a_place_of_their_own() {
        let looks = Looks::new(1);
        let mut flood = pin!(looks.shared(Account::of_caller(key(1), None)));
        let _goes_on = look(&mut flood).unwrap();
        let operator = pin!(looks.operator());
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(operator.poll(&mut context), Poll::Ready(Some(_))));
    }

    #[test]
    fn those_who_leave_keep_no_place() {
        let looks = Looks::new(1);
        let turn = |n: u8| looks.shared(Account::of_caller(key(n), None));
        let mut first = Box::pin(turn(1));
        let goes_on = look(&mut first.as_mut()).unwrap();
        let mut left: Vec<_> = (2..100).map(|n| Box::pin(turn(n))).collect();
        for turn in &mut left {
            assert!(look(&mut turn.as_mut()).is_none());
        }
        let mut last = pin!(turn(100));
        assert!(look(&mut last).is_none());
        // It has its place, and never takes it.
        let mut never = left.remove(0);
        drop(left);
        drop(goes_on);
        assert!(look(&mut last).is_none());
        drop(look(&mut never.as_mut()));
        assert!(look(&mut last).is_some());
    }
}
