//! The settings that can be changed while a server runs.

use std::sync::Arc;

use super::{SetUp, SetUpError, State, scripts};
use crate::{
    auth::Access,
    config,
    dispatch::{Scripts, log_runs_over},
    webhooks::ProviderSettings,
};

/// The settings of a running server that can be changed. A cheap handle.
#[derive(Debug, Clone)]
pub struct Live {
    access: Arc<Access>,
    scripts: Scripts,
    /// The parts that only a server has, not a worker.
    gateway: Option<Arc<State>>,
}

/// The result of applying new settings.
#[derive(Debug, Default)]
pub struct Applied {
    /// The number of sessions that end.
    pub sessions_ended: usize,
    /// Settings that name files, which are read again even if the settings are the same.
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

    /// Returns true if a setting can be changed while the server runs.
    pub fn has(&self, key: &str) -> bool {
        let of_provider = key
            .strip_prefix("webhooks.")
            .and_then(|key| key.split_once('.'))
            .is_some_and(|(_, setting)| ProviderSettings::keys().contains(&setting));
        of_provider
            || [
                "server.key",
                "log.slow",
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

    /// Checks what the settings name, as far as this server uses it.
    ///
    /// # Errors
    /// All mistakes.
    pub fn check(&self, settings: &config::Settings) -> Result<(), SetUpError> {
        match &self.gateway {
            Some(_) => SetUp::of(settings).map(drop),
            None => scripts(settings).map(drop),
        }
    }

    /// Applies the settings. Sessions of circles where somebody may do less than before end after their calls; clients
    /// may log in anew.
    ///
    /// # Errors
    /// What the settings name can't be used; then nothing has changed.
    pub fn set(&self, settings: &config::Settings) -> Result<Applied, SetUpError> {
        let mut taken = Applied::default();
        let scripts = match &self.gateway {
            None => {
                let scripts = scripts(settings)?;
                self.access.replace(&settings.circles, &settings.circle);
                scripts
            }
            Some(gateway) => {
                let set_up = SetUp::of(settings)?;
                set_up.announce();
                let SetUp { providers, grants } = set_up;
                let scripts = providers.scripts();
                let change = self.access.replace(&settings.circles, &settings.circle);
                gateway.shared.watches.on_change(&change);
                taken.read_anew = gateway.verify.replace(providers);
                let grants = Arc::new(grants);
                if grants.has_other_key(&gateway.shared.grants.swap(grants.clone())) {
                    taken.read_anew.push("server.key".to_owned());
                }
                taken.sessions_ended = gateway.registry.end(|circle| change.narrows(circle));
                scripts
            }
        };
        log_runs_over(settings.log.slow);
        let scripts = self.scripts.take(&scripts).into_iter();
        let scripts = scripts.map(|provider| format!("webhooks.{provider}.script"));
        taken.read_anew.extend(scripts);
        Ok(taken)
    }
}
