//! Values of settings: from TOML to JSON, which serde reads, and back to what people read.

use std::{collections::BTreeMap, net::Ipv6Addr};

use circled_protocol::is_secret_key;
use config::{Config, Value, ValueKind};
use serde_json::{Value as Json, json};

use crate::auth::{HIDDEN, SecretSource};

/// The last part of a key that makes its value nobody's business. URLs need not be here: what may be
/// secret in them is hidden wherever they stand.
const SECRET: [&str; 4] = ["password", "secret", "secrets", "get_tokens"];

/// Parameters of URLs that are nobody's secret, where they are a word.
const HARMLESS_PARAMETERS: [&str; 2] = ["sentinelServiceName", "sentinelUsername"];

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
        Json::String(_) if name == "url" && !is_url(value) => json!(HIDDEN).to_string(),
        Json::String(text) => json!(without_secrets(text)).to_string(),
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
        "usize" | "u64" => "a whole number, 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "u16" => "a whole number from 0 to 65535",
        "a nonzero usize" | "a nonzero u64" => "a whole number, 1 or more",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u16" => "a whole number from 1 to 65535",
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

/// Where a secret is kept is none; but what only looks like a place may be one.
fn is_elsewhere(text: &str) -> bool {
    let is_place = matches!(
        text.parse(),
        Ok(SecretSource::Env(_) | SecretSource::File(_))
    );
    text.is_empty() || is_place
}

fn is_url(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.contains("://"))
}

/// Hides the password of a URL, and what its parameters may have to hide. Where it isn't written so that it is clear
/// which part is what, all of it is hidden: rather too much than too little.
pub(super) fn without_secrets(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if is_word(scheme) => {
            let shown = parts_of_url(rest).unwrap_or_else(|| HIDDEN.to_owned());
            format!("{scheme}://{shown}")
        }
        Some(_) => HIDDEN.to_owned(),
        // A URL without a scheme, or with half of one.
        None if text.contains('@') => HIDDEN.to_owned(),
        None if is_secret_key(text) => HIDDEN.to_owned(),
        None => text.to_owned(),
    }
}

/// What follows `scheme://`.
fn parts_of_url(rest: &str) -> Option<String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let clear = login.is_none_or(|login| !login.contains('@'))
        && is_host(host)
        && !path.contains(['@', '#']);
    if !clear {
        return None;
    }
    let mut shown = match login.map(|login| login.split_once(':')) {
        None => String::new(),
        Some(None) => format!("{HIDDEN}@"),
        Some(Some((user, _))) => format!("{user}:{HIDDEN}@"),
    };
    shown += host;
    shown += match path.strip_prefix('/') {
        Some(name) if !name.is_empty() && !is_database(name) => "/***",
        _ => path,
    };
    let mut before = '?';
    for parameter in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = parameter.split_once('=')?;
        // A password may have a ? in it, and end with an @ that is much farther on.
        let may_have_at = ["node", "sentinelPassword"].contains(&name);
        if !is_word(name) || !may_have_at && value.contains('@') {
            return None;
        }
        let harmless = match name {
            "node" => value.contains(':') && is_host(value),
            "db" => is_database(value),
            name => HARMLESS_PARAMETERS.contains(&name) && is_word(value),
        };
        let value = if harmless { value } else { HIDDEN };
        shown += &format!("{before}{name}={value}");
        before = '&';
    }
    Some(shown)
}

/// Whether it is the number that a database of Redis has. Other words in its place may be a password.
fn is_database(text: &str) -> bool {
    text.parse::<u8>().is_ok()
}

fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// `host`, `host:port` or `[::1]:port`. A port is a number, or it may be a password.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, "0"),
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_address = inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    let is_name = host.strip_prefix("*.").unwrap_or(host);
    (is_address || is_word(is_name)) && port.parse::<u16>().is_ok()
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
                "\"redis://***\"",
            ),
            (
                "redis.url",
                json!("redis://me:passw%40rd@host:6379/0?sentinelPassword=p@ss&node=b:1"),
                "\"redis://me:***@host:6379/0?sentinelPassword=***&node=b:1\"",
            ),
            (
                "redis.url",
                json!("redis://:p@host"),
                "\"redis://:***@host\"",
            ),
            (
                "redis.url",
                json!("redis://me@host"),
                "\"redis://***@host\"",
            ),
            (
                "redis.url",
                json!("redis://[::1]:1/0"),
                "\"redis://[::1]:1/0\"",
            ),
            (
                "server.allowed_origins",
                json!(["https://*.a.example:1"]),
                "[\"https://*.a.example:1\"]",
            ),
            (
                "server.public_url",
                json!("wss://circles.example.org"),
                "\"wss://circles.example.org\"",
            ),
            ("members", json!(["17".repeat(32)]), "[\"***\"]"),
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
                "webhooks.stripe.secrets",
                json!(["env:A=whsec_x", "env:whsec/x", "file:a\nb"]),
                "[\"***\", \"***\", \"***\"]",
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
    fn a_url_that_is_not_clear_is_hidden() {
        for text in [
            "redis:/me:hunter2@host",
            "redis//me:hunter2@host",
            "me:hunter2@host",
            "redis://me:hun/hunter2@host",
            "redis://me:123?hunter2@host",
            "redis://me:hunter2",
            "redis://me:x#hunter2@host",
            "redis://a@hunter2@host",
            "redis://:hunter2@host",
            "redis://hunter2@host",
            "redis://host?hunter2",
            "redis://host?node=hunter2@host",
            "redis://host?node=a:hunter2",
            "redis://host?password=hunter2",
            "redis://host?a b=hunter2",
            " hunter2://host",
            "redis://host/x@hunter2",
            "redis://host/hunter2",
            "redis://host/0/hunter2",
            "redis://host?db=hunter2",
            "redis://me:123?hunter2=x@host",
            "redis-cluster://host?node=hunter2",
            "redis-cluster://host?node=me:hunter2@b:1",
        ] {
            let shown = shown("dispatch.redis.url", &json!(text));
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
        }
        assert_eq!(shown("url", &json!("hunter2")), "\"***\"");
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
