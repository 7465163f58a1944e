//! The change that a transaction makes to one key.

use thiserror::Error;

use super::{
    expiring,
    table::{Key, Value},
};

/// Digits at the end of a pushed key.
pub(super) const DIGITS: usize = 20;

/// The circle's own key that has the number of the last push, as decimal text. `lua/commit.lua` has it, too.
pub(super) const PUSHED: &[u8] = b"n";

/// A write of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// It gets this value.
    Put(Value),
    /// It is deleted.
    Delete,
    /// A number is added to its value as it is at the commit, or to 0 where there is none.
    Add(i64),
}

/// The reason why a number can't be added to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddError {
    /// The value is something else.
    #[error("is not a whole number")]
    NotWhole,
    /// The sum takes more than 64 bits.
    #[error("would be too large for a number of 64 bits")]
    Overflow,
}

impl Write {
    /// Returns about how many bytes it takes, its key left out.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put(value) => value.len(),
            Self::Delete => 0,
            Self::Add(_) => 20,
        }
    }
}

impl From<Option<Value>> for Write {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Delete, Self::Put)
    }
}

/// Returns the key of the push with a number.
pub(super) fn pushed_key(prefix: &Key, number: u64) -> Key {
    let digits = format!("{number:020}");
    Key::from([prefix, digits.as_bytes()].concat())
}

/// Reads the number of the last push.
pub(super) fn last_push(stored: Option<&Value>) -> u64 {
    let text = stored.and_then(|stored| str::from_utf8(stored).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Returns the sum of a stored value, which is 0 where there is none, and a number. If the value expires, so does the sum.
///
/// # Errors
/// The value is no whole number, or the sum too large.
pub fn sum(stored: Option<&Value>, by: i64) -> Result<Value, AddError> {
    let (header, json) = stored.map_or((&[][..], &b"0"[..]), |stored| expiring::split(stored));
    let text = str::from_utf8(json).map_err(|_| AddError::NotWhole)?;
    let number = text.parse::<i64>().map_err(|_| AddError::NotWhole)?;
    let sum = number.checked_add(by).ok_or(AddError::Overflow)?;
    Ok(Value::from([header, sum.to_string().as_bytes()].concat()))
}
