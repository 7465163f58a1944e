//! Charges and refunds.

use super::{Contact, Expandable, Fields, List, Metadata, Personal, object, open_enum};

object! {
    /// [A charge](https://docs.stripe.com/api/charges/object): one attempt to collect money.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Charge {
        /// `ch_...` or `py_...`
        pub id: String,
        /// The amount to be paid, in the currency's smallest unit.
        pub amount: i64,
        /// The captured amount, in the currency's smallest unit.
        pub amount_captured: Option<i64>,
        /// The refunded amount, in the currency's smallest unit.
        pub amount_refunded: Option<i64>,
        /// Three small letters.
        pub currency: String,
        /// The status.
        pub status: Option<ChargeStatus>,
        /// True if it succeeded, or was authorized to be captured later.
        pub paid: Option<bool>,
        /// True if the money was captured, not just authorized.
        pub captured: Option<bool>,
        /// True if all of it was refunded.
        pub refunded: Option<bool>,
        /// True if it is or was disputed.
        pub disputed: Option<bool>,
        /// The customer who pays.
        pub customer: Option<Expandable>,
        /// The payment that this is an attempt of.
        pub payment_intent: Option<Expandable>,
        /// The payment method.
        pub payment_method: Option<String>,
        /// The invoice that it pays. Gone since version `2025-03-31.basil`.
        pub invoice: Option<Expandable>,
        /// The change of your balance.
        pub balance_transaction: Option<Expandable>,
        /// The payer's own data.
        pub billing_details: Option<Contact>,
        /// [The error code](https://docs.stripe.com/error-codes), like `card_declined`.
        pub failure_code: Option<String>,
        /// The same as a sentence.
        pub failure_message: Option<String>,
        /// Your description.
        pub description: Option<String>,
        /// The e-mail address for the receipt.
        pub receipt_email: Option<Personal>,
        /// The address of the receipt, for anyone who knows it.
        pub receipt_url: Option<Personal>,
        /// The refunds. Gone from events since version `2022-11-15`.
        pub refunds: Option<List<Refund>>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The status of a charge.
    pub enum ChargeStatus {
        /// Refused.
        Failed = "failed",
        /// Under way.
        Pending = "pending",
        /// Paid, or authorized.
        Succeeded = "succeeded",
    }
}

object! {
    /// [A refund](https://docs.stripe.com/api/refunds/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Refund {
        /// `re_...`
        pub id: String,
        /// The refunded amount, in the currency's smallest unit.
        pub amount: i64,
        /// Three small letters.
        pub currency: String,
        /// The status.
        pub status: Option<RefundStatus>,
        /// The reason.
        pub reason: Option<RefundReason>,
        /// The reason for the failure.
        pub failure_reason: Option<RefundFailure>,
        /// The charge that is refunded.
        pub charge: Option<Expandable>,
        /// The payment that is refunded.
        pub payment_intent: Option<Expandable>,
        /// The change of your balance.
        pub balance_transaction: Option<Expandable>,
        /// Your description.
        pub description: Option<String>,
        /// The number on the receipt.
        pub receipt_number: Option<String>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The status of a refund.
    pub enum RefundStatus {
        /// Under way.
        Pending = "pending",
        /// The payer has to do something.
        RequiresAction = "requires_action",
        /// Given back.
        Succeeded = "succeeded",
        /// The bank won't take it.
        Failed = "failed",
        /// Canceled.
        Canceled = "canceled",
    }
}

open_enum! {
    /// The reason for a refund.
    pub enum RefundReason {
        /// It was paid twice.
        Duplicate = "duplicate",
        /// By Stripe: it was not captured in time.
        ExpiredUncapturedCharge = "expired_uncaptured_charge",
        /// It is fraud.
        Fraudulent = "fraudulent",
        /// The payer wants it.
        RequestedByCustomer = "requested_by_customer",
    }
}

