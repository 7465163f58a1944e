//! Money on its way to your bank.

use super::{Expandable, Fields, Metadata, object, open_enum};

object! {
    /// [A payout](https://docs.stripe.com/api/payouts/object): money goes from your balance to your bank.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Payout {
        /// `po_...`
        pub id: String,
        /// How much, in the currency's smallest unit. Below zero it is taken from the bank.
        pub amount: i64,
        /// Three small letters.
        pub currency: String,
        /// How it stands.
        pub status: Option<PayoutStatus>,
        /// When it should arrive, in seconds since 1970.
        pub arrival_date: Option<i64>,
        /// Whether the schedule made it, and not you.
        pub automatic: Option<bool>,
        /// How fast it is.
        pub method: Option<PayoutMethod>,
        /// What it goes to.
        pub kind: Option<PayoutType> as "type",
        /// The bank account or card that it goes to.
        pub destination: Option<Expandable>,
        /// What it does to your balance.
        pub balance_transaction: Option<Expandable>,
        /// [Why it failed](https://docs.stripe.com/api/payouts/failures), like `account_closed`.
        pub failure_code: Option<String>,
        /// The same as a sentence.
        pub failure_message: Option<String>,
        /// What you have noted.
        pub description: Option<String>,
        /// What stands on the bank statement.
        pub statement_descriptor: Option<String>,
        /// When it was made, in seconds since 1970.
        pub created: Option<i64>,
        /// Whether it is about real money.
        pub livemode: Option<bool>,
        /// What you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// How a payout stands.
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
    /// How fast a payout is.
    pub enum PayoutMethod {
        /// Within minutes.
        Instant = "instant",
        /// Within days.
        Standard = "standard",
    }
}

open_enum! {
    /// What a payout goes to.
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
