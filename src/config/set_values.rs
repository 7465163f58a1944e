//! The values that are set, with their sources and places, and mistakes in them.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::Value as Json;

use super::{
    Problem, Setting,
    circles::Circles,
    hidden::{holds_tables, may_be_secret, purged, shown},
    misfit::Misfit,
};
use crate::document::Place;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in `config/default.toml`.
    Default,
    /// The file that was named.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

/// A setting in force.
#[derive(Clone)]
pub struct Entry {
    /// The key, like `session.max_batch`.
    pub key: String,
    /// The value as TOML writes it, without the secrets in it.
    pub value: String,
    /// The source of the value.
    pub source: Source,
    /// The value with its secrets, to compare it.
    pub(super) whole: Json,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value", &self.value)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The values that are set.
#[derive(Clone)]
pub(super) struct SetValues {
    /// Every value by its key.
    pub(super) by_key: BTreeMap<String, (Json, Source)>,
    /// The places of the keys in the file, and of items of lists.
    pub(super) places: BTreeMap<String, Place>,
}

impl SetValues {
    /// Returns a mistake in the value of `key`, which may be of an item of a list, `circle[0].members[1]`.
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        let (setting, value) = self.setting(key);
        Problem {
            setting,
            message: match value {
                Some(value) => purged(value, message),
                None => message,
            },
            others: Vec::new(),
        }
    }

    /// Returns a mistake in settings that don't fit together: the first one, and the others.
    pub(super) fn problem_of_some(&self, keys: &[&str], message: String) -> Problem {
        let mut settings = keys.iter().map(|key| self.setting(key).0);
        let first = settings.next();
        let others = settings.filter(|setting| setting.source.is_some());
        Problem {
            message,
            others: others.collect(),
            setting: first.unwrap_or_else(|| self.setting("").0),
        }
    }

    /// Returns a mistake in a value that can't be read.
    pub(super) fn problem_of(&self, misfit: Misfit) -> Problem {
        let mut problem = self.problem(&misfit.key, misfit.message);
        if !Circles::has_key(&misfit.key) {
            // The value of an unknown key may be anything, a secret too.
            problem.setting.value = None;
        }
        problem
    }

    /// Returns a setting as people may see it, and its value.
    fn setting(&self, key: &str) -> (Setting, Option<&Json>) {
        let (value, source) = match self.find(key) {
            Some((value, source)) => (value, Some(source)),
            None => (None, None),
        };
        let is_shown = |value: &&Json| !may_be_secret(key) && !holds_tables(value);
        let setting = Setting {
            key: key.to_owned(),
            // A table would be shown with everything in it.
            value: value.filter(is_shown).map(|value| shown(key, value)),
            place: self.place(key, source),
            source: source.cloned(),
        };
        (setting, value)
    }

    /// Returns the value of a key and its source, or the source of the section that the key belongs to.
    fn find(&self, key: &str) -> Option<(Option<&Json>, &Source)> {
        if let Some((value, source)) = self.by_key.get(key) {
            return Some((Some(value), source));
        }
        if let Some((list, rest)) = key.split_once('[')
            && let Some((value, source)) = self.by_key.get(list)
        {
            let pointer = format!("/{}", rest.replace(['.', '['], "/").replace(']', ""));
            return Some((value.pointer(&pointer), source));
        }
        let mut section = key;
        loop {
            let start = format!("{section}.");
            let within = self.by_key.range(start.clone()..);
            let within = within.take_while(|(key, _)| key.starts_with(&start));
            let source = within
                .map(|(_, (_, source))| source)
                .max_by_key(|source| match source {
                    Source::File(_) => 2,
                    Source::Environment(_) => 1,
                    Source::Default => 0,
                });
            if let Some(source) = source {
                return Some((None, source));
            }
            section = &section[..section.rfind('.')?];
        }
    }

    /// Returns the place of a key in the file, or that of the section that it belongs to.
    pub(super) fn place(&self, key: &str, source: Option<&Source>) -> Option<Place> {
        if !matches!(source, Some(Source::File(_))) {
            return None;
        }
        let mut part = key;
        loop {
            if let Some(place) = self.places.get(part) {
                return Some(*place);
            }
            part = &part[..part.rfind(['.', '['])?];
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}
