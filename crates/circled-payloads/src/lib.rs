#![doc = include_str!("../README.md")]

mod fields;
pub mod idenfy;
mod open_enum;
mod personal;
pub mod stripe;

pub use fields::Fields;
use fields::object;
use open_enum::open_enum;
pub use personal::Personal;

#[cfg(test)]
mod testing {
    use std::fmt::Debug;

    use serde::{Serialize, de::DeserializeOwned};
    use serde_json::{Value, json};

    /// Reads `text` and checks that nothing is lost.
    pub(super) fn read<T: Serialize + DeserializeOwned>(text: &str) -> T {
        let read: T = circled_json::from_str(text).unwrap();
        let came: Value = circled_json::parse(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), came);
        read
    }

    /// Replaces each value of `text` by each of many others. Checks that a text which can still be read loses nothing,
    /// and that an error doesn't quote the value.
    pub(super) fn read_changed<T: Serialize + DeserializeOwned + Debug>(text: &str) {
        let came: Value = circled_json::parse(text).unwrap();
        let others = [
            json!(null),
            json!("Eve"),
            json!(-0.5),
            json!(10.0),
            json!(u64::MAX),
            json!(true),
            json!([]),
            json!({}),
            json!(["Eve", null, 1]),
            json!({ "Eve": null, "object": "Eve" }),
        ];
        for place in places(&came) {
            for other in others.iter().map(Some).chain([None]) {
                let mut changed = came.clone();
                change(&mut changed, &place, other);
                match circled_json::from_value::<T>(changed.clone()) {
                    Ok(read) => assert_eq!(serde_json::to_value(&read).unwrap(), changed),
                    Err(error) => assert!(!error.to_string().contains("Eve"), "{error}"),
                }
            }
        }
    }

    /// Returns the JSON pointers to everything in `value`.
    fn places(value: &Value) -> Vec<String> {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(name, v)| (name.clone(), v)).collect(),
            Value::Array(items) => (0..).map(|i: usize| i.to_string()).zip(items).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        children
            .into_iter()
            .flat_map(|(name, child)| {
                let below = places(child).into_iter();
                let here = format!("/{name}");
                std::iter::once(here.clone())
                    .chain(below.map(move |place| format!("{here}{place}")))
            })
            .collect()
    }

    fn change(value: &mut Value, place: &str, other: Option<&Value>) {
        if let Some(other) = other {
            *value.pointer_mut(place).unwrap() = other.clone();
        } else {
            let (parent, name) = place.rsplit_once('/').unwrap();
            match value.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.remove(name)),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}
