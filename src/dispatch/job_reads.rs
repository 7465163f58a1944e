//! Bounds how many read durable jobs at once: each may have a page of them in memory.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::Account;
use crate::{
    memory::{MemoryBudget, OverBudget, Reservation, SMALL},
    store::Unavailable,
    turns::{self, Turns},
};

/// Permits to read jobs. The one who waits and has used the least time gets the next one, in whichever circle. A cheap
/// handle.
#[derive(Debug, Clone)]
pub(super) struct JobReads {
    /// Its queue is bounded by the requests that sessions may have under way.
    shared: Turns<Account>,
    /// The operator's own permit.
    operator: Arc<Semaphore>,
}

/// Copies of a record in memory: as it comes from the disk or from Redis, on its way from there, and parsed.
const COPIES: usize = 4;
/// Bytes that an answer has around a record.
const AROUND: usize = 512;

/// A permit to read. It is free again when this is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, not looked at")]
pub(super) enum ReadPermit {
    Shared(turns::Turn<Account>),
    Operator(OwnedSemaphorePermit),
}

/// The result of a read. The read goes on until this is dropped: it has its permit, and room for what it read.
#[derive(Debug)]
pub struct ReservedRead<T> {
    /// The result.
    pub found: T,
    /// Room for an answer with all of it; nothing if that was not asked for.
    pub answer: Option<Reservation>,
    /// Room for what is read, as it is stored and parsed.
    read: Option<Reservation>,
    permit: Option<ReadPermit>,
}

/// The reason why a read returns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JobReadError {
    /// It can't be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// There is no room for it.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

/// A read that has its permit, and hasn't read anything yet.
#[derive(Debug)]
pub(super) struct JobRead {
    permit: Option<ReadPermit>,
    memory: MemoryBudget,
}

impl JobRead {
    pub(super) fn new(permit: Option<ReadPermit>, memory: MemoryBudget) -> Self {
        Self { permit, memory }
    }

    /// Reserves room for a record of so many bytes, and for an answer with it.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn reserve(self, bytes: usize) -> Result<ReservedRead<()>, OverBudget> {
        let answer = self.memory.try_reserve_answer(bytes, AROUND)?;
        Ok(ReservedRead {
            answer: Some(answer),
            ..self.reserve_to_read(bytes)?
        })
    }

    /// Reserves room for a record, without an answer.
    fn reserve_to_read(self, bytes: usize) -> Result<ReservedRead<()>, OverBudget> {
        let read = match bytes {
            0..=SMALL => None,
            bytes => Some(self.memory.whole().try_reserve(COPIES * bytes)?),
        };
        Ok(ReservedRead {
            read,
            ..self.without_room()
        })
    }

    /// Reserves what room there is for a page of so many bytes. It is read in any case: permits are few, and a page has
    /// one record more than that at most.
    pub(super) fn reserve_page(self, bytes: usize) -> ReservedRead<()> {
        let read = self.memory.whole().try_reserve(COPIES * bytes).ok();
        ReservedRead {
            read,
            ..self.without_room()
        }
    }

    fn without_room(self) -> ReservedRead<()> {
        ReservedRead {
            found: (),
            answer: None,
            read: None,
            permit: self.permit,
        }
    }
}

impl<T> ReservedRead<T> {
    /// Ends the read.
    pub fn into_found(self) -> T {
        self.found
    }

    /// Changes the result.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> ReservedRead<U> {
        ReservedRead {
            found: map(self.found),
            answer: self.answer,
            read: self.read,
            permit: self.permit,
        }
    }

    /// Gives the permit to whoever's turn it is. What was read keeps its room.
    pub(super) fn end_turn(&mut self) {
        self.permit = None;
    }

    /// Gives the permit to whoever's turn it is, and waits for another one.
    pub(super) async fn take_turn(&mut self, reads: &JobReads, accounts: Option<[Account; 2]>) {
        self.end_turn();
        self.permit = reads.permit(accounts).await;
    }

    /// Changes its room to the bytes that have been read, as far as there is any.
    pub(super) fn resize(&mut self, bytes: usize) {
        if let Some(read) = &mut self.read {
            // They are there.
            let _ = read.resize(COPIES * bytes);
        }
    }
}

impl<T> ReservedRead<Option<T>> {
    /// Ends the read if it has found nothing.
    pub fn transpose(self) -> Option<ReservedRead<T>> {
        Some(ReservedRead {
            found: self.found?,
            answer: self.answer,
            read: self.read,
            permit: self.permit,
        })
    }
}

