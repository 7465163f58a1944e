//! Reads the bodies of webhooks.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    payload::{Payload, Pointers, Unreadable},
    scheme::{Unsigned, only},
};

/// The byte order mark with which some senders begin a text. JSON may be parsed without it (RFC 8259, section 8.1).
const BOM: &str = "\u{feff}";

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

    /// Reads a body.
    ///
    /// # Errors
    /// It isn't of this form, or is nested too deep to be stored.
    pub(super) fn read<'p>(
        self,
        body: &[u8],
        pointers: &'p Pointers,
    ) -> Result<Payload<'p>, Unreadable> {
        if body.is_empty() {
            return Err(Unreadable::Empty);
        }
        let text = std::str::from_utf8(body).map_err(|_| Unreadable::Encoding)?;
        match self {
            Self::Json => pointers.read(text.strip_prefix(BOM).unwrap_or(text)),
            Self::Form => {
                let mut fields = Map::new();
                for (name, value) in form_urlencoded::parse(body) {
                    if name == "payload" {
                        return pointers.read(&value);
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
                if fields.is_empty() {
                    return Err(Unreadable::NoFields);
                }
                let payload = pointers.of_value(&Value::Object(fields));
                payload.ok_or(Unreadable::NotJson)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhooks::payload::MAX_DEPTH;

    fn read(form: Form, body: &[u8]) -> Option<Value> {
        let pointers = Pointers::default();
        let payload = form.read(body, &pointers).ok()?;
        circled_json::parse(payload.text.get()).ok()
    }

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
    fn what_cannot_be_read_is_told_why() {
        let deep = ["[", "]"]
            .map(|bracket| bracket.repeat(MAX_DEPTH + 1))
            .concat();
        for (form, body, expected) in [
            (Form::Json, &b""[..], Unreadable::Empty),
            (Form::Form, b"", Unreadable::Empty),
            (Form::Json, b"{\"a\":\"\xff\"}", Unreadable::Encoding),
            (Form::Form, b"a=\xff", Unreadable::Encoding),
            (Form::Json, b"{\"a\":[1e999]}", Unreadable::Number),
            (Form::Json, deep.as_bytes(), Unreadable::Depth),
            (Form::Json, b"a=1", Unreadable::NotJson),
            (Form::Json, b" ", Unreadable::NotJson),
            (Form::Form, b"payload=%7B", Unreadable::NotJson),
            (Form::Form, b"&", Unreadable::NoFields),
        ] {
            let pointers = Pointers::default();
            let read = form.read(body, &pointers);
            assert_eq!(read.err(), Some(expected), "{}", body.escape_ascii());
        }
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
            assert_eq!(read(Form::Form, body.as_bytes()), expected, "{body}");
        }
        for (body, expected) in [
            ("{\"a\": 1.0}", json!({ "a": 1.0 })),
            ("\u{feff}{\"a\": 1, \"a\": 2}", json!({ "a": 2 })),
            ("[\"\\ud800\"]", json!(["\u{fffd}"])),
        ] {
            assert_eq!(read(Form::Json, body.as_bytes()), Some(expected), "{body}");
        }
        for wrong in [
            &b"{"[..],
            b"",
            b"Hello, World!",
            b"\"\xff\"",
            b"{} {}",
            b"1 2",
            b"[1e400]",
        ] {
            assert_eq!(read(Form::Json, wrong), None);
        }
    }

    #[test]
    fn bodies_can_be_stored_and_read_again() {
        for depth in 1..200 {
            let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let read = read(Form::Json, body.as_bytes());
            assert_eq!(read.is_some(), depth <= MAX_DEPTH, "{depth}");
            if let Some(read) = read {
                let kept = json!({ "payload": read }).to_string();
                assert!(circled_json::parse(&kept).is_ok(), "{depth}");
            }
        }
    }
}
