//! Products and prices.

use super::{Expandable, Fields, Metadata, object, open_enum};

object! {
    /// [A product](https://docs.stripe.com/api/products/object): something that is sold.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Product {
        /// `prod_...`, or an id of your choice.
        pub id: String,
        /// The name.
        pub name: Option<String>,
        /// The description.
        pub description: Option<String>,
        /// True if it can be bought.
        pub active: Option<bool>,
        /// The default price.
        pub default_price: Option<Expandable>,
        /// The addresses of up to eight pictures.
        pub images: Option<Vec<String>>,
        /// The name of one unit, like `seat`.
        pub unit_label: Option<String>,
        /// The address of more information.
        pub url: Option<String>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// The time of the last change, in seconds since 1970.
        pub updated: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// [A price](https://docs.stripe.com/api/prices/object): what a product costs, and how often.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Price {
        /// `price_...`
        pub id: String,
        /// The product.
        pub product: Option<Expandable>,
        /// The price of one unit, in the currency's smallest unit. Absent if it isn't whole, or in tiers.
        pub unit_amount: Option<i64>,
        /// The same as a decimal, with up to 12 places.
        pub unit_amount_decimal: Option<String>,
        /// Three small letters.
        pub currency: Option<String>,
        /// One-time or recurring.
        pub kind: Option<PriceType> as "type",
        /// The interval of payments.
        pub recurring: Option<Recurring>,
        /// The computation of the price of several units.
        pub billing_scheme: Option<BillingScheme>,
        /// True if it can be used for new purchases.
        pub active: Option<bool>,
        /// Your name for the price, which customers don't see.
        pub nickname: Option<String>,
        /// Your key for looking it up.
        pub lookup_key: Option<String>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// The kind of a price.
    pub enum PriceType {
        /// Once.
        OneTime = "one_time",
        /// Again and again.
        Recurring = "recurring",
    }
}

open_enum! {
    /// The computation of the price of several units.
    pub enum BillingScheme {
        /// Each costs the same.
        PerUnit = "per_unit",
        /// It depends on how many there are.
        Tiered = "tiered",
    }
}

object! {
    /// The interval of payments.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Recurring {
        /// Per day, week, month or year.
        pub interval: Option<Interval>,
        /// The number of intervals in a period.
        pub interval_count: Option<i64>,
        /// Licensed or metered.
        pub usage_type: Option<UsageType>,
    }
}

open_enum! {
    /// A unit of time.
    pub enum Interval {
        /// A day.
        Day = "day",
        /// Seven days.
        Week = "week",
        /// A calendar month.
        Month = "month",
        /// A calendar year.
        Year = "year",
    }
}

open_enum! {
    /// The dependence of the price on usage.
    pub enum UsageType {
        /// The price doesn't depend on usage.
        Licensed = "licensed",
        /// The price depends on usage.
        Metered = "metered",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const PRODUCT: &str = r#"{
        "id": "prod_NWjs8kKbJWmuuc",
        "object": "product",
        "active": true,
        "created": 1678833149,
        "default_price": null,
        "description": null,
        "images": [],
        "livemode": false,
        "marketing_features": [{ "name": "A badge" }],
        "metadata": {},
        "name": "Gold Plan",
        "package_dimensions": null,
        "shippable": null,
        "tax_code": null,
        "unit_label": "member",
        "updated": 1678833149,
        "url": null
    }"#;

    const PRICE: &str = r#"{
        "id": "price_1MoBy5LkdIwHu7ixZhnattbh",
        "object": "price",
        "active": true,
        "billing_scheme": "by_the_moon",
        "created": 1679431181,
        "currency": "usd",
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": null,
        "metadata": {},
        "nickname": null,
        "product": "prod_NZKdYqrwEYx6iK",
        "recurring": { "interval": "year", "interval_count": 1, "trial_period_days": null, "usage_type": "licensed" },
        "tax_behavior": "unspecified",
        "tiers_mode": null,
        "transform_quantity": null,
        "type": "recurring",
        "unit_amount": null,
        "unit_amount_decimal": "0.05"
    }"#;

    #[test]
    fn a_product_is_read() {
        let product: Product = read(PRODUCT);
        assert_eq!(product.name.as_deref(), Some("Gold Plan"));
        assert_eq!(product.unit_label.as_deref(), Some("member"));
        read_changed::<Product>(PRODUCT);
    }

    #[test]
    fn a_price_is_read() {
        let price: Price = read(PRICE);
        assert_eq!(price.kind, Some(PriceType::Recurring));
        assert_eq!(price.unit_amount_decimal.as_deref(), Some("0.05"));
        let scheme = price.billing_scheme.as_ref().unwrap();
        assert_eq!(scheme.as_str(), "by_the_moon");
        let recurring = price.recurring.unwrap();
        assert_eq!(recurring.usage_type, Some(UsageType::Licensed));
        read_changed::<Price>(PRICE);
    }
}
