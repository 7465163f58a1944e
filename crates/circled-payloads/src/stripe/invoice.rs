//! Invoices.

use super::{Expandable, Fields, List, Metadata, Personal, Price, object, open_enum};

object! {
    /// [An invoice](https://docs.stripe.com/api/invoices/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Invoice {
        /// `in_...`. In an `invoice.upcoming` event there may be none.
        pub id: Option<String>,
        /// The invoice's number.
        pub number: Option<String>,
        /// The status.
        pub status: Option<InvoiceStatus>,
        /// The reason.
        pub billing_reason: Option<BillingReason>,
        /// The method of collection.
        pub collection_method: Option<CollectionMethod>,
        /// Three small letters.
        pub currency: Option<String>,
        /// The amount to be paid, in the currency's smallest unit.
        pub amount_due: Option<i64>,
        /// The paid amount, in the currency's smallest unit.
        pub amount_paid: Option<i64>,
        /// The remaining amount, in the currency's smallest unit.
        pub amount_remaining: Option<i64>,
        /// The sum before discounts and taxes, in the currency's smallest unit.
        pub subtotal: Option<i64>,
        /// The sum after discounts and taxes, in the currency's smallest unit.
        pub total: Option<i64>,
        /// The items.
        pub lines: Option<List<InvoiceLine>>,
        /// The customer who pays.
        pub customer: Option<Expandable>,
        /// Their e-mail address.
        pub customer_email: Option<Personal>,
        /// Their name.
        pub customer_name: Option<Personal>,
        /// The subscription or quote that it was made for. Since version `2025-03-31.basil`.
        pub parent: Option<InvoiceParent>,
        /// The subscription that it was made for. Gone since version `2025-03-31.basil`.
        pub subscription: Option<Expandable>,
        /// The payment. Gone since version `2025-03-31.basil`.
        pub payment_intent: Option<Expandable>,
        /// The latest charge. Gone since version `2025-03-31.basil`.
        pub charge: Option<Expandable>,
        /// True if it is paid. Gone since version `2025-03-31.basil`.
        pub paid: Option<bool>,
        /// True if Stripe has tried to collect the money.
        pub attempted: Option<bool>,
        /// The number of attempts.
        pub attempt_count: Option<i64>,
        /// The time of the next attempt, in seconds since 1970.
        pub next_payment_attempt: Option<i64>,
        /// The date by which it must be paid, in seconds since 1970.
        pub due_date: Option<i64>,
        /// The start of the billed period, in seconds since 1970. A subscription's period is in its lines.
        pub period_start: Option<i64>,
        /// The end of the billed period, in seconds since 1970.
        pub period_end: Option<i64>,
        /// The address of the page for payment, for anyone who knows it.
        pub hosted_invoice_url: Option<Personal>,
        /// The address of the PDF file, for anyone who knows it.
        pub invoice_pdf: Option<Personal>,
        /// The times of changes of its status.
        pub status_transitions: Option<StatusTransitions>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

impl Invoice {
    /// Returns the subscription that it was made for, in any version of the API.
    pub fn subscription_id(&self) -> Option<&str> {
        let parent = self.parent.as_ref();
        parent
            .and_then(|parent| parent.subscription_details.as_ref()?.subscription.as_ref())
            .or(self.subscription.as_ref())?
            .id()
    }
}

open_enum! {
    /// The status of an invoice.
    pub enum InvoiceStatus {
        /// It may still change.
        Draft = "draft",
        /// It is to be paid.
        Open = "open",
        /// Paid.
        Paid = "paid",
        /// Given up.
        Uncollectible = "uncollectible",
        /// It was a mistake.
        Void = "void",
    }
}

open_enum! {
    /// The reason for an invoice.
    pub enum BillingReason {
        /// Items that were left, for no subscription.
        AutomaticPendingInvoiceItem = "automatic_pending_invoice_item_invoice",
        /// You made it.
        Manual = "manual",
        /// A quote was accepted.
        QuoteAccept = "quote_accept",
        /// Something about a subscription, before 2018.
        Subscription = "subscription",
        /// A subscription begins.
        SubscriptionCreate = "subscription_create",
        /// A subscription's next period begins.
        SubscriptionCycle = "subscription_cycle",
        /// A subscription has come to its billing threshold.
        SubscriptionThreshold = "subscription_threshold",
        /// A subscription has changed.
        SubscriptionUpdate = "subscription_update",
        /// It is a preview.
        Upcoming = "upcoming",
    }
}

open_enum! {
    /// The method of collecting an invoice.
    pub enum CollectionMethod {
        /// Stripe takes the money.
        ChargeAutomatically = "charge_automatically",
        /// The customer gets a letter.
        SendInvoice = "send_invoice",
    }
}

object! {
    /// The origin of an invoice.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct InvoiceParent {
        /// `subscription_details` or `quote_details`.
        pub kind: Option<String> as "type",
        /// The subscription.
        pub subscription_details: Option<SubscriptionDetails>,
    }
}

