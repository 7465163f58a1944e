//! Addresses of clients, and how they are counted.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use axum::http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address as limits count it: one household or host has a whole IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Network(IpAddr);

/// The sender of a request, as a request extension. Behind trusted proxies, it is the one that the last of them has
/// seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) IpAddr);

/// The addresses with a common prefix, `10.0.0.0/8`; or a single one, `10.0.0.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// The first address; IPv4 is mapped to IPv6.
    first: u128,
    /// The bits that all addresses have in common, of 128.
    prefix: u32,
}

/// The reason why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRange {
    /// The text has another form.
    #[error("must be an IP address or a range of them, like \"10.0.0.7\" or \"10.0.0.0/8\"")]
    Malformed,
    /// The address has bits beyond its prefix, so the range may be smaller than meant.
    #[error("{0} begins within its range; write \"{1}\"")]
    NotTheFirst(String, AddressRange),
}

/// The reverse proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<AddressRange>);

impl Network {
    /// Returns the network of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }
}

impl AddressRange {
    fn contains(&self, address: IpAddr) -> bool {
        mask(bits(address), self.prefix) == self.first
    }
}

impl TrustedProxies {
    pub(crate) fn new(ranges: Vec<AddressRange>) -> Self {
        Self(ranges)
    }

    /// Returns true if an address is a proxy of these.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// Returns the client of a connection from `peer`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut client = peer;
        if self.has(peer) {
            // Each proxy adds the address that it has seen at the end, or as a further header.
            let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
            let hops = lines
                .map(|line| line.to_str().unwrap_or_default())
                .flat_map(|line| line.rsplit(',').map(str::trim))
                .filter(|hop| !hop.is_empty());
            for hop in hops {
                let Some(address) = hop_address(hop) else {
                    break;
                };
                client = address;
                if !self.has(address) {
                    break;
                }
            }
        }
        Client(client.to_canonical())
    }
}

/// Reads `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, with a port or without.
fn hop_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let address = text.parse().ok();
    let in_brackets = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(in_brackets).or_else(with_port)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(bits: u128, prefix: u32) -> u128 {
    bits & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => {
                let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = is_number.then(|| length.parse::<u32>().ok()).flatten();
                (address, Some(length.ok_or(InvalidRange::Malformed)?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidRange::Malformed)?;
        let (width, before) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(InvalidRange::Malformed);
        }
        let (bits, prefix) = (bits(address), before + length);
        let range = Self {
            first: mask(bits, prefix),
            prefix,
        };
        if range.first == bits {
            Ok(range)
        } else {
            Err(InvalidRange::NotTheFirst(text.to_owned(), range))
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = Ipv6Addr::from_bits(self.first);
        match first.to_ipv4_mapped() {
            Some(first) if self.prefix >= 96 => write!(f, "{first}/{}", self.prefix - 96),
            _ => write!(f, "{first}/{}", self.prefix),
        }
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::units::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusting(ranges: &[&str]) -> TrustedProxies {
        TrustedProxies::new(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn ranges_are_written_as_everywhere() {
        for (range, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.4/30", "10.1.2.7", "10.1.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.7", "::10.0.0.7"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::/0", "203.0.113.9", ""),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            assert!(parsed.contains(address(inside)), "{range}");
            if !outside.is_empty() {
                assert!(!parsed.contains(address(outside)), "{range}");
            }
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{range}");
        }
        for wrong in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "localhost",
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
        ] {
            let parsed = wrong.parse::<AddressRange>();
            assert_eq!(parsed, Err(InvalidRange::Malformed), "{wrong}");
        }
        let within = "10.0.0.7/8".parse::<AddressRange>().unwrap_err();
        assert_eq!(
            within.to_string(),
            "10.0.0.7/8 begins within its range; write \"10.0.0.0/8\""
        );
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let here = "10.0.0.7";
        for (trusted, peer, lines, expected) in [
            (
                &["10.0.0.0/24"][..],
                here,
                &["198.51.100.9, 203.0.113.7", "10.0.0.8"][..],
                "203.0.113.7",
            ),
            (&[], here, &["203.0.113.7"], here),
            (&["10.0.0.7"], "192.0.2.1", &["203.0.113.7"], "192.0.2.1"),
            (&["10.0.0.7"], here, &[], here),
            (
                &["10.0.0.7"],
                "::ffff:10.0.0.7",
                &["::ffff:203.0.113.7"],
                "203.0.113.7",
            ),
            // Some proxies write ports and brackets.
            (&["10.0.0.7"], here, &["203.0.113.7:4711"], "203.0.113.7"),
            (&["10.0.0.7"], here, &["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["10.0.0.7"], here, &["[2001:db8::1]"], "2001:db8::1"),
            (&["10.0.0.7"], here, &["2001:db8::1"], "2001:db8::1"),
            (
                &["10.0.0.7"],
                here,
                &["\"[2001:db8::1]:4711\""],
                "2001:db8::1",
            ),
            // An element of a list may be empty.
            (&["10.0.0.7"], here, &["203.0.113.7, ,", ""], "203.0.113.7"),
            // An element that can't be read names nobody, and earlier ones can't be trusted.
            (&["10.0.0.7"], here, &["203.0.113.7, unknown"], here),
            (
                &["10.0.0.0/24"],
                here,
                &["203.0.113.7, x", "10.0.0.9"],
                "10.0.0.9",
            ),
            // All are proxies: the furthest one counts.
            (&["10.0.0.0/24"], here, &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&X_FORWARDED_FOR, line.parse().unwrap());
            }
            let Client(client) = trusting(trusted).client(address(peer), &headers);
            assert_eq!(client, address(expected), "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_household_is_one() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let is_same = Network::of(address(one)) == Network::of(address(other));
            assert_eq!(is_same, same, "{one} {other}");
        }
    }
}
