//! What a transaction tells the circle's sessions once it is committed.

use super::{error::WriteError, settings::Settings, table::Value};
use crate::auth::PublicKey;

/// What topics begin with that no script may use: jobs and circles tell about themselves there.
const OWN: [&str; 2] = ["job.", "circle."];

/// An event that lands with the rest of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// What it is about.
    pub topic: Box<str>,
    /// What happened: JSON.
    pub data: Value,
    /// Who is told, besides the owner. `None`: everybody who may subscribe.
    pub to: Option<PublicKey>,
}

impl Emitted {
    /// Bytes of a topic.
    pub const MAX_TOPIC: usize = 256;

    /// Whether topics like this are the circle's own, and not for scripts.
    pub fn is_own(topic: &str) -> bool {
        OWN.iter().any(|own| topic.starts_with(own))
    }

    /// Whether it may be emitted after these.
    pub(super) fn check(&self, before: &[Self], limits: &Settings) -> Result<(), WriteError> {
        let length = self.topic.len();
        if length == 0 || length > Self::MAX_TOPIC {
            let max = Self::MAX_TOPIC;
            return Err(WriteError::Topic { length, max });
        }
        if Self::is_own(&self.topic) {
            return Ok(());
        }
        let (length, max) = (self.data.len(), limits.max_event);
        if length > max {
            return Err(WriteError::Event { length, max });
        }
        let count = before.iter().filter(|event| !Self::is_own(&event.topic));
        let max = limits.max_events;
        if count.count() >= max {
            return Err(WriteError::Events { max });
        }
        Ok(())
    }

    /// What it takes to keep it, about.
    pub(super) fn size(&self) -> usize {
        64 + self.topic.len() + self.data.len()
    }
}
