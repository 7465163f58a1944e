//! The layers of the settings: the defaults, the file and the environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::Path,
};

use serde_json::{Value as Json, json};

use super::{
    Problem, Setting, Settings,
    circles::{self, Circles},
    hidden::shown,
    key,
    merge::merge,
    misfit::{Tried, try_out},
    set_values::{Entry, SetValues, Source},
    tree::{leaves, put, tree},
};
use crate::{
    document::{Document, SyntaxError},
    files,
    webhooks::ProviderSettings,
};

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// The most bytes of a settings file: two hundred thousand circles or members have room.
const MAX_FILE: usize = 16 << 20;

/// The values that are set, before they are read into [`Settings`].
#[derive(Clone)]
pub(super) struct Layers {
    defaults: BTreeMap<String, Json>,
    /// The values in force.
    pub(super) set: SetValues,
    /// The mistakes that were found when they were set.
    problems: Vec<Problem>,
    /// False if the file could not be read.
    is_read: bool,
}

/// Reads the layers. Mistakes are found here, too, and are told by [`Layers::settle`].
pub(super) fn read(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Layers {
    // A test reads the defaults.
    let defaults = leaves(&Document::read(DEFAULTS).unwrap_or_default().values);
    let values = defaults
        .iter()
        .map(|(key, value)| (key.clone(), (value.clone(), Source::Default)));
    let mut layers = Layers {
        set: SetValues {
            by_key: values.collect(),
            places: BTreeMap::new(),
        },
        defaults,
        problems: Vec::new(),
        is_read: true,
    };
    if let Some(path) = file {
        layers.read_file(path);
    }
    for (name, value) in environment {
        if let Some(key) = key::of_variable(&name, &value) {
            let value = layers.typed(&key, &value);
            layers.assign(key, value, Source::Environment(name));
        }
    }
    layers
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values have secrets in them.
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Layers {
    /// Returns these settings, with the values that `other` has for keys that are kept.
    pub(super) fn with_those_of(&self, other: &Self, is_kept: impl Fn(&str) -> bool) -> Self {
        let own = self.set.by_key.iter().filter(|(key, _)| !is_kept(key));
        let kept = other.set.by_key.iter().filter(|(key, _)| is_kept(key));
        // Their places may have changed since they were read.
        let is_gone = |key: &str| other.set.by_key.contains_key(key) && is_kept(key);
        let places = self
            .set
            .places
            .iter()
            .filter(|(key, _)| !is_gone(key.split('[').next().unwrap_or(key)));
        Self {
            defaults: self.defaults.clone(),
            set: SetValues {
                by_key: own
                    .chain(kept)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                places: places.map(|(key, place)| (key.clone(), *place)).collect(),
            },
            problems: Vec::new(),
            is_read: true,
        }
    }

    /// Reads the settings from the values, and returns all mistakes in the values with them. A value that can't be
    /// read is replaced by its default. There are no settings if the file can't be read: nobody knows what it sets.
    pub(super) fn settle(&self) -> (Option<Settings>, Vec<Problem>) {
        let (mut problems, mut misfits) = (self.problems.clone(), Vec::new());
        let defaults = tree(&self.defaults_of_sections());
        let mut usable = json!({});
        for (key, (value, source)) in &self.set.by_key {
            if key == circles::KEY {
                continue;
            }
            let mut tried = match source {
                Source::Default => Tried::right(value),
                Source::File(_) | Source::Environment(_) => self.try_out(&defaults, key, value),
            };
            misfits.append(&mut tried.misfits);
            let Some(value) = tried.usable else {
                continue;
            };
            match key::provider_setting(key) {
                Some((name, setting)) => {
                    put(
                        &mut usable,
                        &format!("webhooks.providers.{name}.{setting}"),
                        value,
                    );
                }
                None => put(&mut usable, key, value),
            }
        }
        let merged = merge([("defaults", defaults), ("set", usable)]);
        let mut circles = self.circles();
        misfits.append(&mut circles.misfits);
        misfits.retain(|misfit| !self.is_told(&misfit.key));
        problems.extend(
            misfits
                .into_iter()
                .map(|misfit| self.set.problem_of(misfit)),
        );
        if !self.is_read {
            return (None, problems);
        }
        let (numbers, tables): (Vec<usize>, Vec<Json>) = circles.usable.into_iter().unzip();
        let read = merged
            .map_err(|error| error.to_string())
            .and_then(|mut all| {
                put(&mut all, circles::KEY, Json::Array(tables));
                circled_json::from_value::<Settings>(all).map_err(|error| error.to_string())
            });
        let mut settings = match read {
            Ok(settings) => settings,
            Err(message) => {
                problems.push(self.set.problem("", message));
                return (None, problems);
            }
        };
        for (circle, number) in settings.circle.iter_mut().zip(numbers) {
            circle.number = number;
        }
        for problem in &problems {
            if let Some((name, setting)) = key::provider_setting(&problem.setting.key)
                && let Some(provider) = settings.webhooks.providers.get_mut(name)
            {
                let name = setting.split(['[', '.']).next().unwrap_or(setting);
                provider.unread.push(name.to_owned());
            }
        }
        (Some(settings), problems)
    }

    /// Returns all settings, in the order of the defaults, then the circles.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut keys = key::in_order(DEFAULTS, &self.defaults);
        let own = self.set.by_key.keys();
        let own = own.filter(|key| key::provider_setting(key).is_some() && !keys.contains(key));
        let own: Vec<String> = own.cloned().collect();
        let end_of_section = keys.iter().rposition(|key| key.starts_with("webhooks"));
        let at = end_of_section.map_or(keys.len(), |last| last + 1);
        keys.splice(at..at, own);
        keys.push(circles::KEY.to_owned());
        let entry = |key: String| {
            let (value, source) = self.set.by_key.get(&key)?;
            Some(Entry {
                value: shown(&key, value),
                source: source.clone(),
                whole: value.clone(),
                key,
            })
        };
        keys.into_iter().filter_map(entry).collect()
    }

    fn read_file(&mut self, path: &Path) {
        let source = Source::File(path.to_owned());
        let unreadable = |error: io::Error| {
            let path = path.display();
            let mut message = format!("{path} cannot be read: {error}");
            if error.kind() == io::ErrorKind::NotFound {
                message += &format!("; to a container, give it by -v ./circled.toml:{path}:ro");
            }
            vec![Problem::of_file(None, None, message)]
        };
        let no_toml = |errors: Vec<SyntaxError>| {
            let told = |error: SyntaxError| {
                Problem::of_file(Some(source.clone()), error.place, error.message)
            };
            errors.into_iter().map(told).collect()
        };
        let text = files::read_text(path, MAX_FILE).map_err(unreadable);
        let document = match text.and_then(|text| Document::read(&text).map_err(no_toml)) {
            Ok(document) => document,
            Err(problems) => {
                self.is_read = false;
                self.problems = problems;
                return;
            }
        };
        self.set.places = document.places;
        for (key, value) in leaves(&document.values) {
            self.assign(key, value, source.clone());
        }
        for key in document.too_large {
            if self.is_told(&key) {
                continue;
            }
            let message = format!("is too large a number: {} is the largest", i64::MAX);
            let mut problem = self.set.problem(&key, message);
            problem.setting.value = None;
            self.problems.push(problem);
        }
    }

    /// Sets a value, unless there is no such key.
    fn assign(&mut self, key: String, value: Json, source: Source) {
        let is_section = || {
            let prefix = format!("{key}.");
            self.defaults.keys().any(|key| key.starts_with(&prefix))
        };
        let is_provider_key = key::provider_setting(&key)
            .is_some_and(|(_, setting)| ProviderSettings::keys().contains(&setting));
        let message = if self.defaults.contains_key(&key)
            || (key == circles::KEY && value.is_array())
            || is_provider_key
        {
            self.set.by_key.insert(key, (value, source));
            return;
        } else if let Some((_, name)) = key::provider_setting(&key)
            && !value.is_object()
        {
            key::unknown_of(name, &ProviderSettings::keys())
        } else if key == circles::KEY
            || key
                .strip_prefix(circles::KEY)
                .is_some_and(|key| key.starts_with('.'))
        {
            "circles are listed in the settings file, each as a table [[circle]]".to_owned()
        } else if key.starts_with("webhooks") && value == json!({}) && !is_section() {
            "has nothing in it: a provider needs a preset, or signature_header and signed"
                .to_owned()
        } else if value == json!({}) && is_section() {
            return;
        } else {
            key::unknown(&key, &source, &self.defaults)
        };
        let place = self.set.place(&key, Some(&source));
        self.problems.push(Problem {
            setting: Setting {
                // The value of an unknown key may be anything, a secret too.
                value: None,
                source: Some(source),
                place,
                key,
            },
            message,
            others: Vec::new(),
        });
    }

    /// Tries to read a value. `defaults` are those of all sections.
    fn try_out(&self, defaults: &Json, key: &str, value: &Json) -> Tried {
        if let Some((_, setting)) = key::provider_setting(key) {
            return try_out::<ProviderSettings>(key, value, &|value| json!({ setting: value }));
        }
        try_out::<Settings>(key, value, &|value| {
            let mut all = defaults.clone();
            put(&mut all, key, value);
            all
        })
    }

    /// Returns the defaults without the providers of webhooks.
    fn defaults_of_sections(&self) -> BTreeMap<String, Json> {
        let defaults = self.defaults.iter();
        let defaults = defaults.filter(|(key, _)| key::provider_setting(key).is_none());
        defaults
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn circles(&self) -> Circles {
        let Some((Json::Array(circles), _)) = self.set.by_key.get(circles::KEY) else {
            return Circles::default();
        };
        Circles::read(circles, &self.providers())
    }

    /// Returns true if a mistake in the value of this key was found when it was set.
    fn is_told(&self, key: &str) -> bool {
        let mut told = self.problems.iter();
        told.any(|problem| problem.setting.key == key)
    }

    /// Returns the names of the providers of webhooks.
    fn providers(&self) -> BTreeSet<&str> {
        let settings = self
            .set
            .by_key
            .keys()
            .filter_map(|key| key::provider_setting(key));
        settings.map(|(name, _)| name).collect()
    }

    /// Returns the text of a variable in the type that its setting has.
    fn typed(&self, key: &str, text: &str) -> Json {
        match self.defaults.get(key) {
            Some(Json::Number(_)) => {
                let number = text.trim().replace('_', "").parse::<i64>();
                number.map_or_else(|_| json!(text), |number| json!(number))
            }
            Some(Json::Bool(_)) => {
                let yes = text.trim().parse::<bool>();
                yes.map_or_else(|_| json!(text), |yes| json!(yes))
            }
            Some(Json::Array(_)) => list(text),
            None if key::provider_setting(key).is_some() => self.typed_of_provider(key, text),
            _ => json!(text),
        }
    }

    /// Returns the text, unless the setting of a provider takes a list, or is unset.
    fn typed_of_provider(&self, key: &str, text: &str) -> Json {
        if text == "false" {
            return json!(false);
        }
        let misfits = |value| self.try_out(&json!({}), key, value).misfits;
        let (text, list) = (json!(text), list(text));
        if misfits(&text).is_empty() {
            return text;
        }
        // An item that is wrong is told as such.
        let takes_lists = misfits(&list).iter().all(|misfit| misfit.key != key);
        if takes_lists { list } else { text }
    }
}

fn list(text: &str) -> Json {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}
