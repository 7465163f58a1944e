//! Parses messages: requests, notifications and batches, borrowed from the received text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Error;

/// A received message.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// One request or notification, or an invalid one.
    Single(Result<Request<'a>, Invalid<'a>>),
    /// A batch.
    Batch(Batch<'a>),
}

/// The elements of a batch, not parsed yet.
#[derive(Debug)]
pub struct Batch<'a>(Vec<&'a RawValue>);

/// A call of a method.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `None` for a notification, which gets no reply.
    pub id: Option<Id<'a>>,
    /// The method's name.
    pub method: Cow<'a, str>,
    /// An object or an array, not parsed yet.
    pub params: Option<&'a str>,
}

/// A request's id, kept as it was written: a string, a number or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a>(Cow<'a, str>);

impl<'a> Incoming<'a> {
    /// Parses the outermost layer of a message; each method parses its own parameters. A batch has `max_batch` elements
    /// at most.
    ///
    /// # Errors
    /// [`Error::Parse`] for text that is no JSON, [`Error::InvalidRequest`] for an empty batch,
    /// [`Error::LimitExceeded`] for a batch with more elements.
    pub fn parse(text: &'a str, max_batch: usize) -> Result<Self, Error> {
        if !text.trim_ascii_start().starts_with('[') {
            return match Request::parse(text) {
                Err(Invalid {
                    error: error @ Error::Parse { .. },
                    ..
                }) => Err(error),
                single => Ok(Self::Single(single)),
            };
        }
        let read = circled_json::seeded(text, Elements { most: max_batch });
        match read.map_err(|error| Error::parse(&error))? {
            Some(elements) if elements.is_empty() => Err(Error::invalid_request("an empty batch")),
            Some(elements) => Ok(Self::Batch(Batch(elements))),
            None => Err(Error::LimitExceeded {
                limit: "session.max_batch".into(),
                retry_after_ms: None,
            }),
        }
    }
}

impl<'a> Batch<'a> {
    /// Parses the elements one by one.
    pub fn requests(&self) -> impl Iterator<Item = Result<Request<'a>, Invalid<'a>>> {
        self.0.iter().map(|element| Request::parse(element.get()))
    }
}

/// Reads the elements of an array. With more than so many it returns `None`, and the others are skipped.
struct Elements {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.most {
            match items.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Some(elements)),
            }
        }
        let mut more = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok((!more).then_some(elements))
    }
}

/// A request whose members aren't checked yet.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Tells a member that is null from a missing one.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The error of an invalid request, and the id for the reply.
#[derive(Debug)]
pub struct Invalid<'a> {
    /// The mistake.
    pub error: Error,
    /// The request's id; null if it has none that can be read.
    pub id: Id<'a>,
}

impl<'a> Invalid<'a> {
    fn nobodys(error: Error) -> Self {
        Self {
            error,
            id: Id::NULL,
        }
    }
}

impl<'a> Request<'a> {
    fn parse(text: &'a str) -> Result<Self, Invalid<'a>> {
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Invalid::nobodys(not_an_object(text)));
        }
        let envelope: Envelope<'a> = circled_json::borrowed(text).map_err(|error| {
            // A doubled member, for example, is an error before the rest was read; the rest may be no JSON at all.
            let syntax = circled_json::borrowed::<IgnoredAny>(text).err();
            match syntax {
                Some(error) => Invalid::nobodys(Error::parse(&error)),
                None => Invalid {
                    error: Error::invalid_request(&error.to_string()),
                    id: id_of(text),
                },
            }
        })?;
        let id = envelope.id.map(|id| Id::parse(id.get())).transpose();
        let id = id.map_err(Invalid::nobodys)?;
        match envelope.call() {
            Ok((method, params)) => Ok(Self { id, method, params }),
            Err(reason) => Err(Invalid {
                error: Error::invalid_request(reason),
                id: id.unwrap_or(Id::NULL),
            }),
        }
    }
}

impl<'a> Envelope<'a> {
    /// Returns the method and its parameters, or the mistake in them.
    fn call(&self) -> Result<(Cow<'a, str>, Option<&'a str>), &'static str> {
        let is_version = |text: &RawValue| {
            text.get() == "\"2.0\"" || text_of(text.get()).as_deref() == Some("2.0")
        };
        if !self.jsonrpc.is_some_and(is_version) {
            return Err("`jsonrpc` must be \"2.0\"");
        }
        let method = self.method.ok_or("`method` is missing")?;
        let method = text_of(method.get()).ok_or("`method` must be a string")?;
        let params = self.params.map(RawValue::get);
        match params.map(str::as_bytes) {
            None | Some(b"null") => Ok((method, None)),
            Some([b'{' | b'[', ..]) => Ok((method, params)),
            Some(_) => Err("`params` must be an object or an array"),
        }
    }
}

/// Returns the id of a request with a doubled member; null if the id itself is doubled.
fn id_of(text: &str) -> Id<'_> {
    #[derive(Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let found = circled_json::borrowed::<Identified<'_>>(text).ok();
    let id = found.and_then(|found| Id::parse(found.id.get()).ok());
    id.unwrap_or(Id::NULL)
}

