//! Stripe's events.
//!
//! The source is Stripe's API reference: ["The Event object"](https://docs.stripe.com/api/events/object),
//! and the pages of the objects in it. Which fields an object has depends on the API version that an event
//! was made with, so that hardly any is required. Fields that a version has dropped are still here where
//! they matter, with the last version that had them.
//!
//! Amounts are whole numbers in the currency's smallest unit (cents; yen), as in
//! <https://docs.stripe.com/currencies#zero-decimal>. Times are in seconds since 1970, UTC.

mod catalog;
mod charge;
mod checkout;
mod customer;
mod dispute;
mod event;
mod expandable;
mod invoice;
mod list;
mod payment;
mod payout;
mod subscription;
mod thin;

use std::collections::BTreeMap;

pub use catalog::{BillingScheme, Interval, Price, PriceType, Product, Recurring, UsageType};
pub use charge::{Charge, ChargeStatus, Refund, RefundFailure, RefundReason, RefundStatus};
pub use checkout::{
    CheckoutMode, CheckoutPaymentStatus, CheckoutSession, CheckoutStatus, TotalDetails,
};
pub use customer::{Address, Contact, Customer};
pub use dispute::{Dispute, DisputeReason, DisputeStatus, EvidenceDetails};
pub use event::{Data, Event, EventType, Object, OtherObject, Request};
pub use expandable::Expandable;
pub use invoice::{
    BillingReason, CollectionMethod, Invoice, InvoiceLine, InvoiceParent, InvoiceStatus, Period,
    PriceDetails, Pricing, StatusTransitions, SubscriptionDetails,
};
pub use list::List;
pub use payment::{
    CancellationReason, CaptureMethod, Card, PaymentError, PaymentIntent, PaymentIntentStatus,
    PaymentMethod, SetupIntent, SetupIntentStatus, Usage,
};
pub use payout::{Payout, PayoutMethod, PayoutStatus, PayoutType};
pub use subscription::{
    CancellationCause, CancellationDetails, Subscription, SubscriptionItem, SubscriptionStatus,
};
pub use thin::{Reason, RelatedObject, ThinEvent};

#[cfg(test)]
use super::testing;
use super::{Fields, Personal, object, open_enum};

/// The metadata that you have attached to an object: texts by name.
pub type Metadata = BTreeMap<String, String>;
