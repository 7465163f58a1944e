//! The presets of common services. Their data is in `presets.toml`.

use std::collections::{BTreeMap, HashMap};

use circled_json::Json;
use clap::ValueEnum;
use serde::{Deserialize, de::value::MapDeserializer};
use serde_json::Value;

use super::settings::{Description, PAIRS};
use crate::document::Document;

const PRESETS: &str = include_str!("presets.toml");

/// A service whose webhooks circled knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// [Stripe](https://docs.stripe.com/webhooks).
    Stripe,
    /// [iDenfy](https://documentation.idenfy.com).
    Idenfy,
    /// [GitHub](https://docs.github.com/en/webhooks).
    Github,
    /// [Shopify](https://shopify.dev/docs/apps/build/webhooks).
    Shopify,
    /// [Slack](https://docs.slack.dev/apis/events-api).
    Slack,
    /// [Standard Webhooks](https://www.standardwebhooks.com), as Svix and many others send them.
    Standard,
}

impl Preset {
    /// Returns all presets.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Returns the name in the settings.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns the description of the service's signatures and requests.
    pub fn description(self) -> Description {
        self.without(&[])
    }

    /// Returns the description without these settings, and without those that depend on them.
    pub(super) fn without(self, unset: &[String]) -> Description {
        let is_unset = |name: &str| unset.iter().any(|unset| unset == name);
        type Presets = HashMap<Preset, BTreeMap<String, Json>>;
        let presets = Document::read(PRESETS).ok();
        let presets = presets.and_then(|presets| {
            circled_json::from_value::<Presets>(Value::Object(presets.values)).ok()
        });
        // A test reads every one of them.
        let Some(mut table) = presets.and_then(|mut presets| presets.remove(&self)) else {
            return Description::default();
        };
        for (one, other) in PAIRS {
            if is_unset(one) || is_unset(other) {
                table.remove(one);
                table.remove(other);
            }
        }
        table.retain(|name, _| !is_unset(name));
        let table = table.into_iter().map(|(name, Json(value))| (name, value));
        let table = MapDeserializer::<_, serde_json::Error>::new(table);
        Description::deserialize(table).unwrap_or_default()
    }

    /// Returns the script that runs if the settings name none.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Idenfy => include_str!("scripts/idenfy.rhai"),
            Self::Stripe | Self::Github | Self::Shopify | Self::Slack | Self::Standard => {
                super::provider::DEFAULT_SCRIPT
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_described() {
        for preset in Preset::all() {
            let scheme = preset.description().scheme();
            assert!(scheme.is_ok(), "{preset:?}: {scheme:?}");
        }
    }

    #[test]
    fn every_preset_is_documented() {
        let names: Vec<String> = Preset::all().iter().map(|preset| preset.name()).collect();
        let settings = include_str!("../../config/default.toml").replace("\n# ", " ");
        let listed = format!(" Presets: {} (", names.join(", "));
        assert!(settings.contains(&listed), "config/default.toml:{listed}");
        let guide = include_str!("../../docs/WEBHOOKS.md");
        let table = guide.split("\n| preset | ").nth(1).unwrap();
        let rows = table
            .lines()
            .skip(2)
            .map_while(|row| row.strip_prefix("| `"));
        let rows: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
        assert_eq!(rows, names, "docs/WEBHOOKS.md");
    }

    #[test]
    fn each_setting_of_a_preset_can_be_unset() {
        let unset = |name: &str| Preset::Idenfy.without(&[name.to_owned()]);
        assert_eq!(unset("nothing"), Preset::Idenfy.description());
        for name in ["series", "series_final"] {
            let description = unset(name);
            assert!(description.scheme().is_ok());
            assert_eq!((description.series, description.series_final), (None, None));
        }
        assert_eq!(unset("kinds").kinds, None);
        assert_eq!(unset("event_type").event_type, None);
        assert!(unset("signed").scheme().is_err());
    }
}
