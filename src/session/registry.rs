//! The open sessions by circle, and the limits on their number.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use circled_protocol::PublicKey;
use dashmap::{DashMap, Entry};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Settings,
    budgets::{Budgets, SessionBudget},
};
use crate::{
    address::Network,
    memory::MemoryBudget,
    rpc::Client,
    shares::{self, Bounds, ShareGuard, Shares},
};

/// A session's id, which also names it in the log.
pub type SessionId = Uuid;

/// The sessions of this server. A cheap handle.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Shares<Network>,
    by_circle: DashMap<PublicKey, HashMap<SessionId, CancellationToken>>,
    budgets: Budgets,
}

/// The reason why there is no room for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// There are `session.max_sessions` sessions.
    Server,
    /// The address has `session.max_sessions_per_address` sessions, or as many as it leaves to others.
    Address,
}

impl Full {
    /// Returns the reason for the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Server => "too many sessions, try again later",
            Self::Address => "too many sessions from this address",
        }
    }
}

/// The place of a session, released when this is dropped.
#[derive(Debug)]
pub struct SessionPermit {
    registry: Registry,
    /// The session's id.
    pub id: SessionId,
    circle: PublicKey,
    _share: ShareGuard<Network>,
    ending: CancellationToken,
    budget: SessionBudget,
}

impl From<shares::Full> for Full {
    fn from(full: shares::Full) -> Self {
        match full {
            shares::Full::All => Self::Server,
            shares::Full::Share => Self::Address,
        }
    }
}

impl Registry {
    /// Creates a registry with the bounds of the settings, for a server with so many connections. The bytes of all
    /// sessions count in `memory`. Behind a proxy, an address is limited only by its sessions, so no address may take
    /// them all.
    pub fn new(settings: &Settings, memory: MemoryBudget, connections: usize) -> Self {
        Self(Arc::new(Inner {
            places: Shares::new(Bounds {
                places: settings.max_sessions.get(),
                share: settings.max_sessions_per_address.get(),
                shared_places: connections,
            }),
            by_circle: DashMap::new(),
            budgets: Budgets::new(settings, memory),
        }))
    }

    /// Admits a session, which begins to end once `ending` is cancelled.
    ///
    /// # Errors
    /// [`Full`]; then nothing has changed.
    pub fn admit(
        &self,
        circle: PublicKey,
        address: IpAddr,
        ending: CancellationToken,
    ) -> Result<SessionPermit, Full> {
        let network = Network::of(address);
        let place = self.0.places.take(Some(network))?;
        let id = Uuid::now_v7();
        self.0
            .by_circle
            .entry(circle)
            .or_default()
            .insert(id, ending.clone());
        Ok(SessionPermit {
            registry: self.clone(),
            id,
            circle,
            _share: place,
            ending,
            budget: self.0.budgets.open(network),
        })
    }

    /// Ends the sessions of some circles. Returns their number.
    pub fn end(&self, of: impl Fn(&PublicKey) -> bool) -> usize {
        let mut ended = 0;
        for circle in self.0.by_circle.iter().filter(|circle| of(circle.key())) {
            circle.values().for_each(CancellationToken::cancel);
            ended += circle.len();
        }
        ended
    }

    /// Returns the number of sessions.
    pub fn sessions(&self) -> usize {
        self.0.places.taken()
    }

    /// Returns the number of circles with a session.
    pub fn circles(&self) -> usize {
        self.0.by_circle.len()
    }
}

impl SessionPermit {
    /// Returns the memory budget of the session.
    pub fn memory(&self) -> &MemoryBudget {
        &self.budget.memory
    }

    /// Returns the client of the session, as calls see it.
    pub fn client(&self) -> Client {
        Client {
            session_id: self.id,
            address: self.budget.address,
            memory: self.budget.memory.clone(),
            ending: self.ending.clone(),
        }
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        let inner = &self.registry.0;
        if let Entry::Occupied(mut sessions) = inner.by_circle.entry(self.circle) {
            sessions.get_mut().remove(&self.id);
            if sessions.get().is_empty() {
                sessions.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use circled_protocol::SecretKey;

    use super::*;
    use crate::config;

    fn registry(max_sessions: usize, max_per_address: usize) -> Registry {
        let settings = Settings {
            max_sessions: NonZeroUsize::new(max_sessions).unwrap(),
            max_sessions_per_address: NonZeroUsize::new(max_per_address).unwrap(),
            ..config::Settings::load(None, []).unwrap().settings.session
        };
        let memory = MemoryBudget::new("server.max_buffered", 0);
        Registry::new(&settings, memory, 1000)
    }

    fn token() -> CancellationToken {
        CancellationToken::new()
    }

    #[test]
    fn the_sessions_of_a_circle_can_be_ended() {
        let registry = registry(9, 9);
        let here = "192.0.2.1".parse().unwrap();
        let [one, two] = [1, 2].map(|_| SecretKey::generate().unwrap().public());
        let tokens = [one, two, one].map(|circle| {
            let ending = token();
            (
                registry.admit(circle, here, ending.clone()).unwrap(),
                ending,
            )
        });
        assert_eq!(registry.end(|circle| *circle == one), 2);
        let ended = tokens.each_ref().map(|(_, ending)| ending.is_cancelled());
        assert_eq!(ended, [true, false, true]);
    }

    #[test]
    fn a_place_is_given_back() {
        let registry = registry(2, 2);
        let (one, two) = (
            SecretKey::generate().unwrap().public(),
            SecretKey::generate().unwrap().public(),
        );
        let here = "192.0.2.1".parse().unwrap();
        let permits = [
            registry.admit(one, here, token()).unwrap(),
            registry.admit(two, here, token()).unwrap(),
        ];
        assert_eq!((registry.sessions(), registry.circles()), (2, 2));
        assert_eq!(
            registry
                .admit(one, "192.0.2.2".parse().unwrap(), token())
                .unwrap_err(),
            Full::Server
        );
        drop(permits);
        assert_eq!((registry.sessions(), registry.circles()), (0, 0));
    }

    #[test]
    fn one_address_gets_its_share() {
        let registry = registry(10, 1);
        let circle = SecretKey::generate().unwrap().public();
        let mut permits = Vec::new();
        for (address, admitted) in [
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
        ] {
            let permit = registry.admit(circle, address.parse().unwrap(), token());
            assert_eq!(permit.is_ok(), admitted, "{address}");
            permits.extend(permit);
        }
        assert_eq!(registry.sessions(), permits.len());
    }
}
