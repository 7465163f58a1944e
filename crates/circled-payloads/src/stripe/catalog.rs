//! What is sold, and for how much.

use super::{Expandable, Fields, Metadata, object, open_enum};

object! {
    /// [A product](https://docs.stripe.com/api/products/object): something that is sold.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Product {
        /// `prod_...`, or what you have chosen.
        pub id: String,
        /// What it is called.
        pub name: Option<String>,
        /// What it is.
        pub description: Option<String>,
        /// Whether it can be bought.
        pub active: Option<bool>,
        /// What it usually costs.
        pub default_price: Option<Expandable>,
        /// Where pictures of it are, up to eight.
        pub images: Option<Vec<String>>,
        /// What one of it is called, like `seat`.
        pub unit_label: Option<String>,
        /// Where there is more about it.
        pub url: Option<String>,
        /// When it was made, in seconds since 1970.
        pub created: Option<i64>,
        /// When it was last changed, in seconds since 1970.
        pub updated: Option<i64>,
        /// Whether it is about real money.
        pub livemode: Option<bool>,
        /// What you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// [A price](https://docs.stripe.com/api/prices/object): what a product costs, and how often.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Price {
        /// `price_...`
        pub id: String,
        /// What it is the price of.
        pub product: Option<Expandable>,
        /// What one costs, in the currency's smallest unit. Absent where it isn't whole, or in tiers.
        pub unit_amount: Option<i64>,
        /// The same as a decimal, with up to 12 places.
        pub unit_amount_decimal: Option<String>,
        /// Three small letters.
        pub currency: Option<String>,
        /// Whether it is paid once or again and again.
        pub kind: Option<PriceType> as "type",
        /// How often it is paid.
        pub recurring: Option<Recurring>,
        /// How the price of many is found.
        pub billing_scheme: Option<BillingScheme>,
        /// Whether it can be used for new purchases.
        pub active: Option<bool>,
        /// What you call it; customers don't see that.
        pub nickname: Option<String>,
        /// What you look it up by.
        pub lookup_key: Option<String>,
        /// When it was made, in seconds since 1970.
        pub created: Option<i64>,
        /// Whether it is about real money.
        pub livemode: Option<bool>,
        /// What you have attached.
        pub metadata: Option<Metadata>,
    }
}

open_enum! {
    /// Whether a price is paid once.
    pub enum PriceType {
        /// Once.
        OneTime = "one_time",
        /// Again and again.
        Recurring = "recurring",
    }
}

open_enum! {
    /// How the price of many is found.
    pub enum BillingScheme {
        /// Each costs the same.
        PerUnit = "per_unit",
        /// It depends on how many there are.
        Tiered = "tiered",
    }
}

object! {
    /// How often something is paid.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Recurring {
        /// Per day, week, month or year.
        pub interval: Option<Interval>,
        /// Of how many of these a period is made.
        pub interval_count: Option<i64>,
        /// Whether it depends on what was used.
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
    /// Whether what is paid depends on what was used.
    pub enum UsageType {
        /// It doesn't.
        Licensed = "licensed",
        /// It does.
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
