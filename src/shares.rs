//! Places of which nobody gets more than a share.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, Entry};

/// So many places for all, and so many for each key. A cheap handle.
pub(crate) struct Shares<K>(Arc<Inner<K>>);

struct Inner<K> {
    places: usize,
    share: usize,
    taken: AtomicUsize,
    by_key: DashMap<K, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken.
    All,
    /// This key has its share.
    Share,
}

/// A place, given back when it is dropped.
pub(crate) struct Place<K: Eq + Hash> {
    shares: Shares<K>,
    key: Option<K>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// With `places` for all, and `share` of them for one key.
    pub(crate) fn new(places: usize, share: usize) -> Self {
        Self(Arc::new(Inner {
            places,
            share,
            taken: AtomicUsize::new(0),
            by_key: DashMap::new(),
        }))
    }

    /// Takes a place. Without a key, it counts for all alone.
    ///
    /// # Errors
    /// [`Full`], and nothing has changed.
    pub(crate) fn take(&self, key: Option<K>) -> Result<Place<K>, Full> {
        let inner = &self.0;
        inner
            .taken
            .fetch_update(Relaxed, Relaxed, |taken| {
                (taken < inner.places).then_some(taken + 1)
            })
            .map_err(|_| Full::All)?;
        if let Some(key) = &key {
            let mut of_key = inner.by_key.entry(key.clone()).or_insert(0);
            if *of_key >= inner.share {
                inner.taken.fetch_sub(1, Relaxed);
                return Err(Full::Share);
            }
            *of_key += 1;
        }
        Ok(Place {
            shares: self.clone(),
            key,
        })
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let inner = &self.shares.0;
        inner.taken.fetch_sub(1, Relaxed);
        if let Some(key) = self.key.take()
            && let Entry::Occupied(mut of_key) = inner.by_key.entry(key)
        {
            *of_key.get_mut() -= 1;
            if *of_key.get() == 0 {
                of_key.remove();
            }
        }
    }
}

impl<K> fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("places", &self.0.places)
            .field("share", &self.0.share)
            .field("taken", &self.0.taken)
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_share() {
        let shares = Shares::new(5, 2);
        let mut places = Vec::new();
        for (key, expected) in [
            (Some("a"), None),
            (Some("a"), None),
            (Some("a"), Some(Full::Share)),
            (Some("b"), None),
            (None, None),
            (None, None),
            (None, Some(Full::All)),
            (Some("c"), Some(Full::All)),
        ] {
            let place = shares.take(key);
            assert_eq!(place.as_ref().err().copied(), expected, "{key:?}");
            places.extend(place);
        }
        assert_eq!(shares.taken(), 5);
        places.remove(0);
        drop(shares.take(Some("a")).unwrap());
        assert_eq!(shares.taken(), 4);
        drop(places);
        assert_eq!((shares.taken(), shares.0.by_key.len()), (0, 0));
    }
}
