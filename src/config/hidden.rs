//! Values as people may see them: with `***` in place of secrets.

use std::net::Ipv6Addr;

use circled_protocol::is_secret_key;
use serde_json::{Value as Json, json};

use super::key;
use crate::auth::{HIDDEN, SecretSource};

/// The last parts of keys whose values are secrets. URLs need not be here: their secrets are hidden under any key.
const SECRET: [&str; 4] = ["password", "secret", "secrets", "get_tokens"];

/// The keys whose values are secrets, though others with the same last part aren't.
const SECRET_KEYS: [&str; 1] = ["server.key"];

/// The parameters of URLs that are no secrets, if the value is a word.
const HARMLESS_PARAMETERS: [&str; 2] = ["sentinelServiceName", "sentinelUsername"];

/// Returns a value as TOML writes it on one line, without the secrets in it.
pub(super) fn shown(key: &str, value: &Json) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_secret = SECRET.contains(&name) || SECRET_KEYS.contains(&key);
    match value {
        Json::String(text) if is_secret && !is_elsewhere(text) => json!(HIDDEN).to_string(),
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

/// Returns true if it names the place of a secret. A text that only looks like one may be a secret.
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

/// Returns true if a value that can't be used may be a secret in the wrong place.
pub(super) fn may_be_secret(key: &str) -> bool {
    const TELLING: [&str; 4] = ["secr", "passw", "token", "credential"];
    const HARMLESS: [&str; 4] = ["tolerance", "wait", "hash", "encoding"];

    let harmless = |setting: &str| HARMLESS.contains(&setting);
    let of_provider = key::provider_setting(key).is_some_and(|(_, setting)| !harmless(setting));
    of_provider || SECRET_KEYS.contains(&key) || TELLING.iter().any(|part| key.contains(part))
}

/// Hides in a message the secrets of the value that it is about.
pub(super) fn purged(value: &Json, message: String) -> String {
    match value {
        Json::String(text) if !text.is_empty() => message.replace(text, &without_secrets(text)),
        Json::Array(items) => items
            .iter()
            .fold(message, |message, item| purged(item, message)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => message,
    }
}

/// Returns true if it is a table, or a list of tables.
pub(super) fn holds_tables(value: &Json) -> bool {
    match value {
        Json::Object(table) => !table.is_empty(),
        Json::Array(items) => items.iter().any(holds_tables),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

/// Hides the password of a URL, and the values of its parameters. If its parts are not clear, all of it is hidden.
pub(super) fn without_secrets(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if is_word(scheme) => {
            let shown = parts_of_url(rest).unwrap_or_else(|| HIDDEN.to_owned());
            format!("{scheme}://{shown}")
        }
        Some(_) => HIDDEN.to_owned(),
        // A URL without a scheme, or with half of one.
        None if text.contains('@') => HIDDEN.to_owned(),
        None if is_secret_key(text) || text.contains("PRIVATE KEY") => HIDDEN.to_owned(),
        None => text.to_owned(),
    }
}

/// Returns the part after `scheme://` without its secrets, if its parts are clear.
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

/// Returns true if it is the number of a database of Redis. Another word in its place may be a password.
fn is_database(text: &str) -> bool {
    text.parse::<u8>().is_ok()
}

fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Returns true for `host`, `host:port` or `[::1]:port`. A port that is no number may be a password.
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
    (is_address || host == "*" || is_word(is_name)) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        for (key, value, expected) in [
            ("server.listen", json!("127.0.0.1:80"), "\"127.0.0.1:80\""),
            ("server.key", json!("hunter2-hunter2"), "\"***\""),
            ("server.key", json!("file:key"), "\"file:key\""),
            ("circle[0].key", json!("02aa"), "\"02aa\""),
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
            (
                "server.tls.certificates",
                json!([{ "cert": "c.pem", "key": "-----BEGIN PRIVATE KEY-----\nhunter2" }]),
                "[{ cert = \"c.pem\", key = \"***\" }]",
            ),
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
}
