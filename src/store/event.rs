//! Events that a transaction emits. The circle's sessions receive them once it is committed.

use circled_protocol::PublicKey;

use super::{error::WriteError, settings::Settings, table::Value};

/// Prefixes of topics that scripts may not use: the server itself publishes events about jobs, circles, deliveries and
/// who is connected under these.
const RESERVED: [&str; 4] = ["job.", "circle.", WEBHOOK, "presence."];
/// Topics of deliveries go on with the provider's name.
const WEBHOOK: &str = "webhook.";
const PRESENCE: &str = "presence";

/// An event that is committed with its transaction. It has no number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The topic.
    pub topic: Box<str>,
    /// The data, as JSON.
    pub data: Value,
    /// The key whose sessions receive it, besides the owner's; `None`: all that may subscribe.
    pub to: Option<PublicKey>,
}

impl NewEvent {
    /// Bytes of a topic.
    pub const MAX_TOPIC: usize = 256;

    /// Returns whether a script may use a topic. A run for a delivery of `provider` may use `webhook.<provider>`, and
    /// what goes on after that with a point.
    fn is_for_scripts(topic: &str, provider: Option<&str>) -> bool {
        let of_provider = provider.is_some_and(|provider| {
            let rest = topic.strip_prefix(WEBHOOK);
            let rest = rest.and_then(|rest| rest.strip_prefix(provider));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let is_reserved =
            topic == PRESENCE || RESERVED.iter().any(|prefix| topic.starts_with(prefix));
        of_provider || !is_reserved
    }

    /// Checks whether a script may emit it after the events `before`.
    pub(super) fn check(
        &self,
        before: &[Self],
        provider: Option<&str>,
        limits: &Settings,
    ) -> Result<(), WriteError> {
        let length = self.topic.len();
        if length == 0 || length > Self::MAX_TOPIC {
            let max = Self::MAX_TOPIC;
            return Err(WriteError::Topic { length, max });
        }
        if !Self::is_for_scripts(&self.topic, provider) {
            return Err(WriteError::Reserved);
        }
        let (length, max) = (self.data.len(), limits.max_event);
        if length > max {
            return Err(WriteError::Event { length, max });
        }
        let max = limits.max_events.get();
        if before.len() >= max {
            return Err(WriteError::Events { max });
        }
        Ok(())
    }

    /// Returns about how many bytes it takes to store it.
    pub(super) fn size(&self) -> usize {
        64 + self.topic.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_topics_are_not_for_scripts() {
        for topic in [
            "job.1",
            "job.",
            "circle.x",
            "presence",
            "presence.x",
            "webhook.",
            "webhook.stripe",
            "webhook.stripe.paid",
            "webhook..",
        ] {
            assert!(!NewEvent::is_for_scripts(topic, None), "{topic}");
        }
        for topic in [
            "job",
            "jobs",
            "circles.x",
            "webhook",
            "webhooks.stripe",
            "presences",
            "x.webhook.stripe",
            ".webhook",
            "Webhook.stripe",
        ] {
            assert!(NewEvent::is_for_scripts(topic, None), "{topic}");
            assert!(NewEvent::is_for_scripts(topic, Some("stripe")), "{topic}");
        }
    }

    #[test]
    fn a_deliverys_script_has_the_topics_of_its_provider() {
        for topic in ["webhook.stripe", "webhook.stripe.paid", "webhook.stripe."] {
            assert!(NewEvent::is_for_scripts(topic, Some("stripe")), "{topic}");
        }
        for topic in [
            "webhook.",
            "webhook.stripes",
            "webhook.strip",
            "webhook.idenfy",
            "job.stripe",
            "circle.stripe",
        ] {
            assert!(!NewEvent::is_for_scripts(topic, Some("stripe")), "{topic}");
        }
    }
}
