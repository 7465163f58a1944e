//! Lists.

use super::{Fields, object};

object! {
    /// A list within an object: [its first page](https://docs.stripe.com/api/pagination).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct List<T> {
        /// What is on it.
        pub data: Vec<T>,
        /// Whether there is more than that.
        pub has_more: Option<bool>,
        /// How many there are, where that is said.
        pub total_count: Option<i64>,
        /// Where the API has the whole list.
        pub url: Option<String>,
    }
}
