//! The layers that settings come from: which key was set where, and which keys there are.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};
use serde_json::{Value as Json, json};

use super::{Problem, Problems, Settings};

const DEFAULTS: &str = include_str!("../../config/default.toml");
const PREFIX: &str = "CIRCLED_";
/// The one part that the defaults leave empty: a list of tables with these keys.
const CIRCLE: &str = "circle";
const CIRCLE_KEYS: [&str; 2] = ["key", "members"];

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
    /// The value, as TOML writes it.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// What was read, before it is looked at.
#[derive(Debug)]
pub(super) struct Layers {
    keys: Vec<String>,
    values: BTreeMap<String, (Json, Source)>,
    defaults: BTreeMap<String, Json>,
    problems: Vec<Problem>,
}

pub(super) fn read(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Layers, Problems> {
    let whole = |message: String| {
        Problems(vec![Problem {
            key: String::new(),
            value: None,
            source: None,
            message,
        }])
    };
    let built_in = Config::builder()
        .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
        .build();
    let defaults =
        leaves(built_in.map_err(|error| whole(format!("the built-in defaults: {error}")))?);
    let mut layers = Layers {
        keys: in_order(&defaults),
        values: BTreeMap::new(),
        defaults,
        problems: Vec::new(),
    };
    for (key, value) in &layers.defaults {
        layers
            .values
            .insert(key.clone(), (value.clone(), Source::Default));
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| whole(format!("{}: {error}", path.display())))?;
        let parsed = Config::builder()
            .add_source(File::from_str(&text, FileFormat::Toml))
            .build();
        let parsed =
            parsed.map_err(|error| whole(format!("{}: {}", path.display(), syntax(&error))))?;
        for (key, value) in leaves(parsed) {
            layers.set(key, value, Source::File(path.to_owned()));
        }
    }
    for (name, value) in environment {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let key = key.to_ascii_lowercase().replace("__", ".");
            let value = layers.typed(&key, &value);
            layers.set(key, value, Source::Environment(name));
        }
    }
    Ok(layers)
}

impl Layers {
    /// Reads the settings out of what was set. A value that doesn't fit is told, and replaced by its
    /// default to find the next.
    pub(super) fn settle(&self) -> (Option<Settings>, Vec<Problem>) {
        let mut problems = self.problems.clone();
        let mut values: BTreeMap<_, _> = self
            .values
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect();
        loop {
            let error = match serde_path_to_error::deserialize::<_, Settings>(tree(&values)) {
                Ok(settings) => return (Some(settings), problems),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            let key = values
                .keys()
                .find(|key| path == **key || path.starts_with(&format!("{key}[")))
                .cloned();
            let Some(key) = key else {
                problems.push(Problem {
                    key: path,
                    value: None,
                    source: None,
                    message,
                });
                return (None, problems);
            };
            problems.push(self.problem(&key, plain(&message)));
            match self.defaults.get(&key) {
                Some(default) if values.get(&key) != Some(default) => {
                    values.insert(key, default.clone())
                }
                _ => values.remove(&key),
            };
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let circles = self.values.keys().filter(|key| *key == CIRCLE);
        let keys = self.keys.iter().chain(circles);
        keys.filter_map(|key| {
            let (value, source) = self.values.get(key)?;
            Some(Entry {
                key: key.clone(),
                value: toml_text(value),
                source: source.clone(),
            })
        })
        .collect()
    }

    /// What is wrong with the value of `key`.
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        let set = self.values.get(key);
        Problem {
            key: key.to_owned(),
            value: set.map(|(value, _)| toml_text(value)),
            source: set.map(|(_, source)| source.clone()),
            message,
        }
    }

    fn set(&mut self, key: String, value: Json, source: Source) {
        if key == CIRCLE {
            if !self.knows_circles(&value, &source) {
                return;
            }
        } else if !self.defaults.contains_key(&key) {
            let message = unknown_key(&key, self.defaults.keys().map(String::as_str));
            return self.problems.push(Problem {
                key,
                value: Some(toml_text(&value)),
                source: Some(source),
                message,
            });
        }
        self.values.insert(key, (value, source));
    }

    /// Looks for keys in `[[circle]]` that there aren't.
    fn knows_circles(&mut self, circles: &Json, source: &Source) -> bool {
        let tables = circles
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_object);
        let unknown: Vec<&String> = tables
            .flat_map(|table| table.keys())
            .filter(|key| !CIRCLE_KEYS.contains(&key.as_str()))
            .collect();
        for key in &unknown {
            let message = unknown_key(key, CIRCLE_KEYS.into_iter());
            self.problems.push(Problem {
                key: format!("circle.{key}"),
                value: None,
                source: Some(source.clone()),
                message,
            });
        }
        unknown.is_empty()
    }

