//! Rules of the addresses that a server listens on, and of the circles that it serves there.

use std::net::{IpAddr, SocketAddr};

use super::{Findings, Settings};

pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    let (server, circles) = (&settings.server, &settings.circles);
    if server
        .admin_listen
        .is_some_and(|admin| collide(server.listen, admin))
    {
        findings.refuse(
            &["server.admin_listen", "server.listen"],
            "that port is taken by server.listen: choose another",
        );
    }
    if !server.tls.certificates.is_empty()
        && server
            .public_url
            .as_ref()
            .is_some_and(|url| !url.is_secure())
    {
        findings.refuse(
            &["server.public_url", "server.tls.certificates"],
            "with server.tls.certificates, clients dial wss://: write it so",
        );
    }
    if !circles.open && settings.circle.is_empty() {
        findings.refuse(
            &["circles.open", "circle"],
            "there is no circle to serve: list them as [[circle]], or set circles.open = true",
        );
    }
    if server.listen.ip().is_loopback() {
        return;
    }
    if circles.open && !circles.allow_open {
        findings.refuse(
            &["circles.open", "server.listen", "circles.allow_open"],
            "other machines can reach server.listen, and anyone who finds it may run scripts: set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true",
        );
    }
    if server.public_url.is_none() {
        findings.refuse(
            &["server.public_url", "server.listen"],
            "other machines can reach server.listen, and the text that people sign to log in must name the server: set it to what they dial, like \"wss://circles.example.org\"",
        );
    }
}

/// Returns true if two listeners need the same port of the same address.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // An unspecified address is all of its family; that of IPv6 takes IPv4 in as well.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_collide_where_they_overlap() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(collide(one, other), expected, "{one} {other}");
            assert_eq!(collide(other, one), expected, "{other} {one}");
        }
    }
}
