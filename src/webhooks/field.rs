//! The place of a value in a request, for example of the event's id.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{
    payload::Payload,
    scheme::{Unsigned, only},
};

/// A place in a request: `header:X-GitHub-Event`, or `body:/data/id`, a JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The value of a header.
    Header(HeaderName),
    /// A text or a number in the JSON body.
    Body(String),
}

/// The error of a text that names no place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be like \"header:X-Event-Id\", or like \"body:/data/id\", a JSON pointer")]
pub struct InvalidField;

/// The value at the place can't be used: a header that is there twice, or a body's member that is neither text nor
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnusableValue;

impl Field {
    /// Returns the value at the place, if there is one.
    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        body: &Payload<'_>,
    ) -> Result<Option<String>, UnusableValue> {
        let text = match self {
            Self::Header(name) => match only(headers, name) {
                Ok(value) => Some(value.to_owned()),
                Err(Unsigned::Missing) => None,
                Err(_) => return Err(UnusableValue),
            },
            Self::Body(pointer) => match body.pointer(pointer) {
                None | Some(Value::Null) => None,
                Some(value) => Some(text(value).ok_or(UnusableValue)?),
            },
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Returns the JSON pointer, if it is a place in the body.
    pub(super) fn pointer(&self) -> Option<&str> {
        match self {
            Self::Header(_) => None,
            Self::Body(pointer) => Some(pointer),
        }
    }

    /// Returns the value at the first of these places that has one.
    pub(super) fn first(
        fields: &[Self],
        headers: &HeaderMap,
        body: &Payload<'_>,
    ) -> Result<Option<String>, UnusableValue> {
        let mut found = None;
        // All places are read, so that an unusable value is an error wherever it is.
        for field in fields {
            let text = field.read(headers, body)?;
            found = found.or(text);
        }
        Ok(found)
    }
}

/// Returns a text or a number as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl FromStr for Field {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| InvalidField),
            Some(("body", pointer)) if pointer.starts_with('/') => {
                Ok(Self::Body(pointer.to_owned()))
            }
            _ => Err(InvalidField),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::units::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhooks::payload::Pointers;

    #[test]
    fn a_field_is_read_where_it_says() {
        let mut headers = HeaderMap::new();
        headers.insert("x-event", "created".parse().unwrap());
        headers.insert("x-empty", "".parse().unwrap());
        headers.append("x-twice", "one".parse().unwrap());
        headers.append("x-twice", "two".parse().unwrap());
        let body = json!({ "id": "evt_1", "n": 7, "deep": { "a/b": ["x", "y"] }, "yes": true, "nothing": null });
        for (field, expected) in [
            ("header:X-Event", Ok(Some("created"))),
            ("header:X-Empty", Ok(None)),
            ("header:X-Other", Ok(None)),
            ("header:X-Twice", Err(UnusableValue)),
            ("body:/id", Ok(Some("evt_1"))),
            ("body:/n", Ok(Some("7"))),
            ("body:/deep/a~1b/1", Ok(Some("y"))),
            ("body:/nothing", Ok(None)),
            ("body:/yes", Err(UnusableValue)),
            ("body:/deep", Err(UnusableValue)),
            ("body:/other", Ok(None)),
        ] {
            let field: Field = field.parse().unwrap();
            let pointers = Pointers::new(field.pointer());
            let read = field.read(&headers, &pointers.of_value(&body).unwrap());
            assert_eq!(
                read.as_ref().map(Option::as_deref),
                expected.as_ref().copied(),
                "{field}"
            );
        }
        for wrong in [
            "",
            "X-Event",
            "header:",
            "header:a b",
            "body:id",
            "body:",
            "cookie:x",
        ] {
            assert_eq!(wrong.parse::<Field>(), Err(InvalidField), "{wrong}");
        }
    }
}
