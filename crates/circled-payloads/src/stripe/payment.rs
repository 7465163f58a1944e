//! Payments, setups and payment methods.

use super::{Contact, Expandable, Fields, Metadata, Personal, object, open_enum};

object! {
    /// [A PaymentIntent](https://docs.stripe.com/api/payment_intents/object): one payment, with all its attempts.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PaymentIntent {
        /// `pi_...`
        pub id: String,
        /// The amount to be paid, in the currency's smallest unit.
        pub amount: i64,
        /// The amount that can be captured, in the currency's smallest unit.
        pub amount_capturable: Option<i64>,
        /// The collected amount, in the currency's smallest unit.
        pub amount_received: Option<i64>,
        /// Three small letters.
        pub currency: String,
        /// The status.
        pub status: Option<PaymentIntentStatus>,
        /// The customer who pays.
        pub customer: Option<Expandable>,
        /// The payment method.
        pub payment_method: Option<Expandable>,
        /// The payment methods that may be used, like `card`.
        pub payment_method_types: Option<Vec<String>>,
        /// The charge of the latest attempt.
        pub latest_charge: Option<Expandable>,
        /// The invoice that it pays. Gone since version `2025-03-31.basil`.
        pub invoice: Option<Expandable>,
        /// The error of the latest attempt.
        pub last_payment_error: Option<PaymentError>,
        /// The time at which authorized money is captured.
        pub capture_method: Option<CaptureMethod>,
        /// The later use for which the payment method is saved.
        pub setup_future_usage: Option<Usage>,
        /// The time of cancellation, in seconds since 1970.
        pub canceled_at: Option<i64>,
        /// The reason for the cancellation.
        pub cancellation_reason: Option<CancellationReason>,
        /// Your description.
        pub description: Option<String>,
        /// The e-mail address for the receipt.
        pub receipt_email: Option<Personal>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The status of a payment.
    pub enum PaymentIntentStatus {
        /// A payment method is missing: none was given yet, or an attempt has failed.
        RequiresPaymentMethod = "requires_payment_method",
        /// It has to be confirmed.
        RequiresConfirmation = "requires_confirmation",
        /// The payer has to do something, like 3D Secure.
        RequiresAction = "requires_action",
        /// Under way.
        Processing = "processing",
        /// Authorized; the money has to be captured.
        RequiresCapture = "requires_capture",
        /// Canceled.
        Canceled = "canceled",
        /// Paid.
        Succeeded = "succeeded",
    }
}

open_enum! {
    /// The time at which authorized money is captured.
    pub enum CaptureMethod {
        /// At once.
        Automatic = "automatic",
        /// Soon after.
        AutomaticAsync = "automatic_async",
        /// When you capture it.
        Manual = "manual",
    }
}

open_enum! {
    /// The later use of a payment method.
    pub enum Usage {
        /// Payments without the payer.
        OffSession = "off_session",
        /// Payments with the payer present.
        OnSession = "on_session",
    }
}

open_enum! {
    /// The reason for a cancellation of a payment or setup.
    pub enum CancellationReason {
        /// By you: the payer has left.
        Abandoned = "abandoned",
        /// By Stripe.
        Automatic = "automatic",
        /// By you: it is there twice.
        Duplicate = "duplicate",
        /// By Stripe: it was not captured in time.
        Expired = "expired",
        /// By Stripe: its invoice was not paid in time.
        FailedInvoice = "failed_invoice",
        /// By you: it is fraud.
        Fraudulent = "fraudulent",
        /// By you: the payer wanted it.
        RequestedByCustomer = "requested_by_customer",
        /// By Stripe: its invoice has become void.
        VoidInvoice = "void_invoice",
    }
}

object! {
    /// [The error](https://docs.stripe.com/api/errors) of a failed attempt.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PaymentError {
        /// The kind of failure, like `card_error`.
        pub kind: Option<String> as "type",
        /// [The error code](https://docs.stripe.com/error-codes), like `card_declined`.
        pub code: Option<String>,
        /// [The bank's reason](https://docs.stripe.com/declines/codes), like `insufficient_funds`.
        pub decline_code: Option<String>,
        /// A sentence for the payer.
        pub message: Option<String>,
        /// The charge that failed.
        pub charge: Option<String>,
    }
}

object! {
    /// [A SetupIntent](https://docs.stripe.com/api/setup_intents/object): a payment method is made ready for later payments.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SetupIntent {
        /// `seti_...`
        pub id: String,
        /// The status.
        pub status: Option<SetupIntentStatus>,
        /// The later use.
        pub usage: Option<Usage>,
        /// The customer who will pay.
        pub customer: Option<Expandable>,
        /// The payment method.
        pub payment_method: Option<Expandable>,
        /// The payment methods that may be used, like `card`.
        pub payment_method_types: Option<Vec<String>>,
        /// The latest attempt.
        pub latest_attempt: Option<Expandable>,
        /// The error of the latest attempt.
        pub last_setup_error: Option<PaymentError>,
        /// The payer's mandate.
        pub mandate: Option<Expandable>,
        /// The reason for the cancellation.
        pub cancellation_reason: Option<CancellationReason>,
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
    /// The status of a setup.
    pub enum SetupIntentStatus {
        /// A payment method is missing.
        RequiresPaymentMethod = "requires_payment_method",
        /// It has to be confirmed.
        RequiresConfirmation = "requires_confirmation",
        /// The payer has to do something.
        RequiresAction = "requires_action",
        /// Under way.
        Processing = "processing",
        /// Canceled.
        Canceled = "canceled",
        /// Ready.
        Succeeded = "succeeded",
    }
}

