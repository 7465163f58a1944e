//! The settings that can be changed while a server runs.

use std::sync::Arc;

use super::{SetUp, SetUpError, State, scripts, tls};
use crate::{
    auth::Access,
    config::{self, Mistake},
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
        // Whether connections are plain can't change for those who are connected.
        let of_tls = key == tls::KEY
            && self
                .gateway
                .as_ref()
                .is_some_and(|gateway| gateway.tls.is_some());
        of_provider
            || of_tls
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
            Some(gateway) => gateway.set_up(settings).map(drop),
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
                let set_up = gateway.set_up(settings)?;
                set_up.announce();
                let SetUp {
                    providers,
                    grants,
                    certificates,
                } = set_up;
                let scripts = providers.scripts();
                let change = self.access.replace(&settings.circles, &settings.circle);
                gateway.shared.watches.on_change(&change);
                taken.read_anew = gateway.verify.replace(providers);
                let grants = Arc::new(grants);
                if grants.has_other_key(&gateway.shared.grants.swap(grants.clone())) {
                    taken.read_anew.push("server.key".to_owned());
                }
                if let (Some(tls), Some(certificates)) = (&gateway.tls, certificates)
                    && tls.replace(certificates)
                {
                    taken.read_anew.push(tls::KEY.to_owned());
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

impl State {
    /// Sets up what the settings name, for a server that has TLS if it was started with it.
    fn set_up(&self, settings: &config::Settings) -> Result<SetUp, SetUpError> {
        let set_up = SetUp::of(settings)?;
        if self.tls.is_some() && set_up.certificates.is_none() {
            let message =
                "a server that was started with TLS can't serve without it: restart it for that";
            return Err(SetUpError(vec![Mistake {
                key: tls::KEY.to_owned(),
                message: message.to_owned(),
            }]));
        }
        Ok(set_up)
    }
}
