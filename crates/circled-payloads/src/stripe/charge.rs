//! Money that was taken, and given back.

use super::{Contact, Expandable, Fields, List, Metadata, Personal, object, open_enum};

object! {
    /// [A charge](https://docs.stripe.com/api/charges/object): one try to take money.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Charge {
        /// `ch_...` or `py_...`
        pub id: String,
        /// What is to be paid, in the currency's smallest unit.
        pub amount: i64,
        /// What has been captured, in the currency's smallest unit.
        pub amount_captured: Option<i64>,
        /// What has been given back, in the currency's smallest unit.
        pub amount_refunded: Option<i64>,
        /// Three small letters.
        pub currency: String,
        /// How it stands.
        pub status: Option<ChargeStatus>,
        /// Whether it succeeded, or was authorized to be captured later.
        pub paid: Option<bool>,
        /// Whether the money was taken, and not just authorized.
        pub captured: Option<bool>,
        /// Whether all of it was given back.
        pub refunded: Option<bool>,
        /// Whether it is or was disputed.
        pub disputed: Option<bool>,
        /// Who pays.
        pub customer: Option<Expandable>,
        /// The payment that it is a try of.
        pub payment_intent: Option<Expandable>,
        /// What it is paid with.
        pub payment_method: Option<String>,
        /// The invoice that it pays. Gone since version `2025-03-31.basil`.
        pub invoice: Option<Expandable>,
        /// What it does to your balance.
        pub balance_transaction: Option<Expandable>,
        /// Who pays, as they said.
        pub billing_details: Option<Contact>,
        /// [What has failed](https://docs.stripe.com/error-codes), like `card_declined`.
        pub failure_code: Option<String>,
        /// The same as a sentence.
        pub failure_message: Option<String>,
        /// What you have noted.
        pub description: Option<String>,
        /// Where the receipt is sent.
        pub receipt_email: Option<Personal>,
        /// Where the receipt can be seen, by anyone who knows the address.
        pub receipt_url: Option<Personal>,
        /// What was given back, and when. Gone from events since version `2022-11-15`.
        pub refunds: Option<List<Refund>>,
        /// When it was made, in seconds since 1970.
        pub created: Option<i64>,
        /// Whether it is about real money.
        pub livemode: Option<bool>,
        /// What you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// How a charge stands.
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
        /// What is given back, in the currency's smallest unit.
        pub amount: i64,
        /// Three small letters.
        pub currency: String,
        /// How it stands.
        pub status: Option<RefundStatus>,
        /// Why it was made.
        pub reason: Option<RefundReason>,
        /// Why it failed.
        pub failure_reason: Option<RefundFailure>,
        /// The charge that it gives back.
        pub charge: Option<Expandable>,
        /// The payment that it gives back.
        pub payment_intent: Option<Expandable>,
        /// What it does to your balance.
        pub balance_transaction: Option<Expandable>,
        /// What you have noted.
        pub description: Option<String>,
        /// The number on the receipt.
        pub receipt_number: Option<String>,
        /// When it was made, in seconds since 1970.
        pub created: Option<i64>,
        /// What you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// How a refund stands.
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
    /// Why money is given back.
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
    /// Why a refund failed.
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
        /// You wanted it so.
        MerchantRequest = "merchant_request",
        /// Nobody says.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    /// As an older version writes it.
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
