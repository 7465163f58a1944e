//! Where this server is, as its clients see it, and which web pages may connect.

use std::{fmt, net::SocketAddr, str::FromStr};

use axum::http::Uri;
use thiserror::Error;

use super::AllowedPage;

/// Scheme, host and port of a server or a web page, in one spelling: lowercase, default port left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    web: bool,
    authority: String,
}

/// A text that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an origin: expected a scheme and a host, like \"wss://circles.example.org\"")]
pub struct InvalidOrigin;

impl Origin {
    /// The origin of a `ws://` or `wss://` address, whose path doesn't matter.
    pub fn of_socket(uri: &Uri) -> Result<Self, InvalidOrigin> {
        let secure = match scheme(uri).as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(InvalidOrigin),
        };
        Ok(Self {
            secure,
            web: false,
            authority: authority(uri, secure)?,
        })
    }

    /// Host and port, the port left out where it is the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether this is a server (`ws`, `wss`), not a web page (`http`, `https`).
    pub fn is_socket(&self) -> bool {
        !self.web
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let uri: Uri = text.parse().map_err(|_| InvalidOrigin)?;
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(InvalidOrigin);
        }
        match scheme(&uri).as_str() {
            "http" => Ok(Self {
                secure: false,
                web: true,
                authority: authority(&uri, false)?,
            }),
            "https" => Ok(Self {
                secure: true,
                web: true,
                authority: authority(&uri, true)?,
            }),
            _ => Self::of_socket(&uri),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.web, self.secure) {
            (false, false) => "ws",
            (false, true) => "wss",
            (true, false) => "http",
            (true, true) => "https",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// What this server answers to: its own origin, and the web pages it lets in.
#[derive(Debug, Clone)]
pub struct Origins {
    public: Option<Origin>,
    port: u16,
    allowed: Vec<AllowedPage>,
}

impl Origins {
    /// `public` is `server.public_url`; without it, the server is known by the loopback names at its
    /// own port alone.
    pub fn new(public: Option<Origin>, listen: SocketAddr, allowed: Vec<AllowedPage>) -> Self {
        Self {
            public,
            port: listen.port(),
            allowed,
        }
    }

    /// What stands in the login text. A `Host` header is believed only where it is a loopback name
    /// at the server's own port, which no other machine can answer to.
    pub fn own(&self, host: Option<&str>) -> String {
        match (&self.public, host) {
            (Some(public), _) => public.to_string(),
            (None, Some(host)) if self.is_loopback(host) => {
                format!("ws://{}", host.to_ascii_lowercase())
            }
            (None, _) => format!("ws://127.0.0.1:{}", self.port),
        }
    }

    /// Whether a request with this `Origin` header may be upgraded. Browsers always send one; other
    /// clients don't, and could claim anything anyway.
    pub fn admits(&self, header: Option<&str>) -> bool {
        let Some(header) = header else { return true };
        if !self.allowed.is_empty() {
            return self.allowed.iter().any(|page| page.is(header));
        }
        let Ok(page) = header.parse::<Origin>() else {
            return false;
        };
        match &self.public {
            Some(public) => {
                page.web && page.secure == public.secure && page.authority == public.authority
            }
            None => page.web && self.is_loopback(&page.authority),
        }
    }

    fn is_loopback(&self, authority: &str) -> bool {
        let lowercase = authority.to_ascii_lowercase();
        let (host, port) = match lowercase.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (lowercase.as_str(), Some(80)),
        };
        port == Some(self.port) && matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    }
}

fn scheme(uri: &Uri) -> String {
    uri.scheme_str().unwrap_or_default().to_ascii_lowercase()
}

fn authority(uri: &Uri, secure: bool) -> Result<String, InvalidOrigin> {
    let authority = uri.authority().ok_or(InvalidOrigin)?;
    let host = authority.host().to_ascii_lowercase();
    if host.is_empty() || authority.as_str().contains('@') {
        return Err(InvalidOrigin);
    }
    let default = if secure { 443 } else { 80 };
    match authority.port_u16() {
        Some(port) if port != default => Ok(format!("{host}:{port}")),
        Some(_) => Ok(host),
        None if authority.as_str() == authority.host() => Ok(host),
        // A colon with no port behind it, or with more than a port can be.
        None => Err(InvalidOrigin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(public: &str, allowed: &[&str]) -> Origins {
        let public = (!public.is_empty()).then(|| public.parse().unwrap());
        let allowed = allowed.iter().map(|page| page.parse().unwrap()).collect();
        Origins::new(public, "127.0.0.1:8080".parse().unwrap(), allowed)
    }

    #[test]
    fn one_spelling() {
        for (text, expected) in [
            ("WSS://Circles.Example.org:443", "wss://circles.example.org"),
            ("ws://localhost:80/", "ws://localhost"),
            ("wss://example.org:80", "wss://example.org:80"),
            ("ws://[::1]:8080", "ws://[::1]:8080"),
            ("https://app.example.org", "https://app.example.org"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), expected);
        }
        for wrong in [
            "",
            "null",
            "example.org",
            "ftp://example.org",
            "wss://",
            "wss://me@example.org",
            "wss://example.org/path",
            "wss://example.org?x",
            "wss://example.org:99999",
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(InvalidOrigin), "{wrong}");
        }
    }

    #[test]
    fn the_host_header_is_believed_for_loopback_names_only() {
        let local = origins("", &[]);
        for (host, own) in [
            ("localhost:8080", "ws://localhost:8080"),
            ("LocalHost:8080", "ws://localhost:8080"),
            ("[::1]:8080", "ws://[::1]:8080"),
            ("evil.example:8080", "ws://127.0.0.1:8080"),
            ("localhost:8081", "ws://127.0.0.1:8080"),
            ("localhost", "ws://127.0.0.1:8080"),
        ] {
            assert_eq!(local.own(Some(host)), own, "{host}");
        }
        assert_eq!(
            origins("wss://circles.example.org", &[]).own(Some("localhost:8080")),
            "wss://circles.example.org"
        );
    }

    #[test]
    fn only_known_pages_may_connect() {
        let local = origins("", &[]);
        for (page, admitted) in [
            (None, true),
            (Some("http://localhost:8080"), true),
            (Some("http://127.0.0.1:8080"), true),
            (Some("http://localhost:3000"), false),
            (Some("http://evil.example:8080"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            assert_eq!(local.admits(page), admitted, "{page:?}");
        }

        let public = origins("wss://circles.example.org", &[]);
        assert!(public.admits(Some("https://circles.example.org")));
        assert!(
            !public.admits(Some("http://circles.example.org")),
            "a page sent in the clear can be anyone's"
        );
        assert!(!public.admits(Some("https://example.org")));
        assert!(!public.admits(Some("http://localhost:8080")));

        let listed = origins("wss://circles.example.org", &["https://app.example.org"]);
        assert!(listed.admits(Some("https://app.example.org")));
        assert!(listed.admits(Some("https://APP.example.org:443")));
        assert!(
            !listed.admits(Some("https://circles.example.org")),
            "the list is the whole list"
        );
    }
}
