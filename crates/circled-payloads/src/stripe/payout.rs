//! Payouts to your bank.

use super::{Expandable, Fields, Metadata, object, open_enum};

object! {
    /// [A payout](https://docs.stripe.com/api/payouts/object): money goes from your balance to your bank.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Payout {
        /// `po_...`
        pub id: String,
        /// The amount, in the currency's smallest unit. A negative one is taken from the bank.
        pub amount: i64,
        /// Three small letters.
        pub currency: String,
        /// The status.
        pub status: Option<PayoutStatus>,
        /// The expected time of arrival, in seconds since 1970.
        pub arrival_date: Option<i64>,
        /// True if the schedule made it, not you.
        pub automatic: Option<bool>,
        /// The speed.
        pub method: Option<PayoutMethod>,
        /// The kind of destination.
        pub kind: Option<PayoutType> as "type",
        /// The bank account or card that it goes to.
        pub destination: Option<Expandable>,
        /// The change of your balance.
        pub balance_transaction: Option<Expandable>,
        /// [The reason for the failure](https://docs.stripe.com/api/payouts/failures), like `account_closed`.
        pub failure_code: Option<String>,
        /// The same as a sentence.
        pub failure_message: Option<String>,
        /// Your description.
        pub description: Option<String>,
        /// The text on the bank statement.
        pub statement_descriptor: Option<String>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The status of a payout.
    pub enum PayoutStatus {
        /// Not at the bank yet.
        Pending = "pending",
        /// At the bank.
        InTransit = "in_transit",
        /// It should have arrived. A few of these fail days later.
        Paid = "paid",
        /// The bank has sent it back.
        Failed = "failed",
        /// Canceled.
        Canceled = "canceled",
    }
}

open_enum! {
    /// The speed of a payout.
    pub enum PayoutMethod {
        /// Within minutes.
        Instant = "instant",
        /// Within days.
        Standard = "standard",
    }
}

open_enum! {
    /// The destination of a payout.
    pub enum PayoutType {
        /// A bank account.
        BankAccount = "bank_account",
        /// A card.
        Card = "card",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const PAYOUT: &str = r#"{
        "id": "po_1OaFDbEcg9tTZuTgNYmX0PKB",
        "object": "payout",
        "amount": -1100,
        "arrival_date": 1680652800,
        "automatic": false,
        "balance_transaction": "txn_1OaFDcEcg9tTZuTgYMR25tSe",
        "created": 1680648691,
        "currency": "usd",
        "description": null,
        "destination": "ba_1MtIhL2eZvKYlo2CAElKwKu2",
        "failure_code": "account_closed",
        "livemode": false,
        "metadata": {},
        "method": "standard",
        "reconciliation_status": "not_applicable",
        "source_type": "card",
        "status": "failed",
        "trace_id": { "status": "unsupported", "value": null },
        "type": "bank_account"
    }"#;

    #[test]
    fn a_payout_is_read() {
        let payout: Payout = read(PAYOUT);
        assert_eq!(
            (payout.amount, payout.status),
            (-1100, Some(PayoutStatus::Failed))
        );
        assert_eq!(payout.kind, Some(PayoutType::BankAccount));
        read_changed::<Payout>(PAYOUT);
    }
}