object! {
    /// The subscription that an invoice was made for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SubscriptionDetails {
        /// The subscription.
        pub subscription: Option<Expandable>,
        /// The subscription's metadata when the invoice became final.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// The times of changes of an invoice's status, in seconds since 1970.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StatusTransitions {
        /// Final.
        pub finalized_at: Option<i64>,
        /// Given up.
        pub marked_uncollectible_at: Option<i64>,
        /// Paid.
        pub paid_at: Option<i64>,
        /// Void.
        pub voided_at: Option<i64>,
    }
}

object! {
    /// [A line of an invoice](https://docs.stripe.com/api/invoice-line-item/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct InvoiceLine {
        /// `il_...`
        pub id: String,
        /// The amount, in the currency's smallest unit. A negative one is a credit.
        pub amount: Option<i64>,
        /// Three small letters.
        pub currency: Option<String>,
        /// The description.
        pub description: Option<String>,
        /// The quantity.
        pub quantity: Option<i64>,
        /// The period that it is for.
        pub period: Option<Period>,
        /// The price. Since version `2025-03-31.basil`.
        pub pricing: Option<Pricing>,
        /// The price. Gone since version `2025-03-31.basil`.
        pub price: Option<Price>,
        /// The subscription that it is for.
        pub subscription: Option<Expandable>,
        /// True if discounts apply.
        pub discountable: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// A span of time.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Period {
        /// The start, in seconds since 1970.
        pub start: Option<i64>,
        /// The end, in seconds since 1970.
        pub end: Option<i64>,
    }
}

object! {
    /// The pricing of an invoice's line.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Pricing {
        /// `price_details`.
        pub kind: Option<String> as "type",
        /// Price and product.
        pub price_details: Option<PriceDetails>,
        /// The price of one, in the currency's smallest unit: a decimal with up to 12 places.
        pub unit_amount_decimal: Option<String>,
    }
}

object! {
    /// The price of a line of an invoice.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PriceDetails {
        /// The price.
        pub price: Option<Expandable>,
        /// The product, `prod_...`.
        pub product: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::super::{Event, Object};
    use super::*;

