//! The `[[circle]]` tables.

use std::collections::{BTreeSet, HashMap};

use circled_protocol::PublicKey;
use serde_json::{Map, Value as Json, json};

use super::{
    hidden::shown,
    key,
    misfit::{Misfit, Tried, try_out},
};
use crate::{auth::Circle, field_names::field_names};

/// The key of the list.
pub(super) const KEY: &str = "circle";

/// The circles of the settings.
#[derive(Debug, Default)]
pub(super) struct Circles {
    /// Those that can be used, without what can't be read, each with its number in the file.
    pub(super) usable: Vec<(usize, Json)>,
    /// All mistakes.
    pub(super) misfits: Vec<Misfit>,
}

impl Circles {
    /// Reads the tables. `providers` are the names of the providers of webhooks.
    pub(super) fn read(circles: &[Json], providers: &BTreeSet<&str>) -> Self {
        let mut read = Self::default();
        let mut listed = HashMap::new();
        for (n, circle) in circles.iter().enumerate() {
            let Json::Object(table) = circle else {
                read.refuse(format!("{KEY}[{n}]"), "must be a table");
                continue;
            };
            let mut table = table.clone();
            let found = read.table(n, &mut table, providers);
            let Some(key) = found else {
                continue;
            };
            if let Some(first) = listed.insert(key, n) {
                read.refuse(
                    format!("{KEY}[{n}].key"),
                    &format!("this circle is {KEY}[{first}] already: put their members together"),
                );
                continue;
            }
            read.usable.push((n, Json::Object(table)));
        }
        read
    }

    /// Returns false for an unknown key of a `[[circle]]`.
    pub(super) fn has_key(key: &str) -> bool {
        let path = key.strip_prefix(KEY).filter(|path| path.starts_with('['));
        let name = path.and_then(|path| path.split_once("]."));
        name.is_none_or(|(_, name)| {
            let name = name.split(['.', '[']).next().unwrap_or(name);
            field_names::<Circle>().contains(&name)
        })
    }

    /// Takes all that can't be used out of a table, and returns the circle's key.
    fn table(
        &mut self,
        n: usize,
        table: &mut Map<String, Json>,
        providers: &BTreeSet<&str>,
    ) -> Option<PublicKey> {
        /// Any key, where another setting is looked at.
        const SOME_KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

        let names = field_names::<Circle>();
        let path = format!("{KEY}[{n}]");
        if !table.contains_key("key") {
            self.refuse(path.clone(), "the circle's `key` is missing");
        }
        table.retain(|name, value| {
            let key = format!("{path}.{name}");
            if !names.contains(&name.as_str()) {
                self.refuse(key, &key::unknown_of(name, names));
                return false;
            }
            let around = |value| {
                let mut circle = json!({ "key": SOME_KEY });
                circle[name.as_str()] = value;
                circle
            };
            let Tried { usable, misfits } = try_out::<Circle>(&key, value, &around);
            for mut misfit in misfits {
                if ["key", "members"].contains(&name.as_str())
                    && misfit.message == "must be a text in quotes"
                {
                    "must be a public key in quotes".clone_into(&mut misfit.message);
                }
                self.misfits.push(misfit);
            }
            usable.map(|usable| *value = usable).is_some()
        });
        for (provider, _) in table
            .get("secrets")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            if !providers.contains(provider.as_str()) {
                let known: Vec<&str> = providers.iter().copied().collect();
                self.refuse(
                    format!("{path}.secrets.{provider}"),
                    &format!(
                        "there is no [webhooks.{provider}]; there are {}",
                        known.join(", ")
                    ),
                );
            }
        }
        table.get("key")?.as_str()?.parse().ok()
    }

    fn refuse(&mut self, key: String, message: &str) {
        self.misfits.push(Misfit {
            key,
            message: message.to_owned(),
        });
    }
}

/// Returns the lines of a `[[circle]]` as TOML writes them, without the secrets in it.
pub(super) fn lines(circle: &Circle) -> Vec<String> {
    let table = json!(circle);
    let members = table.as_object().into_iter().flatten();
    let line = |(name, value): (&String, &Json)| {
        let value = shown(&format!("{KEY}[0].{name}"), value);
        format!("{name} = {value}")
    };
    members.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_those_of_no_field() {
        for (key, expected) in [
            ("circle[0].key", true),
            ("circle[12].members[3]", true),
            ("circle[0].secrets.stripe", true),
            ("circle[0]", true),
            ("circles.open", true),
            ("circle[0].membrs", false),
            ("circle[0].secret.stripe", false),
            ("circle[0].number", false),
        ] {
            assert_eq!(Circles::has_key(key), expected, "{key}");
        }
    }
}
