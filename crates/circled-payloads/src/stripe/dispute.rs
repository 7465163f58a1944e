//! Charges that a payer's bank wants back.

use super::{Expandable, Fields, Metadata, object, open_enum};

object! {
    /// [A dispute](https://docs.stripe.com/api/disputes/object): a payer has asked their bank for the money.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Dispute {
        /// `du_...` or `dp_...`
        pub id: String,
        /// The disputed amount, in the currency's smallest unit.
        pub amount: i64,
        /// Three small letters.
        pub currency: String,
        /// The status.
        pub status: Option<DisputeStatus>,
        /// The payer's reason.
        pub reason: Option<DisputeReason>,
        /// The charge that it is about.
        pub charge: Option<Expandable>,
        /// The payment that it is about.
        pub payment_intent: Option<Expandable>,
        /// True if a refund can still end it.
        pub is_charge_refundable: Option<bool>,
        /// The state of your answer, and its deadline.
        pub evidence_details: Option<EvidenceDetails>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// The state of the answer to a dispute.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EvidenceDetails {
        /// The deadline, in seconds since 1970.
        pub due_by: Option<i64>,
        /// True if an answer is saved.
        pub has_evidence: Option<bool>,
        /// True if the last answer came too late.
        pub past_due: Option<bool>,
        /// The number of submissions. Usually only one counts.
        pub submission_count: Option<i64>,
    }
}

open_enum! {
    /// The status of a dispute. A warning is an inquiry: no money was taken yet.
    pub enum DisputeStatus {
        /// An inquiry has to be answered.
        WarningNeedsResponse = "warning_needs_response",
        /// The bank looks at the answer to its inquiry.
        WarningUnderReview = "warning_under_review",
        /// The inquiry has come to nothing.
        WarningClosed = "warning_closed",
        /// It has to be answered.
        NeedsResponse = "needs_response",
        /// The bank looks at the answer.
        UnderReview = "under_review",
        /// The money comes back to you.
        Won = "won",
        /// The payer keeps the money.
        Lost = "lost",
        /// It was settled before it began.
        Prevented = "prevented",
    }
}

open_enum! {
    /// [The payer's reason](https://docs.stripe.com/disputes/categories) for a dispute.
    pub enum DisputeReason {
        /// The bank can't process the payment.
        BankCannotProcess = "bank_cannot_process",
        /// A check was returned.
        CheckReturned = "check_returned",
        /// The refund that was promised hasn't come.
        CreditNotProcessed = "credit_not_processed",
        /// The payer says nothing more.
        CustomerInitiated = "customer_initiated",
        /// They didn't allow the debit.
        DebitNotAuthorized = "debit_not_authorized",
        /// They were charged twice.
        Duplicate = "duplicate",
        /// They didn't pay this.
        Fraudulent = "fraudulent",
        /// It fits nowhere else.
        General = "general",
        /// The account is another.
        IncorrectAccountDetails = "incorrect_account_details",
        /// The account is empty.
        InsufficientFunds = "insufficient_funds",
        /// The charge breaks the card network's rules.
        Noncompliant = "noncompliant",
        /// The product hasn't come.
        ProductNotReceived = "product_not_received",
        /// The product isn't as promised.
        ProductUnacceptable = "product_unacceptable",
        /// They had ended the subscription.
        SubscriptionCanceled = "subscription_canceled",
        /// They don't recognize the name on the statement.
        Unrecognized = "unrecognized",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const DISPUTE: &str = r#"{
        "id": "du_1MtJUT2eZvKYlo2CNaw2HvEv",
        "object": "dispute",
        "amount": 1000,
        "balance_transactions": [],
        "charge": "ch_1AZtxr2eZvKYlo2CJDX8whov",
        "created": 1680651737,
        "currency": "eur",
        "evidence": { "customer_name": "Jane Doe", "customer_purchase_ip": "192.0.2.7", "receipt": null },
        "evidence_details": { "due_by": 1682294399, "has_evidence": false, "past_due": false, "submission_count": 0 },
        "is_charge_refundable": true,
        "livemode": false,
        "metadata": {},
        "payment_intent": null,
        "payment_method_details": { "card": { "brand": "visa", "network_reason_code": "83" }, "type": "card" },
        "reason": "general",
        "status": "warning_needs_response"
    }"#;

    #[test]
    fn a_dispute_is_read() {
        let dispute: Dispute = read(DISPUTE);
        assert_eq!(dispute.status, Some(DisputeStatus::WarningNeedsResponse));
        assert_eq!(dispute.reason, Some(DisputeReason::General));
        assert_eq!(
            dispute.evidence_details.as_ref().unwrap().due_by,
            Some(1_682_294_399)
        );
        assert!(!format!("{dispute:?}").contains("Jane"));
        read_changed::<Dispute>(DISPUTE);
    }
}
