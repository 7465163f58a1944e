//! The layers that settings come from: which key was set where, and to what.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{
    Problem, Problems, Settings, key,
    value::{expected, leaves, shown, tree},
};
use crate::{
    auth::{PublicKey, Rule, SecretSource},
    webhooks,
};

const DEFAULTS: &str = include_str!("../../config/default.toml");
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
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, like `session.max_batch`.
    pub key: String,
    /// The value as TOML writes it, without what is secret in it.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// What was read, before it is looked at.
#[derive(Debug)]
pub(super) struct Layers {
    defaults: BTreeMap<String, Json>,
    values: BTreeMap<String, (Json, Source)>,
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
        problems: Vec::new(),
    };
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| whole(format!("{} cannot be read: {error}", path.display())))?;
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

impl Layers {
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
            match crate::json::from_value::<webhooks::ProviderSettings>(alone) {
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
                key,
            })
        };
        keys.into_iter().filter_map(entry).collect()
    }

    /// What is wrong with the value of `key`.
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        let set = self.values.get(key);
        Problem {
            key: key.to_owned(),
            value: set
                .filter(|_| !may_be_secret(key))
                .map(|(value, _)| shown(key, value)),
            source: set.map(|(_, source)| source.clone()),
            message,
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
            // What stands under a name that isn't known may be anything.
            value: (!value.is_object() && !may_be_secret(&key)).then(|| shown(&key, &value)),
            source: Some(source),
            key,
            message,
        });
    }

    /// What is wrong with the `[[circle]]` tables, each by itself.
    fn circle_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Some((Json::Array(circles), source)) = self.values.get(CIRCLE) else {
            return problems;
        };
        let mut refuse = |path: String, value: Option<&Json>, message: String| {
            problems.push(Problem {
                value: value.map(|value| shown(&path, value)),
                key: path,
                source: Some(source.clone()),
                message,
            });
        };
        for (n, circle) in circles.iter().enumerate() {
            let path = format!("{CIRCLE}[{n}]");
            let Json::Object(table) = circle else {
                refuse(path, Some(circle), "must be a table".to_owned());
                continue;
            };
            for (name, value) in table {
                if !CIRCLE_KEYS.contains(&name.as_str()) {
                    let message = key::unknown_of(name, &CIRCLE_KEYS);
                    let value = (!may_be_secret(name)).then_some(value);
                    refuse(format!("{path}.{name}"), value, message);
                }
            }
            match table.get("key") {
                Some(key) => {
                    if let Err(message) = public_key(key) {
                        refuse(format!("{path}.key"), Some(key), message);
                    }
                }
                None => refuse(
                    path.clone(),
                    None,
                    "the circle's `key` is missing".to_owned(),
                ),
            }
            let members = table
                .get("members")
                .map(|members| (members, members.as_array()));
            match members {
                Some((_, Some(members))) => {
                    for (n, member) in members.iter().enumerate() {
                        if let Err(message) = public_key(member) {
                            refuse(format!("{path}.members[{n}]"), Some(member), message);
                        }
                    }
                }
                Some((other, None)) => {
                    let message = "must be a list of public keys".to_owned();
                    refuse(format!("{path}.members"), Some(other), message);
                }
                None => {}
            }
            for name in RULES {
                if let Some(rule) = table.get(name)
                    && Rule::deserialize(rule).is_err()
                {
                    let message =
                        "must be one of \"auto\", \"anyone\", \"guest\", \"member\", \"owner\""
                            .to_owned();
                    refuse(format!("{path}.{name}"), Some(rule), message);
                }
            }
            if let Some(secrets) = table.get("secrets")
                && let Err(message) = secrets_by_provider(secrets)
            {
                refuse(format!("{path}.secrets"), Some(secrets), message);
            }
        }
        problems
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
    const HARMLESS: [&str; 12] = [
        "preset",
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
    (in_webhooks && !HARMLESS.contains(&name)) || TELLING.iter().any(|part| name.contains(part))
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

fn secrets_by_provider(value: &Json) -> Result<(), String> {
    let parsed = crate::json::from_value::<BTreeMap<String, Vec<SecretSource>>>(value.clone());
    parsed.map(drop).map_err(|error| {
        let message = error.to_string();
        if message.starts_with("invalid type") {
            "must have a list of secrets for each provider, like { stripe = [\"env:NAME\"] }"
                .to_owned()
        } else {
            message
        }
    })
}

fn public_key(value: &Json) -> Result<(), String> {
    match value.as_str().map(str::parse::<PublicKey>) {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("must be a public key in quotes".to_owned()),
    }
}

/// A mistake of a file as a whole.
fn whole(message: String) -> Problems {
    Problems(vec![Problem {
        key: String::new(),
        value: None,
        source: None,
        message,
    }])
}
