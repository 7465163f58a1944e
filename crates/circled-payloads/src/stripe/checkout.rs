//! Stripe's payment page.

use super::{Contact, Expandable, Fields, Metadata, Personal, object, open_enum};

object! {
    /// [A Checkout Session](https://docs.stripe.com/api/checkout/sessions/object): somebody was sent to a
    /// payment page.
    ///
    /// At `checkout.session.completed` a slow payment, like a direct debit, may still be unpaid:
    /// `payment_status` says so, and `checkout.session.async_payment_succeeded` follows.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CheckoutSession {
        /// `cs_...`
        pub id: String,
        /// The mode.
        pub mode: Option<CheckoutMode>,
        /// The status.
        pub status: Option<CheckoutStatus>,
        /// The status of the payment.
        pub payment_status: Option<CheckoutPaymentStatus>,
        /// The sum before discounts and taxes, in the currency's smallest unit.
        pub amount_subtotal: Option<i64>,
        /// The sum after discounts and taxes, in the currency's smallest unit.
        pub amount_total: Option<i64>,
        /// The discount, shipping and tax in the sum.
        pub total_details: Option<TotalDetails>,
        /// Three small letters.
        pub currency: Option<String>,
        /// Your reference, like the number of an order or a member.
        pub client_reference_id: Option<String>,
        /// The customer who pays.
        pub customer: Option<Expandable>,
        /// The e-mail address that you had filled in.
        pub customer_email: Option<Personal>,
        /// The payer's own data, from the page.
        pub customer_details: Option<Contact>,
        /// The payment, in the mode `payment`.
        pub payment_intent: Option<Expandable>,
        /// The setup, in the mode `setup`.
        pub setup_intent: Option<Expandable>,
        /// The subscription, in the mode `subscription`.
        pub subscription: Option<Expandable>,
        /// The invoice.
        pub invoice: Option<Expandable>,
        /// The link that has led to the page.
        pub payment_link: Option<Expandable>,
        /// The time of expiry, in seconds since 1970.
        pub expires_at: Option<i64>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The mode of a Checkout Session.
    pub enum CheckoutMode {
        /// One payment.
        Payment = "payment",
        /// No payment, but a payment method for later ones.
        Setup = "setup",
        /// Subscriptions.
        Subscription = "subscription",
    }
}

open_enum! {
    /// The status of a Checkout Session.
    pub enum CheckoutStatus {
        /// Nothing was sent yet.
        Open = "open",
        /// It is done; the payment may be under way.
        Complete = "complete",
        /// Its time is over.
        Expired = "expired",
    }
}

open_enum! {
    /// The status of a Checkout Session's payment.
    pub enum CheckoutPaymentStatus {
        /// Nothing is to be paid, or not yet.
        NoPaymentRequired = "no_payment_required",
        /// The money is there.
        Paid = "paid",
        /// The money isn't there yet.
        Unpaid = "unpaid",
    }
}

object! {
    /// The parts of a sum, in the currency's smallest unit.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TotalDetails {
        /// All discounts.
        pub amount_discount: Option<i64>,
        /// Shipping.
        pub amount_shipping: Option<i64>,
        /// All taxes.
        pub amount_tax: Option<i64>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::super::{Event, Object};
    use super::*;

    const COMPLETED: &str = r#"{
        "id": "evt_1OqLzX2eZvKYlo2CzQ4TzK1d",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": 1709502600,
        "type": "checkout.session.completed",
        "livemode": false,
        "pending_webhooks": 2,
        "request": { "id": null, "idempotency_key": null },
        "data": {
            "object": {
                "id": "cs_test_a11YYufWQzNY63zpQ6QSNRQhkUpVph4WRmzW0zWJO2znZKdVujZ0N0S22u",
                "object": "checkout.session",
                "adaptive_pricing": null,
                "allow_promotion_codes": null,
                "amount_subtotal": 2198,
                "amount_total": 1978,
                "automatic_tax": { "enabled": false, "liability": null, "status": null },
                "billing_address_collection": null,
                "cancel_url": null,
                "client_reference_id": "member-17",
                "created": 1709502000,
                "currency": "usd",
                "custom_fields": [],
                "customer": "cus_NffrFeUfNV2Hib",
                "customer_creation": "if_required",
                "customer_details": {
                    "address": { "city": null, "country": "LT", "line1": null, "line2": null, "postal_code": "01103", "state": null },
                    "email": "jane@example.com",
                    "name": "Jane Doe",
                    "phone": null,
                    "tax_exempt": "none",
                    "tax_ids": []
                },
                "customer_email": null,
                "expires_at": 1709588400,
                "invoice": null,
                "livemode": false,
                "locale": null,
                "metadata": { "circle": "02ab" },
                "mode": "payment",
                "payment_intent": "pi_3OqLzW2eZvKYlo2C1Y9nE2Fz",
                "payment_link": null,
                "payment_method_types": ["card", "sepa_debit"],
                "payment_status": "unpaid",
                "setup_intent": null,
                "shipping_options": [],
                "status": "complete",
                "submit_type": null,
                "subscription": null,
                "success_url": "https://example.com/success",
                "total_details": { "amount_discount": 220, "amount_shipping": 0, "amount_tax": 0 },
                "url": null
            }
        }
    }"#;

    #[test]
    fn a_completed_session_may_be_unpaid() {
        let event: Event = read(COMPLETED);
        let Object::CheckoutSession(session) = event.data.object else {
            panic!("no session");
        };
        assert_eq!(session.status, Some(CheckoutStatus::Complete));
        assert_eq!(session.payment_status, Some(CheckoutPaymentStatus::Unpaid));
        assert_eq!(
            (session.mode, session.amount_total),
            (Some(CheckoutMode::Payment), Some(1978))
        );
        assert_eq!(session.client_reference_id.as_deref(), Some("member-17"));
        let payer = session.customer_details.unwrap();
        assert_eq!(payer.email.as_deref(), Some("jane@example.com"));
        read_changed::<Event>(COMPLETED);
    }

    #[test]
    fn a_session_prints_nothing_of_a_person() {
        let printed = format!("{:?}", read::<Event>(COMPLETED));
        for personal in ["Jane", "jane", "01103"] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }
}
