//! A circle: its members, its named scripts, and the runs in it.
//!
//! All of that is stored in the circle's own store, under keys that no script can name, and so goes through the same
//! [`Transaction`] as what scripts store: whatever a run sees of it is checked when it is committed. A [`Procedure`]
//! changes it; [`Executor`] runs procedures and scripts alike.

mod executor;
mod members;
mod procedure;
mod scripts;
#[cfg(test)]
mod tests;

pub use executor::{Authority, Executor, Run, Task};
pub use members::is_member;
pub use procedure::Procedure;
pub use scripts::{
    Compiler, NAME_RULE, Pinned, Version, has_script, is_name, name_key, pin, pin_for_deliveries,
    pin_source, script_for,
};

use crate::store::{Transaction, WriteError};

/// Names of one kind that are listed at most: however many there are, for a setting may have been larger once.
const ALL: usize = u32::MAX as usize;

/// The limits of a circle, see `[circles]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Members that are added at run time.
    pub max_members: usize,
    /// Names of scripts.
    pub max_scripts: usize,
    /// Versions that are kept of each.
    pub script_versions: usize,
}

/// Returns the source of the newest version of a script, for `import`.
pub(crate) fn find_module(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<crate::store::Value>, WriteError> {
    scripts::current_source(transaction, name)
}

/// Returns whether `most` keys begin with `prefix`, or more.
fn is_full(transaction: &mut Transaction, prefix: &[u8], most: usize) -> Result<bool, WriteError> {
    match transaction.own_keys(prefix, most) {
        Ok(keys) => Ok(keys.len() >= most),
        Err(WriteError::Keys { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
