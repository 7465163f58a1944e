//! The people of a circle, as its scripts see them.

use std::{fmt, sync::Arc};

use circled_protocol::{PublicKey, Role};
use rhai::{EvalAltResult, Position};

use super::{budget, run_context};
use crate::store::{Transaction, WriteError};

/// The cost of reading a role, in operations.
const READ_COST: usize = 8;

/// Knows the roles in circles.
pub trait People: fmt::Debug + Send + Sync {
    /// Returns the role of the holder of a key in the transaction's circle.
    ///
    /// # Errors
    /// The store can't be read.
    fn role(&self, transaction: &mut Transaction, key: &PublicKey) -> Result<Role, WriteError>;

    /// Returns the owner and all members, in the order of their keys.
    ///
    /// # Errors
    /// The store can't be read.
    fn members(&self, transaction: &mut Transaction) -> Result<Vec<(PublicKey, Role)>, WriteError>;
}

/// The people that a run can ask about.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) people: Arc<dyn People>,
    /// The caller, if it has proved a key.
    pub(super) caller: Option<PublicKey>,
}

type Failed = Box<EvalAltResult>;

/// Returns the caller's role. A caller without a key has none.
pub(super) fn caller_role() -> Result<Option<Role>, Failed> {
    let caller = run_context::with(|context| {
        let known = context.people.borrow();
        known.as_ref().and_then(|known| known.caller)
    });
    run_context::see_caller();
    caller.map(|key| role(&key)).transpose()
}

/// Returns the role of the holder of a key.
pub(super) fn role(key: &PublicKey) -> Result<Role, Failed> {
    role_by(&known()?, key)
}

/// Returns the owner and all members, in the order of their keys.
pub(super) fn members() -> Result<Vec<(PublicKey, Role)>, Failed> {
    budget::charge(READ_COST)?;
    let known = known()?;
    let members = budget::unmeasured(|| {
        run_context::with_transaction(|transaction| known.people.members(transaction))
    });
    let members = found(members)?;
    budget::charge(members.len().saturating_mul(READ_COST))?;
    Ok(members)
}

fn role_by(known: &Known, key: &PublicKey) -> Result<Role, Failed> {
    budget::charge(READ_COST)?;
    found(run_context::with_transaction(|transaction| {
        known.people.role(transaction, key)
    }))
}

fn known() -> Result<Known, Failed> {
    let known = run_context::with(|context| context.people.borrow().clone());
    known.ok_or_else(nobody)
}

fn found<T>(read: Option<Result<T, WriteError>>) -> Result<T, Failed> {
    match read {
        Some(Ok(found)) => Ok(found),
        Some(Err(WriteError::Unavailable(_))) => Err(budget::give_up()),
        Some(Err(error)) => {
            Err(EvalAltResult::ErrorRuntime(error.to_string().into(), Position::NONE).into())
        }
        None => Err(nobody()),
    }
}

fn nobody() -> Failed {
    EvalAltResult::ErrorRuntime("there are no members here".into(), Position::NONE).into()
}
