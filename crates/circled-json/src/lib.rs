#![doc = include_str!("../README.md")]

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor},
};
use serde_json::{Error, Map, Number, Value, value::RawValue};

/// The most levels of a value that a script may make. Its readers have a few levels of their own around it.
pub const DEEPEST: usize = 120;

/// The first whole number that a float can't tell from its neighbours.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Any JSON value, read as it was written, with any keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Json(pub Value);

impl Deref for Json {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl PartialEq<Value> for Json {
    fn eq(&self, other: &Value) -> bool {
        self.0 == *other
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        value(deserializer).map(Self)
    }
}

/// Parses a text into any value.
///
/// # Errors
/// It isn't JSON.
pub fn parse(text: impl AsRef<[u8]>) -> Result<Value, Error> {
    from_slice(text.as_ref()).map(|Json(value)| value)
}

/// Parses a text into a type other than `Value`; for that, see [`parse`].
///
/// # Errors
/// It isn't JSON, or no `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    borrowed(text).or_else(|error| match mended(text) {
        Some(mended) => borrowed(&mended),
        None => Err(error),
    })
}

/// Parses the bytes of a text into a type other than `Value`; for that, see [`parse`].
///
/// # Errors
/// They aren't JSON, or no `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => from_str(text),
        Err(_) => borrowed_slice(bytes),
    }
}

/// Parses a text into a type that borrows from it. Halves of surrogate pairs are an error here.
///
/// # Errors
/// It isn't JSON, or no `T`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn borrowed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text)
}

/// Parses the bytes of a text into a type that borrows from them. [`borrowed`] costs less if the text is known to be
/// UTF-8.
///
/// # Errors
/// They aren't JSON, or no `T`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn borrowed_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
}

/// Parses a text with a seed.
///
/// # Errors
/// It isn't JSON, or not what the seed reads.
pub fn seeded<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S) -> Result<S::Value, Error> {
    let mut text = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut text)?;
    text.end()?;
    Ok(read)
}

/// Returns the place in a text that doesn't fit a type; `None` if the whole text doesn't.
pub fn misfit<'a, T: Deserialize<'a>>(text: &'a str) -> Option<String> {
    let mut text = serde_json::Deserializer::from_str(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut text).err()?;
    let place = error.path();
    place.iter().next().map(|_| place.to_string())
}

/// Converts a parsed value into a type.
///
/// # Errors
/// It is no `T`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value)
}

/// Returns the text with U+FFFD for each escaped half of a surrogate pair; `None` if there is none. Only strings have
/// escapes, so nothing else of the text is examined.
pub fn mended(text: &str) -> Option<String> {
    let text = text.as_bytes();
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        at += found;
        let length = match (unit(text, at), unit(text, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                let mended = mended.get_or_insert_with(|| text.to_vec());
                mended[at..at + 6].copy_from_slice(br"\ufffd");
                6
            }
            _ => 2,
        };
        at += length;
    }
    String::from_utf8(mended?).ok()
}

/// Returns the UTF-16 unit that is escaped at `at`.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// Deserializes any value.
///
/// # Errors
/// The deserializer fails, or the value is of another kind.
pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    deserializer.deserialize_any(AnyValue)
}

/// Deserializes any value but null, which becomes `None`.
///
/// # Errors
/// The deserializer fails, or the value is of another kind.
pub fn some_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    value(deserializer).map(|value| Some(value).filter(|value| !value.is_null()))
}

/// Deserializes any value into one that could also be borrowed. It is read from its own beginning, from which the depth
/// counts: it may be as deep as one that stands alone.
///
/// # Errors
/// The deserializer fails or can't lend text, or the value is of another kind.
pub fn cow_value<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'static, Value>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?;
    parse(text.get())
        .map(Cow::Owned)
        .map_err(serde::de::Error::custom)
}

/// Deserializes a whole number, which may be written `1000.0`; null becomes `None`.
///
/// # Errors
/// The deserializer fails, or the value is of another kind.
pub fn whole<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    deserializer.deserialize_any(Whole(PhantomData))
}

/// Deserializes a value with a default, which null stands for, too.
///
/// # Errors
/// The deserializer fails, or the value is of another kind.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        value(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Json(item))) = entries.next_entry::<String, _>()? {
            object.insert(key, item);
        }
        Ok(Value::Object(object))
    }
}

struct Whole<N>(PhantomData<N>);

