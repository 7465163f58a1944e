//! Merges layers of settings: the values of a later one replace those of an earlier one.

use circled_json::Json;
use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use serde_json::Value as JsonValue;

/// A layer of tables in tables.
#[derive(Debug, Clone)]
struct Layer {
    name: &'static str,
    values: JsonValue,
}

/// Merges these layers, the first one first. Lists are replaced, tables are merged.
///
/// # Errors
/// A layer is no table.
pub(super) fn merge<const N: usize>(
    layers: [(&'static str, JsonValue); N],
) -> Result<JsonValue, ConfigError> {
    let mut builder = Config::builder();
    for (name, values) in layers {
        builder = builder.add_source(Layer { name, values });
    }
    let merged: Json = builder.build()?.try_deserialize()?;
    Ok(merged.0)
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        value(self.name, &self.values).into_table()
    }
}

fn value(layer: &str, json: &JsonValue) -> Value {
    let origin = layer.to_owned();
    let kind = match json {
        JsonValue::Null => ValueKind::Nil,
        JsonValue::Bool(yes) => ValueKind::Boolean(*yes),
        JsonValue::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or_default()),
        },
        JsonValue::String(text) => ValueKind::String(text.clone()),
        JsonValue::Array(items) => {
            ValueKind::Array(items.iter().map(|item| value(layer, item)).collect())
        }
        JsonValue::Object(table) => {
            let entries = table.iter();
            ValueKind::Table(
                entries
                    .map(|(name, entry)| (name.clone(), value(layer, entry)))
                    .collect(),
            )
        }
    };
    Value::new(Some(&origin), kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn later_layers_replace_values_and_keep_the_rest() {
        let defaults = json!({
            "a": { "b": 1, "List": [1, 2], "none": [] },
            "big": u64::MAX,
        });
        let set = json!({ "a": { "b": "two", "List": [] }, "e-f": { "g_h": [{ "i": 1.5 }] } });
        let merged = merge([("defaults", defaults), ("set", set)]).unwrap();
        assert_eq!(
            merged,
            json!({
                "a": { "b": "two", "List": [], "none": [] },
                "big": u64::MAX,
                "e-f": { "g_h": [{ "i": 1.5 }] },
            })
        );
    }
}
