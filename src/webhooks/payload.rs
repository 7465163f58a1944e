//! The JSON of a webhook's body: its text, and the few values of it that this server examines. It never becomes a tree
//! here, which would take up to two hundred times as much memory.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

/// The most levels of nested arrays and objects. JSON is parsed to 127 levels whenever a delivery is run, and its stored
/// form has one more around it.
pub(super) const MAX_DEPTH: usize = 126;

/// The JSON pointers (RFC 6901) to the values of a body that are examined.
#[derive(Debug, Default)]
pub(super) struct Pointers(Vec<Pointer>);

#[derive(Debug)]
struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// A body's JSON.
pub(super) struct Payload<'a> {
    /// The text, without white space between its values.
    pub(super) text: Box<RawValue>,
    pointers: &'a Pointers,
    /// The value at each pointer. An array or object is an empty one here.
    found: Vec<Option<Value>>,
}

/// The reason why a body can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing in it.
    #[error("the body is empty")]
    Empty,
    /// It is no text.
    #[error("the body is not UTF-8")]
    Encoding,
    /// It is no JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// A number is too large for JSON's readers, as 1e999 is.
    #[error("the body has a number that is out of range, like 1e999")]
    Number,
    /// It can't be stored.
    #[error("the body is nested more than 126 deep")]
    Depth,
    /// It is no form.
    #[error("the body is a form without a field")]
    NoFields,
}

/// The error of a [`Node`] that is nested too deep.
const TOO_DEEP: &str = "nested too deep";

impl Unreadable {
    fn of(error: &serde_json::Error) -> Self {
        let error = error.to_string();
        if error.starts_with("number out of range") {
            Self::Number
        } else if error.starts_with(TOO_DEEP) || error.starts_with("recursion limit") {
            Self::Depth
        } else {
            Self::NotJson
        }
    }
}

impl Pointers {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pointers: Vec<Pointer> = Vec::new();
        for text in texts {
            if pointers.iter().all(|pointer| pointer.text != text) {
                let tokens = text.split('/').skip(1);
                pointers.push(Pointer {
                    text: text.to_owned(),
                    tokens: tokens
                        .map(|token| token.replace("~1", "/").replace("~0", "~"))
                        .collect(),
                });
            }
        }
        Self(pointers)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It isn't JSON, or is nested too deep to be stored.
    pub(super) fn read(&self, text: &str) -> Result<Payload<'_>, Unreadable> {
        let mended = circled_json::mended(text);
        let text = mended.as_deref().unwrap_or(text);
        let mut found = vec![None; self.0.len()];
        let root = Node {
            pointers: &self.0,
            found: &mut found,
            through: (0..self.0.len()).collect(),
            depth: 0,
        };
        circled_json::seeded(text, root).map_err(|error| Unreadable::of(&error))?;
        let compact = RawValue::from_string(compact(text));
        Ok(Payload {
            text: compact.map_err(|error| Unreadable::of(&error))?,
            pointers: self,
            found,
        })
    }

    /// Takes a value that is no text.
    pub(super) fn of_value(&self, value: &Value) -> Option<Payload<'_>> {
        Some(Payload {
            text: to_raw_value(value).ok()?,
            pointers: self,
            found: (self.0.iter())
                .map(|pointer| value.pointer(&pointer.text).cloned())
                .collect(),
        })
    }
}

impl Payload<'_> {
    /// Returns the value at one of the pointers; an array or object without its members.
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut pointers = self.pointers.0.iter();
        let place = pointers.position(|known| known.text == pointer);
        debug_assert!(place.is_some(), "{pointer} is not among the pointers");
        self.found.get(place?)?.as_ref()
    }
}