impl<'de, N: TryFrom<u64>> Visitor<'de> for Whole<N> {
    type Value = Option<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }

    fn visit_unit<E>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<N>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Option<N>, E> {
        let fits = N::try_from(number).map(Some);
        fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Option<N>, E> {
        let found = || E::invalid_value(Unexpected::Signed(number), &self);
        let whole = u64::try_from(number).map_err(|_| found())?;
        N::try_from(whole).map(Some).map_err(|_| found())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and from 0 to what a float can tell from its neighbours"
    )]
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Option<N>, E> {
        let found = || E::invalid_value(Unexpected::Float(number), &self);
        if number.fract() != 0.0 || !(0.0..=EXACT).contains(&number) {
            return Err(found());
        }
        N::try_from(number as u64).map(Some).map_err(|_| found())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{json, value::RawValue};

    use super::*;

    /// The keys that serde_json itself treats specially, and similar ones.
    const KEYS: [&str; 5] = [
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "$serde_json::private::",
        "",
        "a",
    ];

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            proptest::sample::select(vec!["1", "{\"a\":1}", "nonsense", "\"", "[["])
                .prop_map(Value::from),
        ];
        let key = prop_oneof![
            proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
            any::<String>(),
        ];
        leaf.prop_recursive(6, 48, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    #[derive(Deserialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Deserialize)]
    struct Inner {
        #[serde(default, deserialize_with = "value")]
        any: Value,
        #[serde(default, deserialize_with = "some_value")]
        some: Option<Value>,
    }

    proptest! {
        #[test]
        fn any_value_comes_back_as_it_was_written(written in values()) {
            let text = written.to_string();
            let Json(read) = from_str(&text).unwrap();
            prop_assert_eq!(&read, &written);
            // Read as a field, through serde's own buffer, and from a value.
            let text = json!({ "any": written, "some": written }).to_string();
            let Outer { inner } = from_str(&text).unwrap();
            prop_assert_eq!(&inner.any, &written);
            prop_assert_eq!(inner.some.unwrap_or_default(), written.clone());
            let Json(read) = from_value(written.clone()).unwrap();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn a_mended_text_is_otherwise_the_same(text in "([a-z\"]|\\\\\\\\|\\\\n|\\\\u[dD][89abcdefCDEF0-7][0-9a-f]{2}|🦀){0,12}") {
            let text = format!("\"{}\"", text.replace('"', "\\\""));
            let read: String = from_str(&text).unwrap();
            let utf_16: Vec<u16> = utf_16(&text);
            prop_assert_eq!(read, String::from_utf16_lossy(&utf_16));
        }
    }

    /// Returns the content of a JSON string in UTF-16, as in JavaScript.
    fn utf_16(text: &str) -> Vec<u16> {
        let mut units = Vec::new();
        let mut rest = text[1..text.len() - 1].chars();
        while let Some(c) = rest.next() {
            match (c, c == '\\') {
                (_, false) => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
                (_, true) => match rest.next().unwrap() {
                    'u' => {
                        let digits: String = rest.by_ref().take(4).collect();
                        units.push(u16::from_str_radix(&digits, 16).unwrap());
                    }
                    'n' => units.push(10),
                    other => units.push(other as u16),
                },
            }
        }
        units
    }

    #[test]
    fn of_two_of_a_key_the_last_one_counts() {
        let Json(read) = from_str(r#"{"b":1,"a":2,"b":{"c":1,"c":2}}"#).unwrap();
        assert_eq!(read.to_string(), r#"{"b":{"c":2},"a":2}"#);
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced() {
        for (text, read) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\uDFFFx""#, "\u{fffd}x"),
            (r#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}"),
            (r#""\ud83e\udd80""#, "🦀"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
        ] {
            assert_eq!(from_str::<String>(text).unwrap(), read, "{text}");
        }
        let Json(read) = from_str(r#"{"\udc00": ["\ud83e"]}"#).unwrap();
        assert_eq!(read, json!({ "\u{fffd}": ["\u{fffd}"] }));
        for broken in [r#""\ud800"#, r#""\ud8"#, r"\ud800", r#""\ud80g""#, "\\"] {
            assert!(from_str::<Json>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        for depth in [1, 127, 128, 1_000, 200_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(from_str::<Json>(&text).is_ok(), depth <= 127, "{depth}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        #[derive(Deserialize)]
        struct Params {
            #[serde(default, deserialize_with = "whole")]
            n: Option<u32>,
            #[serde(default, deserialize_with = "or_default")]
            text: String,
        }
        let read = |n: &str| from_str::<Params>(&format!("{{\"n\":{n}}}")).map(|read| read.n);
        for (n, expected) in [
            ("null", None),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1000.0", Some(1000)),
            ("1e3", Some(1000)),
            ("4294967295.0", Some(u32::MAX)),
        ] {
            assert_eq!(read(n).unwrap(), expected, "{n}");
        }
        for n in [
            "1000.5",
            "1e300",
            "-1",
            "-1.0",
            "4294967296",
            "4294967296.0",
            "\"1\"",
            "true",
            "[]",
        ] {
            let error = read(n).err().map(|error| error.to_string());
            assert!(
                error
                    .as_ref()
                    .is_some_and(|error| error.contains("a whole number from 0")),
                "{n}: {error:?}"
            );
        }
        let read: Params = from_str(r#"{"text":null}"#).unwrap();
        assert_eq!((read.n, read.text.as_str()), (None, ""));
    }

    #[test]
    fn writing_knows_no_such_key_either() {
        for key in KEYS {
            let value = json!({ key: "[1]" });
            let text = value.to_string();
            assert_eq!(text, format!("{{{}:\"[1]\"}}", Value::from(key)));
            let raw = RawValue::from_string(text.clone()).unwrap();
            assert_eq!(serde_json::to_string(&raw).unwrap(), text);
        }
    }
}
