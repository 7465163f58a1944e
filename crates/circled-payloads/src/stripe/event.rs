//! The event, and the object that it is about.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{
    Charge, CheckoutSession, Customer, Dispute, Fields, Invoice, PaymentIntent, PaymentMethod,
    Payout, Price, Product, Refund, SetupIntent, Subscription, object,
};

object! {
    /// [The Event object](https://docs.stripe.com/api/events/object): something has happened.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Event {
        /// `evt_...`. An event may be delivered more than once, with the same id.
        pub id: String,
        /// Always `event`.
        pub object: Option<String>,
        /// The type of the event.
        pub kind: EventType as "type",
        /// The version of the API that `data` is written in, like `2025-01-27.acacia`.
        pub api_version: Option<String>,
        /// The time of the event, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The number of endpoints that have not answered yet.
        pub pending_webhooks: Option<i64>,
        /// The API request that caused it. Absent if Stripe acted by itself.
        pub request: Option<Request>,
        /// Connect: the account that it happened in, `acct_...`.
        pub account: Option<String>,
        /// The account or organization to authenticate as when fetching the object.
        pub context: Option<String>,
        /// The object that the event is about.
        pub data: Data,
    }
}

/// The type of an event, like `checkout.session.completed`. It is used as a `&str`.
///
/// [There are hundreds](https://docs.stripe.com/api/events/types), and more each month.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventType(pub String);

impl Deref for EventType {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

object! {
    /// The API request that caused an event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Request {
        /// `req_...`. Absent if Stripe acted by itself, for example to renew a subscription.
        pub id: Option<String>,
        /// The key that the request came with.
        pub idempotency_key: Option<String>,
    }
}

object! {
    /// The data of an event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Data {
        /// The object as it was when the event happened.
        pub object: Object,
        /// The changed fields of an `*.updated` event, with their old values.
        pub previous_attributes: Option<Fields>,
    }
}

/// An object of the API. Its field `object` names the kind, and stays in its `rest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Object {
    /// `payment_intent`
    PaymentIntent(Box<PaymentIntent>),
    /// `setup_intent`
    SetupIntent(Box<SetupIntent>),
    /// `payment_method`
    PaymentMethod(Box<PaymentMethod>),
    /// `charge`
    Charge(Box<Charge>),
    /// `refund`
    Refund(Box<Refund>),
    /// `dispute`
    Dispute(Box<Dispute>),
    /// `payout`
    Payout(Box<Payout>),
    /// `checkout.session`
    CheckoutSession(Box<CheckoutSession>),
    /// `customer`
    Customer(Box<Customer>),
    /// `invoice`
    Invoice(Box<Invoice>),
    /// `subscription`
    Subscription(Box<Subscription>),
    /// `product`
    Product(Box<Product>),
    /// `price`
    Price(Box<Price>),
    /// Any other kind.
    Other(Box<OtherObject>),
}

object! {
    /// An object of a kind that has no type here.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OtherObject {
        /// Its id. Not every kind has one.
        pub id: Option<String>,
        /// The name of its kind, like `transfer`.
        pub object: Option<String>,
    }
}

impl Object {
    /// Returns the object's id. A few kinds have none, and neither has the invoice of `invoice.upcoming`.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::PaymentIntent(object) => Some(&object.id),
            Self::SetupIntent(object) => Some(&object.id),
            Self::PaymentMethod(object) => Some(&object.id),
            Self::Charge(object) => Some(&object.id),
            Self::Refund(object) => Some(&object.id),
            Self::Dispute(object) => Some(&object.id),
            Self::Payout(object) => Some(&object.id),
            Self::CheckoutSession(object) => Some(&object.id),
            Self::Customer(object) => Some(&object.id),
            Self::Invoice(object) => object.id.as_deref(),
            Self::Subscription(object) => Some(&object.id),
            Self::Product(object) => Some(&object.id),
            Self::Price(object) => Some(&object.id),
            Self::Other(object) => object.id.as_deref(),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields(fields) = Fields::deserialize(deserializer)?;
        let kind = fields
            .get("object")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let value = Value::Object(fields);
        match kind.as_deref() {
            Some("payment_intent") => Deserialize::deserialize(value).map(Self::PaymentIntent),
            Some("setup_intent") => Deserialize::deserialize(value).map(Self::SetupIntent),
            Some("payment_method") => Deserialize::deserialize(value).map(Self::PaymentMethod),
            Some("charge") => Deserialize::deserialize(value).map(Self::Charge),
            Some("refund") => Deserialize::deserialize(value).map(Self::Refund),
            Some("dispute") => Deserialize::deserialize(value).map(Self::Dispute),
            Some("payout") => Deserialize::deserialize(value).map(Self::Payout),
            Some("checkout.session") => Deserialize::deserialize(value).map(Self::CheckoutSession),
            Some("customer") => Deserialize::deserialize(value).map(Self::Customer),
            Some("invoice") => Deserialize::deserialize(value).map(Self::Invoice),
            Some("subscription") => Deserialize::deserialize(value).map(Self::Subscription),
            Some("product") => Deserialize::deserialize(value).map(Self::Product),
            Some("price") => Deserialize::deserialize(value).map(Self::Price),
            Some(_) | None => Deserialize::deserialize(value).map(Self::Other),
        }
        .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{read, read_changed};
    use super::*;