fn not_an_object(text: &str) -> Error {
    match circled_json::borrowed::<IgnoredAny>(text) {
        Ok(_) => Error::invalid_request("a request is an object"),
        Err(error) => Error::parse(&error),
    }
}

/// Returns the string that a JSON text stands for; borrowed if nothing is escaped.
fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return circled_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'a> Id<'a> {
    /// The id of a reply to no request in particular.
    pub const NULL: Id<'static> = Id(Cow::Borrowed("null"));

    fn parse(json: &'a str) -> Result<Self, Error> {
        match json.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Ok(Self(Cow::Borrowed(json))),
            _ => Err(Error::invalid_request(
                "`id` must be a string, a number or null",
            )),
        }
    }

    /// Returns a copy that outlives the message.
    pub fn into_owned(self) -> Id<'static> {
        Id(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the id as it was written.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        circled_json::borrowed::<&RawValue>(&self.0)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::code;
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Incoming<'_>, Error> {
        Incoming::parse(text, 3)
    }

    fn code_of(text: &str) -> i32 {
        match parse(text) {
            Err(error) | Ok(Incoming::Single(Err(Invalid { error, .. }))) => error.code(),
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_without_copies() {
        let text = r#" {"jsonrpc": "2.0", "method": "play", "params": {"script": "40 + 2"}, "id": 1.50 } "#;
        let Ok(Incoming::Single(Ok(request))) = parse(text) else {
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
        let id = |text| match parse(text) {
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
    fn invalid_json_is_told_from_invalid_requests() {
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
    fn invalid_requests_are_answered_with_their_id() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let id = |text: &str| match parse(text) {
            Ok(Incoming::Single(Err(Invalid { id, .. }))) => id.as_json().to_owned(),
            other => panic!("{text}: {other:?}"),
        };
        for rest in [
            "",
            r#","method":"m""#,
            r#","jsonrpc":"1.0","method":"m""#,
            r#","jsonrpc":2,"method":"m""#,
            r#","jsonrpc":"2.0","method":null"#,
            r#","jsonrpc":"2.0","method":["m"]"#,
            r#","jsonrpc":"2.0","method":"m","params":"p""#,
            r#","jsonrpc":"2.0","method":"m","params":7"#,
            r#","jsonrpc":"2.0","method":"m","method":"m""#,
            r#","params":{},"more":1,"params":{}"#,
            &format!(r#","more":{deep}"#),
            &format!(r#","method":{deep}"#),
        ] {
            for written in ["7", "\"a\"", "1.50", "\"\\ud800\"", "null"] {
                let text = format!(r#"{{"id":{written}{rest}}}"#);
                assert_eq!(id(&text), written, "{text}");
            }
        }
        for text in [
            r#"{"method":"m"}"#,
            r#"{"id":{},"method":"m"}"#,
            r#"{"id":1,"id":2,"jsonrpc":"2.0","method":"m"}"#,
        ] {
            assert_eq!(id(text), "null", "{text}");
        }
        let batch = r#"[{"id":1},{"id":"b","jsonrpc":"2.0"},3]"#;
        let Ok(Incoming::Batch(batch)) = parse(batch) else {
            panic!()
        };
        let ids: Vec<_> = batch
            .requests()
            .map(|request| request.unwrap_err().id.as_json().to_owned())
            .collect();
        assert_eq!(ids, ["1", "\"b\"", "null"]);
    }

    #[test]
    fn null_is_no_params_and_halves_of_surrogate_pairs_are_no_trouble() {
        for params in ["null", "  null "] {
            let text = format!(r#"{{"jsonrpc":"\u0032.0","method":"\ud800","params":{params}}}"#);
            let Ok(Incoming::Single(Ok(request))) = parse(&text) else {
                panic!("{text}")
            };
            assert_eq!((&*request.method, request.params), ("\u{fffd}", None));
        }
    }

    #[test]
    fn a_batch_is_read_to_its_end_however_many_it_has() {
        for (text, code) in [
            ("[1,2,3,4]", code::LIMIT_EXCEEDED),
            ("[1,2,3,{\"a\":[]}] ", code::LIMIT_EXCEEDED),
            ("[1,2,3,4", code::PARSE_ERROR),
            ("[1,2,3,]", code::PARSE_ERROR),
            ("[1,2,3,4] 5", code::PARSE_ERROR),
        ] {
            assert_eq!(code_of(text), code, "{text}");
        }
        let Ok(Incoming::Batch(batch)) = parse("[1, 2,3 ]") else {
            panic!()
        };
        assert_eq!(batch.requests().count(), 3);
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
            let is_json = circled_json::from_str::<IgnoredAny>(&text).is_ok();
            match parse(&text) {
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
            let Ok(Incoming::Single(Ok(parsed))) = parse(&text) else { panic!("{text}") };
            prop_assert_eq!(parsed.method, method);
            prop_assert_eq!(parsed.id.map(|id| id.as_json().to_owned()), id.map(|id| id.to_string()));
            prop_assert_eq!(circled_json::parse(parsed.params.unwrap()).unwrap(), serde_json::Value::Object(params));
        }
    }
}
