//! Settings: every module's own, put together from the built-in defaults, a file and the environment.
//!
//! `config/default.toml` has every key there is, so a key that isn't in it is a mistake. All mistakes
//! are found at once, each with its key, its value, where it stands and what would be right.

mod key;
mod layers;
mod place;
mod rules;
pub mod server;
#[cfg(test)]
mod tests;
mod value;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use crate::{auth, dispatch, rpc, script, session, store, webhooks};

use layers::Layers;
pub use layers::{Entry, Source};
pub use place::Place;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[server]`
    pub server: server::Settings,
    /// `[session]`
    pub session: session::Settings,
    /// `[limits]`
    pub limits: rpc::QuotaSettings,
    /// `[auth]`
    pub auth: auth::Settings,
    /// `[circles]`
    pub circles: auth::CirclesSettings,
    /// `[[circle]]`
    #[serde(default)]
    pub circle: Vec<auth::Circle>,
    /// `[dispatch]`
    pub dispatch: dispatch::Settings,
    /// `[store]`
    pub store: store::Settings,
    /// `[script]`
    pub script: script::Limits,
    /// `[webhooks]`
    pub webhooks: webhooks::Settings,
    /// `[log]`
    pub log: Log,
    /// The folder that paths in the settings file are relative to: its own.
    #[serde(skip)]
    pub base: PathBuf,
}

/// The `[log]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is logged, as [`tracing_subscriber::EnvFilter`] reads it.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// Settings, and where each of them comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// Every key with its value and its source, in the order of `config/default.toml`.
    pub entries: Vec<Entry>,
    /// What will hardly do what is wanted, though the settings can be used.
    pub doubts: Vec<Problem>,
    layers: Layers,
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, like `session.max_batch`; empty for a mistake of the file as a whole.
    pub key: String,
    /// What stands there, without what is secret in it.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Option<Source>,
    /// Where in the file.
    pub place: Option<Place>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// What somebody else has found wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, like `webhooks.stripe.script` or `circle[0].secrets.stripe`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every mistake there is in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl Settings {
    /// Reads the settings: the defaults, then `file`, then those of `environment` that begin with
    /// `CIRCLED_`.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        Self::load_and_try(file, environment, |_| Vec::new())
    }

    /// As [`Settings::load`], with what only those find who `try` to use the settings. They get them without what is
    /// wrong already.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load_and_try(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        try_out: impl FnOnce(&Self) -> Vec<Mistake>,
    ) -> Result<Loaded, Problems> {
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Loaded::of(layers::read(file, environment)?, base, try_out)
    }
}

impl Loaded {
    /// Reads the settings out of what was set.
    fn of(
        layers: Layers,
        base: &Path,
        try_out: impl FnOnce(&Settings) -> Vec<Mistake>,
    ) -> Result<Self, Problems> {
        let (settings, mut problems) = layers.settle();
        let Some(mut settings) = settings else {
            return Err(Problems(problems));
        };
        settings.base = base.into();
        let broken = rules::check(&settings, &problems);
        let (doubtful, wrong): (Vec<_>, _) = broken.into_iter().partition(|rule| rule.doubtful);
        let told = |rule: rules::Broken| layers.problem(rule.about[0], rule.message);
        let found = try_out(&settings);
        problems.extend(wrong.into_iter().map(told));
        problems.extend(
            found
                .into_iter()
                .map(|mistake| layers.problem(&mistake.key, mistake.message)),
        );
        if !problems.is_empty() {
            problems.extend(doubtful.into_iter().map(told));
            return Err(Problems(problems));
        }
        Ok(Self {
            entries: layers.entries(),
            doubts: doubtful.into_iter().map(told).collect(),
            settings,
            layers,
        })
    }

    /// Returns what a server runs by once it has taken up those of these settings that are live, and was started with
    /// `started`.
    ///
    /// # Errors
    /// Every mistake that they make together.
    pub fn taken_up(
        &self,
        started: &Self,
        is_live: impl Fn(&str) -> bool,
        try_out: impl FnOnce(&Settings) -> Vec<Mistake>,
    ) -> Result<Self, Problems> {
        let layers = self
            .layers
            .with_those_of(&started.layers, |key| !is_live(key));
        Self::of(layers, &self.settings.base, try_out)
    }

    /// Returns the keys whose values are others than in `before`, in order.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        let value = |loaded: &'a Self, key: &str| {
            let entry = loaded.entries.iter().find(|entry| entry.key == key);
            entry.map(|entry| &entry.whole)
        };
        let gone = before
            .entries
            .iter()
            .filter(|entry| value(self, &entry.key).is_none());
        let changed = self
            .entries
            .iter()
            .filter(|entry| value(before, &entry.key) != Some(&entry.whole));
        changed
            .chain(gone)
            .map(|entry| entry.key.as_str())
            .collect()
    }
}

impl Problem {
    /// A mistake of a file as a whole.
    fn of_the_whole(message: String) -> Self {
        Self {
            key: String::new(),
            value: None,
            source: None,
            place: None,
            message,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            match (&self.source, self.place) {
                (Some(source), Some(place)) => write!(f, " ({source}:{place})")?,
                (Some(source), None) => write!(f, " ({source})")?,
                (None, _) => {}
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}
