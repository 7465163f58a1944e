//! JSON objects as structs that lose nothing.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

/// The prefix of an error, followed by the path to the field that doesn't fit.
const MISFIT: &str = "missing or of the wrong type: ";

/// Fields as they were received, by name. `Debug` shows only the names.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Fields(pub Map<String, Value>);

impl Fields {
    /// Removes the field `name` and returns it. A field that is `null` stays, and counts as absent.
    pub(crate) fn take<T, E>(&mut self, name: &str) -> Result<T, E>
    where
        T: de::DeserializeOwned,
        E: de::Error,
    {
        let value = self.get_mut(name).map(Value::take).unwrap_or_default();
        if !value.is_null() {
            self.remove(name);
        }
        T::deserialize(value).map_err(|error| {
            // serde's own messages quote the value.
            let error = error.to_string();
            E::custom(match error.strip_prefix(MISFIT) {
                Some(path) => format!("{MISFIT}{name}.{path}"),
                None => format!("{MISFIT}{name}"),
            })
        })
    }

    /// Writes a field, unless there is nothing to write.
    pub(crate) fn put<E: serde::ser::Error>(
        &mut self,
        name: &str,
        field: &impl Serialize,
    ) -> Result<(), E> {
        let value = serde_json::to_value(field).map_err(E::custom)?;
        if !value.is_null() {
            self.insert(name.to_owned(), value);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match circled_json::value(deserializer)? {
            Value::Object(fields) => Ok(Self(fields)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(de::Error::custom("it is no JSON object")),
        }
    }
}

impl Deref for Fields {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

/// Declares a struct that is read from a JSON object and written as one. It also gets `rest`, for all other fields. A
/// field whose JSON name differs declares it: `kind: String as "type"`.
macro_rules! object {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    (
        $(#[$meta:meta])*
        pub struct $type:ident $(<$item:ident>)? {
            $( $(#[$field_meta:meta])* pub $field:ident: $field_type:ty $(as $name:literal)?, )*
        }
    ) => {
        $(#[$meta])*
        pub struct $type $(<$item>)? {
            $( $(#[$field_meta])* pub $field: $field_type, )*
            /// The other fields: those without a name here, and those that were `null`.
            pub rest: Fields,
        }

        impl<'de $(, $item: ::serde::de::DeserializeOwned)?> ::serde::Deserialize<'de> for $type $(<$item>)? {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut rest: Fields = ::serde::Deserialize::deserialize(deserializer)?;
                Ok(Self {
                    $( $field: rest.take::<_, D::Error>(object!(@name $field $($name)?))?, )*
                    rest,
                })
            }
        }

        impl $(<$item: ::serde::Serialize>)? ::serde::Serialize for $type $(<$item>)? {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut fields = self.rest.clone();
                $( fields.put::<S::Error>(object!(@name $field $($name)?), &self.$field)?; )*
                ::serde::Serialize::serialize(&fields, serializer)
            }
        }
    };
}

pub(crate) use object;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro writes `pub`")]
mod tests {
    use serde_json::json;

    use super::*;

    object! {
        /// A box.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Parcel {
            /// Its name.
            pub id: String,
            /// The kind of box.
            pub kind: Option<String> as "type",
            /// The boxes inside.
            pub within: Option<Vec<Parcel>>,
        }
    }

    fn parcel(value: Value) -> serde_json::Result<Parcel> {
        circled_json::from_value(value)
    }

    #[test]
    fn absent_null_and_unknown_fields_stay_what_they_are() {
        for value in [
            json!({ "id": "a" }),
            json!({ "id": "a", "type": null }),
            json!({ "id": "a", "type": "b", "within": [] }),
            json!({ "id": "a", "within": [{ "id": "b", "type": null, "size": 1.0 }], "size": null }),
        ] {
            let parcel = parcel(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&parcel).unwrap(), value);
        }
    }

    #[test]
    fn a_field_that_is_set_or_cleared_is_written_so() {
        let mut parcel = parcel(json!({ "id": "a", "type": null, "within": [] })).unwrap();
        parcel.kind = Some("b".to_owned());
        parcel.within = None;
        let written = serde_json::to_value(&parcel).unwrap();
        assert_eq!(written, json!({ "id": "a", "type": "b" }));
    }

    #[test]
    fn an_error_says_where_and_not_what() {
        let error = |value| parcel(value).unwrap_err().to_string();
        assert_eq!(error(json!({})), "missing or of the wrong type: id");
        assert_eq!(
            error(json!({ "id": "a", "within": [{ "id": "b", "type": ["Jane"] }] })),
            "missing or of the wrong type: within.type"
        );
        assert_eq!(error(json!("Jane")), "it is no JSON object");
    }

    #[test]
    fn debug_shows_the_names_of_what_is_left() {
        let parcel = parcel(json!({ "id": "a", "owner": "Jane" })).unwrap();
        assert_eq!(
            format!("{parcel:?}"),
            r#"Parcel { id: "a", kind: None, within: None, rest: {"owner"} }"#
        );
    }
}
