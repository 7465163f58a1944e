//! Mistakes in the settings, as people read them.

use std::fmt;

use thiserror::Error;

use super::Source;
use crate::document::Place;

/// A setting that a mistake is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, like `session.max_batch`; empty for a file as a whole.
    pub key: String,
    /// The value, without the secrets in it.
    pub value: Option<String>,
    /// The source of the value.
    pub source: Option<Source>,
    /// The place in the file.
    pub place: Option<Place>,
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting that is wrong.
    pub setting: Setting,
    /// The mistake, and what would be right.
    pub message: String,
    /// The other settings that it doesn't fit.
    pub others: Vec<Setting>,
}

/// A mistake that is found by those who use the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, like `webhooks.stripe.script` or `circle[0].secrets.stripe`.
    pub key: String,
    /// The mistake, and what would be right.
    pub message: String,
}

/// All mistakes in the settings, sorted by their places: first those in the file, then those in the environment, then
/// those of defaults.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// Returns a mistake of a file as a whole.
    pub(super) fn of_file(source: Option<Source>, place: Option<Place>, message: String) -> Self {
        Self {
            setting: Setting {
                key: String::new(),
                value: None,
                source,
                place,
            },
            message,
            others: Vec::new(),
        }
    }

    /// Returns the place by which it is sorted: its own, or that of the other settings, of those that somebody has set.
    fn order(&self) -> impl Ord {
        let own = self.setting.order();
        let others = self.others.iter().map(Setting::order).min();
        others.filter(|other| other.0 < own.0).unwrap_or(own)
    }
}

impl Setting {
    fn order(&self) -> (u8, Option<Place>, Option<&str>) {
        match &self.source {
            None if self.key.is_empty() => (0, None, None),
            Some(Source::File(_)) => (0, self.place, None),
            Some(Source::Environment(name)) => (1, None, Some(name)),
            Some(Source::Default) | None => (2, None, None),
        }
    }
}

impl Problems {
    /// Sorts mistakes by their places.
    pub(super) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|one, other| one.order().cmp(&other.order()));
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.setting.key.is_empty() && self.setting.source.is_none() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.setting, self.message)?;
        for (n, other) in self.others.iter().enumerate() {
            let before = if n == 0 { "; see" } else { "," };
            write!(f, "{before} {other}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        let (before, after) = if self.key.is_empty() {
            ("", "")
        } else {
            (" (", ")")
        };
        match (&self.source, self.place) {
            (Some(source), Some(place)) => write!(f, "{before}{source}:{place}{after}"),
            (Some(source), None) => write!(f, "{before}{source}{after}"),
            (None, _) => Ok(()),
        }
    }
}
