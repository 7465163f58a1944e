//! The settings: those of each module, from the built-in defaults, a file and the environment.
//!
//! `config/default.toml` has every key, so other keys are mistakes. All mistakes are found at once, each with its key,
//! its value, its place and what would be right.
//!
//! A single value is checked by its type (see `units`), values that must fit together by `rules`.

mod circles;
mod hidden;
mod key;
mod layers;
mod log;
mod merge;
mod misfit;
mod problem;
mod rules;
pub mod server;
mod set_values;
#[cfg(test)]
mod tests;
mod tree;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{auth, backup, dispatch, rpc, script, session, store, webhooks};

pub use crate::document::Place;
use layers::Layers;
pub use log::{Log, LogFormat};
pub use problem::{Mistake, Problem, Problems, Setting};
pub use set_values::{Entry, Source};

/// All settings.
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
    /// `[backup]`
    pub backup: backup::Settings,
    /// `[log]`
    pub log: Log,
    /// The folder that paths in the settings file are relative to: its own.
    #[serde(skip)]
    pub base: PathBuf,
}

/// Settings with their sources.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings in force.
    pub settings: Settings,
    /// Every key with its value and its source, in the order of `config/default.toml`.
    pub entries: Vec<Entry>,
    /// Settings that hardly fit together, though they can be used.
    pub doubts: Vec<Problem>,
    layers: Layers,
}

impl Settings {
    /// Reads the settings: the defaults, then `file`, then the variables of `environment` that begin with `CIRCLED_`.
    ///
    /// # Errors
    /// All mistakes.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        Self::load_and_try(file, environment, |_| Vec::new())
    }

    /// Reads the settings as [`Settings::load`] does, and tries to use them. `try_out` gets them without the values
    /// that can't be read.
    ///
    /// # Errors
    /// All mistakes.
    pub fn load_and_try(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        try_out: impl FnOnce(&Self) -> Vec<Mistake>,
    ) -> Result<Loaded, Problems> {
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Loaded::of(layers::read(file, environment), base, try_out)
    }
}

impl Loaded {
    /// Returns the lines of each `[[circle]]` as TOML writes them, without the secrets in it.
    pub fn circles(&self) -> impl Iterator<Item = Vec<String>> {
        self.settings.circle.iter().map(circles::lines)
    }

    /// Reads the settings from all layers.
    fn of(
        layers: Layers,
        base: &Path,
        try_out: impl FnOnce(&Settings) -> Vec<Mistake>,
    ) -> Result<Self, Problems> {
        let (settings, mut problems) = layers.settle();
        let Some(mut settings) = settings else {
            return Err(Problems::sorted(problems));
        };
        settings.base = base.into();
        let is_unread = |key: &str| {
            let mut keys = problems.iter().map(|problem| &problem.setting.key);
            keys.any(|unread| unread.split('[').next() == Some(key))
        };
        let (doubts, broken): (Vec<_>, Vec<_>) = rules::check(&settings, is_unread)
            .into_iter()
            .partition(|rule| rule.is_doubt);
        let told = |rule: rules::Broken| layers.set.problem_of_some(&rule.about, rule.message);
        let doubts: Vec<Problem> = doubts.into_iter().map(told).collect();
        problems.extend(broken.into_iter().map(told));
        let found = try_out(&settings).into_iter();
        problems.extend(found.map(|mistake| layers.set.problem(&mistake.key, mistake.message)));
        if !problems.is_empty() {
            problems.extend(doubts);
            return Err(Problems::sorted(problems));
        }
        Ok(Self {
            entries: layers.entries(),
            doubts: Problems::sorted(doubts).0,
            settings,
            layers,
        })
    }

    /// Returns the settings of a server that was started with `started` and has taken over the live ones of these.
    ///
    /// # Errors
    /// All mistakes that they make together.
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

    /// Returns the keys whose values differ from those in `before`, in order.
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