    const PAID: &str = r#"{
        "id": "evt_1RB7Zu2eZvKYlo2C0aUsGf0b",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": 1743800000,
        "type": "invoice.paid",
        "livemode": true,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "data": {
            "object": {
                "id": "in_1RB7Zs2eZvKYlo2CKnJ5Ld9x",
                "object": "invoice",
                "account_country": "US",
                "amount_due": 1500,
                "amount_paid": 1500,
                "amount_remaining": 0,
                "attempt_count": 1,
                "attempted": true,
                "billing_reason": "subscription_cycle",
                "collection_method": "charge_automatically",
                "created": 1743796400,
                "currency": "eur",
                "customer": "cus_NffrFeUfNV2Hib",
                "customer_email": "jane@example.com",
                "customer_name": "Jane Doe",
                "due_date": null,
                "hosted_invoice_url": "https://invoice.stripe.com/i/acct_1/live_abc",
                "invoice_pdf": "https://pay.stripe.com/invoice/acct_1/live_abc/pdf",
                "lines": {
                    "object": "list",
                    "data": [{
                        "id": "il_1RB7Zs2eZvKYlo2CwV8mUfXJ",
                        "object": "line_item",
                        "amount": 2000,
                        "currency": "eur",
                        "description": "2 × Member (at €10.00 / month)",
                        "discountable": true,
                        "discounts": [],
                        "invoice": "in_1RB7Zs2eZvKYlo2CKnJ5Ld9x",
                        "livemode": true,
                        "metadata": {},
                        "parent": {
                            "invoice_item_details": null,
                            "subscription_item_details": { "proration": false, "subscription": "sub_1Q" },
                            "type": "subscription_item_details"
                        },
                        "period": { "end": 1746388400, "start": 1743796400 },
                        "pricing": {
                            "price_details": { "price": "price_1Q", "product": "prod_RQ" },
                            "type": "price_details",
                            "unit_amount_decimal": "1000"
                        },
                        "quantity": 2,
                        "taxes": []
                    }, {
                        "id": "il_tmp_1",
                        "object": "line_item",
                        "amount": -500,
                        "currency": "eur",
                        "description": null,
                        "quantity": null,
                        "pricing": null
                    }],
                    "has_more": false,
                    "total_count": 2,
                    "url": "/v1/invoices/in_1RB7Zs2eZvKYlo2CKnJ5Ld9x/lines"
                },
                "livemode": true,
                "metadata": {},
                "next_payment_attempt": null,
                "number": "0759376C-0004",
                "parent": {
                    "quote_details": null,
                    "subscription_details": { "metadata": { "circle": "02ab" }, "subscription": "sub_1Q" },
                    "type": "subscription_details"
                },
                "period_end": 1743796400,
                "period_start": 1741118000,
                "status": "paid",
                "status_transitions": {
                    "finalized_at": 1743799900, "marked_uncollectible_at": null,
                    "paid_at": 1743800000, "voided_at": null
                },
                "subtotal": 1500,
                "total": 1500,
                "total_taxes": []
            }
        }
    }"#;

    const OLDER: &str = r#"{
        "object": "invoice",
        "amount_due": 1000,
        "billing_reason": "upcoming",
        "currency": "usd",
        "lines": {
            "object": "list",
            "data": [{
                "id": "il_1", "object": "line_item", "amount": 1000, "period": { "end": 2, "start": 1 },
                "price": { "id": "price_1", "object": "price", "currency": "usd", "unit_amount": 1000 },
                "proration": false, "subscription": "sub_1", "type": "subscription"
            }],
            "has_more": true
        },
        "paid": false,
        "status": "draft",
        "subscription": "sub_1"
    }"#;

    #[test]
    fn a_paid_invoice_is_read_with_its_lines() {
        let event: Event = read(PAID);
        let Object::Invoice(invoice) = event.data.object else {
            panic!("no invoice");
        };
        assert_eq!(invoice.status, Some(InvoiceStatus::Paid));
        assert_eq!(
            invoice.billing_reason,
            Some(BillingReason::SubscriptionCycle)
        );
        assert_eq!(invoice.subscription_id(), Some("sub_1Q"));
        let lines = invoice.lines.unwrap().data;
        let sum: Option<i64> = lines.iter().map(|line| line.amount).sum();
        assert_eq!(sum, invoice.total);
        let pricing = lines[0].pricing.as_ref().unwrap();
        let details = pricing.price_details.as_ref().unwrap();
        assert_eq!(details.product.as_deref(), Some("prod_RQ"));
        assert_eq!(lines[1].pricing, None);
        read_changed::<Event>(PAID);
    }

    #[test]
    fn an_upcoming_invoice_of_an_older_version_is_read() {
        let invoice: Invoice = read(OLDER);
        assert_eq!(
            (&invoice.id, invoice.subscription_id()),
            (&None, Some("sub_1"))
        );
        let price = invoice.lines.unwrap().data[0].price.clone().unwrap();
        assert_eq!(price.unit_amount, Some(1000));
        read_changed::<Invoice>(OLDER);
    }

    #[test]
    fn an_invoice_prints_nothing_of_a_person() {
        let printed = format!("{:?}", read::<Event>(PAID));
        for personal in ["Jane", "jane", "live_abc"] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }
}