    /// The environment knows texts alone; the default tells what is meant.
    fn typed(&self, key: &str, text: &str) -> Json {
        match self.defaults.get(key) {
            Some(Json::Number(_)) => text
                .replace('_', "")
                .parse::<i64>()
                .map_or_else(|_| json!(text), |number| json!(number)),
            Some(Json::Bool(_)) => text
                .parse::<bool>()
                .map_or_else(|_| json!(text), |yes| json!(yes)),
            Some(Json::Array(_)) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect(),
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

fn unknown_key<'a>(key: &str, keys: impl Iterator<Item = &'a str>) -> String {
    let nearest = keys
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min();
    match nearest {
        Some((distance, known)) if distance <= key.len() / 3 + 1 => {
            format!("there is no such setting; did you mean `{known}`?")
        }
        _ => "there is no such setting; `circled config show` lists all".to_owned(),
    }
}

/// Every value with its dotted key. Lists are values.
fn leaves(config: Config) -> BTreeMap<String, Json> {
    fn walk(prefix: &str, value: Value, into: &mut BTreeMap<String, Json>) {
        match value.kind {
            ValueKind::Table(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() {
                        key
                    } else {
                        format!("{prefix}.{key}")
                    };
                    walk(&key, value, into);
                }
            }
            ValueKind::Nil
            | ValueKind::Boolean(_)
            | ValueKind::I64(_)
            | ValueKind::I128(_)
            | ValueKind::U64(_)
            | ValueKind::U128(_)
            | ValueKind::Float(_)
            | ValueKind::String(_)
            | ValueKind::Array(_) => {
                into.insert(prefix.to_owned(), json_of(value));
            }
        }
    }
    let mut into = BTreeMap::new();
    walk("", config.cache, &mut into);
    into
}

fn json_of(value: Value) -> Json {
    match value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(yes) => json!(yes),
        ValueKind::I64(number) => json!(number),
        ValueKind::I128(number) => json!(number.to_string()),
        ValueKind::U64(number) => json!(number),
        ValueKind::U128(number) => json!(number.to_string()),
        ValueKind::Float(number) => json!(number),
        ValueKind::String(text) => json!(text),
        ValueKind::Array(items) => items.into_iter().map(json_of).collect(),
        ValueKind::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, json_of(value)))
            .collect(),
    }
}

/// Puts dotted keys back into tables.
fn tree(values: &BTreeMap<String, Json>) -> Json {
    let mut root = json!({});
    for (key, value) in values {
        let mut table = &mut root;
        for part in key.split('.') {
            table = &mut table[part];
        }
        *table = value.clone();
    }
    root
}

/// The keys in the order of the defaults' text.
fn in_order(defaults: &BTreeMap<String, Json>) -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
        } else if let Some((name, _)) = line.split_once('=') {
            let key = format!("{section}.{}", name.trim());
            keys.extend(defaults.contains_key(&key).then_some(key));
        }
    }
    keys
}

/// A value as TOML writes it on one line.
fn toml_text(value: &Json) -> String {
    match value {
        Json::Object(table) => {
            let members: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml_text(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        Json::Array(items) => format!(
            "[{}]",
            items.iter().map(toml_text).collect::<Vec<_>>().join(", ")
        ),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

/// serde's words for Rust's types, in words for people.
fn plain(message: &str) -> String {
    ["usize", "u64", "u32", "u16", "u8"]
        .iter()
        .fold(message.to_owned(), |message, name| {
            message.replace(&format!("expected {name}"), "expected a whole number")
        })
}

/// The parser's own words, without the wrapping.
fn syntax(error: &ConfigError) -> String {
    error.to_string().trim_end().to_owned()
}
