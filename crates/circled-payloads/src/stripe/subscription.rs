//! Subscriptions.

use serde_json::Number;

use super::{
    CollectionMethod, Expandable, Fields, List, Metadata, Personal, Price, object, open_enum,
};

object! {
    /// [A subscription](https://docs.stripe.com/api/subscriptions/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Subscription {
        /// `sub_...`
        pub id: String,
        /// The status.
        pub status: Option<SubscriptionStatus>,
        /// The customer who pays.
        pub customer: Option<Expandable>,
        /// The items.
        pub items: Option<List<SubscriptionItem>>,
        /// Three small letters.
        pub currency: Option<String>,
        /// The method of collecting its invoices.
        pub collection_method: Option<CollectionMethod>,
        /// The number of days to pay an invoice that is sent.
        pub days_until_due: Option<i64>,
        /// The time at which its periods begin, in seconds since 1970.
        pub billing_cycle_anchor: Option<i64>,
        /// The start of the period, in seconds since 1970. Since version `2025-03-31.basil`, each item has it.
        pub current_period_start: Option<i64>,
        /// The end of the period, in seconds since 1970. Since version `2025-03-31.basil`, each item has it.
        pub current_period_end: Option<i64>,
        /// The start, in seconds since 1970.
        pub start_date: Option<i64>,
        /// The start of the trial, in seconds since 1970.
        pub trial_start: Option<i64>,
        /// The end of the trial, in seconds since 1970.
        pub trial_end: Option<i64>,
        /// The time at which it will end, in seconds since 1970.
        pub cancel_at: Option<i64>,
        /// True if it will end with the period.
        pub cancel_at_period_end: Option<bool>,
        /// The time of cancellation, in seconds since 1970. The subscription may still run to the end of the period.
        pub canceled_at: Option<i64>,
        /// The reason for the cancellation.
        pub cancellation_details: Option<CancellationDetails>,
        /// The time at which it ended, in seconds since 1970.
        pub ended_at: Option<i64>,
        /// Its latest invoice.
        pub latest_invoice: Option<Expandable>,
        /// The payment method, if not the customer's default.
        pub default_payment_method: Option<Expandable>,
        /// A setup that the payer has to finish.
        pub pending_setup_intent: Option<Expandable>,
        /// The schedule that changes it.
        pub schedule: Option<Expandable>,
        /// Connect: the application's part in percent.
        pub application_fee_percent: Option<Number>,
        /// Your description.
        pub description: Option<String>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The status of a subscription.
    pub enum SubscriptionStatus {
        /// The first payment is missing.
        Incomplete = "incomplete",
        /// The first payment hasn't come in time: it is over.
        IncompleteExpired = "incomplete_expired",
        /// It is in its trial period.
        Trialing = "trialing",
        /// It is paid.
        Active = "active",
        /// A payment is missing; Stripe goes on trying.
        PastDue = "past_due",
        /// A payment is missing; Stripe has given up trying.
        Unpaid = "unpaid",
        /// It is over.
        Canceled = "canceled",
        /// The trial has ended without a payment method.
        Paused = "paused",
    }
}

object! {
    /// The details of a subscription's cancellation.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CancellationDetails {
        /// The cause of the end.
        pub reason: Option<CancellationCause>,
        /// The customer's complaint, like `too_expensive`.
        pub feedback: Option<String>,
        /// The customer's comment.
        pub comment: Option<Personal>,
    }
}

open_enum! {
    /// The cause of a subscription's end.
    pub enum CancellationCause {
        /// Stripe doesn't keep it any longer.
        RetentionPolicy = "canceled_by_retention_policy",
        /// Somebody wanted it.
        CancellationRequested = "cancellation_requested",
        /// A payment is disputed.
        PaymentDisputed = "payment_disputed",
        /// A payment has failed.
        PaymentFailed = "payment_failed",
    }
}

