//! Sets up what the settings only name: secrets, keys and scripts, which are in files and in the environment.

use jiff::Timestamp;
use thiserror::Error;

use super::Certificates;
use crate::{
    auth::{Circle, Grants, OfServer},
    config::{self, Mistake},
    dispatch::Scripts,
    webhooks::{self, Providers},
};

/// What a server has been set up with.
#[derive(Debug)]
pub struct SetUp {
    /// The providers of webhooks.
    pub providers: Providers,
    /// The grants of circles' owners.
    pub grants: Grants,
    /// The certificates for TLS; `None` if the settings name none.
    pub certificates: Option<Certificates>,
}

/// All mistakes that keep a server from being set up.
#[derive(Debug, Error)]
#[error("{}", lines(.0))]
pub struct SetUpError(pub Vec<Mistake>);

impl SetUp {
    /// Reads the secrets and certificates, compiles the scripts and checks the grants.
    ///
    /// # Errors
    /// All mistakes.
    pub fn of(settings: &config::Settings) -> Result<Self, SetUpError> {
        let variable = |name: &str| std::env::var(name).ok();
        let providers = Providers::set_up(
            &settings.webhooks,
            &settings.circle,
            &settings.script,
            &settings.base,
            &variable,
        );
        let server = OfServer {
            key: settings.server.key.as_ref(),
            origin: settings.server.public_url.as_ref(),
            base: &settings.base,
            variable: &variable,
        };
        let grants = Grants::set_up(&server, &settings.circle);
        let certificates = Certificates::read(settings);
        match (providers, grants, certificates) {
            (Ok(providers), Ok(grants), Ok(certificates)) => Ok(Self {
                providers,
                grants,
                certificates,
            }),
            (providers, grants, certificates) => {
                let mut mistakes = Vec::new();
                if let Err(error) = providers {
                    mistakes.extend(of_providers(&error, &settings.circle).0);
                }
                for (key, mistake) in grants.err().into_iter().flatten() {
                    let message = mistake.to_string();
                    mistakes.push(Mistake { key, message });
                }
                mistakes.extend(certificates.err().into_iter().flatten());
                Err(SetUpError(mistakes))
            }
        }
    }

    /// Logs what the server does with its settings.
    pub fn announce(&self) {
        self.providers.announce();
        self.grants.announce(Timestamp::now());
        if let Some(certificates) = &self.certificates {
            certificates.warn(Timestamp::now());
        }
    }

    /// Returns remarks on settings that can be used all the same.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let providers = self.providers.notes().iter().map(ToString::to_string);
        let grants = self.grants.notes(Timestamp::now()).into_iter();
        let certificates = self.certificates.iter();
        let certificates = certificates.flat_map(|all| all.notes(Timestamp::now()));
        providers
            .chain(grants.map(|note| note.to_string()))
            .chain(certificates)
    }
}

/// Compiles the scripts of the providers, the only part that a worker needs.
///
/// # Errors
/// All names and scripts that can't be used.
pub fn scripts(settings: &config::Settings) -> Result<Scripts, SetUpError> {
    Providers::set_up_scripts(&settings.webhooks, &settings.script, &settings.base)
        .map_err(|error| of_providers(&error, &settings.circle))
}

fn of_providers(error: &webhooks::SetUpError, circles: &[Circle]) -> SetUpError {
    let by_key = error.by_key(circles).into_iter();
    SetUpError(
        by_key
            .map(|(key, message)| Mistake { key, message })
            .collect(),
    )
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines = mistakes
        .iter()
        .map(|Mistake { key, message }| format!("{key}: {message}"));
    lines.collect::<Vec<_>>().join("\n")
}
