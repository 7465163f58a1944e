//! Settings: every module's own, put together from the built-in defaults, a file and the environment.
//!
//! `config/default.toml` has every key there is, so a key that isn't in it is a mistake. All mistakes
//! are found at once, each with its key, its value, where it stands and what would be right.

mod key;
mod layers;
mod rules;
#[cfg(test)]
mod tests;
mod value;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use crate::{auth, dispatch, rpc, script, server, session, store, webhooks};

pub use layers::{Entry, Source};

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
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, like `session.max_batch`; empty for a mistake of the file as a whole.
    pub key: String,
    /// What stands there, without what is secret in it.
    pub value: Option<String>,
    /// Where.
    pub source: Option<Source>,
    /// What is wrong with it, and what would be right.
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
        let layers = layers::read(file, environment)?;
        let (settings, mut problems) = layers.settle();
        let Some(mut settings) = settings else {
            return Err(Problems(problems));
        };
        settings.base = file.and_then(Path::parent).unwrap_or(Path::new("")).into();
        let broken = rules::check(&settings, &problems);
        problems.extend(
            broken
                .into_iter()
                .map(|rule| layers.problem(rule.about[0], rule.message)),
        );
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Loaded {
            entries: layers.entries(),
            settings,
        })
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
            if let Some(source) = &self.source {
                write!(f, " ({source})")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}