object! {
    /// [An item of a subscription](https://docs.stripe.com/api/subscription_items/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SubscriptionItem {
        /// `si_...`
        pub id: String,
        /// The subscription.
        pub subscription: Option<String>,
        /// The price of one.
        pub price: Option<Price>,
        /// The quantity.
        pub quantity: Option<i64>,
        /// The start of the period, in seconds since 1970. Since version `2025-03-31.basil`.
        pub current_period_start: Option<i64>,
        /// The end of the period, in seconds since 1970. Since version `2025-03-31.basil`.
        pub current_period_end: Option<i64>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{read, read_changed};
    use super::super::{Event, Interval, Object};
    use super::*;

    const UPDATED: &str = r#"{
        "id": "evt_1RB8Aq2eZvKYlo2CrU5h7tHV",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": 1743802290,
        "type": "customer.subscription.updated",
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": "req_S1mwVHq2bqbFyx", "idempotency_key": "stripe-node-retry-5f0d" },
        "data": {
            "object": {
                "id": "sub_1Q2a3b",
                "object": "subscription",
                "application": null,
                "application_fee_percent": 10,
                "billing_cycle_anchor": 1741118000,
                "cancel_at": null,
                "cancel_at_period_end": true,
                "canceled_at": 1743802290,
                "cancellation_details": { "comment": null, "feedback": "too_expensive", "reason": "cancellation_requested" },
                "collection_method": "charge_automatically",
                "created": 1741118000,
                "currency": "eur",
                "customer": "cus_NffrFeUfNV2Hib",
                "default_payment_method": "pm_1Q2a3b",
                "ended_at": null,
                "items": {
                    "object": "list",
                    "data": [{
                        "id": "si_RwX",
                        "object": "subscription_item",
                        "created": 1741118001,
                        "current_period_end": 1746388400,
                        "current_period_start": 1743796400,
                        "metadata": {},
                        "price": {
                            "id": "price_1Q",
                            "object": "price",
                            "active": true,
                            "billing_scheme": "per_unit",
                            "currency": "eur",
                            "product": "prod_RQ",
                            "recurring": { "interval": "month", "interval_count": 1, "meter": null, "usage_type": "licensed" },
                            "type": "recurring",
                            "unit_amount": 1000,
                            "unit_amount_decimal": "1000"
                        },
                        "quantity": 2,
                        "subscription": "sub_1Q2a3b",
                        "tax_rates": []
                    }],
                    "has_more": false,
                    "total_count": 1,
                    "url": "/v1/subscription_items?subscription=sub_1Q2a3b"
                },
                "latest_invoice": "in_1RB7Zs2eZvKYlo2CKnJ5Ld9x",
                "livemode": false,
                "metadata": { "circle": "02ab" },
                "start_date": 1741118000,
                "status": "active",
                "trial_end": null
            },
            "previous_attributes": {
                "cancel_at_period_end": false,
                "canceled_at": null,
                "cancellation_details": { "reason": null },
                "items": { "data": [{ "quantity": 1 }] }
            }
        }
    }"#;

    #[test]
    fn an_updated_subscription_is_read_with_what_has_changed() {
        let event: Event = read(UPDATED);
        let before = event.data.previous_attributes.unwrap();
        assert_eq!(before["cancel_at_period_end"], json!(false));
        let Object::Subscription(subscription) = event.data.object else {
            panic!("no subscription");
        };
        assert_eq!(subscription.status, Some(SubscriptionStatus::Active));
        assert_eq!(subscription.cancel_at_period_end, Some(true));
        let details = subscription.cancellation_details.unwrap();
        assert_eq!(
            details.reason,
            Some(CancellationCause::CancellationRequested)
        );
        let item = &subscription.items.unwrap().data[0];
        let recurring = item.price.as_ref().unwrap().recurring.as_ref().unwrap();
        assert_eq!(
            (item.quantity, &recurring.interval),
            (Some(2), &Some(Interval::Month))
        );
        read_changed::<Event>(UPDATED);
    }
}
