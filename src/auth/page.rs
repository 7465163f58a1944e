//! Web pages that may connect, as the settings name them.

use std::{fmt, str::FromStr};

use circled_protocol::Origin;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// The pages of one origin; or, as `https://*.example.org`, of every origin with one more label before that domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPage {
    /// Scheme, host and port, normalized; of the host, the part behind the `*.`.
    scheme: String,
    authority: String,
    any_label: bool,
}

/// The reason why a text names no page: it would match no origin, or every one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPage {
    /// The text isn't an origin.
    #[error(
        "{0:?} is not the origin of a web page: a scheme and a host without a path, like \"https://app.example.org\" or \"tauri://localhost\""
    )]
    Malformed(String),
    /// The text is a server's address.
    #[error(
        "{0:?} is the address of a server, but pages come over http:// or https://: write {1:?}"
    )]
    Socket(String, String),
    /// The text is `null`, the origin of any sandboxed page.
    #[error(
        "\"null\" is the Origin of every page in a sandboxed frame, so it can't be allowed: serve the page from an origin of its own, and list that"
    )]
    Null,
    /// The `*` is in another place than before a domain.
    #[error(
        "{0:?} would never match: a * stands for one whole label before a domain, like \"https://*.example.org\"; list other origins one by one"
    )]
    Wildcard(String),
}

impl AllowedPage {
    /// Returns true if an `Origin` header names this page.
    pub fn is(&self, header: &str) -> bool {
        let Some((scheme, authority)) = split(header) else {
            return false;
        };
        if scheme != self.scheme {
            return false;
        }
        if !self.any_label {
            return authority == self.authority;
        }
        let label = authority
            .strip_suffix(self.authority.as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
    }
}

/// Returns the host that an `Origin` header names, with its port unless that is the scheme's own.
pub(crate) fn host_of_page(header: &str) -> Option<Box<str>> {
    split(header).map(|(_, authority)| authority.into())
}

/// Returns the scheme, and the host with its port, normalized.
fn split(text: &str) -> Option<(String, String)> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    if !is_scheme {
        return None;
    }
    if matches!(scheme.as_str(), "http" | "https") {
        let origin: Origin = text.parse().ok()?;
        return Some((scheme, origin.authority().to_owned()));
    }
    // Browsers write other schemes in their own ways; only that there is no path is known.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    (!authority.is_empty() && authority.bytes().all(is_host))
        .then(|| (scheme, authority.to_ascii_lowercase()))
}

impl<'de> Deserialize<'de> for AllowedPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::units::parsed(deserializer)
    }
}

impl FromStr for AllowedPage {
    type Err = InvalidPage;

    fn from_str(text: &str) -> Result<Self, InvalidPage> {
        let malformed = || InvalidPage::Malformed(text.to_owned());
        if text.eq_ignore_ascii_case("null") {
            return Err(InvalidPage::Null);
        }
        let (plain, any_label) = match text.split_once("://*.") {
            Some((scheme, domain)) => (format!("{scheme}://{domain}"), true),
            None => (text.to_owned(), false),
        };
        let wildcard = || InvalidPage::Wildcard(text.to_owned());
        if plain.contains('*') {
            return Err(wildcard());
        }
        let (scheme, authority) = split(&plain).ok_or_else(malformed)?;
        if let Some(web) = match scheme.as_str() {
            "ws" => Some("http"),
            "wss" => Some("https"),
            _ => None,
        } {
            let instead = format!("{web}://{authority}");
            return Err(InvalidPage::Socket(text.to_owned(), instead));
        }
        // The `*` stands alone, directly under a top-level domain, before an address, or before a name without domains.
        let host = authority.split(':').next().unwrap_or_default();
        let is_domain = matches!(scheme.as_str(), "http" | "https")
            && (host.contains('.') || host == "localhost")
            && !host.ends_with(|last: char| last.is_ascii_digit());
        if any_label && !is_domain {
            return Err(wildcard());
        }
        Ok(Self {
            scheme,
            authority,
            any_label,
        })
    }
}

impl fmt::Display for AllowedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = if self.any_label { "*." } else { "" };
        write!(f, "{}://{any}{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_by_its_origin() {
        for (allowed, header, expected) in [
            ("https://app.example.org", "https://app.example.org", true),
            (
                "HTTPS://App.Example.org:443/",
                "https://app.example.org",
                true,
            ),
            (
                "https://app.example.org",
                "https://app.example.org:8443",
                false,
            ),
            ("https://app.example.org", "http://app.example.org", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            // Pages of apps and extensions.
            ("tauri://localhost", "tauri://localhost", true),
            ("tauri://localhost", "http://localhost", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                true,
            ),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba",
                false,
            ),
            // One label, and no more.
            ("https://*.example.org", "https://a.example.org", true),
            ("https://*.example.org", "https://a.b.example.org", false),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "https://evilexample.org", false),
            ("https://*.example.org", "https://a.example.org:8443", false),
            (
                "https://*.example.org",
                "https://a.example.org.evil.example",
                false,
            ),
            (
                "https://*.example.org",
                "https://evil.example/.example.org",
                false,
            ),
            ("https://*.example.org", "https://evil@a.example.org", false),
            ("https://*.example.org", "http://a.example.org", false),
            (
                "https://*.example.org:8443",
                "https://a.example.org:8443",
                true,
            ),
            ("http://*.localhost:3000", "http://app.localhost:3000", true),
            ("https://*.example.org", "null", false),
            ("https://*.example.org", "", false),
        ] {
            let page: AllowedPage = allowed.parse().unwrap();
            assert_eq!(page.is(header), expected, "{allowed} {header}");
            assert_eq!(page.to_string().parse(), Ok(page), "{allowed}");
        }
    }

    #[test]
    fn pages_that_match_nothing_or_everything_are_refused() {
        for wrong in [
            "",
            "app.example.org",
            "https://",
            "https://app.example.org/path",
            "https://me@app.example.org",
            "https://app.example.org:99999",
            "https://münchen.example",
            "tauri://",
            "tauri://localhost/path",
            "mailto:me@example.org",
            "1a://localhost",
        ] {
            let parsed = wrong.parse::<AllowedPage>();
            assert_eq!(
                parsed,
                Err(InvalidPage::Malformed(wrong.to_owned())),
                "{wrong}"
            );
        }
        for wrong in [
            "*",
            "*://app.example.org",
            "https://*",
            "https://*.org",
            "https://*.*.example.org",
            "https://app-*.example.org",
            "https://app.*.org",
            "https://app.example.org:*",
            "https://*.192.0.2.1",
            "chrome-extension://*",
            "tauri://*.localhost",
        ] {
            let parsed = wrong.parse::<AllowedPage>();
            assert_eq!(
                parsed,
                Err(InvalidPage::Wildcard(wrong.to_owned())),
                "{wrong}"
            );
        }
        assert_eq!("null".parse::<AllowedPage>(), Err(InvalidPage::Null));
        let socket = "wss://app.example.org".parse::<AllowedPage>().unwrap_err();
        assert!(
            socket
                .to_string()
                .ends_with("write \"https://app.example.org\""),
            "{socket}"
        );
    }
}