object! {
    /// [A payment method](https://docs.stripe.com/api/payment_methods/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PaymentMethod {
        /// `pm_...`
        pub id: String,
        /// The kind, like `card` or `sepa_debit`. A field of that name has the details.
        pub kind: Option<String> as "type",
        /// The details, if it is a card.
        pub card: Option<Card>,
        /// The owner's data.
        pub billing_details: Option<Contact>,
        /// The customer that it is kept for.
        pub customer: Option<Expandable>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// A payment card.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Card {
        /// `visa`, `mastercard` and the like.
        pub brand: Option<String>,
        /// The last four digits of its number.
        pub last4: Option<Personal>,
        /// The month in which it expires, 1 to 12.
        pub exp_month: Option<i64>,
        /// The year in which it expires, like 2030.
        pub exp_year: Option<i64>,
        /// The country of issue: two capital letters.
        pub country: Option<String>,
        /// `credit`, `debit`, `prepaid` or `unknown`.
        pub funding: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const FAILED: &str = r#"{
        "id": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "object": "payment_intent",
        "amount": 1099,
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": { "enabled": true },
        "canceled_at": null,
        "capture_method": "automatic_async",
        "client_secret": "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH",
        "created": 1680800504,
        "currency": "jpy",
        "customer": "cus_NffrFeUfNV2Hib",
        "last_payment_error": {
            "charge": "ch_3MtwBwLkdIwHu7ix0f1",
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.",
            "payment_method": {
                "id": "pm_1MtwBwLkdIwHu7ix", "object": "payment_method", "type": "card",
                "card": { "brand": "visa", "last4": "4242" }
            },
            "type": "card_error"
        },
        "latest_charge": {
            "id": "ch_3MtwBwLkdIwHu7ix0f1", "object": "charge", "amount": 1099, "currency": "jpy",
            "payment_intent": "pi_3MtwBwLkdIwHu7ix28a3tqPa", "status": "failed"
        },
        "livemode": false,
        "metadata": {},
        "payment_method": null,
        "payment_method_types": ["card", "link"],
        "setup_future_usage": "next_life",
        "status": "requires_payment_method"
    }"#;

    const SETUP: &str = r#"{
        "id": "seti_1Mm8s8LkdIwHu7ix0OXBfTRG",
        "object": "setup_intent",
        "cancellation_reason": null,
        "client_secret": "seti_1Mm8s8LkdIwHu7ix0OXBfTRG_secret_NXDICkPqPeiBTAFqWmkbff09lRmSVXe",
        "created": 1678942624,
        "customer": null,
        "last_setup_error": null,
        "latest_attempt": "setatt_1Mm8s9",
        "livemode": false,
        "mandate": null,
        "metadata": null,
        "payment_method": "pm_1Mm8s8",
        "payment_method_types": ["card"],
        "status": "succeeded",
        "usage": "off_session"
    }"#;

    const METHOD: &str = r#"{
        "id": "pm_1Q0PsIJvEtkwdCNYMSaVuRz6",
        "object": "payment_method",
        "billing_details": {
            "address": { "city": null, "country": "LT", "line1": null, "postal_code": "01103" },
            "email": null, "name": "Jane Doe", "phone": null, "tax_id": null
        },
        "card": {
            "brand": "visa", "checks": { "cvc_check": "pass" }, "country": "US", "exp_month": 8,
            "exp_year": 2030, "fingerprint": "mToisGZ01V71BCos", "funding": "credit", "last4": "4242",
            "wallet": null
        },
        "created": 1726673582,
        "customer": "cus_NffrFeUfNV2Hib",
        "livemode": false,
        "metadata": {},
        "type": "card"
    }"#;

    #[test]
    fn a_failed_payment_says_why() {
        let payment: PaymentIntent = read(FAILED);
        assert_eq!(
            payment.status,
            Some(PaymentIntentStatus::RequiresPaymentMethod)
        );
        let usage = payment.setup_future_usage.unwrap();
        assert_eq!(usage, Usage::Other("next_life".to_owned()));
        let error = payment.last_payment_error.unwrap();
        assert_eq!(error.decline_code.as_deref(), Some("insufficient_funds"));
        let charge = payment.latest_charge.unwrap();
        assert_eq!(charge.id(), error.charge.as_deref());
        read_changed::<PaymentIntent>(FAILED);
    }

    #[test]
    fn a_payment_does_not_print_its_secret() {
        assert!(!format!("{:?}", read::<PaymentIntent>(FAILED)).contains("_secret_"));
        assert!(!format!("{:?}", read::<SetupIntent>(SETUP)).contains("_secret_"));
    }

    #[test]
    fn a_setup_is_read() {
        let setup: SetupIntent = read(SETUP);
        assert_eq!(setup.status, Some(SetupIntentStatus::Succeeded));
        assert_eq!(setup.usage, Some(Usage::OffSession));
        assert_eq!((setup.customer, setup.metadata), (None, None));
        read_changed::<SetupIntent>(SETUP);
    }

    #[test]
    fn a_payment_method_is_read() {
        let method: PaymentMethod = read(METHOD);
        assert_eq!(method.card.unwrap().last4.as_deref(), Some("4242"));
        let owner = method.billing_details.unwrap();
        assert_eq!(owner.name.as_deref(), Some("Jane Doe"));
        read_changed::<PaymentMethod>(METHOD);
    }
}
