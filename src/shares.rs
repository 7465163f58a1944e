//! Bounded places, of which no key gets more than a share.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, Entry};

/// A bounded number of places for all, and for each key. A cheap handle.
pub(crate) struct Shares<K>(Arc<Inner<K>>);

/// The bounds of the places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The places for all keys.
    pub(crate) places: usize,
    /// The places for one key.
    pub(crate) share: usize,
    /// The places of which no key has more than it leaves for all others: the first key has half of them at most, the
    /// next one half of the rest. With [`Bounds::ALL_FOR_ONE`], one key may have all.
    pub(crate) shared_places: usize,
}

struct Inner<K> {
    bounds: Bounds,
    taken: AtomicUsize,
    by_key: DashMap<K, usize>,
}

/// The reason why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken.
    All,
    /// This key has its share, or as many as it leaves.
    Share,
}

/// A place, released when this is dropped.
pub(crate) struct ShareGuard<K: Eq + Hash> {
    shares: Shares<K>,
    key: Option<K>,
}

impl Bounds {
    /// Lets one key have all places.
    pub(crate) const ALL_FOR_ONE: usize = usize::MAX;
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Creates the places.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            bounds,
            taken: AtomicUsize::new(0),
            by_key: DashMap::new(),
        }))
    }

    /// Takes a place. Without a key, it counts only for all keys together.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub(crate) fn take(&self, key: Option<K>) -> Result<ShareGuard<K>, Full> {
        let inner = &self.0;
        let Bounds {
            places,
            share,
            shared_places,
        } = inner.bounds;
        let taken = inner
            .taken
            .fetch_update(Relaxed, Relaxed, |taken| {
                (taken < places).then_some(taken + 1)
            })
            .map_err(|_| Full::All)?;
        if let Some(key) = &key {
            let left = shared_places.saturating_sub(taken);
            let mut of_key = inner.by_key.entry(key.clone()).or_insert(0);
            if *of_key >= share.min(left) {
                let is_new = *of_key == 0;
                drop(of_key);
                inner.taken.fetch_sub(1, Relaxed);
                if is_new {
                    inner.by_key.remove_if(key, |_, of_key| *of_key == 0);
                }
                return Err(Full::Share);
            }
            *of_key += 1;
        }
        Ok(ShareGuard {
            shares: self.clone(),
            key,
        })
    }

    /// Returns the number of places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash> Drop for ShareGuard<K> {
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
            .field("bounds", &self.0.bounds)
            .field("taken", &self.0.taken)
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> fmt::Debug for ShareGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_share() {
        let shares = Shares::new(Bounds {
            places: 5,
            share: 2,
            shared_places: Bounds::ALL_FOR_ONE,
        });
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

    #[test]
    fn nobody_gets_more_than_is_left_for_others() {
        let shares = Shares::new(Bounds {
            places: 100,
            share: 60,
            shared_places: 100,
        });
        let take_all = |key| std::iter::from_fn(|| shares.take(Some(key)).ok()).collect::<Vec<_>>();
        let taken: Vec<_> = (0..5).map(take_all).collect();
        let counts: Vec<_> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [50, 25, 13, 6, 3]);
        assert!(shares.take(Some(9)).is_ok(), "somebody else");
        assert!(shares.take(None).is_ok());

        let few = Shares::new(Bounds {
            places: 4,
            share: 9,
            shared_places: 2,
        });
        let place = few.take(Some(1));
        assert_eq!(few.take(Some(1)).err(), Some(Full::Share));
        let others = [few.take(None), few.take(None)];
        assert_eq!(few.take(Some(2)).err(), Some(Full::Share));
        assert_eq!(few.0.by_key.len(), 1, "who got nothing isn't remembered");
        drop((place, others));
    }
}
