//! What comes in: requests, notifications and batches, borrowed from the text they came in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::Error;

/// A message as it came in.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// One request or notification, or what should have been one.
    Single(Result<Request<'a>, Error>),
    /// An array of them.
    Batch(Batch<'a>),
}

/// The elements of a batch, each yet to be read.
#[derive(Debug)]
pub struct Batch<'a>(Vec<&'a RawValue>);

/// A call of a method.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `None` for a notification, which gets no reply.
    pub id: Option<Id<'a>>,
    /// Which method.
    pub method: Cow<'a, str>,
    /// An object or an array, not looked into yet.
    pub params: Option<&'a str>,
}

/// A request's id, kept as it was written: a string, a number or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a>(Cow<'a, str>);

impl<'a> Incoming<'a> {
    /// Reads a message. Only the outermost layer is parsed; parameters are parsed by whom they are for.
    ///
    /// # Errors
    /// [`Error::Parse`] for what is no JSON, [`Error::InvalidRequest`] for an empty batch.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        if !text.trim_ascii_start().starts_with('[') {
            return match Request::parse(text) {
                Err(error @ Error::Parse { .. }) => Err(error),
                single => Ok(Self::Single(single)),
            };
        }
        let elements: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| Error::parse(&error))?;
        if elements.is_empty() {
            return Err(Error::invalid_request("an empty batch"));
        }
        Ok(Self::Batch(Batch(elements)))
    }
}

impl<'a> Batch<'a> {
    /// How many elements it has; at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty batch is refused by the parser"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads the elements, one by one.
    pub fn requests(&self) -> impl Iterator<Item = Result<Request<'a>, Error>> {
        self.0.iter().map(|element| Request::parse(element.get()))
    }
}

/// A request before its members are checked.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Tells a member that is null from one that isn't there.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Request<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        if !text.trim_ascii_start().starts_with('{') {
            return Err(not_an_object(text));
        }
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| {
            // A doubled member, say, is found before the rest is read: is it JSON at all?
            let syntax = serde_json::from_str::<IgnoredAny>(text).err();
            syntax.map_or_else(
                || Error::invalid_request(&error.to_string()),
                |error| Error::parse(&error),
            )
        })?;
        if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return Err(Error::invalid_request("`jsonrpc` must be \"2.0\""));
        }
        let id = envelope.id.map(|id| Id::parse(id.get())).transpose()?;
        let Some(method) = envelope.method else {
            return Err(Error::invalid_request("`method` is missing"));
        };
        let method = text_of(method.get())
            .ok_or_else(|| Error::invalid_request("`method` must be a string"))?;
        let params = envelope.params.map(RawValue::get);
        if params.is_some_and(|params| !params.starts_with(['{', '['])) {
            return Err(Error::invalid_request(
                "`params` must be an object or an array",
            ));
        }
        Ok(Self { id, method, params })
    }
}

fn not_an_object(text: &str) -> Error {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Error::invalid_request("a request is an object"),
        Err(error) => Error::parse(&error),
    }
}

/// The string that a JSON text stands for; borrowed where nothing is escaped.
fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'a> Id<'a> {
    /// The id of a reply to nothing in particular.
    pub const NULL: Id<'static> = Id(Cow::Borrowed("null"));

    fn parse(json: &'a str) -> Result<Self, Error> {
        match json.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Ok(Self(Cow::Borrowed(json))),
            _ => Err(Error::invalid_request(
                "`id` must be a string, a number or null",
            )),
        }
    }

    /// A copy that outlives the message.
    pub fn into_owned(self) -> Id<'static> {
        Id(Cow::Owned(self.0.into_owned()))
    }

    /// As it was written.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::code;

    fn code_of(text: &str) -> i32 {
        match Incoming::parse(text) {
            Err(error) | Ok(Incoming::Single(Err(error))) => error.code(),
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_without_copies() {
        let text = r#" {"jsonrpc": "2.0", "method": "play", "params": {"script": "40 + 2"}, "id": 1.50 } "#;
        let Ok(Incoming::Single(Ok(request))) = Incoming::parse(text) else {
            panic!()
        };
        assert!(matches!(request.method, Cow::Borrowed("play")));
        assert_eq!(request.params, Some(r#"{"script": "40 + 2"}"#));
        assert_eq!(
            request.id.unwrap().as_json(),
            "1.50",
            "an id comes back as it was written"
        );
    }

    #[test]
    fn null_is_an_id_but_no_id_is_a_notification() {
        let id = |text| match Incoming::parse(text) {
            Ok(Incoming::Single(Ok(request))) => request.id.map(Id::into_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            id(r#"{"jsonrpc":"2.0","method":"m","id":null}"#),
            Some(Id::NULL)
        );
        assert_eq!(id(r#"{"jsonrpc":"2.0","method":"m"}"#), None);
        assert_eq!(
            id(r#"{"jsonrpc":"2.0","\u006dethod":"\u006d","id":"\n"}"#),
            Some(Id(Cow::Borrowed(r#""\n""#)))
        );
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_request() {
        for text in [
            "",
            " ",
            "nonsense",
            "{",
            "[1,",
            r#"{"id":1,"id":2"#,
            r#"{"jsonrpc":"2.0"} x"#,
            "[] []",
            "\u{feff}{}",
        ] {
            assert_eq!(code_of(text), code::PARSE_ERROR, "{text}");
        }
        for text in [
            "[]",
            "1",
            "null",
            "\"play\"",
            "{}",
            r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":"bar"}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":null}"#,
            r#"{"jsonrpc":"1.0","method":"m"}"#,
            r#"{"method":"m","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"m","id":{}}"#,
            r#"{"jsonrpc":"2.0","method":"m","id":true}"#,
            r#"{"jsonrpc":"2.0","method":"m","id":1,"id":2}"#,
        ] {
            assert_eq!(code_of(text), code::INVALID_REQUEST, "{text}");
        }
    }

    #[test]
    fn depth_alone_is_no_trouble() {
        for text in [
            "[".repeat(200_000),
            format!("{{\"id\":{}", "[".repeat(200_000)),
        ] {
            assert_eq!(code_of(&text), code::PARSE_ERROR);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*|[\\[\\]{}\",:0-9a-z.\\\\ ]{0,80}") {
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            match Incoming::parse(&text) {
                Err(Error::Parse { .. }) => prop_assert!(!is_json),
                _ => prop_assert!(is_json),
            }
        }

        #[test]
        fn every_request_reads_back(id: Option<u32>, method: String, names in proptest::collection::vec("[a-z]{1,4}", 0..4)) {
            let params: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), name.clone().into())).collect();
            let mut request = serde_json::json!({"jsonrpc": "2.0", "method": method, "params": params});
            if let Some(id) = id {
                request["id"] = id.into();
            }
            let text = request.to_string();
            let Ok(Incoming::Single(Ok(parsed))) = Incoming::parse(&text) else { panic!("{text}") };
            prop_assert_eq!(parsed.method, method);
            prop_assert_eq!(parsed.id.map(|id| id.as_json().to_owned()), id.map(|id| id.to_string()));
            prop_assert_eq!(serde_json::from_str::<serde_json::Map<_, _>>(parsed.params.unwrap()).unwrap(), params);
        }
    }
}
