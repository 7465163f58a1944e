//! Sessions: their limits, and many of them at once.

mod limits;
pub(crate) mod many;
