//! `to_json` and `parse_json`.

use std::fmt;

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Module, Position};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{Failed, native, text::with_map, unprintable};
use crate::script::{Limits, budget, json, print::Bounds};

/// Bytes that count as one operation.
const BYTES_PER_OPERATION: usize = 256;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let bounds = Bounds {
        length: limits.max_string.get(),
        depth: limits.max_result_depth.get(),
    };
    native!(module, pure: true, "to_json", move |map: &mut Map| {
        let raw = with_map(map, |value| json::to_raw(value, bounds)).map_err(unprintable)?;
        budget::charge(raw.get().len() / BYTES_PER_OPERATION)?;
        Ok::<ImmutableString, Failed>(raw.get().into())
    });
    native!(module, pure: true, "parse_json", |text: ImmutableString| {
        budget::charge(text.len() / BYTES_PER_OPERATION)?;
        match circled_json::from_str(&text) {
            Ok(Parsed(value)) => Ok(value),
            Err(error) => {
                let message = format!("invalid JSON: {error}");
                Err::<Dynamic, Failed>(EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into())
            }
        }
    });
}

/// Parses stored JSON.
pub(super) fn parsed(json: &[u8]) -> Result<Dynamic, Failed> {
    budget::charge(json.len() / BYTES_PER_OPERATION)?;
    match circled_json::from_slice(json) {
        Ok(Parsed(value)) => Ok(value),
        Err(error) => {
            let message = format!("the stored value can't be read: {error}");
            Err(EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into())
        }
    }
}

/// JSON straight into a script's values, one operation each, so that a limit stops it midway.
struct Parsed(Dynamic);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(Dynamic::from_bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(Dynamic::from_int(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a script has no larger whole numbers; the nearest float is what JSON means"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value)
            .map_or_else(|_| Dynamic::from_float(value as f64), Dynamic::from_int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(Dynamic::from_float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Dynamic, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = rhai::Array::new();
        while let Some(Parsed(item)) = items.next_element()? {
            charge()?;
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some((key, Parsed(item))) =
            entries.next_entry::<std::borrow::Cow<'de, str>, _>()?
        {
            charge()?;
            map.insert(key.as_ref().into(), item);
        }
        Ok(Dynamic::from_map(map))
    }
}

/// The budget remembers that it stopped the run, so it is all right that JSON errors can be caught.
fn charge<E: Error>() -> Result<(), E> {
    match budget::step() {
        None => Ok(()),
        Some(_) => Err(E::custom("stopped")),
    }
}
