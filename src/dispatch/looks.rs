//! Who may look at the durable jobs right now: each look may have a page of them in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::Account;
use crate::turns::{self, Turns};

/// Places for looks, of which whoever waits and has used the least time gets the next one, in which circle they may be.
/// A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    /// What waits is bounded by what sessions may have under way.
    shared: Turns<Account>,
    /// For whoever runs the server.
    operator: Arc<Semaphore>,
}

/// A place. It is free again when this is dropped.
#[expect(dead_code, reason = "they are held, not looked at")]
pub(super) enum Turn {
    Shared(turns::Turn<Account>),
    Operators(OwnedSemaphorePermit),
}

impl Looks {
    /// With so many places.
    pub(super) fn new(places: usize) -> Self {
        Self {
            shared: Turns::new(places, usize::MAX),
            operator: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for a place; for whoever runs the server, where there are no accounts. Nothing, if there will be none.
    pub(super) async fn turn(&self, accounts: Option<[Account; 2]>) -> Option<Turn> {
        match accounts {
            Some(accounts) => self.shared.take(accounts).await.map(Turn::Shared),
            None => self.operator().await,
        }
    }

    /// Waits for the place of whoever runs the server.
    pub(super) async fn operator(&self) -> Option<Turn> {
        let permit = self.operator.clone().acquire_owned().await;
        permit.ok().map(Turn::Operators)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::{Account, Looks, turns};
    use crate::auth::{PublicKey, SecretKey};

    type Look = turns::Turn<Account>;

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
        let many = |n: u8| looks.shared.take(Account::of_caller(key(1), Some(&key(n))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let mut goes_on: Vec<_> = flood.iter_mut().filter_map(look).collect();
        assert_eq!(goes_on.len(), 2);
        let mut other = pin!(looks.shared.take(Account::of_caller(key(2), Some(&key(3)))));
        let mut member = pin!(looks.shared.take(Account::of_caller(key(1), Some(&key(3)))));
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
        let many = |n: u8| looks.shared.take(Account::of_caller(key(n), Some(&key(9))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let goes_on: Vec<_> = flood.iter_mut().filter_map(look).collect();
        assert_eq!(goes_on.len(), 1);
        let mut victim = pin!(
            looks
                .shared
                .take(Account::of_caller(key(10), Some(&key(3))))
        );
        assert!(look(&mut victim).is_none());
        drop(goes_on);
        assert!(look(&mut victim).is_some());
    }

    #[test]
    fn whoever_runs_the_server_has_a_place_of_their_own() {
        let looks = Looks::new(1);
        let mut flood = pin!(looks.shared.take(Account::of_caller(key(1), None)));
        let _goes_on = look(&mut flood).unwrap();
        let operator = pin!(looks.operator());
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(operator.poll(&mut context), Poll::Ready(Some(_))));
    }

    #[test]
    fn those_who_leave_keep_no_place() {
        let looks = Looks::new(1);
        let turn = |n: u8| looks.shared.take(Account::of_caller(key(n), None));
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
