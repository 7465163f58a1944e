//! Checks the head of a request by the rules of HTTP (RFC 9110): lists may have several lines, tokens any case.

use axum::http::{HeaderMap, HeaderName, Method, Version, header, uri::Authority};

/// The reason why a request can't be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAHandshake {
    /// It asks for no WebSocket, or for another version.
    NotAsked,
    /// It asks for a WebSocket in an invalid way.
    Malformed,
}

/// Returns true if a request has exactly one Host header. Before HTTP/1.1 it needs none.
pub(super) fn names_one_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            authority.is_ok_and(|authority| {
                !authority.host().is_empty() && !authority.as_str().contains('@')
            })
        }
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Checks the headers that ask for a WebSocket (RFC 6455, section 4.2.1).
///
/// # Errors
/// See [`NotAHandshake`].
pub(super) fn check(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), NotAHandshake> {
    let asks = method == Method::GET
        && version >= Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket")
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && only(headers, &header::SEC_WEBSOCKET_VERSION) == Some(b"13");
    if !asks {
        return Err(NotAHandshake::NotAsked);
    }
    let is_key = only(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(|key| {
        data_encoding::BASE64
            .decode(key)
            .is_ok_and(|key| key.len() == 16)
    });
    if !is_key {
        return Err(NotAHandshake::Malformed);
    }
    Ok(())
}

/// Returns true if a list, which may have several lines, has a token.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the value of a header that must be there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_handshake_is_read_as_http_says() {
        for (lines, expected) in [
            (
                &[("connection", "Upgrade"), ("upgrade", "websocket")][..],
                Ok(()),
            ),
            (
                &[
                    ("connection", "keep-alive, UPGRADE"),
                    ("upgrade", "WebSocket"),
                ],
                Ok(()),
            ),
            (
                &[
                    ("connection", "keep-alive"),
                    ("connection", "Upgrade"),
                    ("upgrade", "websocket"),
                ],
                Ok(()),
            ),
            (
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "h2c"),
                    ("upgrade", " foo ,\twebsocket"),
                ],
                Ok(()),
            ),
            (&[("connection", "upgrade")], Err(NotAHandshake::NotAsked)),
            (
                &[("connection", "notupgrade"), ("upgrade", "websocket")],
                Err(NotAHandshake::NotAsked),
            ),
            (
                &[("connection", "upgrade-not, x"), ("upgrade", "websocket")],
                Err(NotAHandshake::NotAsked),
            ),
            (
                &[("connection", "upgrade"), ("upgrade", "websockets")],
                Err(NotAHandshake::NotAsked),
            ),
        ] {
            let mut all = headers(lines);
            all.extend(headers(&[KEY, VERSION]));
            let found = check(&Method::GET, Version::HTTP_11, &all);
            assert_eq!(found, expected, "{lines:?}");
            for (method, version) in [
                (Method::HEAD, Version::HTTP_11),
                (Method::GET, Version::HTTP_10),
            ] {
                let found = check(&method, version, &all);
                assert_eq!(found, Err(NotAHandshake::NotAsked), "{method} {version:?}");
            }
        }
        let asking = [("connection", "upgrade"), ("upgrade", "websocket")];
        for (more, expected) in [
            (&[KEY][..], Err(NotAHandshake::NotAsked)),
            (&[KEY, VERSION, VERSION], Err(NotAHandshake::NotAsked)),
            (
                &[KEY, ("sec-websocket-version", "8")],
                Err(NotAHandshake::NotAsked),
            ),
            (&[VERSION], Err(NotAHandshake::NotAsked)),
            (&[KEY, KEY, VERSION], Err(NotAHandshake::Malformed)),
            (
                &[("sec-websocket-key", "short"), VERSION],
                Err(NotAHandshake::Malformed),
            ),
            (
                &[("sec-websocket-key", ""), VERSION],
                Err(NotAHandshake::Malformed),
            ),
        ] {
            let mut all = headers(&asking);
            for (name, value) in headers(more).iter() {
                all.append(name, value.clone());
            }
            let found = check(&Method::GET, Version::HTTP_11, &all);
            assert_eq!(found, expected, "{more:?}");
        }
    }

    #[test]
    fn a_request_is_for_one_host() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        for (version, hosts, expected) in [
            (new, &["circles.example.org"][..], true),
            (new, &["[::1]:8080"], true),
            (new, &["127.0.0.1:8080"], true),
            (new, &[], false),
            (old, &[], true),
            (old, &["a", "b"], false),
            (new, &["a", "a"], false),
            (new, &[""], false),
            (new, &["a, b"], false),
            (new, &["a/b"], false),
            (new, &["me@a"], false),
            (new, &[":80"], false),
        ] {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let found = names_one_host(version, &headers(&lines));
            assert_eq!(found, expected, "{hosts:?}");
        }
    }
}
