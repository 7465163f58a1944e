//! The keys that were parsed recently.

use std::fmt;

use quick_cache::sync::Cache;

/// The most keys that are remembered.
const MOST: usize = 1024;

/// Remembers what recent texts were parsed to: decoding a point of the curve takes microseconds. `P` is a key, or a
/// point.
pub struct RecentKeys<P>(Cache<String, P>);

impl<P: Clone> RecentKeys<P> {
    /// Returns the key of a text, by `parse` if it isn't remembered.
    ///
    /// # Errors
    /// Those of `parse`, which are not remembered.
    pub fn parse<E>(&self, text: &str, parse: impl FnOnce(&str) -> Result<P, E>) -> Result<P, E> {
        if let Some(key) = self.0.get(text) {
            return Ok(key);
        }
        let key = parse(text)?;
        self.0.insert(text.to_owned(), key.clone());
        Ok(key)
    }
}

impl<P: Clone> Default for RecentKeys<P> {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl<P> fmt::Debug for RecentKeys<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_once_and_a_wrong_one_each_time() {
        let keys = RecentKeys::default();
        assert_eq!(keys.parse("7", str::parse), Ok(7));
        let never = |_: &str| -> Result<i32, ()> { panic!("it is remembered") };
        assert_eq!(keys.parse("7", never), Ok(7));
        assert!(keys.parse("x", str::parse).is_err());
        assert_eq!(keys.parse("x", |_| Ok::<_, ()>(8)), Ok(8));
    }
}
