//! Origins of servers and web pages.

use std::{fmt, str::FromStr};

use http::Uri;
use thiserror::Error;

/// The scheme, host and port of a server or a web page, normalized: lowercase, without the default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    web: bool,
    authority: String,
}

/// The error of a text that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an origin: expected a scheme and a host, like \"wss://circles.example.org\"")]
pub struct InvalidOrigin;

impl Origin {
    /// Returns the origin of a `ws://` or `wss://` address; its path is ignored.
    ///
    /// # Errors
    /// It is another address.
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

    /// Returns the host and the port, without the scheme's default port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns true for a server (`ws`, `wss`), false for a web page (`http`, `https`).
    pub fn is_socket(&self) -> bool {
        !self.web
    }

    /// Returns true if the connection is encrypted (`wss`, `https`).
    pub fn is_secure(&self) -> bool {
        self.secure
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
        // A colon without a port, or with a number that is too large.
        None => Err(InvalidOrigin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
