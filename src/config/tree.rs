//! Tables in tables, and the dotted keys of their values.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

/// Returns every value with its dotted key. Lists are values, and so is an empty table.
pub(super) fn leaves(table: &Map<String, Json>) -> BTreeMap<String, Json> {
    let mut into = BTreeMap::new();
    walk("", table, &mut into);
    into
}

/// Returns the tables in which the values have these dotted keys.
pub(super) fn tree(values: &BTreeMap<String, Json>) -> Json {
    let mut root = json!({});
    for (key, value) in values {
        put(&mut root, key, value.clone());
    }
    root
}

/// Puts a value where its dotted key says.
pub(super) fn put(root: &mut Json, key: &str, value: Json) {
    let mut at = root;
    for part in key.split('.') {
        at = &mut at[part];
    }
    *at = value;
}

fn walk(prefix: &str, table: &Map<String, Json>, into: &mut BTreeMap<String, Json>) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        match value.as_object().filter(|table| !table.is_empty()) {
            Some(table) => walk(&key, table, into),
            None => drop(into.insert(key, value.clone())),
        }
    }
}
