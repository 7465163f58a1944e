//! Lists.

use super::{Fields, object};

object! {
    /// A list within an object: [its first page](https://docs.stripe.com/api/pagination).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct List<T> {
        /// The items.
        pub data: Vec<T>,
        /// True if there are more items.
        pub has_more: Option<bool>,
        /// The number of all items, if it is given.
        pub total_count: Option<i64>,
        /// The address of the whole list in the API.
        pub url: Option<String>,
    }
}