/// Returns a text of JSON without white space between its values.
fn compact(text: &str) -> String {
    let mut compact = String::with_capacity(text.len());
    let (mut begin, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                compact.push_str(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    compact.push_str(&text[begin..]);
    compact
}

/// Reads one value: takes those at the pointers, and checks the rest.
struct Node<'a> {
    pointers: &'a [Pointer],
    found: &'a mut Vec<Option<Value>>,
    /// The places of the pointers that lead to this value, or through it.
    through: Vec<usize>,
    /// The arrays and objects around it.
    depth: usize,
}

impl Node<'_> {
    /// Takes this value for the pointers that lead to it.
    fn take(&mut self, value: impl Fn() -> Value) {
        for place in &self.through {
            if self.pointers[*place].tokens.len() == self.depth {
                self.found[*place] = Some(value());
            }
        }
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        if self.depth < MAX_DEPTH {
            Ok(())
        } else {
            Err(E::custom(TOO_DEEP))
        }
    }

    fn member(&mut self, through: Vec<usize>) -> Node<'_> {
        Node {
            pointers: self.pointers,
            found: self.found,
            through,
            depth: self.depth + 1,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        for place in &self.through {
            // Of two members of one name, the last one counts.
            self.found[*place] = None;
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.take(|| Value::Null);
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.take(|| value.into());
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.take(|| number.into());
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.take(|| number.into());
        Ok(())
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        self.take(|| number.into());
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.take(|| text.into());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        self.take(|| Value::Array(Vec::new()));
        for number in 0.. {
            let token = (!self.through.is_empty()).then(|| number.to_string());
            let through = token.map_or_else(Vec::new, |token| {
                matching(self.pointers, &self.through, self.depth, &token)
            });
            if items.next_element_seed(self.member(through))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.enter()?;
        self.take(|| Value::Object(Map::new()));
        loop {
            let name = Name {
                pointers: self.pointers,
                through: &self.through,
                depth: self.depth,
            };
            let Some(through) = members.next_key_seed(name)? else {
                return Ok(());
            };
            members.next_value_seed(self.member(through))?;
        }
    }
}

/// Returns the pointers that lead on to the member of this name.
fn matching(pointers: &[Pointer], through: &[usize], depth: usize, name: &str) -> Vec<usize> {
    let leads_on = |place: &usize| {
        pointers[*place]
            .tokens
            .get(depth)
            .is_some_and(|token| token == name)
    };
    through.iter().copied().filter(leads_on).collect()
}

/// Reads the name of a member: returns the pointers that lead on to it.
struct Name<'a> {
    pointers: &'a [Pointer],
    through: &'a [usize],
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Vec<usize>, E> {
        Ok(matching(self.pointers, self.through, self.depth, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_values_at_the_pointers_are_those_of_the_text() {
        let text = r#"{ "a": { "b": [ 1, { "c": -2 } ], "": "x" }, "a/b": 1.5, "m~n": null, "t": true,
            "twice": { "x": 1 }, "twice": { "y": 2 } }"#;
        let value = circled_json::parse(text).unwrap();
        let all = [
            "",
            "/a",
            "/a/b",
            "/a/b/0",
            "/a/b/1/c",
            "/a/b/01",
            "/a/b/2",
            "/a/",
            "/a~1b",
            "/m~0n",
            "/t",
            "/t/x",
            "/twice/x",
            "/twice/y",
            "/none",
            "/a/b/1/c/d",
        ];
        let pointers = Pointers::new(all);
        let payload = pointers.read(text).unwrap();
        for pointer in all {
            let expected = value.pointer(pointer).cloned().map(|value| match value {
                Value::Array(_) => json!([]),
                Value::Object(_) => json!({}),
                other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                    other
                }
            });
            assert_eq!(payload.pointer(pointer), expected.as_ref(), "{pointer}");
        }
        let text = payload.text.get();
        assert!(
            text.starts_with(r#"{"a":{"b":[1,{"c":-2}],"":"x"},"a/b":1.5,"#),
            "{text}"
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ \\\\\"a\n\u{e9}]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[ab \"\\\\]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_white_space_between_values_goes(value in any_value()) {
            let pointers = Pointers::default();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let payload = pointers.read(&pretty).unwrap();
            prop_assert_eq!(payload.text.get(), serde_json::to_string(&value).unwrap());
        }
    }
}
