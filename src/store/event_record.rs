//! An event as it is stored, on disk and in Redis, and sent to the inboxes of gateways.

use std::{borrow::Cow, sync::Arc};

use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{event::NewEvent, hub::Event};

/// An event as it is stored. Its number is the key.
#[derive(Serialize, Deserialize)]
pub(super) struct EventRecord<'a> {
    topic: Cow<'a, str>,
    data: Box<RawValue>,
    at: Timestamp,
    #[serde(
        default,
        with = "circled_protocol::trusted::option",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<PublicKey>,
}

impl<'a> EventRecord<'a> {
    pub(super) fn new(event: &'a NewEvent, at: Timestamp) -> Self {
        Self {
            topic: (&*event.topic).into(),
            // What was emitted is JSON.
            data: circled_json::from_slice(&event.data)
                .unwrap_or_else(|_| RawValue::NULL.to_owned()),
            at,
            to: event.to,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn into_event(self, number: u64) -> Arc<Event> {
        let Self {
            topic,
            data,
            at,
            to,
        } = self;
        Arc::new(Event::new(number, topic, data, at, to))
    }
}

/// Encodes an event that happens now.
pub(crate) fn encode(event: &NewEvent) -> Vec<u8> {
    EventRecord::new(event, Timestamp::now()).encode()
}

/// Returns whether these bytes can be a stored event.
pub fn is_event(stored: &[u8]) -> bool {
    circled_json::from_slice::<EventRecord<'_>>(stored).is_ok()
}

/// Decodes an event of a circle. Logs the error if it can't be read.
pub(crate) fn decode(circle: &PublicKey, number: u64, stored: &[u8]) -> Option<Arc<Event>> {
    let record = circled_json::from_slice::<EventRecord<'_>>(stored);
    let record = record
        .inspect_err(|error| tracing::error!(%circle, number, %error, "failed to read an event"));
    Some(record.ok()?.into_event(number))
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;
    use crate::golden;

    #[test]
    fn events_are_stored_and_sent_as_before() {
        let mut event = EventRecord {
            topic: "orders.new".into(),
            data: circled_json::from_str("{\"total\":3,\"of\":[1.0,null]}").unwrap(),
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            to: None,
        };
        let one = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let check = |name, event: &EventRecord<'_>| {
            let written = serde_json::to_string(event).unwrap();
            golden::check_json(name, &written, &[""], |text| {
                decode(&one, 7, text.as_bytes())?;
                let event: EventRecord<'_> = circled_json::from_str(text).ok()?;
                serde_json::to_string(&event).ok()
            });
        };
        check("event", &event);
        check("redis_event", &event);
        event.to = Some(one);
        check("event_to_one", &event);
        check("redis_event_to_one", &event);
    }
}
