//! Customers, and contact data.

use super::{Expandable, Fields, Metadata, Personal, object};

object! {
    /// [A customer](https://docs.stripe.com/api/customers/object).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Customer {
        /// `cus_...`
        pub id: String,
        /// Name, of a person or a company.
        pub name: Option<Personal>,
        /// E-mail address.
        pub email: Option<Personal>,
        /// Phone number.
        pub phone: Option<Personal>,
        /// Postal address.
        pub address: Option<Address>,
        /// Your description.
        pub description: Option<Personal>,
        /// The balance that is carried over to the next invoice, in the currency's smallest unit: negative is credit,
        /// positive is owed.
        pub balance: Option<i64>,
        /// The currency of its subscriptions and invoices: three small letters.
        pub currency: Option<String>,
        /// True if the latest charge for an invoice has failed.
        pub delinquent: Option<bool>,
        /// The default payment source: a card, a bank account or a source.
        pub default_source: Option<Expandable>,
        /// True if it has been deleted; a deleted customer has only an id.
        pub deleted: Option<bool>,
        /// The time of creation, in seconds since 1970.
        pub created: Option<i64>,
        /// True in live mode, false in test mode.
        pub livemode: Option<bool>,
        /// The metadata that you have attached.
        pub metadata: Option<Metadata>,
    }
}

object! {
    /// A payer's own data: `billing_details`, `customer_details`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Contact {
        /// Name.
        pub name: Option<Personal>,
        /// E-mail address.
        pub email: Option<Personal>,
        /// Phone number.
        pub phone: Option<Personal>,
        /// Postal address.
        pub address: Option<Address>,
    }
}

object! {
    /// A postal address.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Address {
        /// Street, house number.
        pub line1: Option<Personal>,
        /// Flat, building.
        pub line2: Option<Personal>,
        /// Postal code.
        pub postal_code: Option<Personal>,
        /// City, town or village.
        pub city: Option<Personal>,
        /// State, county or province.
        pub state: Option<Personal>,
        /// Country: two capital letters.
        pub country: Option<Personal>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const CUSTOMER: &str = r#"{
        "id": "cus_NffrFeUfNV2Hib",
        "object": "customer",
        "address": {
            "city": "Vilnius", "country": "LT", "line1": "Gedimino pr. 1", "line2": null,
            "postal_code": "01103", "state": null
        },
        "balance": -500,
        "created": 1680893993,
        "currency": "eur",
        "default_source": "card_1MvoiELkdIwHu7ix",
        "delinquent": false,
        "description": "Member since 2019",
        "discount": null,
        "email": "jane@example.com",
        "invoice_prefix": "0759376C",
        "livemode": false,
        "metadata": { "member": "17" },
        "name": "Jane Doe",
        "phone": "+37060000000",
        "preferred_locales": ["lt"],
        "shipping": null
    }"#;

    #[test]
    fn a_customer_is_read() {
        let customer: Customer = read(CUSTOMER);
        assert_eq!(customer.email.as_deref(), Some("jane@example.com"));
        assert_eq!(customer.balance, Some(-500));
        assert_eq!(customer.metadata.unwrap()["member"], "17");
        assert!(customer.rest.contains_key("shipping"));
        read_changed::<Customer>(CUSTOMER);
    }

    #[test]
    fn a_customer_prints_nothing_of_a_person() {
        let printed = format!("{:?}", read::<Customer>(CUSTOMER));
        for personal in [
            "Jane", "jane", "Gedimino", "01103", "Vilnius", "370", "2019",
        ] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }
}
