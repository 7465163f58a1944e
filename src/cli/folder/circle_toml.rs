//! `circle.toml`: which rules and hooks a folder's scripts have.

use std::path::Path;

use circled_protocol::{CallRule, Vocabulary, is_script_name};
use serde_json::Value;

use crate::{
    circle::script_for,
    document::{Document, Place},
};

/// The content of a `circle.toml`.
#[derive(Debug, Default)]
pub(super) struct CircleToml {
    /// The scripts of hooks, each with the script whose source it has.
    pub(super) hooks: Vec<(String, Placed<String>)>,
    /// The rules, by the scripts' names.
    pub(super) calls: Vec<(String, Placed<CallRule>)>,
}

/// A value, and its place in the file.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    place: Option<Place>,
}

impl<T> Placed<T> {
    /// Returns a message about it.
    pub(super) fn says(&self, file: &Path, problem: &str) -> String {
        format!("{}:{}", file.display(), at(self.place, problem))
    }
}

fn at(place: Option<Place>, problem: &str) -> String {
    match place {
        Some(place) => format!("{place}: {problem}"),
        None => format!(" {problem}"),
    }
}

impl CircleToml {
    /// Reads a text.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub(super) fn read(text: &str) -> Result<Self, Vec<String>> {
        let document = Document::read(text).map_err(|errors| {
            let told = errors.iter().map(|error| at(error.place, &error.message));
            told.collect::<Vec<_>>()
        })?;
        let mut wrong = Vec::new();
        let mut read = Self::default();
        let mut problem = |key: &str, says: String| {
            wrong.push(at(document.places.get(key).copied(), &says));
        };
        for (table, value) in &document.values {
            let entries = match (table.as_str(), value.as_object()) {
                ("scripts" | "hooks", Some(entries)) => entries,
                ("scripts" | "hooks", None) => {
                    problem(table, format!("`{table}` is a table: [{table}]"));
                    continue;
                }
                ("schedules", _) => {
                    problem(
                        table,
                        "the server has no schedules yet: remove [schedules]".to_owned(),
                    );
                    continue;
                }
                _ => {
                    problem(
                        table,
                        format!("there is no `{table}`, only [scripts] and [hooks]"),
                    );
                    continue;
                }
            };
            for (name, value) in entries {
                let key = format!("{table}.{name}");
                let place = document.places.get(&key).copied();
                let read = match table.as_str() {
                    "hooks" => hook(name, value).map(|(hook, value)| {
                        read.hooks.push((hook, Placed { value, place }));
                    }),
                    _ => rule(name, value).map(|value| {
                        read.calls.push((name.clone(), Placed { value, place }));
                    }),
                };
                if let Err(says) = read {
                    problem(&key, says);
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(read),
            false => Err(wrong),
        }
    }
}

/// Reads the script of a provider's hook.
fn hook(provider: &str, value: &Value) -> Result<(String, String), String> {
    let hook = script_for(provider);
    if !is_script_name(&hook) {
        return Err(format!("`{provider}` can be no provider's name"));
    }
    match value.as_str() {
        Some(script) => Ok((hook, script.to_owned())),
        None => Err(format!(
            "write it like {provider} = \"payments\", the script that the deliveries run"
        )),
    }
}

/// Reads the rule of a script.
fn rule(name: &str, value: &Value) -> Result<CallRule, String> {
    let fields = value.as_object();
    let call = fields.and_then(|fields| match fields.len() {
        1 => fields.get("call")?.as_str(),
        _ => None,
    });
    let all = || {
        let names = CallRule::ALL.iter().map(|rule| rule.name());
        names.collect::<Vec<_>>().join(", ")
    };
    match call {
        None => Err(format!("write it like \"{name}\" = {{ call = \"owner\" }}")),
        Some(call) => call
            .parse()
            .map_err(|_| format!("there is no rule \"{call}\", only {}", all())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_with_their_places() {
        for (text, told) in [
            (
                "[scripts]\na = 1",
                &["2:1: write it like \"a\" = { call = \"owner\" }"][..],
            ),
            (
                "[scripts]\na = { call = \"owner\", more = 1 }",
                &["2:1: write it like \"a\" = { call = \"owner\" }"],
            ),
            (
                "[scripts]\na.call = \"boss\"\n[hooks]\n\"a b\" = \"x\"\nstripe = 1",
                &[
                    "2:1: there is no rule \"boss\", only auto, guest, member, owner",
                    "4:1: `a b` can be no provider's name",
                    "5:1: write it like stripe = \"payments\", the script that the deliveries run",
                ],
            ),
            (
                "[schedules]\nnightly = 1",
                &["1:2: the server has no schedules yet: remove [schedules]"],
            ),
            (
                "[script]\n",
                &["1:2: there is no `script`, only [scripts] and [hooks]"],
            ),
            ("hooks = 1", &["1:1: `hooks` is a table: [hooks]"]),
        ] {
            let mut wrong = CircleToml::read(text).unwrap_err();
            wrong.sort_unstable();
            assert_eq!(wrong, told, "{text}");
        }
        assert!(CircleToml::read("a = ").unwrap_err()[0].starts_with("1:"));
        assert!(CircleToml::read("").unwrap().calls.is_empty());
    }
}
