//! References.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::Object;

/// A reference to another object: its id or, on request, [the object
/// itself](https://docs.stripe.com/api/expanding_objects). Events have ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Expandable {
    /// Its id.
    Id(String),
    /// The object.
    Object(Object),
}

impl Expandable {
    /// Returns the id of the referenced object.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) => Some(id),
            Self::Object(object) => object.id(),
        }
    }
}

impl<'de> Deserialize<'de> for Expandable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = circled_json::value(deserializer)?;
        if let Value::String(id) = value {
            return Ok(Self::Id(id));
        }
        Object::deserialize(value)
            .map(Self::Object)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    #[test]
    fn an_id_and_an_object_refer_to_the_same() {
        let id: Expandable = read(r#""cus_1""#);
        assert_eq!(id, Expandable::Id("cus_1".to_owned()));
        let object: Expandable =
            read(r#"{ "id": "cus_1", "object": "customer", "deleted": true }"#);
        assert!(matches!(object, Expandable::Object(Object::Customer(_))));
        let card: Expandable = read(r#"{ "id": "card_1", "object": "card", "name": null }"#);
        assert!(matches!(card, Expandable::Object(Object::Other(_))));
        assert_eq!((id.id(), card.id()), (object.id(), Some("card_1")));
        assert!(circled_json::from_str::<Expandable>("1").is_err());
    }
}
