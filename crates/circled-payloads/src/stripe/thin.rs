//! Thin events: what has happened, and to which object, but not how that object is.

use super::{EventType, Fields, Request, object};

object! {
    /// [The Event object of the v2 API](https://docs.stripe.com/api/v2/core/events/object), as it is delivered. What
    /// it is about has to be fetched. Pings (`v2.core.event_destination.ping`) are such events, too.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ThinEvent {
        /// `evt_...`. An event may be delivered more than once, with the same id.
        pub id: String,
        /// Always `v2.core.event`.
        pub object: Option<String>,
        /// What has happened.
        pub kind: EventType as "type",
        /// When it happened, like `2026-11-23T16:45:00.000Z`.
        pub created: Option<String>,
        /// Whether it is about real money.
        pub livemode: Option<bool>,
        /// What to authenticate as to fetch the event or its object.
        pub context: Option<String>,
        /// What it is about. Some events are about nothing.
        pub related_object: Option<RelatedObject>,
        /// Why it happened.
        pub reason: Option<Reason>,
    }
}

object! {
    /// Where an object is.
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
    /// Why an event happened.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reason {
        /// Which sort of reason, like `request`.
        pub kind: Option<String> as "type",
        /// The API request that made it happen.
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
    fn whatever_else_comes_loses_nothing() {
        read_changed::<ThinEvent>(PING);
    }
}