open_enum! {
    /// The reason why a refund failed.
    pub enum RefundFailure {
        /// The charge is disputed meanwhile.
        ChargeDisputed = "charge_for_pending_refund_disputed",
        /// The bank refuses.
        Declined = "declined",
        /// The card is no longer good.
        ExpiredOrCanceledCard = "expired_or_canceled_card",
        /// Your balance is too low.
        InsufficientFunds = "insufficient_funds",
        /// The card is lost.
        LostOrStolenCard = "lost_or_stolen_card",
        /// You asked for it.
        MerchantRequest = "merchant_request",
        /// The reason is unknown.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    /// A charge in an older version.
    const CHARGE: &str = r#"{
        "id": "ch_3MmlLrLkdIwHu7ix0snN0B15",
        "object": "charge",
        "amount": 1099,
        "amount_captured": 1099,
        "amount_refunded": 300,
        "application_fee_amount": null,
        "balance_transaction": "txn_3MmlLrLkdIwHu7ix0uke3Ezy",
        "billing_details": {
            "address": { "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null },
            "email": "jane@example.com", "name": "Jane Doe", "phone": null
        },
        "captured": true,
        "created": 1679090539,
        "currency": "usd",
        "customer": null,
        "disputed": false,
        "failure_code": null,
        "invoice": "in_1MmlLr",
        "metadata": {},
        "outcome": { "network_status": "approved_by_network", "risk_score": 32, "type": "authorized" },
        "paid": true,
        "payment_intent": "pi_3MmlLr",
        "payment_method": "card_1MmlLrLkdIwHu7ixIJwEWSNR",
        "receipt_email": "jane@example.com",
        "receipt_url": "https://pay.stripe.com/receipts/payment/CAcaFwoVYWNjdF8xTTJKVGtMa2RJd0h1N2l4",
        "refunded": false,
        "refunds": {
            "object": "list",
            "data": [{
                "id": "re_1MmlLr", "object": "refund", "amount": 300, "currency": "usd",
                "charge": "ch_3MmlLrLkdIwHu7ix0snN0B15", "reason": null, "status": "succeeded"
            }],
            "has_more": false,
            "total_count": 1,
            "url": "/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15/refunds"
        },
        "source": { "id": "card_1MmlLr", "object": "card", "cvc_check": null },
        "status": "succeeded"
    }"#;

    const REFUND: &str = r#"{
        "id": "re_1Nispe2eZvKYlo2Cd31jOCgZ",
        "object": "refund",
        "amount": 1000,
        "balance_transaction": "txn_1Nispe2eZvKYlo2CYezqFhEx",
        "charge": "ch_1NirD82eZvKYlo2CIvbtLWuY",
        "created": 1692942318,
        "currency": "usd",
        "destination_details": { "card": { "reference": "123456789012" }, "type": "card" },
        "failure_reason": "insufficient_funds",
        "metadata": { "order": "6735" },
        "payment_intent": "pi_1GszsK2eZvKYlo2CfhZyoZLp",
        "reason": "they_were_nice",
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "failed",
        "transfer_reversal": null
    }"#;

    #[test]
    fn a_charge_is_read() {
        let charge: Charge = read(CHARGE);
        assert_eq!(charge.status, Some(ChargeStatus::Succeeded));
        assert_eq!(
            charge.balance_transaction.unwrap().id(),
            Some("txn_3MmlLrLkdIwHu7ix0uke3Ezy")
        );
        let refund = &charge.refunds.unwrap().data[0];
        assert_eq!(Some(refund.amount), charge.amount_refunded);
        read_changed::<Charge>(CHARGE);
    }

    #[test]
    fn a_charge_prints_nothing_of_a_person() {
        let printed = format!("{:?}", read::<Charge>(CHARGE));
        for personal in ["Jane", "jane", "receipts"] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }

    #[test]
    fn a_refund_is_read() {
        let refund: Refund = read(REFUND);
        assert_eq!(refund.status, Some(RefundStatus::Failed));
        assert_eq!(
            refund.failure_reason,
            Some(RefundFailure::InsufficientFunds)
        );
        assert_eq!(
            refund.reason,
            Some(RefundReason::Other("they_were_nice".to_owned()))
        );
        read_changed::<Refund>(REFUND);
    }
}
