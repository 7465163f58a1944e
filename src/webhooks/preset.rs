//! The services that many use. What tells them apart stands in `presets.toml`.

use std::collections::HashMap;

use config::{Config, File, FileFormat};
use serde::Deserialize;

use super::settings::Description;

const PRESETS: &str = include_str!("presets.toml");

/// A service whose webhooks are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, clap::ValueEnum)]
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
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Stripe,
        Self::Idenfy,
        Self::Github,
        Self::Shopify,
        Self::Slack,
        Self::Standard,
    ];

    /// How the service signs, and what its requests say where.
    pub fn description(self) -> Description {
        let presets = Config::builder()
            .add_source(File::from_str(PRESETS, FileFormat::Toml))
            .build()
            .and_then(Config::try_deserialize::<HashMap<Self, Description>>);
        // A test reads every one of them.
        presets
            .ok()
            .and_then(|mut presets| presets.remove(&self))
            .unwrap_or_default()
    }

    /// The script that runs where the settings name none.
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
        for preset in Preset::ALL {
            let scheme = preset.description().scheme();
            assert!(scheme.is_ok(), "{preset:?}: {scheme:?}");
        }
    }
}
