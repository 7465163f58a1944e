//! Where a request says something, like the name of its event.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A place in a request: `header:X-GitHub-Event`, or `body:/data/id`, a JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The value of a header.
    Header(HeaderName),
    /// A text or a number in the JSON body.
    Body(String),
}

/// A text that names no place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be like \"header:X-Event-Id\", or like \"body:/data/id\", a JSON pointer")]
pub struct InvalidField;

impl Field {
    /// What stands there.
    pub(super) fn read(&self, headers: &HeaderMap, body: &Value) -> Option<String> {
        match self {
            Self::Header(name) => {
                let value = headers.get(name)?.to_str().ok()?;
                Some(value.to_owned())
            }
            Self::Body(pointer) => match body.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            },
        }
        .filter(|text| !text.is_empty())
    }

    /// What stands at the first of these places that says anything.
    pub(super) fn first(fields: &[Self], headers: &HeaderMap, body: &Value) -> Option<String> {
        fields.iter().find_map(|field| field.read(headers, body))
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
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_read_where_it_says() {
        let mut headers = HeaderMap::new();
        headers.insert("x-event", "created".parse().unwrap());
        headers.insert("x-empty", "".parse().unwrap());
        let body = json!({ "id": "evt_1", "n": 7, "deep": { "a/b": ["x", "y"] }, "yes": true });
        for (field, expected) in [
            ("header:X-Event", Some("created")),
            ("header:X-Empty", None),
            ("header:X-Other", None),
            ("body:/id", Some("evt_1")),
            ("body:/n", Some("7")),
            ("body:/deep/a~1b/1", Some("y")),
            ("body:/yes", None),
            ("body:/other", None),
        ] {
            let field: Field = field.parse().unwrap();
            assert_eq!(field.read(&headers, &body).as_deref(), expected, "{field}");
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
