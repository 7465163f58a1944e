//! Thin events: the type of an event and the id of its object, without the object.

use super::{EventType, Fields, Request, object};

object! {
    /// [The Event object of the v2 API](https://docs.stripe.com/api/v2/core/events/object), as it is delivered. Its
    /// object has to be fetched. Pings (`v2.core.event_destination.ping`) are such events, too.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ThinEvent {
        /// `evt_...`. An event may be delivered more than once, with the same id.
        pub id: String,
        /// Always `v2.core.event`.
        pub object: Option<String>,
        /// The type of the event.
        pub kind: EventType as "type",
        /// The time of the event, like `2026-11-23T16:45:00.000Z`.
        pub created: Option<String>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The account or organization to authenticate as when fetching the event or its object.
        pub context: Option<String>,
        /// The object that the event is about, if any.
        pub related_object: Option<RelatedObject>,
        /// The reason.
        pub reason: Option<Reason>,
    }
}

object! {
    /// A reference to an object.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RelatedObject {
        /// Its id.
        pub id: Option<String>,
        /// The name of its kind, like `billing.meter`.
        pub kind: Option<String> as "type",
        /// The path to fetch it from.
        pub url: Option<String>,
    }
}

object! {
    /// The reason of an event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reason {
        /// The kind of reason, like `request`.
        pub kind: Option<String> as "type",
        /// The API request that caused it.
        pub request: Option<Request>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const PING: &str = r#"{
        "id": "evt_test_65RA1",
        "object": "v2.core.event",
        "type": "v2.core.event_destination.ping",
        "created": "2026-11-23T16:45:00.000Z",
        "livemode": false,
        "context": null,
        "reason": { "type": "request", "request": { "id": "req_1", "idempotency_key": "key" } },
        "related_object": {
            "id": "ed_test_61RA1",
            "type": "v2.core.event_destination",
            "url": "/v2/core/event_destinations/ed_test_61RA1"
        }
    }"#;

    #[test]
    fn a_ping_is_read() {
        let ping: ThinEvent = read(PING);
        assert_eq!(&*ping.kind, "v2.core.event_destination.ping");
        let related = ping.related_object.unwrap();
        assert_eq!(related.id.as_deref(), Some("ed_test_61RA1"));
        let request = ping.reason.unwrap().request.unwrap();
        assert_eq!(request.id.as_deref(), Some("req_1"));
    }

    #[test]
    fn changed_texts_lose_nothing() {
        read_changed::<ThinEvent>(PING);
    }
}
