//! The server's own origin, and the web pages that may connect.

use std::net::SocketAddr;

use circled_protocol::Origin;

use super::AllowedPage;

/// The server's own origin, and the web pages that it admits.
#[derive(Debug, Clone)]
pub struct Origins {
    public: Option<Origin>,
    port: u16,
    /// True if this port takes TLS alone.
    is_secure: bool,
    allowed: Vec<AllowedPage>,
}

impl Origins {
    /// Creates the origins. `public` is `server.public_url`; without it, the server is known by the loopback names at
    /// its own port alone, which takes TLS if it `is_secure`. If no page is `allowed`, those of its own host are.
    pub fn new(
        public: Option<Origin>,
        listen: SocketAddr,
        is_secure: bool,
        allowed: Vec<AllowedPage>,
    ) -> Self {
        Self {
            public,
            port: listen.port(),
            is_secure,
            allowed,
        }
    }

    /// Returns the origin of the server's own pages.
    pub fn own_page(&self) -> String {
        self.own(None).replacen("ws", "http", 1)
    }

    /// Returns the origin for the login text. A `Host` header is believed only if it is a loopback name at the server's
    /// own port: no other machine can be reached under that.
    pub fn own(&self, host: Option<&str>) -> String {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        match (&self.public, host) {
            (Some(public), _) => public.to_string(),
            (None, Some(host)) if self.is_loopback(host) => {
                format!("{scheme}://{}", host.to_ascii_lowercase())
            }
            (None, _) => format!("{scheme}://127.0.0.1:{}", self.port),
        }
    }

    /// Returns true if a request with this `Origin` header may be upgraded. Browsers always send the header; other
    /// clients don't, and could send any value anyway.
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
                !page.is_socket()
                    && page.is_secure() == public.is_secure()
                    && page.authority() == public.authority()
            }
            None => {
                !page.is_socket()
                    && page.is_secure() == self.is_secure
                    && self.is_loopback(page.authority())
            }
        }
    }

    fn is_loopback(&self, authority: &str) -> bool {
        let lowercase = authority.to_ascii_lowercase();
        let (host, port) = match lowercase.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (
                lowercase.as_str(),
                Some(if self.is_secure { 443 } else { 80 }),
            ),
        };
        port == Some(self.port) && matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(public: &str, allowed: &[&str]) -> Origins {
        let public = (!public.is_empty()).then(|| public.parse().unwrap());
        let allowed = allowed.iter().map(|page| page.parse().unwrap()).collect();
        Origins::new(public, "127.0.0.1:8080".parse().unwrap(), false, allowed)
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
    fn with_tls_it_is_known_by_wss_alone() {
        let origins = Origins::new(None, "127.0.0.1:443".parse().unwrap(), true, Vec::new());
        assert_eq!(origins.own(Some("localhost:443")), "wss://localhost:443");
        assert_eq!(origins.own(Some("localhost")), "wss://localhost");
        assert_eq!(origins.own_page(), "https://127.0.0.1:443");
        assert!(origins.admits(Some("https://localhost:443")));
        assert!(origins.admits(Some("https://localhost")));
        assert!(!origins.admits(Some("http://localhost:443")));
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

    #[test]
    fn the_servers_pages_are_where_it_is() {
        for (public, page) in [
            ("", "http://127.0.0.1:8080"),
            ("wss://circles.example.org", "https://circles.example.org"),
            ("ws://wss.example.org:81", "http://wss.example.org:81"),
        ] {
            assert_eq!(origins(public, &[]).own_page(), page);
        }
    }
}
