//! Scripts that a runner has found to be short, so that any session's thread may compile them for itself.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use quick_cache::sync::Cache;

/// Scripts to remember.
const SCRIPTS: usize = 8192;

/// A bounded set of sources. Kept as 128 bits under keys of this process alone, so nobody can make up
/// a script that is taken for another.
#[derive(Debug)]
pub(super) struct Known {
    keys: (RandomState, RandomState),
    scripts: Cache<(u64, u64), ()>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            keys: (RandomState::new(), RandomState::new()),
            scripts: Cache::new(SCRIPTS),
        }
    }

    pub(super) fn add(&self, source: &str) {
        let key = self.key(source);
        if self.scripts.get(&key).is_none() {
            self.scripts.insert(key, ());
        }
    }

    pub(super) fn has(&self, source: &str) -> bool {
        self.scripts.get(&self.key(source)).is_some()
    }

    fn key(&self, source: &str) -> (u64, u64) {
        let hash = |key: &RandomState| {
            let mut hasher = key.build_hasher();
            source.hash(&mut hasher);
            hasher.finish()
        };
        (hash(&self.keys.0), hash(&self.keys.1))
    }
}