impl<T: Serialize> Serialize for ReservedRead<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.found.serialize(serializer)
    }
}

impl JobReads {
    /// Creates so many permits.
    pub(super) fn new(permits: usize) -> Self {
        Self {
            shared: Turns::new(permits, usize::MAX),
            operator: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for a permit; without accounts, for the operator's. Returns nothing if there will be none.
    pub(super) async fn permit(&self, accounts: Option<[Account; 2]>) -> Option<ReadPermit> {
        match accounts {
            Some(accounts) => self.shared.take(accounts).await.map(ReadPermit::Shared),
            None => self.operator().await,
        }
    }

    /// Waits for the operator's permit.
    pub(super) async fn operator(&self) -> Option<ReadPermit> {
        let permit = self.operator.clone().acquire_owned().await;
        permit.ok().map(ReadPermit::Operator)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use circled_protocol::{PublicKey, SecretKey};

    use super::{Account, JobReads, turns};

    type Permit = turns::Turn<Account>;

    fn key(n: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
    }

    fn poll<F: Future<Output = Option<Permit>>>(turn: &mut Pin<&mut F>) -> Option<Permit> {
        let mut context = Context::from_waker(Waker::noop());
        match turn.as_mut().poll(&mut context) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_circle_whose_members_look_on_and_on_keeps_no_other_waiting() {
        let reads = JobReads::new(2);
        let many = |n: u8| reads.shared.take(Account::of_caller(key(1), Some(&key(n))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let mut goes_on: Vec<_> = flood.iter_mut().filter_map(poll).collect();
        assert_eq!(goes_on.len(), 2);
        let mut other = pin!(reads.shared.take(Account::of_caller(key(2), Some(&key(3)))));
        let mut member = pin!(reads.shared.take(Account::of_caller(key(1), Some(&key(3)))));
        assert!(poll(&mut other).is_none() && poll(&mut member).is_none());
        goes_on.pop();
        let other = poll(&mut other).expect("another circle comes first");
        assert!(flood[2..].iter_mut().filter_map(poll).next().is_none());
        drop((other, goes_on));
        let goes_on: Vec<_> = flood[2..].iter_mut().filter_map(poll).collect();
        assert_eq!(goes_on.len(), 2);
    }

    #[test]
    fn a_caller_who_looks_on_and_on_keeps_no_other_waiting_in_any_circle() {
        let reads = JobReads::new(1);
        let many = |n: u8| reads.shared.take(Account::of_caller(key(n), Some(&key(9))));
        let mut flood: Vec<_> = (10..50).map(|n| Box::pin(many(n))).collect();
        let mut flood: Vec<_> = flood.iter_mut().map(|turn| turn.as_mut()).collect();
        let goes_on: Vec<_> = flood.iter_mut().filter_map(poll).collect();
        assert_eq!(goes_on.len(), 1);
        let mut victim = pin!(
            reads
                .shared
                .take(Account::of_caller(key(10), Some(&key(3))))
        );
        assert!(poll(&mut victim).is_none());
        drop(goes_on);
        assert!(poll(&mut victim).is_some());
    }

    #[test]
    fn whoever_runs_the_server_has_a_place_of_their_own() {
        let reads = JobReads::new(1);
        let mut flood = pin!(reads.shared.take(Account::of_caller(key(1), None)));
        let _goes_on = poll(&mut flood).unwrap();
        let operator = pin!(reads.operator());
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(operator.poll(&mut context), Poll::Ready(Some(_))));
    }

    #[test]
    fn those_who_leave_keep_no_place() {
        let reads = JobReads::new(1);
        let turn = |n: u8| reads.shared.take(Account::of_caller(key(n), None));
        let mut first = Box::pin(turn(1));
        let goes_on = poll(&mut first.as_mut()).unwrap();
        let mut left: Vec<_> = (2..100).map(|n| Box::pin(turn(n))).collect();
        for turn in &mut left {
            assert!(poll(&mut turn.as_mut()).is_none());
        }
        let mut last = pin!(turn(100));
        assert!(poll(&mut last).is_none());
        // It has its place, and never takes it.
        let mut never = left.remove(0);
        drop(left);
        drop(goes_on);
        assert!(poll(&mut last).is_none());
        drop(poll(&mut never.as_mut()));
        assert!(poll(&mut last).is_some());
    }
}
