//! The URL that says where Redis is. Nothing in it is passed over: what isn't understood is refused, in words that have
//! nothing of the URL in them but its scheme: any other part may be a password that stands in the wrong place.

use std::borrow::Cow;

use fred::{error::ErrorKind, types::config::Config};

/// The URLs that are understood: `redis`, `redis-cluster` and `redis-sentinel`, each with TLS or without.
const EXPECTED: &str = "expected one like redis://host:6379, rediss://user:password@host:6379/1, redis-cluster://host:6379?node=host2:6379 or redis-sentinel://host:26379?sentinelServiceName=name";

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
        return Err("has a variable in it that nothing replaces: put the whole URL into the environment, as CIRCLED_DISPATCH__REDIS__URL".to_owned());
    }
    if url.contains('#') {
        return Err("has a # in it, which ends a URL: in a password, write it as %23".to_owned());
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    check_host(host)?;
    if kind == "cluster" && (!path.is_empty() || query_has(query, "db")) {
        return Err("names a database, but a cluster has only one: leave it out; dispatch.redis.namespace keeps servers apart".to_owned());
    }
    let mut database = match path {
        "" => None,
        path => Some(path.parse().map_err(|_| {
            format!("has something else than the number of a database, from 0 to 255, behind the host; {EXPECTED}")
        })?),
    };
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !parameters.contains(&&*name) {
            let number = seen.len() + 1;
            return Err(format!(
                "has a query parameter, number {number}, which is none of those for {scheme}:// ({}); in a password, a ? is written %3F",
                parameters.join(", ")
            ));
        }
        if name != "node" && seen.contains(&name) {
            return Err(format!("has the query parameter {name} twice"));
        }
        if name == "node" && !is_node(&value) {
            return Err("has a node that is not a host and port, as in node=host2:6379: write user and password only before the first host".to_owned());
        }
        if name == "db" {
            let named: u8 = value.parse().map_err(|_| {
                "db must be the number of a database, from 0 to 255, as in ?db=1".to_owned()
            })?;
            if database.is_some_and(|other| other != named) {
                return Err("names two databases, by its path and by db".to_owned());
            }
            database = Some(named);
        }
        seen.push(name);
    }
    if kind == "sentinel" && !query_has(query, "sentinelServiceName") {
        return Err(format!("names no sentinelServiceName; {EXPECTED}"));
    }
    // What the parser says may have any piece of the URL in it.
    let mut config = Config::from_url(url).map_err(|error| {
        if *error.kind() == ErrorKind::Tls {
            "asks for TLS, but the system's certificates cannot be read".to_owned()
        } else {
            format!("is not a valid URL; {EXPECTED}")
        }
    })?;
    config.database = database;
    Ok(config)
}

/// Checks `host` or `host:port`.
fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    if name.is_empty() {
        return Err(format!("names no host; {EXPECTED}"));
    }
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Err(format!(
            "has something else than a port, from 0 to 65535, behind the host: in a password, / is written %2F, ? is %3F and @ is %40; {EXPECTED}"
        ));
    }
    Ok(())
}

/// Returns whether it is `host:port`, without a login.
fn is_node(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.split_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.bytes().all(is_part) && port.parse::<u16>().is_ok()
    })
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
            ("redis://host/one", "number of a database"),
            ("redis://host/1/", "number of a database"),
            ("redis://host:x", "than a port"),
            ("redis://", "no host"),
            ("redis", "no host"),
            ("redis://user@", "no host"),
            ("redis-cluster://host?node=b", "not a host and port"),
            ("redis-cluster://host?node=u@b:1", "not a host and port"),
            ("redis-cluster://host:6379/1", "a cluster has only one"),
            ("redis-cluster://host:6379?db=1", "a cluster has only one"),
            ("redis://host?timeout=5", "number 1, which is none"),
            ("redis://host?DB=1", "number 1, which is none"),
            ("redis://host?node=b:6379", "number 1, which is none"),
            ("redis://host?db", "db must be the number"),
            (
                "redis-sentinel://host?sentinelServiceName=a&sentinelServiceName=b",
                "sentinelServiceName twice",
            ),
            ("redis-sentinel://host", "names no sentinelServiceName"),
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
            "redis-cluster://me:s3cr@host?node=me:s3cr@b:1",
            "redis-cluster://host?node=s3cr@b:1",
            "redis-cluster://host?node=b:s3cr",
            "redis-cluster://host?node=s3cr",
            "redis://host/s3cr",
            "redis://host/s3cr/1",
            "redis://host?db=s3cr",
            "redis://host?s3cr=1",
            "redis://host?s3cr",
            "redis://host:s3cr",
            "redis://s3cr r@ho st",
            "redis://me:s3cr/x@host",
            "redis-s3cr://host",
            "s3cr://host",
            "redis-sentinel://host?sentinelUsername=s3cr",
        ] {
            let error = read(url).unwrap_err();
            assert!(!error.contains("s3cr"), "{error}");
        }
    }
}
