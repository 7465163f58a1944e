//! The providers whose deliveries are taken: the settings, with the secrets looked up.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

use super::{
    body::Form,
    field::Field,
    preset::Preset,
    scheme::{Scheme, SchemeError},
    settings::{Description, ProviderSettings, Settings},
    written::Key,
};
use crate::{
    auth::{Circle, PublicKey, SecretSource},
    dispatch::Scripts,
    script::{Failure, Limits, Sandbox},
};

/// The script that runs where the settings name none.
pub(super) const DEFAULT_SCRIPT: &str = include_str!("scripts/default.rhai");

/// One provider, set up.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the settings and in URLs.
    pub name: Arc<str>,
    pub(super) scheme: Scheme,
    pub(super) reading: Reading,
    pub(super) tolerance: Duration,
    pub(super) wait: Duration,
    keys: Vec<Key>,
    by_circle: HashMap<PublicKey, Vec<Key>>,
}

/// What is read from a provider's requests.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) forms: Vec<Form>,
    pub(super) event_id: Vec<Field>,
    pub(super) event_type: Vec<Field>,
    /// JSON pointers to what every body has.
    pub(super) required: Vec<String>,
    pub(super) challenge: Option<Challenge>,
    pub(super) series: Option<Series>,
}

/// A text that a provider wants back, to see that somebody is there.
#[derive(Debug)]
pub(super) struct Challenge {
    /// The body's `type` then.
    pub(super) kind: String,
    /// JSON pointer to the text.
    pub(super) answer: String,
}

/// Deliveries about one thing, of which none may undo the final one.
#[derive(Debug)]
pub(super) struct Series {
    /// JSON pointer to what they have in common.
    pub(super) name: String,
    /// JSON pointer to whether it is the final one.
    pub(super) is_final: String,
}

/// All providers, by name.
#[derive(Debug, Default)]
pub struct Providers {
    by_name: HashMap<Arc<str>, Arc<Provider>>,
    scripts: Scripts,
    off: Vec<Off>,
    unset: Vec<Unset>,
}

/// A secret that is nowhere, of a provider that has others.
#[derive(Debug)]
struct Unset {
    provider: String,
    circle: Option<PublicKey>,
    source: String,
}

/// A provider whose deliveries aren't taken, for want of a secret.
#[derive(Debug)]
struct Off {
    name: String,
    sources: Vec<String>,
}

/// Why a provider can't be set up.
#[derive(Debug, Error)]
#[error("webhooks.{provider}: {reason}")]
pub struct SetUpError {
    provider: String,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    #[error("the secret {from} cannot be used: {source}")]
    Secret { from: String, source: SchemeError },
    #[error("the secret {from} cannot be read: {source}")]
    Unreadable { from: String, source: io::Error },
    #[error("the script {} cannot be read: {source}", path.display())]
    NoScript { path: PathBuf, source: io::Error },
    #[error("the script {}{} is no Rhai: {}", path.display(), Place(failure), failure.message)]
    Script {
        path: PathBuf,
        failure: Box<Failure>,
    },
    #[error(
        "is no name for a provider: it stands in URLs, and has from 1 to 64 lowercase letters, digits, - and _"
    )]
    Name,
}

/// `:line:column`, as compilers write it.
struct Place<'a>(&'a Failure);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [self.0.line, self.0.column]
            .into_iter()
            .flatten()
            .try_for_each(|number| write!(f, ":{number}"))
    }
}

/// What setting up takes besides the settings themselves.
struct Surroundings<'a> {
    /// The folder that paths are relative to.
    base: &'a Path,
    circles: &'a [Circle],
    variable: &'a dyn Fn(&str) -> Option<String>,
    sandbox: Sandbox,
}

impl Providers {
    /// Looks the secrets up and compiles the scripts. `base` is the folder that paths are relative to,
    /// `variable` reads the environment.
    ///
    /// # Errors
    /// The first thing that can't be used. A secret that is nowhere is no error: without any, the provider
    /// is off.
    pub fn set_up(
        settings: &Settings,
        circles: &[Circle],
        limits: &Limits,
        base: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SetUpError> {
        let surroundings = Surroundings {
            base,
            circles,
            variable,
            sandbox: Sandbox::new(limits.clone()),
        };
        let mut providers = Self::default();
        for (name, settings) in &settings.providers {
            providers
                .add(name, settings, &surroundings)
                .map_err(|reason| SetUpError {
                    provider: name.clone(),
                    reason,
                })?;
        }
        Ok(providers)
    }

    /// The provider of this name, if its deliveries are taken.
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.by_name.get(name)
    }

    /// The scripts that deliveries run, those of providers that are off included: what came before may be
    /// pending still.
    pub fn scripts(&self) -> Scripts {
        self.scripts.clone()
    }

