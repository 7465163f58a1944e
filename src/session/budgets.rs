//! What sessions may make the server hold: each by itself, those of one address together, and all of them.

use std::sync::Arc;

use dashmap::{DashMap, Entry};

use super::Settings;
use crate::{address::Network, memory::MemoryBudget};

/// What a session may hold before it counts in the budgets of its address and of all, as `config/default.toml` says:
/// no more than an idle one takes anyway.
const FREE_BYTES: usize = 8 << 10;

/// The budgets of all sessions. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: MemoryBudget,
    of_address: usize,
    anonymous: usize,
    by_address: DashMap<Network, Address>,
}

#[derive(Debug)]
struct Address {
    sessions: usize,
    memory: MemoryBudget,
}

/// A session's budget. Its address's is forgotten with the last of them.
#[derive(Debug)]
pub(super) struct SessionBudget {
    pub(super) memory: MemoryBudget,
    pub(super) address: Network,
    budgets: Budgets,
}

impl Budgets {
    /// With the bounds that the settings give; what all sessions hold counts in `all`.
    pub(super) fn new(settings: &Settings, all: MemoryBudget) -> Self {
        Self(Arc::new(Inner {
            all,
            of_address: settings.max_buffered_per_address,
            anonymous: settings.anonymous_buffered,
            by_address: DashMap::new(),
        }))
    }

    /// Returns the budget of a new session: what it may hold until somebody has logged in.
    pub(super) fn open(&self, address: Network) -> SessionBudget {
        let inner = &*self.0;
        let entry = inner.by_address.entry(address);
        let mut here = entry.or_insert_with(|| Address {
            sessions: 0,
            memory: inner
                .all
                .part("session.max_buffered_per_address", inner.of_address, 0),
        });
        here.sessions += 1;
        let memory = here
            .memory
            .part("session.anonymous_buffered", inner.anonymous, FREE_BYTES);
        SessionBudget {
            memory,
            address,
            budgets: self.clone(),
        }
    }
}

impl Drop for SessionBudget {
    fn drop(&mut self) {
        if let Entry::Occupied(mut here) = self.budgets.0.by_address.entry(self.address) {
            here.get_mut().sessions -= 1;
            if here.get().sessions == 0 {
                here.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sessions_hold_counts_for_their_address_and_for_all() {
        let all = MemoryBudget::new("server.max_buffered", 100_000);
        let budgets = Budgets(Arc::new(Inner {
            all: all.clone(),
            of_address: 60_000,
            anonymous: 50_000,
            by_address: DashMap::new(),
        }));
        let open = |address: &str| budgets.open(Network::of(address.parse().unwrap()));
        let (one, two, other) = (open("192.0.2.1"), open("192.0.2.1"), open("192.0.2.2"));
        let refused =
            |session: &SessionBudget, bytes| session.memory.try_reserve(bytes).unwrap_err().setting;
        assert_eq!(refused(&one, 50_001), "session.anonymous_buffered");
        let held = one.memory.try_reserve(50_000).unwrap();
        assert_eq!(refused(&two, 40_000), "session.max_buffered_per_address");
        other.memory.raise("session.max_buffered", 80_000);
        assert_eq!(refused(&other, 80_001), "session.max_buffered");
        assert_eq!(refused(&other, 69_000), "session.max_buffered_per_address");
        let more = other.memory.try_reserve(60_000).unwrap();
        assert_eq!(refused(&two, 20_000), "server.max_buffered");
        assert!(two.memory.try_reserve(FREE_BYTES).is_ok());
        drop((held, more));
        assert_eq!(all.used(), 0);
        drop((one, two, other));
        assert!(budgets.0.by_address.is_empty());
    }
}
