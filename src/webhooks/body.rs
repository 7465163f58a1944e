//! Reads the bodies of webhooks.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::scheme::{Unsigned, only};
use crate::weight;

/// The most levels of nested arrays and objects. JSON is parsed to 127 levels, here and whenever a delivery is read
/// again, and its stored form has one more around it.
const MAX_DEPTH: usize = 126;

/// The byte order mark with which some senders begin a text. JSON may be parsed without it (RFC 8259, section 8.1).
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// JSON (RFC 8259).
    Json,
    /// Fields of an HTML form (`application/x-www-form-urlencoded`). A field `payload`, as GitHub and Slack have it,
    /// holds JSON and is used alone.
    Form,
}

impl Form {
    /// Returns the `Content-Type` of such a body.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        })
    }

    /// Returns the form of a request's body by its `Content-Type`. Without the header, it is the first form that the
    /// provider sends.
    pub(super) fn of(headers: &HeaderMap, sent: &[Self]) -> Option<Self> {
        let value = match only(headers, &header::CONTENT_TYPE) {
            Ok(value) => value,
            Err(Unsigned::Missing) => return sent.first().copied(),
            Err(_) => return None,
        };
        let essence = value.split(';').next()?.trim().to_ascii_lowercase();
        let form = match essence.as_str() {
            "application/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::Form,
            other if other.starts_with("application/") && other.ends_with("+json") => Self::Json,
            _ => return None,
        };
        sent.contains(&form).then_some(form)
    }

    /// Returns the approximate bytes that the body takes once it is parsed.
    pub(super) fn weight(self, body: &[u8]) -> usize {
        /// An upper bound for each byte of a form: brackets and quotes take three bytes each there.
        const FORM: usize = 40;

        match self {
            Self::Json => weight::of_json(body),
            Self::Form => body.len().saturating_mul(FORM),
        }
    }

    /// Returns the body as JSON, if it isn't nested too deep to be stored.
    pub(super) fn read(self, body: &[u8]) -> Option<Value> {
        self.parse(body).filter(|value| is_within(value, MAX_DEPTH))
    }

    fn parse(self, body: &[u8]) -> Option<Value> {
        match self {
            Self::Json => circled_json::parse(body.strip_prefix(BOM).unwrap_or(body)).ok(),
            Self::Form => {
                std::str::from_utf8(body).ok()?;
                let mut fields = Map::new();
                for (name, value) in form_urlencoded::parse(body) {
                    if name == "payload" {
                        return circled_json::parse(value.as_bytes()).ok();
                    }
                    // A repeated field becomes a list.
                    let value = Value::String(value.into_owned());
                    match fields.get_mut(name.as_ref()) {
                        Some(Value::Array(values)) => values.push(value),
                        Some(first) => *first = Value::Array(vec![first.take(), value]),
                        None => {
                            fields.insert(name.into_owned(), value);
                        }
                    }
                }
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
        }
    }
}

/// Returns true if a value has at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    let within = |inner: &Value| is_within(inner, levels - 1);
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(within),
        Value::Object(members) => levels > 0 && members.values().all(within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_content_type_says_how_a_body_is_written() {
        let both = [Form::Json, Form::Form];
        for (value, sent, expected) in [
            ("application/json", &both[..], Some(Form::Json)),
            ("Application/JSON; charset=utf-8", &both, Some(Form::Json)),
            ("application/cloudevents+json", &both, Some(Form::Json)),
            ("application/x-www-form-urlencoded", &both, Some(Form::Form)),
            ("application/x-www-form-urlencoded", &both[..1], None),
            ("text/plain", &both, None),
            ("image/svg+json", &both, None),
            ("", &both, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(Form::of(&headers, sent), expected, "{value}");
        }
        assert_eq!(Form::of(&HeaderMap::new(), &both), Some(Form::Json));
    }

    #[test]
    fn fields_become_json() {
        for (body, expected) in [
            ("a=1&b=x+y%21", Some(json!({ "a": "1", "b": "x y!" }))),
            ("a=1&a=2&a=3", Some(json!({ "a": ["1", "2", "3"] }))),
            ("payload=%7B%22id%22%3A1%7D&a=1", Some(json!({ "id": 1 }))),
            ("payload=nonsense", None),
            ("", None),
        ] {
            assert_eq!(Form::Form.read(body.as_bytes()), expected, "{body}");
        }
        for (body, expected) in [
            ("{\"a\": 1.0}", json!({ "a": 1.0 })),
            ("\u{feff}{\"a\": 1, \"a\": 2}", json!({ "a": 2 })),
            ("[\"\\ud800\"]", json!(["\u{fffd}"])),
        ] {
            assert_eq!(Form::Json.read(body.as_bytes()), Some(expected), "{body}");
        }
        for wrong in [&b"{"[..], b"", b"Hello, World!", b"\"\xff\"", b"{} {}"] {
            assert_eq!(Form::Json.read(wrong), None);
        }
    }
    #[test]
    fn bodies_can_be_stored_and_read_again() {
        for depth in 1..200 {
            let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let read = Form::Json.read(body.as_bytes());
            assert_eq!(read.is_some(), depth <= MAX_DEPTH, "{depth}");
            if let Some(read) = read {
                let kept = json!({ "payload": read }).to_string();
                assert!(circled_json::parse(&kept).is_ok(), "{depth}");
            }
        }
    }
}
