//! What a transaction does to one key.

use thiserror::Error;

use super::table::Value;

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

/// Returns the sum of a stored value, which is 0 where there is none, and a number.
///
/// # Errors
/// The value is no whole number, or the sum too large.
pub fn sum(stored: Option<&Value>, by: i64) -> Result<Value, AddError> {
    let stored = match stored {
        Some(stored) => {
            let text = str::from_utf8(stored).map_err(|_| AddError::NotWhole)?;
            text.parse::<i64>().map_err(|_| AddError::NotWhole)?
        }
        None => 0,
    };
    let sum = stored.checked_add(by).ok_or(AddError::Overflow)?;
    Ok(Value::from(sum.to_string().into_bytes()))
}
