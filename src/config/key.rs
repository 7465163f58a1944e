//! The keys of settings, and suggestions for unknown ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Source;

const PREFIX: &str = "CIRCLED_";

/// Returns the provider of webhooks that a key is about, and its setting: `stripe` and `secrets` for
/// `webhooks.stripe.secrets`.
pub(super) fn provider_setting(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("webhooks.")?.split_once('.')
}

/// Returns the key that a variable of the environment sets, if it is one of ours.
pub(super) fn of_variable(name: &str, value: &str) -> Option<String> {
    let key = name.strip_prefix(PREFIX)?;
    (!is_service_link(key, value)).then(|| key.to_ascii_lowercase().replace("__", "."))
}

/// Returns the message about an unknown key.
pub(super) fn unknown(key: &str, source: &Source, known: &BTreeMap<String, Json>) -> String {
    let sections: BTreeSet<&str> = known.keys().filter_map(|key| section(key)).collect();
    if sections.contains(key) {
        return format!("is a section: write [{key}], and its settings below it");
    }
    let spelled = |key: &str| match source {
        Source::Environment(_) => {
            format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
        }
        Source::Default | Source::File(_) => key.to_owned(),
    };
    // The right name in a wrong section is meant more often than another name in a section like it.
    let by_name = nearest(
        name(key),
        4,
        known.keys().map(|key| (key.as_str(), name(key))),
    );
    let whole = nearest(key, 3, known.keys().map(|key| (key.as_str(), key.as_str())));
    let section = nearest(key, 3, sections.into_iter().map(|name| (name, name)));
    match (whole.or(by_name), section) {
        (Some(meant), _) => format!(
            "there is no such setting; did you mean `{}`?",
            spelled(meant)
        ),
        (None, Some(meant)) => format!("there is no such section; did you mean [{meant}]?"),
        (None, None) => "there is no such setting; `circled config show` lists all".to_owned(),
    }
}

/// Returns the message about an unknown key of a table that has the `known` ones.
pub(super) fn unknown_of(key: &str, known: &[&str]) -> String {
    match nearest(key, 3, known.iter().map(|known| (*known, *known))) {
        Some(meant) => format!("there is no such setting; did you mean `{meant}`?"),
        None => format!("there is no such setting; there are {}", known.join(", ")),
    }
}

/// Returns the keys in the order of a TOML text.
pub(super) fn in_order(text: &str, known: &BTreeMap<String, Json>) -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
        } else if let Some((name, _)) = line.split_once('=') {
            let key = format!("{section}.{}", name.trim());
            keys.extend(known.contains_key(&key).then_some(key));
        }
    }
    keys
}

/// Returns true for the variables that Kubernetes sets in every container for each service of its namespace: one that
/// is named circled makes `CIRCLED_PORT=tcp://...`, `CIRCLED_SERVICE_HOST` and more.
fn is_service_link(key: &str, value: &str) -> bool {
    let named = ["SERVICE_HOST", "SERVICE_PORT", "_TCP_", "_UDP_", "_SCTP_"];
    let valued = ["tcp://", "udp://", "sctp://"];
    !key.contains("__")
        && (named.iter().any(|part| key.contains(part))
            || valued.iter().any(|scheme| value.starts_with(scheme)))
}

/// Returns the candidate whose second half is nearest to `text`, if one is near: one letter in `share` may be wrong,
/// and one more.
fn nearest<'a>(
    text: &str,
    share: usize,
    candidates: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    candidates
        .map(|(candidate, compared)| (strsim::damerau_levenshtein(text, compared), candidate))
        .filter(|(distance, _)| *distance <= text.len() / share + 1 && *distance < text.len())
        .min()
        .map(|(_, candidate)| candidate)
}

fn section(key: &str) -> Option<&str> {
    key.rsplit_once('.').map(|(section, _)| section)
}

fn name(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        let known: BTreeMap<_, _> = [
            "server.listen",
            "session.max_batch",
            "session.max_in_flight",
        ]
        .map(|key| (key.to_owned(), json!(1)))
        .into();
        let file = Source::File("circled.toml".into());
        let environment = Source::Environment("CIRCLED_".to_owned());
        for (key, source, expected) in [
            ("session.max_bach", &file, "`session.max_batch`?"),
            ("listen", &file, "`server.listen`?"),
            ("session.listen", &file, "`server.listen`?"),
            ("server_listen", &environment, "`CIRCLED_SERVER__LISTEN`?"),
            ("sesion", &file, "[session]?"),
            ("session", &file, "write [session]"),
            ("port", &file, "lists all"),
            ("x", &file, "lists all"),
        ] {
            let message = unknown(key, source, &known);
            assert!(message.contains(expected), "{key}: {message}");
        }
    }

    #[test]
    fn variables_of_kubernetes_are_no_settings() {
        for (name, value) in [
            ("CIRCLED_PORT", "tcp://10.0.0.1:8080"),
            ("CIRCLED_SERVICE_HOST", "10.0.0.1"),
            ("CIRCLED_SERVICE_PORT_WS", "8080"),
            ("CIRCLED_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("CIRCLED_PORT_8080_TCP_PROTO", "tcp"),
            ("CIRCLED_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("HOME", "/root"),
        ] {
            assert_eq!(of_variable(name, value), None, "{name}");
        }
        for (name, value, key) in [
            ("CIRCLED_PORT", "8080", "port"),
            ("CIRCLED_SERVER__LISTEN", "tcp://x", "server.listen"),
        ] {
            assert_eq!(of_variable(name, value).as_deref(), Some(key));
        }
    }
}
