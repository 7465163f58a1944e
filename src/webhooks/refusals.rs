//! Counts and logs refusals: each one, and of a flood a few each second and their number.

use std::{sync::Arc, time::Instant};

use circled_protocol::PublicKey;

use super::{provider::Provider, refusal::WebhookRefusal};
use crate::log_limit::LogLimit;

/// The most characters of an unknown name in the log.
const LONGEST: usize = 64;

/// The refusals by their codes.
#[derive(Debug)]
pub struct WebhookRefusals(Vec<(&'static str, LogLimit)>);

/// The known facts of a refused request.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) provider: Option<Arc<Provider>>,
    pub(super) circle: Option<PublicKey>,
    /// The bytes of the body that have come, or that were announced.
    pub(super) bytes: Option<usize>,
    /// The text in the place of a provider's name.
    unknown: Option<String>,
}

impl WebhookRefusals {
    /// Creates the counters; of each code, so many refusals are logged each second.
    pub(super) fn new(logged: u32, start: Instant) -> Self {
        let limit =
            |refusal: WebhookRefusal| (refusal.on_the_wire().1, LogLimit::new(logged, start));
        Self(WebhookRefusal::ALL.map(limit).into())
    }

    /// Returns the number of refusals of each code.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(code, limit)| (*code, limit.count()))
    }

    pub(super) fn tell(&self, refusal: &WebhookRefusal, attempt: &Attempt, now: Instant) {
        let (status, code) = refusal.on_the_wire();
        let mut limits = self.0.iter();
        let of_code = limits.find(|(other, _)| *other == code);
        if of_code.is_some_and(|(_, limit)| !limit.admit(now)) {
            return;
        }
        let known = attempt.provider.as_ref();
        let provider = known.map(|provider| &*provider.name);
        tracing::warn!(
            provider = provider.or(attempt.unknown.as_deref()),
            circle = attempt.circle.map(tracing::field::display),
            status = status.as_u16(),
            reason = refusal.reason(),
            bytes = attempt.bytes,
            "webhook refused"
        );
    }

    /// Logs the number of refusals that weren't logged since the last call.
    pub fn log_skipped(&self) {
        for (code, limit) in &self.0 {
            let refused = limit.take_skipped();
            if refused > 0 {
                tracing::warn!(
                    code,
                    refused,
                    "webhooks refused, more than webhooks.refusals_logged in a second"
                );
            }
        }
    }
}

impl Attempt {
    /// Sets the unknown provider's name, as a single line that isn't too long.
    pub(super) fn name(&mut self, text: &str) {
        let mut shown: String = text
            .chars()
            .take(LONGEST)
            .flat_map(char::escape_default)
            .collect();
        if text.chars().nth(LONGEST).is_some() {
            shown += "...";
        }
        self.unknown = Some(shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::Unsigned;

    #[test]
    fn every_refusal_is_counted_under_its_code() {
        let (start, attempt) = (Instant::now(), Attempt::default());
        let refusals = WebhookRefusals::new(1, start);
        for refusal in WebhookRefusal::ALL {
            refusals.tell(&refusal, &attempt, start);
        }
        let unsigned = WebhookRefusal::Unsigned(Unsigned::Missing);
        refusals.tell(&unsigned, &attempt, start);
        for (code, count) in refusals.counts() {
            assert_eq!(count, 1 + u64::from(code == "unsigned"), "{code}");
        }
    }

    #[test]
    fn a_strangers_text_is_short_and_of_one_line() {
        for (text, expected) in [
            ("acme", "acme".to_owned()),
            ("a\nb\u{1b}[2J", "a\\nb\\u{1b}[2J".to_owned()),
            (&"x".repeat(65), format!("{}...", "x".repeat(64))),
        ] {
            let mut attempt = Attempt::default();
            attempt.name(text);
            assert_eq!(attempt.unknown, Some(expected));
        }
    }
}