    /// Says in the log which providers' deliveries are taken.
    pub fn announce(&self) {
        let mut on: Vec<&str> = self.by_name.keys().map(AsRef::as_ref).collect();
        on.sort_unstable();
        if !on.is_empty() {
            tracing::info!(providers = on.join(", "), "taking webhooks");
        }
        for unset in &self.unset {
            let circle = unset.circle.map(|circle| circle.to_string());
            tracing::warn!(
                provider = unset.provider,
                circle,
                secret = unset.source,
                "a secret is not set, and counts for nothing"
            );
        }
        for Off { name, sources } in &self.off {
            tracing::info!(
                provider = name,
                secrets = sources.join(", "),
                "webhooks are off: none of the secrets is set"
            );
        }
    }

    fn add(
        &mut self,
        name: &str,
        settings: &ProviderSettings,
        surroundings: &Surroundings<'_>,
    ) -> Result<(), Reason> {
        if !is_name(name) {
            return Err(Reason::Name);
        }
        let description = settings.description();
        let scheme = description.scheme()?;
        let script = script(settings, surroundings)?;
        let name: Arc<str> = name.into();
        let mut unset = Vec::new();
        let mut note = |circle, sources: Vec<String>| {
            let unset_of = |source| Unset {
                provider: name.to_string(),
                circle,
                source,
            };
            unset.extend(sources.into_iter().map(unset_of));
        };
        let (keys, missing) = keys(&scheme, &settings.secrets, surroundings)?;
        note(None, missing);
        let mut by_circle = HashMap::new();
        for circle in surroundings.circles {
            if let Some(sources) = circle.secrets.get(&*name) {
                let (keys, missing) = self::keys(&scheme, sources, surroundings)?;
                note(Some(circle.key), missing);
                by_circle.insert(circle.key, keys);
            }
        }
        self.scripts.insert(name.clone(), script);
        if keys.is_empty() && by_circle.values().all(Vec::is_empty) {
            let sources = settings.secrets.iter().map(ToString::to_string);
            self.off.push(Off {
                name: name.to_string(),
                sources: sources.collect(),
            });
            return Ok(());
        }
        self.unset.extend(unset);
        let provider = Provider {
            name: name.clone(),
            scheme,
            reading: Reading::new(description),
            tolerance: settings.tolerance,
            wait: settings.wait,
            keys,
            by_circle,
        };
        self.by_name.insert(name, Arc::new(provider));
        Ok(())
    }
}

impl Provider {
    /// What counts for a circle: its own keys where it has any in the settings, or else everybody's.
    pub(super) fn keys(&self, circle: &PublicKey) -> &[Key] {
        self.by_circle.get(circle).unwrap_or(&self.keys)
    }
}

impl ProviderSettings {
    /// What is said of the provider, and of its preset.
    pub fn description(&self) -> Description {
        let own = self.description.clone();
        match self.preset {
            Some(preset) => own.or(preset.description()),
            None => own,
        }
    }
}

impl Preset {
    /// How the service signs.
    ///
    /// # Errors
    /// None: every preset is complete.
    pub fn scheme(self) -> Result<Scheme, SchemeError> {
        self.description().scheme()
    }
}

impl Reading {
    fn new(description: Description) -> Self {
        Self {
            forms: description.body.unwrap_or_else(|| vec![Form::Json]),
            event_id: description.event_id.unwrap_or_default(),
            event_type: description.event_type.unwrap_or_default(),
            required: description.required.unwrap_or_default(),
            challenge: description
                .challenge
                .zip(description.challenge_type)
                .map(|(answer, kind)| Challenge { kind, answer }),
            series: description
                .series
                .zip(description.series_final)
                .map(|(name, is_final)| Series { name, is_final }),
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

/// The keys, and where there should be some but aren't.
fn keys(
    scheme: &Scheme,
    sources: &[SecretSource],
    surroundings: &Surroundings<'_>,
) -> Result<(Vec<Key>, Vec<String>), Reason> {
    let (mut keys, mut unset) = (Vec::new(), Vec::new());
    for from in sources {
        let secret = from
            .read(surroundings.base, surroundings.variable)
            .map_err(|source| Reason::Unreadable {
                from: from.to_string(),
                source,
            })?;
        let Some(secret) = secret else {
            unset.push(from.to_string());
            continue;
        };
        keys.push(scheme.key(&secret).map_err(|source| Reason::Secret {
            from: from.to_string(),
            source,
        })?);
    }
    Ok((keys, unset))
}

fn script(
    settings: &ProviderSettings,
    surroundings: &Surroundings<'_>,
) -> Result<Arc<str>, Reason> {
    let Some(path) = &settings.script else {
        return Ok(settings
            .preset
            .map_or(DEFAULT_SCRIPT, Preset::script)
            .into());
    };
    let path = surroundings.base.join(path);
    let source = std::fs::read_to_string(&path).map_err(|source| Reason::NoScript {
        path: path.clone(),
        source,
    })?;
    match surroundings.sandbox.check(&source) {
        Ok(()) => Ok(source.into()),
        Err(failure) => Err(Reason::Script {
            path,
            failure: Box::new(failure),
        }),
    }
}
