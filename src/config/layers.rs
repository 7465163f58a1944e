//! The layers that settings come from: which key was set where, and to what.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::{Path, PathBuf},
};

use circled_protocol::{InvalidKey, PublicKey, is_secret_key};
use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{
    Problem, Problems, Settings, key,
    place::{NoToml, Place, places},
    value::{expected, leaves, shown, tree, without_secrets},
};
use crate::{
    auth::{Rule, SecretSource},
    files, webhooks,
};

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// The most bytes of a settings file: two hundred thousand circles or members have room.
const MAX_FILE: usize = 16 << 20;
/// The one part that the defaults leave empty: a list of tables with these keys.
const CIRCLE: &str = "circle";
const CIRCLE_KEYS: [&str; 7] = [
    "key",
    "members",
    "play",
    "call",
    "subscribe",
    "manage",
    "secrets",
];
/// Those of them that say who may do something.
const RULES: [&str; 4] = ["play", "call", "subscribe", "manage"];
/// The one section with tables of any name, which the defaults have some of.
const WEBHOOKS: &str = "webhooks";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in `config/default.toml`.
    Default,
    /// The file that was named.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

/// One setting as it is in force.
#[derive(Clone)]
pub struct Entry {
    /// The key, like `session.max_batch`.
    pub key: String,
    /// The value as TOML writes it, without what is secret in it.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
    /// The value with what is secret in it, to tell whether another one is the same.
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

/// What was read, before it is looked at.
#[derive(Clone)]
pub(super) struct Layers {
    defaults: BTreeMap<String, Json>,
    values: BTreeMap<String, (Json, Source)>,
    /// Where the keys stand in the file.
    places: BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

pub(super) fn read(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Layers, Problems> {
    let defaults = parse(DEFAULTS).map_err(|error| whole(format!("the defaults: {error}")))?;
    let values = defaults
        .iter()
        .map(|(key, value)| (key.clone(), (value.clone(), Source::Default)));
    let mut layers = Layers {
        values: values.collect(),
        defaults,
        places: BTreeMap::new(),
        problems: Vec::new(),
    };
    if let Some(path) = file {
        let text = files::read_text(path, MAX_FILE)
            .map_err(|error| whole(format!("{} cannot be read: {error}", path.display())))?;
        layers.places = places(&text).map_err(|wrong| no_toml(path, wrong))?;
        let parsed = parse(&text)
            .map_err(|error| whole(format!("{}: {}", path.display(), error.to_string().trim())))?;
        for (key, value) in parsed {
            layers.set(key, value, Source::File(path.to_owned()));
        }
    }
    for (name, value) in environment {
        if let Some(key) = key::of_variable(&name, &value) {
            let value = layers.typed(&key, &value);
            layers.set(key, value, Source::Environment(name));
        }
    }
    Ok(layers)
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values have secrets in them.
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Layers {
    /// Returns these settings, but those that `is_kept` as they are in `other`.
    pub(super) fn with_those_of(&self, other: &Self, is_kept: impl Fn(&str) -> bool) -> Self {
        let own = self.values.iter().filter(|(key, _)| !is_kept(key));
        let kept = other.values.iter().filter(|(key, _)| is_kept(key));
        // Where those stood when they were read, nobody knows any more.
        let is_gone = |key: &str| other.values.contains_key(key) && is_kept(key);
        let places = self
            .places
            .iter()
            .filter(|(key, _)| !is_gone(key.split('[').next().unwrap_or(key)));
        Self {
            defaults: self.defaults.clone(),
            values: own
                .chain(kept)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            places: places.map(|(key, place)| (key.clone(), *place)).collect(),
            problems: Vec::new(),
        }
    }

    /// Reads the settings out of what was set, with every problem there is. A value that doesn't fit
    /// is replaced by its default, to find the next.
    pub(super) fn settle(&self) -> (Option<Settings>, Vec<Problem>) {
        let mut problems = self.problems.clone();
        let mut values: BTreeMap<_, _> = self
            .values
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect();
        for key in self.values.keys() {
            let Some((name, setting)) = provider_setting(key) else {
                continue;
            };
            let Some(value) = values.remove(key) else {
                continue;
            };
            // Every setting of a provider can be read by itself.
            let alone = json!({ setting: value.clone() });
            match circled_json::from_value::<webhooks::ProviderSettings>(alone) {
                Ok(_) => {
                    values.insert(format!("{WEBHOOKS}.providers.{name}.{setting}"), value);
                }
                Err(error) => problems.push(self.problem(key, expected(&error.to_string()))),
            }
        }
        let in_circles = self.circle_problems();
        if !in_circles.is_empty() {
            values.remove(CIRCLE);
            problems.extend(in_circles);
        }
        loop {
            let error = match serde_path_to_error::deserialize::<_, Settings>(tree(&values)) {
                Ok(settings) => return (Some(settings), problems),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let message = expected(&error.into_inner().to_string());
            let item = path.split_once('[').map_or(path.as_str(), |(key, _)| key);
            if !values.contains_key(item) {
                problems.push(self.problem(&path, message));
                return (None, problems);
            }
            problems.push(self.problem(item, message));
            match self.defaults.get(item) {
                Some(default) if values.get(item) != Some(default) => {
                    values.insert(item.to_owned(), default.clone())
                }
                _ => values.remove(item),
            };
        }
    }

    /// Every setting, in the order of the defaults, then the circles.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut keys = key::in_order(DEFAULTS, &self.defaults);
        let own = self.values.keys();
        let own = own.filter(|key| provider_setting(key).is_some() && !keys.contains(key));
        let own: Vec<String> = own.cloned().collect();
        let end_of_section = keys.iter().rposition(|key| key.starts_with(WEBHOOKS));
        let at = end_of_section.map_or(keys.len(), |last| last + 1);
        keys.splice(at..at, own);
        keys.push(CIRCLE.to_owned());
        let entry = |key: String| {
            let (value, source) = self.values.get(&key)?;
            Some(Entry {
                value: shown(&key, value),
                source: source.clone(),
                whole: value.clone(),
                key,
            })
        };
        keys.into_iter().filter_map(entry).collect()
    }

    /// What is wrong with the value of `key`, which may be in a list, `circle[0].members[1]`.
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        let (value, source) = match self.find(key) {
            Some((value, source)) => (value, Some(source.clone())),
            None => (None, None),
        };
        Problem {
            key: key.to_owned(),
            // A table would be told with all that is in it.
            value: value
                .filter(|value| !may_be_secret(key) && !holds_tables(value))
                .map(|value| shown(key, value)),
            place: self.place(key, source.as_ref()),
            source,
            message: match value {
                Some(value) => purged(value, message),
                None => message,
            },
        }
    }

    /// What is set under a key, or the source of what it is a part of.
    fn find(&self, key: &str) -> Option<(Option<&Json>, &Source)> {
        if let Some((value, source)) = self.values.get(key) {
            return Some((Some(value), source));
        }
        let section = format!("{key}.");
        let mut within = self.values.range(section.clone()..);
        if let Some((_, (_, source))) = within.next().filter(|(key, _)| key.starts_with(&section)) {
            return Some((None, source));
        }
        let (list, rest) = key.split_once('[')?;
        let (value, source) = self.values.get(list)?;
        let (item, rest) = rest.split_once(']')?;
        let pointer = format!("/{item}{}", rest.replace(['.', '['], "/").replace(']', ""));
        Some((value.pointer(&pointer), source))
    }

    /// Where a key stands, or what it is a part of.
    fn place(&self, key: &str, source: Option<&Source>) -> Option<Place> {
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

    fn set(&mut self, key: String, value: Json, source: Source) {
        let is_section = || {
            let prefix = format!("{key}.");
            self.defaults.keys().any(|key| key.starts_with(&prefix))
        };
        let is_provider_key =
            provider_setting(&key).is_some_and(|(_, setting)| is_provider_key(setting));
        let message = if self.defaults.contains_key(&key)
            || (key == CIRCLE && value.is_array())
            || is_provider_key
        {
            self.values.insert(key, (value, source));
            return;
        } else if let Some((_, name)) = provider_setting(&key)
            && !value.is_object()
        {
            key::unknown_of(name, webhooks::ProviderSettings::KEYS)
        } else if key == CIRCLE
            || key
                .strip_prefix(CIRCLE)
                .is_some_and(|key| key.starts_with('.'))
        {
            "circles are listed in the settings file, each as a table [[circle]]".to_owned()
        } else if key.starts_with(WEBHOOKS) && value == json!({}) && !is_section() {
            "has nothing in it: a provider needs a preset, or signature_header and signed"
                .to_owned()
        } else if value == json!({}) && is_section() {
            return;
        } else {
            key::unknown(&key, &source, &self.defaults)
        };
        self.problems.push(Problem {
            // What stands under a name that isn't known may be anything, a secret too.
            value: None,
            place: self.place(&key, Some(&source)),
            source: Some(source),
            key,
            message,
        });
    }

    /// What is wrong with the `[[circle]]` tables.
    fn circle_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Some((Json::Array(circles), _)) = self.values.get(CIRCLE) else {
            return problems;
        };
        let mut refuse = |path: String, message: String| {
            let problem = self.problem(&path, message);
            let name = path.rsplit('.').next().unwrap_or_default();
            let known = CIRCLE_KEYS.contains(&name.split('[').next().unwrap_or_default());
            problems.push(Problem {
                // As elsewhere, what isn't known may be a secret.
                value: problem.value.filter(|_| known),
                ..problem
            });
        };
        let providers = self.providers();
        let mut listed = HashMap::new();
        for (n, circle) in circles.iter().enumerate() {
            let path = format!("{CIRCLE}[{n}]");
            let Json::Object(table) = circle else {
                refuse(path, "must be a table".to_owned());
                continue;
            };
            for name in table.keys() {
                if !CIRCLE_KEYS.contains(&name.as_str()) {
                    refuse(
                        format!("{path}.{name}"),
                        key::unknown_of(name, &CIRCLE_KEYS),
                    );
                }
            }
            match table.get("key").map(public_key) {
                Some(Ok(key)) => {
                    if let Some(first) = listed.insert(key, n) {
                        let message = format!(
                            "this circle is {CIRCLE}[{first}] already: put their members together"
                        );
                        refuse(format!("{path}.key"), message);
                    }
                }
                Some(Err(message)) => refuse(format!("{path}.key"), message),
                None => refuse(path.clone(), "the circle's `key` is missing".to_owned()),
            }
            match table.get("members") {
                Some(Json::Array(members)) => {
                    for (n, member) in members.iter().enumerate() {
                        if let Err(message) = public_key(member) {
                            refuse(format!("{path}.members[{n}]"), message);
                        }
                    }
                }
                Some(_) => refuse(
                    format!("{path}.members"),
                    "must be a list of public keys".to_owned(),
                ),
                None => {}
            }
            for name in RULES {
                if let Some(rule) = table.get(name)
                    && Rule::deserialize(rule).is_err()
                {
                    let message =
                        "must be one of \"auto\", \"anyone\", \"guest\", \"member\", \"owner\"";
                    refuse(format!("{path}.{name}"), message.to_owned());
                }
            }
            let path = format!("{path}.secrets");
            match table.get("secrets") {
                Some(Json::Object(secrets)) => {
                    for (name, sources) in secrets {
                        let path = format!("{path}.{name}");
                        if !providers.contains(name.as_str()) {
                            let known: Vec<&str> = providers.iter().copied().collect();
                            let message = format!(
                                "there is no [{WEBHOOKS}.{name}]; there are {}",
                                known.join(", ")
                            );
                            refuse(path.clone(), message);
                        }
                        if let Err(message) = secrets_of(sources) {
                            refuse(path, message);
                        }
                    }
                }
                Some(_) => refuse(path, SECRETS.to_owned()),
                None => {}
            }
        }
        problems
    }

    /// The names of the providers of webhooks.
    fn providers(&self) -> BTreeSet<&str> {
        let settings = self.values.keys().filter_map(|key| provider_setting(key));
        settings.map(|(name, _)| name).collect()
    }

    /// The environment knows texts alone; the default tells what is meant.
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
            None if provider_setting(key).is_some() && text == "false" => json!(false),
            None if provider_setting(key).is_some_and(|(_, key)| LISTS.contains(&key)) => {
                list(text)
            }
            _ => json!(text),
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

fn parse(toml: &str) -> Result<BTreeMap<String, Json>, ConfigError> {
    Config::builder()
        .add_source(File::from_str(toml, FileFormat::Toml))
        .build()
        .map(leaves)
}

/// The provider that a key is about, and its setting: `stripe` and `secrets` in `webhooks.stripe.secrets`.
fn provider_setting(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(WEBHOOKS)?
        .strip_prefix('.')?
        .split_once('.')
}

/// Whether a value that can't be used may be a secret, given in the wrong place.
fn may_be_secret(key: &str) -> bool {
    const TELLING: [&str; 4] = ["secr", "passw", "token", "credential"];
    const HARMLESS: [&str; 11] = [
        "tolerance",
        "wait",
        "hash",
        "encoding",
        "max_body",
        "max_buffered",
        "max_buffered_per_address",
        "max_buffered_per_circle",
        "receive_timeout",
        "min_rate",
        "refusals_logged",
    ];

    let name = key.rsplit('.').next().unwrap_or(key);
    let in_webhooks = key
        .strip_prefix(WEBHOOKS)
        .is_some_and(|rest| rest.starts_with('.'));
    (in_webhooks && !HARMLESS.contains(&name)) || TELLING.iter().any(|part| key.contains(part))
}

fn is_provider_key(setting: &str) -> bool {
    webhooks::ProviderSettings::KEYS.contains(&setting)
}

/// The settings of a provider that are lists.
const LISTS: [&str; 6] = [
    "secrets",
    "body",
    "required",
    "get_tokens",
    "test_ids",
    "respond",
];

fn list(text: &str) -> Json {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

const SECRETS: &str =
    "must have a list of secrets for each provider, like { stripe = [\"env:NAME\"] }";

fn secrets_of(value: &Json) -> Result<(), String> {
    let Json::Array(sources) = value else {
        return Err(SECRETS.to_owned());
    };
    for source in sources {
        if !source.is_string() {
            return Err(SECRETS.to_owned());
        }
        SecretSource::deserialize(source).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn public_key(value: &Json) -> Result<PublicKey, String> {
    let Some(text) = value.as_str() else {
        return Err("must be a public key in quotes".to_owned());
    };
    text.parse().map_err(|error: InvalidKey| {
        if is_secret_key(text) {
            format!("{error}. Secret keys have 64, and belong in no settings file: if it is one, make another")
        } else {
            error.to_string()
        }
    })
}

/// Hides in a message what is hidden of the value that it is about.
fn purged(value: &Json, message: String) -> String {
    match value {
        Json::String(text) if !text.is_empty() => message.replace(text, &without_secrets(text)),
        Json::Array(items) => items
            .iter()
            .fold(message, |message, item| purged(item, message)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => message,
    }
}

/// Whether it is a table, or a list of them.
fn holds_tables(value: &Json) -> bool {
    match value {
        Json::Object(table) => !table.is_empty(),
        Json::Array(items) => items.iter().any(holds_tables),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn no_toml(path: &Path, wrong: Vec<NoToml>) -> Problems {
    let told = |wrong: NoToml| {
        let path = path.display();
        let place = wrong.place.map(|place| format!(":{place}"));
        let place = place.unwrap_or_default();
        Problem::of_the_whole(format!("{path}{place}: {}", wrong.message))
    };
    Problems(wrong.into_iter().map(told).collect())
}

/// A mistake of a file as a whole.
fn whole(message: String) -> Problems {
    Problems(vec![Problem::of_the_whole(message)])
}
