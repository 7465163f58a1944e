//! An event, as it is stored in Redis, and sent to inboxes.

use std::sync::Arc;

use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::store::{Event, NewEvent};

/// An event, as it is stored and sent. Its number is the key.
#[derive(Serialize, Deserialize)]
struct EventRecord<'a> {
    topic: std::borrow::Cow<'a, str>,
    data: Box<RawValue>,
    at: Timestamp,
    #[serde(
        default,
        with = "circled_protocol::trusted::option",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<PublicKey>,
}

/// Encodes an event that happens now.
pub(crate) fn encode(event: &NewEvent) -> Vec<u8> {
    let record = EventRecord {
        topic: (&*event.topic).into(),
        // What was emitted is JSON.
        data: circled_json::from_slice(&event.data).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        at: Timestamp::now(),
        to: event.to,
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Decodes an event.
pub(crate) fn decode(number: u64, json: &[u8]) -> Option<Arc<Event>> {
    let EventRecord {
        topic,
        data,
        at,
        to,
    } = circled_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, "failed to read an event"))
        .ok()?;
    Some(Arc::new(Event::new(number, topic, data, at, to)))
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;
    use crate::golden;

    #[test]
    fn events_are_sent_as_before() {
        let mut event = EventRecord {
            topic: "orders.new".into(),
            data: circled_json::from_str("{\"total\":3,\"of\":[1.0,null]}").unwrap(),
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            to: None,
        };
        let check = |name, event: &EventRecord<'_>| {
            let written = serde_json::to_string(event).unwrap();
            golden::check_json(name, &written, &[""], |text| {
                decode(7, text.as_bytes())?;
                let event: EventRecord<'_> = circled_json::from_str(text).ok()?;
                serde_json::to_string(&event).ok()
            });
        };
        check("redis_event", &event);
        event.to = Some(SecretKey::from_hex(&"01".repeat(32)).unwrap().public());
        check("redis_event_to_one", &event);
    }
}
