//! What can be set anew while a server runs.

use std::sync::Arc;

use super::{State, providers, scripts};
use crate::{
    auth::Access,
    config,
    dispatch::Scripts,
    webhooks::{ProviderSettings, SetUpError},
};

/// The settings of a running server that can be set anew. A cheap handle.
#[derive(Debug, Clone)]
pub struct Live {
    access: Arc<Access>,
    scripts: Scripts,
    /// Of a server that people connect to.
    gateway: Option<Arc<State>>,
}

impl Live {
    pub(super) fn gateway(state: Arc<State>) -> Self {
        Self {
            access: state.shared.access.clone(),
            scripts: state.scripts.clone(),
            gateway: Some(state),
        }
    }

    pub(super) fn worker(access: Arc<Access>, scripts: Scripts) -> Self {
        Self {
            access,
            scripts,
            gateway: None,
        }
    }

    /// Whether a setting is one of those.
    pub fn has(&self, key: &str) -> bool {
        let of_provider = key
            .strip_prefix("webhooks.")
            .and_then(|key| key.split_once('.'))
            .is_some_and(|(_, setting)| ProviderSettings::KEYS.contains(&setting));
        of_provider
            || [
                "circle",
                "circles.open",
                "circles.allow_open",
                "circles.play",
                "circles.call",
                "circles.subscribe",
                "circles.manage",
            ]
            .contains(&key)
    }

    /// Looks at the providers of webhooks as far as this server has to do with them.
    ///
    /// # Errors
    /// One can't be set up.
    pub fn check(&self, settings: &config::Settings) -> Result<(), SetUpError> {
        match &self.gateway {
            Some(_) => providers(settings).map(drop),
            None => scripts(settings).map(drop),
        }
    }

    /// Sets them. Sessions in a circle where somebody may do less than before end, once what they have begun is
    /// answered: they may log in anew. Returns how many.
    ///
    /// # Errors
    /// A provider can't be set up; nothing has changed then.
    pub fn set(&self, settings: &config::Settings) -> Result<usize, SetUpError> {
        let Some(gateway) = &self.gateway else {
            self.scripts.take(&scripts(settings)?);
            self.access.replace(&settings.circles, &settings.circle);
            return Ok(0);
        };
        let providers = providers(settings)?;
        self.scripts.take(&providers.scripts());
        let change = self.access.replace(&settings.circles, &settings.circle);
        providers.announce();
        gateway.verify.replace(providers);
        Ok(gateway.registry.end(|circle| change.takes_from(circle)))
    }
}
