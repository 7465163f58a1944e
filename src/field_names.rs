//! The names of a struct's fields, as its `Deserialize` knows them.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// Returns the names of the fields of a struct that derives `Deserialize`.
pub(crate) fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    field_names_of(|deserializer| T::deserialize(deserializer))
}

/// Returns the names of the fields that a derived `deserialize` function asks for.
pub(crate) fn field_names_of<T>(
    deserialize: impl FnOnce(FieldNames<'_>) -> Result<T, Error>,
) -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It has nothing to read, so all that comes of it are the names.
    drop(deserialize(FieldNames(&mut names)));
    names
}

/// A deserializer that has no value. It stores the names of the fields for which it is asked.
pub(crate) struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("there is no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_settings_file() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its names are of interest")]
        struct Example {
            first: u8,
            #[serde(rename = "other")]
            second: Option<u8>,
            #[serde(skip)]
            third: u8,
        }
        assert_eq!(field_names::<Example>(), ["first", "other"]);
        assert_eq!(field_names::<String>(), [""; 0]);
    }
}
