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

/// What has come of new settings.
#[derive(Debug, Default)]
pub struct Taken {
    /// Sessions that end.
    pub sessions_ended: usize,
    /// Settings that may read the same, and name files with something else in them.
    pub read_anew: Vec<String>,
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
    /// answered: they may log in anew.
    ///
    /// # Errors
    /// A provider can't be set up; nothing has changed then.
    pub fn set(&self, settings: &config::Settings) -> Result<Taken, SetUpError> {
        let mut taken = Taken::default();
        let scripts = match &self.gateway {
            None => {
                let scripts = scripts(settings)?;
                self.access.replace(&settings.circles, &settings.circle);
                scripts
            }
            Some(gateway) => {
                let providers = providers(settings)?;
                let scripts = providers.scripts();
                let change = self.access.replace(&settings.circles, &settings.circle);
                providers.announce();
                taken.read_anew = gateway.verify.replace(providers);
                taken.sessions_ended = gateway.registry.end(|circle| change.takes_from(circle));
                scripts
            }
        };
        let scripts = self.scripts.take(&scripts).into_iter();
        let scripts = scripts.map(|provider| format!("webhooks.{provider}.script"));
        taken.read_anew.extend(scripts);
        Ok(taken)
    }
}
