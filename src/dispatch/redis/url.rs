//! The URL that says where Redis is. Nothing in it is passed over: what isn't understood is refused.

use std::borrow::Cow;

use fred::types::config::Config;

/// The URLs that are understood: `redis`, `redis-cluster` and `redis-sentinel`, each with TLS or without.
const EXPECTED: &str = "expected one like redis://host:6379, rediss://user:password@host:6379/1, redis-cluster://host:6379?node=host2:6379 or redis-sentinel://host:26379?sentinelServiceName=name";

/// Says why a URL of Redis can't be used.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn check_url(url: &str) -> Result<(), String> {
    read(url).map(drop)
}

/// Reads a URL of Redis. What isn't understood is refused, not passed over.
pub(super) fn read(url: &str) -> Result<Config, String> {
    let scheme = url.split("://").next().unwrap_or_default();
    let (service, kind) = scheme.split_once('-').unwrap_or((scheme, ""));
    let parameters: &[&str] = match kind {
        "" => &["db"],
        "cluster" => &["node"],
        "sentinel" => &[
            "node",
            "db",
            "sentinelServiceName",
            "sentinelUsername",
            "sentinelPassword",
        ],
        _ => return Err(EXPECTED.to_owned()),
    };
    if !matches!(service, "redis" | "rediss" | "valkey" | "valkeys") {
        return Err(EXPECTED.to_owned());
    }
    if url.contains("${") {
        return Err("has a variable in it that nothing fills in: give the whole URL in the environment, as CIRCLED_DISPATCH__REDIS__URL".to_owned());
    }
    if url.contains('#') {
        return Err("has a # in it, which ends a URL: in a password, write it as %23".to_owned());
    }
    let mut config = Config::from_url(url).map_err(|error| {
        let why = error.details().trim_end_matches('.');
        format!("{why}; {EXPECTED}")
    })?;
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let path = address
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("", |(_, path)| path);
    if kind == "cluster" && (!path.is_empty() || query_has(query, "db")) {
        return Err("names a database, and a cluster has only one: leave it out; dispatch.redis.namespace keeps servers apart".to_owned());
    }
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !parameters.contains(&&*name) {
            // It may be a part of a password, which an @ ends.
            let is_word = !query.contains('@')
                && name.len() <= 32
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let named = if is_word { &*name } else { "" };
            return Err(format!(
                "has a query parameter {named:?}, which is none of those for {scheme}:// ({})",
                parameters.join(", ")
            ));
        }
        if name != "node" && seen.contains(&name) {
            return Err(format!("has the query parameter {name} twice"));
        }
        if name == "db" {
            let database = value.parse().map_err(|_| {
                "db must be the number of a database, from 0 to 255, as in ?db=1".to_owned()
            })?;
            if config.database.is_some_and(|other| other != database) {
                return Err("names two databases, by its path and by db".to_owned());
            }
            config.database = Some(database);
        }
        seen.push(name);
    }
    Ok(config)
}

fn query_has(query: &str, name: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(other, _)| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_the_path_or_by_a_parameter() {
        for (url, expected) in [
            ("redis://host", None),
            ("redis://host:6379/", None),
            ("redis://host:6379/1", Some(1)),
            ("redis://host:6379?db=1", Some(1)),
            ("rediss://user:password@host:6379/?db=0", Some(0)),
            ("valkey://host/2?db=2", Some(2)),
            (
                "redis-sentinel://host:26379?sentinelServiceName=name&db=3&node=b:26379&node=c:26379",
                Some(3),
            ),
            ("redis-cluster://host:6379?node=b:6379&node=c:6379", None),
        ] {
            let config = read(url).unwrap();
            assert_eq!(config.database, expected, "{url}");
        }
    }

    #[test]
    fn what_isnt_understood_is_refused() {
        for (url, expected) in [
            ("redis://host?db=one", "db must be the number"),
            ("redis://host?db=256", "db must be the number"),
            ("redis://host?db=-1", "db must be the number"),
            ("redis://host?db=", "db must be the number"),
            ("redis://host/1?db=2", "two databases"),
            ("redis://host?db=1&db=1", "db twice"),
            ("redis://host/one", "expected one like"),
            ("redis-cluster://host:6379/1", "a cluster has only one"),
            ("redis-cluster://host:6379?db=1", "a cluster has only one"),
            ("redis://host?timeout=5", "\"timeout\", which is none"),
            ("redis://host?DB=1", "\"DB\", which is none"),
            ("redis://host?node=b:6379", "\"node\", which is none"),
            ("redis://host?db", "db must be the number"),
            (
                "redis-sentinel://host?sentinelServiceName=a&sentinelServiceName=b",
                "sentinelServiceName twice",
            ),
            ("redis-sentinel://host", "sentinel service name"),
            ("redis://:pass#word@host", "write it as %23"),
            ("redis://host#1", "write it as %23"),
            (
                "redis://:${REDIS_PASSWORD}@host",
                "CIRCLED_DISPATCH__REDIS__URL",
            ),
            ("redis+unix:///tmp/redis.sock", "expected one like"),
            ("http://host", "expected one like"),
            ("", "expected one like"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for url in [
            "redis://me:s3cr?t=1@host",
            "redis://me:ab?s3cr=x@host",
            "redis://me:ab?db=1&s3cr=x@host",
            "redis://host?me:s3cr=1",
            "redis://me:s3cr#t@host",
            "redis-cluster://me:s3cr@host/1",
        ] {
            let error = read(url).unwrap_err();
            assert!(!error.contains("s3cr"), "{error}");
        }
    }
}