    const PAYMENT_SUCCEEDED: &str = r#"{"id": "evt_1Nv", "object": "event", "api_version": "2025-01-27.acacia", "created": 1700000000, "type": "payment_intent.succeeded", "livemode": false, "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null}, "data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 2000, "currency": "usd"}}}"#;

    /// An event about a kind without a type here.
    const TRANSFER_REVERSED: &str = r#"{
        "id": "evt_1PgafmB7WZ01zgkWbQ8Rhk6y",
        "object": "event",
        "account": "acct_1032D82eZvKYlo2C",
        "api_version": "2024-06-20",
        "context": "acct_1032D82eZvKYlo2C",
        "created": 1721997000,
        "data": {
            "object": {
                "id": "tr_1PgafmB7WZ01zgkWuT5T1hSM",
                "object": "transfer",
                "amount": 400,
                "amount_reversed": 400,
                "destination_payment": null,
                "rate": 0.1,
                "reversals": { "object": "list", "data": [], "has_more": false },
                "reversed": true
            }
        },
        "livemode": true,
        "pending_webhooks": 0,
        "request": { "id": "req_8vVkCZ3Ztl0rZM", "idempotency_key": "7c1c5b2a" },
        "type": "transfer.reversed_in_a_way_of_tomorrow",
        "related_object": null
    }"#;

    #[test]
    fn a_payment_that_succeeded_is_read() {
        let event: Event = read(PAYMENT_SUCCEEDED);
        assert_eq!(event.id, "evt_1Nv");
        assert_eq!(&*event.kind, "payment_intent.succeeded");
        assert_eq!(event.created, Some(1_700_000_000));
        let request = event.request.unwrap();
        assert_eq!((request.id, request.idempotency_key), (None, None));
        let Object::PaymentIntent(payment) = event.data.object else {
            panic!("no payment");
        };
        assert_eq!((payment.amount, &*payment.currency), (2000, "usd"));
    }

    #[test]
    fn an_event_of_an_unknown_type_about_an_unknown_object_is_read() {
        let event: Event = read(TRANSFER_REVERSED);
        assert_eq!(
            event.kind.to_string(),
            "transfer.reversed_in_a_way_of_tomorrow"
        );
        assert_eq!(event.account, event.context);
        assert_eq!(event.data.object.id(), Some("tr_1PgafmB7WZ01zgkWuT5T1hSM"));
        let Object::Other(transfer) = event.data.object else {
            panic!("a known kind");
        };
        assert_eq!(transfer.object.as_deref(), Some("transfer"));
        assert_eq!(transfer.rest["amount_reversed"], json!(400));
    }

    #[test]
    fn changed_events_lose_nothing_either() {
        read_changed::<Event>(PAYMENT_SUCCEEDED);
        read_changed::<Event>(TRANSFER_REVERSED);
    }

    #[test]
    fn objects_may_be_nested_as_deep_as_json_is_read() {
        let (mut text, end) = (String::new(), "}".repeat(120));
        for depth in 0..120 {
            text += match depth % 2 {
                0 => r#"{ "object": "invoice", "charge": "#,
                _ => {
                    r#"{ "object": "charge", "id": "c", "amount": 1, "currency": "x", "invoice": "#
                }
            };
        }
        read::<Object>(&format!("{text}null{end}"));
    }

    #[test]
    fn other_values_than_events_are_refused() {
        let event = || circled_json::parse(PAYMENT_SUCCEEDED).unwrap();
        let refusal = |value| {
            let error = circled_json::from_value::<Event>(value).unwrap_err();
            error.to_string()
        };
        for field in ["id", "type", "data"] {
            let mut event = event();
            event.as_object_mut().unwrap().remove(field);
            assert_eq!(
                refusal(event),
                format!("missing or of the wrong type: {field}")
            );
        }
        for (place, path) in [
            ("/created", "created"),
            ("/data/object", "data.object"),
            ("/data/object/amount", "data.object.amount"),
            ("/request/id", "request.id"),
        ] {
            let mut event = event();
            *event.pointer_mut(place).unwrap() = json!(["Jane"]);
            assert_eq!(
                refusal(event),
                format!("missing or of the wrong type: {path}")
            );
        }
        for text in ["", "null", "[]", "\"Jane\"", "{\"id\":"] {
            let error = circled_json::from_str::<Event>(text).unwrap_err();
            assert!(!error.to_string().contains("Jane"));
        }
    }
}
