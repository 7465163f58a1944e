//! Values of settings: from TOML to JSON, which serde reads, and back to what people read.

use std::collections::BTreeMap;

use config::{Config, Value, ValueKind};
use serde_json::{Value as Json, json};

use crate::auth::HIDDEN;

/// The last part of a key that makes its value nobody's business. URLs need not be here: their
/// passwords are hidden wherever they stand.
const SECRET: [&str; 4] = ["password", "secret", "secrets", "get_tokens"];

/// Every value with its dotted key. Lists are values, and so is a table with nothing in it.
pub(super) fn leaves(config: Config) -> BTreeMap<String, Json> {
    let mut into = BTreeMap::new();
    walk("", json_of(config.cache), &mut into);
    into
}

/// Puts dotted keys back into tables.
pub(super) fn tree(values: &BTreeMap<String, Json>) -> Json {
    let mut root = json!({});
    for (key, value) in values {
        let mut table = &mut root;
        for part in key.split('.') {
            table = &mut table[part];
        }
        *table = value.clone();
    }
    root
}

/// A value as TOML writes it on one line, without what is secret in it.
pub(super) fn shown(key: &str, value: &Json) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    match value {
        Json::String(text) if SECRET.contains(&name) && !is_elsewhere(text) => {
            json!(HIDDEN).to_string()
        }
        Json::String(text) => json!(without_password(text)).to_string(),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(name, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(table) if table.is_empty() => "{}".to_owned(),
        Json::Object(table) => {
            let members: Vec<String> = table
                .iter()
                .map(|(key, value)| {
                    // What is secret is so with everything in it.
                    let about = if SECRET.contains(&name) { name } else { key };
                    format!("{key} = {}", shown(about, value))
                })
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

/// serde's complaint in words for people: what would be right.
pub(super) fn expected(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "must be an IP address and a port, like \"127.0.0.1:8080\"".to_owned();
    }
    let Some((_, what)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let what = match what {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        other => other,
    };
    format!("must be {}", what.replace('`', "\""))
}

fn walk(prefix: &str, value: Json, into: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(table) if prefix.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                let key = if prefix.is_empty() {
                    key
                } else {
                    format!("{prefix}.{key}")
                };
                walk(&key, value, into);
            }
        }
        leaf @ (Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::String(_)
        | Json::Array(_)
        | Json::Object(_)) => {
            into.insert(prefix.to_owned(), leaf);
        }
    }
}

fn json_of(value: Value) -> Json {
    match value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(yes) => json!(yes),
        ValueKind::I64(number) => json!(number),
        ValueKind::I128(number) => json!(number.to_string()),
        ValueKind::U64(number) => json!(number),
        ValueKind::U128(number) => json!(number.to_string()),
        ValueKind::Float(number) => json!(number),
        ValueKind::String(text) => json!(text),
        ValueKind::Array(items) => items.into_iter().map(json_of).collect(),
        ValueKind::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, json_of(value)))
            .collect(),
    }
}

/// Where a secret is kept is none.
fn is_elsewhere(text: &str) -> bool {
    text.is_empty() || text.starts_with("env:") || text.starts_with("file:")
}

/// Hides the password in `scheme://user:password@host`. A password may hold any character, so it ends
/// at the last @ there is: rather too much hidden than too little.
fn without_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let (login, host) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:{HIDDEN}@{host}"))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        for (key, value, expected) in [
            ("server.listen", json!("127.0.0.1:80"), "\"127.0.0.1:80\""),
            (
                "redis.url",
                json!("redis://me:pass/w@rd@host:6379/0"),
                "\"redis://me:***@host:6379/0\"",
            ),
            (
                "redis.url",
                json!("redis://:p@host"),
                "\"redis://:***@host\"",
            ),
            ("redis.url", json!("redis://me@host"), "\"redis://me@host\""),
            ("hooks.secrets", json!(["a", "b"]), "[\"***\", \"***\"]"),
            ("hooks.secrets", json!([]), "[]"),
            (
                "hooks",
                json!([{ "secret": "a" }]),
                "[{ secret = \"***\" }]",
            ),
            (
                "webhooks.stripe.secrets",
                json!(["env:NAME", "file:key", "whsec_x"]),
                "[\"env:NAME\", \"file:key\", \"***\"]",
            ),
            (
                "circle[0].secrets",
                json!({ "stripe": ["env:NAME", "whsec_x"] }),
                "{ stripe = [\"env:NAME\", \"***\"] }",
            ),
            ("redis.password", json!("hunter2"), "\"***\""),
        ] {
            assert_eq!(shown(key, &value), expected);
        }
    }

    #[test]
    fn a_complaint_says_what_would_be_right() {
        for (message, expectation) in [
            (
                "invalid type: string \"many\", expected usize",
                "must be a whole number, 0 or more",
            ),
            (
                "unknown variant `xml`, expected one of `auto`, `human`",
                "must be one of \"auto\", \"human\"",
            ),
            (
                "invalid value: string \"a, expected b\", expected a duration like \"10s\"",
                "must be a duration like \"10s\"",
            ),
            ("1 KiB is too little", "1 KiB is too little"),
        ] {
            assert_eq!(expected(message), expectation);
        }
    }
}
