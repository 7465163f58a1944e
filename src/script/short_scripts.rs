//! Scripts that are known to be short, so that any session's thread may compile them for itself.

use std::hash::{BuildHasher, RandomState};

use quick_cache::sync::Cache;

/// Scripts to remember.
const SCRIPTS: usize = 8192;
/// Longer ones are never short enough to compile between messages, nor to look up for nothing.
const LONGEST: usize = 16 << 10;

/// A bounded set of sources. Kept as 128 bits under keys of this process alone, so nobody can make up
/// a script that is taken for another.
#[derive(Debug)]
pub(super) struct ShortScripts {
    keys: (RandomState, RandomState),
    scripts: Cache<(u64, u64), ()>,
}

impl ShortScripts {
    pub(super) fn new() -> Self {
        Self {
            keys: (RandomState::new(), RandomState::new()),
            scripts: Cache::new(SCRIPTS),
        }
    }

    /// Remembers a script that compiled and ran quickly.
    pub(super) fn add(&self, source: &str) {
        if source.len() <= LONGEST {
            let key = self.key(source);
            if self.scripts.get(&key).is_none() {
                self.scripts.insert(key, ());
            }
        }
    }

    /// Forgets a script that turned out to be slow.
    pub(super) fn remove(&self, source: &str) {
        self.scripts.remove(&self.key(source));
    }

    pub(super) fn has(&self, source: &str) -> bool {
        source.len() <= LONGEST && self.scripts.get(&self.key(source)).is_some()
    }

    fn key(&self, source: &str) -> (u64, u64) {
        (self.keys.0.hash_one(source), self.keys.1.hash_one(source))
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, ShortScripts};

    #[test]
    fn short_sources_are_known_until_removed() {
        let short = ShortScripts::new();
        assert!(!short.has("40 + 2"));
        short.add("40 + 2");
        assert!(short.has("40 + 2") && !short.has("40 + 3"));
        short.remove("40 + 2");
        assert!(!short.has("40 + 2"));
        let long = " ".repeat(LONGEST + 1);
        short.add(&long);
        assert!(!short.has(&long));
    }
}
