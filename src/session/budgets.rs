//! The memory budgets of sessions: of each session, of each address, of all sessions without a login, and of all
//! sessions.

use std::sync::Arc;

use dashmap::{DashMap, Entry};

use super::Settings;
use crate::{address::Network, memory::MemoryBudget};

/// The bytes that a session may hold before it counts in the budgets of its address and of all (see
/// `config/default.toml`): no more than an idle session takes anyway.
const FREE_BYTES: usize = 8 << 10;
/// The default of `session.anonymous_buffered_per_address`, as a divisor of what all sessions without a login may hold.
const SHARE_OF_ADDRESS: usize = 8;

/// The budgets of all sessions. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: MemoryBudget,
    /// The budget of all sessions without a login, which count here, too.
    strangers: MemoryBudget,
    of_address: usize,
    of_session: usize,
    of_stranger: usize,
    of_strangers_here: usize,
    by_address: DashMap<Network, Address>,
}

#[derive(Debug)]
struct Address {
    sessions: usize,
    memory: MemoryBudget,
    /// This address's part of the budget for sessions without a login.
    strangers: MemoryBudget,
}

/// A session's budget. The budget of its address is removed with the address's last session.
#[derive(Debug)]
pub(super) struct SessionBudget {
    pub(super) memory: MemoryBudget,
    pub(super) address: Network,
    budgets: Budgets,
}

impl Budgets {
    /// Creates the budgets with the bounds of the settings; the bytes of all sessions count in `all`.
    pub(super) fn new(settings: &Settings, all: MemoryBudget) -> Self {
        let strangers = settings.of_strangers(all.limit());
        let of_stranger = settings.anonymous_buffered.get();
        let of_strangers_here = match settings.anonymous_buffered_per_address {
            0 => (strangers / SHARE_OF_ADDRESS).max(of_stranger),
            bytes => bytes,
        };
        Self(Arc::new(Inner {
            all,
            strangers: MemoryBudget::new("session.anonymous_buffered_in_all", strangers),
            of_address: settings.max_buffered_per_address.get(),
            of_session: settings.max_buffered.get(),
            of_stranger,
            of_strangers_here,
            by_address: DashMap::new(),
        }))
    }

    /// Returns the budget of a new session, which has no login until it is raised.
    pub(super) fn open(&self, address: Network) -> SessionBudget {
        let inner = &*self.0;
        let entry = inner.by_address.entry(address);
        let mut here = entry.or_insert_with(|| Address {
            sessions: 0,
            memory: inner
                .all
                .share("session.max_buffered_per_address", inner.of_address),
            strangers: inner.strangers.part(
                "session.anonymous_buffered_per_address",
                inner.of_strangers_here,
                0,
            ),
        });
        here.sessions += 1;
        let memory = here.memory.part_of_stranger(
            ("session.max_buffered", inner.of_session),
            FREE_BYTES,
            ("session.anonymous_buffered", inner.of_stranger),
            &here.strangers,
        );
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

    fn budgets(all: &MemoryBudget, strangers: usize) -> Budgets {
        Budgets(Arc::new(Inner {
            all: all.clone(),
            strangers: MemoryBudget::new("session.anonymous_buffered_in_all", strangers),
            of_address: 60_000,
            of_session: 80_000,
            of_stranger: 50_000,
            of_strangers_here: 70_000,
            by_address: DashMap::new(),
        }))
    }

    fn open(budgets: &Budgets, address: &str) -> SessionBudget {
        budgets.open(Network::of(address.parse().unwrap()))
    }

    fn refused(session: &SessionBudget, bytes: usize) -> &'static str {
        session.memory.try_reserve(bytes).unwrap_err().setting
    }

    #[test]
    fn bytes_of_sessions_count_for_their_address_and_for_all() {
        let all = MemoryBudget::new("server.max_buffered", 150_000);
        let budgets = budgets(&all, 100_000);
        let [one, two, other] =
            ["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|address| open(&budgets, address));
        assert_eq!(refused(&one, 50_001), "session.anonymous_buffered");
        let held = one.memory.try_reserve(50_000).unwrap();
        assert_eq!(
            refused(&two, 40_000),
            "session.anonymous_buffered_per_address"
        );
        two.memory.raise();
        assert_eq!(refused(&two, 40_000), "session.max_buffered_per_address");
        other.memory.raise();
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

    #[test]
    fn strangers_of_one_address_leave_room_for_those_of_others() {
        let all = MemoryBudget::new("server.max_buffered", 400_000);
        let budgets = Budgets(Arc::new(Inner {
            of_address: 400_000,
            ..Arc::into_inner(budgets(&all, 100_000).0).unwrap()
        }));
        let here: Vec<_> = (0..8).map(|_| open(&budgets, "192.0.2.1")).collect();
        let held: Vec<_> = here
            .iter()
            .map_while(|session| session.memory.try_reserve(30_000).ok())
            .collect();
        // The first bytes of each session are free.
        assert_eq!(held.len(), 3);
        assert_eq!(
            refused(&here[3], 30_000),
            "session.anonymous_buffered_per_address"
        );
        let other = open(&budgets, "192.0.2.2");
        let more = other.memory.try_reserve(30_000).unwrap();
        // A session that logs in leaves its part to others.
        here[0].memory.raise();
        assert!(here[3].memory.try_reserve(30_000).is_ok());
        drop((held, more));
        assert_eq!((all.used(), budgets.0.strangers.used()), (0, 0));
    }

    #[test]
    fn strangers_of_all_addresses_have_a_part_of_it_together() {
        let all = MemoryBudget::new("server.max_buffered", 400_000);
        let budgets = budgets(&all, 100_000);
        let [one, two, three] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| open(&budgets, address));
        let held = [&one, &two].map(|session| session.memory.try_reserve(50_000).unwrap());
        let in_all = "session.anonymous_buffered_in_all";
        assert_eq!(refused(&three, 50_000), in_all);
        assert!(three.memory.try_reserve(FREE_BYTES).is_ok());
        // A session that has logged in counts no more among those without a login, nor do the bytes that it holds
        // already.
        three.memory.raise();
        assert!(three.memory.try_reserve(60_000).is_ok());
        one.memory.raise();
        let four = open(&budgets, "192.0.2.4");
        assert!(four.memory.try_reserve(50_000).is_ok());
        drop(held);
        assert_eq!((all.used(), budgets.0.strangers.used()), (0, 0));
    }
}
