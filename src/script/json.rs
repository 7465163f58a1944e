//! Values to JSON and back.

use std::cell::Cell;

use rhai::{Dynamic, Map};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::print::{self, Bounds, Unprintable};

/// Returns a JSON value as a script sees it: null is `()`, whole numbers that fit are `i64`, all others floats.
pub(super) fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(value) => Dynamic::from_bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Dynamic::from_int(number),
            (None, number) => Dynamic::from_float(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Dynamic::from_array(items.iter().map(to_dynamic).collect()),
        Value::Object(entries) => Dynamic::from_map(
            entries
                .iter()
                .map(|(key, item)| (key.as_str().into(), to_dynamic(item)))
                .collect::<Map>(),
        ),
    }
}

/// Returns the value as JSON: floats keep their fraction (`1.0`) and are null where JSON has no number for them, blobs
/// are arrays of numbers, and what has no JSON form is its printed text.
pub(super) fn to_raw(value: &Dynamic, bounds: Bounds) -> Result<Box<RawValue>, Unprintable> {
    let room = Cell::new(bounds.length);
    let too_deep = Cell::new(false);
    let json = Json {
        value,
        depth: bounds.depth,
        room: &room,
        too_deep: &too_deep,
    };
    to_raw_value(&json).map_err(|_| {
        if too_deep.get() {
            Unprintable::TooDeep
        } else {
            Unprintable::TooLong
        }
    })
}

/// Checks that the value has a JSON form that means the same; if not, returns the kind of value that hasn't.
pub(super) fn check(value: &Dynamic, depth: usize) -> Result<(), &'static str> {
    let Some(depth) = depth.checked_sub(1) else {
        // Refused by `to_raw`.
        return Ok(());
    };
    if let Ok(number) = value.as_float() {
        return if number.is_finite() {
            Ok(())
        } else {
            Err("number that isn't finite")
        };
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().try_for_each(|item| check(item, depth));
    }
    if let Ok(entries) = value.as_map_ref() {
        return entries.values().try_for_each(|item| check(item, depth));
    }
    if value.is_int()
        || value.is_unit()
        || value.is_string()
        || value.is_char()
        || value.is_bool()
        || value.is_blob()
    {
        return Ok(());
    }
    if value.is_fnptr() {
        Err("function")
    } else {
        Err("value of this type")
    }
}

struct Json<'a> {
    value: &'a Dynamic,
    depth: usize,
    room: &'a Cell<usize>,
    too_deep: &'a Cell<bool>,
}

impl Json<'_> {
    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let room = self
            .room
            .get()
            .checked_sub(bytes)
            .ok_or_else(|| E::custom("too long"))?;
        self.room.set(room);
        Ok(())
    }

    fn nested<E: Error>(&self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| {
            self.too_deep.set(true);
            E::custom("too deep")
        })
    }

    fn text<S: Serializer>(&self, text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        self.take(quoted_length(text))?;
        serializer.serialize_str(text)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Self {
            value,
            room,
            too_deep,
            ..
        } = self;
        if let Ok(number) = value.as_int() {
            self.take(20)?;
            serializer.serialize_i64(number)
        } else if value.is_unit() {
            self.take(4)?;
            serializer.serialize_unit()
        } else if let Ok(text) = value.as_immutable_string_ref() {
            self.text(&text, serializer)
        } else if let Ok(value) = value.as_bool() {
            self.take(5)?;
            serializer.serialize_bool(value)
        } else if let Ok(number) = value.as_float() {
            self.take(24)?;
            serializer.serialize_f64(number)
        } else if let Ok(items) = value.as_array_ref() {
            let depth = self.nested()?;
            self.take(2 + items.len())?;
            let mut list = serializer.serialize_seq(Some(items.len()))?;
            for value in items.iter() {
                list.serialize_element(&Json {
                    value,
                    depth,
                    room,
                    too_deep,
                })?;
            }
            list.end()
        } else if let Ok(entries) = value.as_map_ref() {
            let depth = self.nested()?;
            self.take(2)?;
            let mut object = serializer.serialize_map(Some(entries.len()))?;
            for (key, value) in entries.iter() {
                self.take(quoted_length(key) + 2)?;
                object.serialize_entry(
                    key.as_str(),
                    &Json {
                        value,
                        depth,
                        room,
                        too_deep,
                    },
                )?;
            }
            object.end()
        } else if let Ok(bytes) = value.as_blob_ref() {
            self.take(2 + 4 * bytes.len())?;
            serializer.collect_seq(bytes.iter())
        } else {
            let bounds = Bounds {
                length: self.room.get(),
                depth: self.depth,
            };
            let text = print::display(value, bounds).map_err(|_| S::Error::custom("too long"))?;
            self.text(&text, serializer)
        }
    }
}

