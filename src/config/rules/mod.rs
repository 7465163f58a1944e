//! Settings that don't fit together.
//!
//! A rule is about settings of several modules, or about several settings of one. Single values are checked by their
//! types.

mod listeners;
mod memory;
mod work;

use std::{num::NonZeroUsize, time::Duration};

use super::Settings;
use crate::units::{PositiveDuration, Size};

/// A rule that the settings break.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The keys of the settings that don't fit together, the one that is probably wrong first.
    pub(super) about: Vec<&'static str>,
    /// True if a server can use the settings all the same.
    pub(super) is_doubt: bool,
    /// The mistake, and what would be right.
    pub(super) message: String,
}

/// The rules that the settings break.
#[derive(Debug, Default)]
struct Findings(Vec<Broken>);

/// A setting: its key and its value, in bytes, items or nanoseconds.
type Named = (&'static str, u128);

/// Returns the [`Named`] setting of a field, `named!(settings, session.max_batch)`. The path of the field is the key.
macro_rules! named {
    ($settings:expr, $first:ident $(. $rest:ident)+) => {
        (
            concat!(stringify!($first) $(, ".", stringify!($rest))+),
            $crate::config::rules::Amount::amount(&$settings.$first $(.$rest)+),
        )
    };
}
use named;

/// Returns all rules that the settings break, but those about a setting that could not be read (`is_unread`). A doubt
/// about a setting that breaks another rule is left out, too.
pub(super) fn check(settings: &Settings, is_unread: impl Fn(&str) -> bool) -> Vec<Broken> {
    let mut findings = Findings::default();
    listeners::check(settings, &mut findings);
    memory::check(settings, &mut findings);
    work::check(settings, &mut findings);
    let Findings(mut broken) = findings;
    broken.retain(|rule| !rule.about.iter().any(|key| is_unread(key)));
    let wrong = broken.iter().filter(|rule| !rule.is_doubt);
    let wrong: Vec<&str> = wrong.map(|rule| rule.about[0]).collect();
    broken.retain(|rule| !rule.is_doubt || !rule.about.iter().any(|key| wrong.contains(key)));
    broken
}

impl Findings {
    /// Adds a rule that a server can't start with.
    fn refuse(&mut self, about: &[&'static str], message: impl Into<String>) {
        self.0.push(Broken {
            about: about.to_vec(),
            is_doubt: false,
            message: message.into(),
        });
    }

    /// Adds a rule of which a server only warns.
    fn doubt(&mut self, about: &[&'static str], message: impl Into<String>) {
        self.0.push(Broken {
            about: about.to_vec(),
            is_doubt: true,
            message: message.into(),
        });
    }

    /// Doubts that a part is larger than the whole, and says what happens then.
    fn part(&mut self, (part, size): Named, (whole, all): Named, why: &str) {
        if size > all {
            let message = format!("should be no more than {whole}, {why}");
            self.doubt(&[part, whole], message);
        }
    }
}

/// A value that can be compared with others of its kind.
trait Amount {
    fn amount(&self) -> u128;
}

impl Amount for usize {
    fn amount(&self) -> u128 {
        *self as u128
    }
}

impl Amount for u32 {
    fn amount(&self) -> u128 {
        u128::from(*self)
    }
}

impl Amount for NonZeroUsize {
    fn amount(&self) -> u128 {
        self.get().amount()
    }
}

impl Amount for Duration {
    fn amount(&self) -> u128 {
        self.as_nanos()
    }
}

impl<const LEAST: usize, const MOST: usize> Amount for Size<LEAST, MOST> {
    fn amount(&self) -> u128 {
        self.get().amount()
    }
}

impl<const LEAST_MS: u64> Amount for PositiveDuration<LEAST_MS> {
    fn amount(&self) -> u128 {
        self.get().amount()
    }
}

impl<T: Amount> Amount for Option<T> {
    fn amount(&self) -> u128 {
        self.as_ref().map_or(0, T::amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_about_what_could_not_be_read_say_nothing() {
        let mut settings = Settings::load(None, []).unwrap().settings;
        settings.server.listen = "0.0.0.0:8080".parse().unwrap();
        let about = |unread: &str| {
            let broken = check(&settings, |key| key == unread);
            broken.iter().map(|rule| rule.about[0]).collect::<Vec<_>>()
        };
        assert_eq!(about(""), ["circles.open", "server.public_url"]);
        assert_eq!(about("circles.allow_open"), ["server.public_url"]);
    }
}
