//! The `[log]` settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The `[log]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The lines that are logged, as [`tracing_subscriber::EnvFilter`] reads it.
    #[serde(deserialize_with = "level")]
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Runs of scripts that take longer are logged; none if it is zero.
    #[serde(with = "crate::units::duration")]
    pub slow: Duration,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match check_level(&text) {
        Ok(()) => Ok(text),
        Err(message) => Err(D::Error::custom(message)),
    }
}

/// Checks a filter of log lines. A bare word could be the name of a module too, but then "inof" would silence the log.
fn check_level(text: &str) -> Result<(), String> {
    let hint = "write error, warn, info, debug, trace or off, also per module: \"info,circled::session=debug\"";
    let wrong = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.contains(['=', '[', ']', '}']))
        .find(|item| item.is_empty() || item.parse::<LevelFilter>().is_err());
    if let Some(wrong) = wrong {
        return Err(format!("{wrong:?} is no level: {hint}"));
    }
    EnvFilter::try_new(text)
        .map(drop)
        .map_err(|error| format!("{error}: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_would_silence_the_log_is_refused() {
        for right in [
            "info",
            "INFO",
            "off",
            "warn,circled::session=debug",
            "[session{id=1}]=debug",
        ] {
            assert_eq!(check_level(right), Ok(()), "{right}");
        }
        for wrong in ["inof", "", "info,circled", "info,circled=loud", "=loud="] {
            assert!(check_level(wrong).is_err(), "{wrong}");
        }
    }
}