/// Returns the length of a JSON string with its quotes and escapes.
fn quoted_length(text: &str) -> usize {
    let escapes = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..0x20 => 5,
        _ => 0,
    };
    2 + text.len() + text.bytes().map(escapes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use rhai::{Dynamic, Engine};
    use serde_json::json;

    use super::{Bounds, Unprintable, quoted_length, to_dynamic, to_raw};

    const WIDE: Bounds = Bounds {
        length: 1000,
        depth: 10,
    };

    #[test]
    fn values_become_json() {
        let engine = Engine::new();
        for (source, json) in [
            ("42", "42"),
            ("-9223372036854775807 - 1", "-9223372036854775808"),
            ("1.0", "1.0"),
            ("1e100", "1e+100"),
            ("0.1", "0.1"),
            ("0.0 / 0.0", "null"),
            ("-1.0 / 0.0", "null"),
            ("true", "true"),
            ("'c'", "\"c\""),
            ("\"a\\\"\\n\"", r#""a\"\n""#),
            ("()", "null"),
            (
                "[1, [2.0], #{b: (), a: 'x'}]",
                r#"[1,[2.0],{"a":"x","b":null}]"#,
            ),
            ("blob(2, 200)", "[200,200]"),
            ("1..3", "\"1..3\""),
            ("Fn(\"abs\")", "\"Fn(abs)\""),
            ("let x = 1; let f = || x; x", "1"),
        ] {
            let value: Dynamic = engine.eval(source).unwrap();
            assert_eq!(to_raw(&value, WIDE).unwrap().get(), json, "{source}");
        }
    }

    #[test]
    fn json_becomes_values() {
        for (json, kind) in [
            (json!(null), "()"),
            (json!(1), "i64"),
            (json!(i64::MAX), "i64"),
            (json!(i64::MIN), "i64"),
            (json!(u64::MAX), "f64"),
            (json!(1.0), "f64"),
            (json!("x"), "string"),
            (json!([1]), "array"),
            (json!({"a": 1}), "map"),
            (json!(true), "bool"),
        ] {
            assert_eq!(to_dynamic(&json).type_name(), kind, "{json}");
        }
        let value = json!({"a": [1, 2.5, null, {"b": "c"}], "d": -7});
        assert_eq!(
            to_raw(&to_dynamic(&value), WIDE).unwrap().get(),
            value.to_string()
        );
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let value = to_dynamic(&json!([[["x"]]]));
        assert_eq!(
            to_raw(
                &value,
                Bounds {
                    length: 1000,
                    depth: 2
                }
            )
            .unwrap_err(),
            Unprintable::TooDeep
        );
        assert_eq!(
            to_raw(
                &value,
                Bounds {
                    length: 5,
                    depth: 5
                }
            )
            .unwrap_err(),
            Unprintable::TooLong
        );
        for text in ["", "a\"b", "\u{0}\u{1f}\u{8}\u{c}\n", "\u{7f}ü\u{2028}"] {
            assert_eq!(
                quoted_length(text),
                serde_json::to_string(text).unwrap().len(),
                "{text:?}"
            );
        }
    }
}
