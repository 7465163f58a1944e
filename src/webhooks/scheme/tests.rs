use axum::http::HeaderMap;
use jiff::Timestamp;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::webhooks::Preset;

/// Vectors from the providers' own libraries and documentation.
const VECTORS: &str = include_str!("../../../tests/vectors/webhooks.json");
const TOLERANCE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Vector {
    provider: Preset,
    source: String,
    secret: String,
    now: Option<i64>,
    body: String,
    headers: std::collections::BTreeMap<String, String>,
}

impl Vector {
    fn all() -> Vec<Self> {
        circled_json::from_str(VECTORS).unwrap()
    }

    fn now(&self) -> i64 {
        self.now.unwrap_or(1_800_000_000)
    }

    fn headers(&self) -> HeaderMap {
        let pair = |(name, value): (&String, &String)| {
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        self.headers.iter().map(pair).collect()
    }

    fn check(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), Unsigned> {
        let scheme = self.provider.scheme().unwrap();
        let keys = [scheme.key(&Secret::new(self.secret.as_str())).unwrap()];
        check(&scheme, headers, body, now, &keys)
    }

    /// Returns the headers with the value of each that is part of the signature changed.
    fn with(&self, change: impl Fn(&str) -> String) -> Vec<HeaderMap> {
        let scheme = self.provider.scheme().unwrap();
        let headers = self.headers();
        let is_signed = |name: &HeaderName| {
            scheme.headers.iter().any(|names| {
                *name == names.signature
                    || names.timestamp.as_ref() == Some(name)
                    || names.id.as_ref() == Some(name)
            })
        };
        let names = headers.keys().filter(|name| is_signed(name));
        let changed = names.map(|name| {
            let mut changed = headers.clone();
            let value = change(headers[name].to_str().unwrap());
            changed.insert(name, value.parse().unwrap());
            changed
        });
        changed.collect()
    }
}

fn check(
    scheme: &Scheme,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
    keys: &[Key],
) -> Result<(), Unsigned> {
    let now = Timestamp::from_second(now).unwrap();
    let signed = scheme.read_headers(headers, now, TOLERANCE)?;
    scheme.verify(&signed, body, keys)
}

fn stripe() -> Vector {
    let mut all = Vector::all().into_iter();
    all.find(|vector| vector.provider == Preset::Stripe)
        .unwrap()
}

#[test]
fn requests_signed_by_providers_are_accepted() {
    let vectors = Vector::all();
    for preset in Preset::all().iter().copied() {
        assert!(
            vectors.iter().any(|vector| vector.provider == preset),
            "{preset:?}"
        );
    }
    for vector in vectors {
        let checked = vector.check(&vector.headers(), vector.body.as_bytes(), vector.now());
        assert_eq!(checked, Ok(()), "{}", vector.source);
    }
}

#[test]
fn no_bit_of_the_body_can_be_changed() {
    for vector in Vector::all() {
        let headers = vector.headers();
        let body = vector.body.as_bytes();
        for bit in 0..body.len() * 8 {
            let mut body = body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let checked = vector.check(&headers, &body, vector.now());
            assert_eq!(
                checked,
                Err(Unsigned::Wrong),
                "{}: bit {bit}",
                vector.source
            );
        }
        for body in [
            &body[1..],
            &body[..body.len() - 1],
            &[body, b" "].concat(),
            b"",
        ] {
            let checked = vector.check(&headers, body, vector.now());
            assert_eq!(checked, Err(Unsigned::Wrong), "{}", vector.source);
        }
    }
}

#[test]
fn no_character_of_the_headers_can_be_changed() {
    for vector in Vector::all() {
        let body = vector.body.as_bytes();
        for n in 0..vector.headers.values().map(String::len).max().unwrap() {
            let other = |text: &str| {
                let mut bytes = text.as_bytes().to_vec();
                if let Some(byte) = bytes.get_mut(n) {
                    *byte = if *byte == b'0' { b'1' } else { b'0' };
                }
                String::from_utf8(bytes).unwrap()
            };
            for headers in vector.with(other) {
                // Stripe's header has signatures that aren't read, and others that are wrong.
                let is_of_no_account = headers == vector.headers()
                    || (vector.provider == Preset::Stripe
                        && !(0..=12).contains(&n)
                        && !(80..=148).contains(&n));
                let checked = vector.check(&headers, body, vector.now());
                assert_eq!(
                    checked.is_ok(),
                    is_of_no_account,
                    "{}: {n} {headers:?}",
                    vector.source
                );
            }
        }
    }
}

#[test]
fn missing_repeated_and_misshapen_headers_are_refused() {
    for vector in Vector::all() {
        let (body, now) = (vector.body.as_bytes(), vector.now());
        let signed = vector.with(str::to_owned);
        assert!(!signed.is_empty());
        for (name, _) in &vector.headers() {
            let mut headers = vector.headers();
            let value = headers.remove(name).unwrap();
            let without = vector.check(&headers, body, now);
            headers.append(name, value.clone());
            headers.append(name, value);
            let twice = vector.check(&headers, body, now);
            if name.as_str().starts_with("x-shopify-event") || name == "x-shopify-topic" {
                // The header is no part of the signature.
                assert_eq!([without, twice], [Ok(()), Ok(())]);
            } else {
                assert_eq!(without, Err(Unsigned::Missing), "{}: {name}", vector.source);
                assert_eq!(twice, Err(Unsigned::Repeated), "{}: {name}", vector.source);
            }
        }
        for change in [
            |_: &str| String::new(),
            |text: &str| format!("{text}0"),
            |text: &str| format!("0{text}"),
            |text: &str| text[..text.len() - 1].to_owned(),
            |text: &str| format!("{text}="),
            |text: &str| text.replace('=', ""),
            |text: &str| {
                text.to_uppercase()
                    .to_lowercase()
                    .replace("v1", "v2")
                    .replace("v0", "v2")
                    .replace("sha256", "sha1")
            },
        ] {
            for headers in vector.with(change) {
                if headers != vector.headers() && vector.provider != Preset::Stripe {
                    let checked = vector.check(&headers, body, now);
                    assert!(checked.is_err(), "{}: {headers:?}", vector.source);
                }
            }
        }
    }
}

#[test]
fn signatures_are_written_in_one_way_only() {
    for vector in Vector::all() {
        let scheme = vector.provider.scheme().unwrap();
        let name = vector
            .headers
            .keys()
            .find(|name| name.to_lowercase().contains("signature") || name.contains("Hmac"))
            .unwrap();
        let value = &vector.headers[name];
        let others = match scheme.encoding {
            Encoding::Base64 => vec![
                value.trim_end_matches('=').to_owned(),
                value.replace('+', "-").replace('/', "_").replace('=', ""),
            ],
            Encoding::Hex => vec![
                value.replace(['a', 'b', 'c', 'd', 'e', 'f'], "A"),
                value.to_uppercase(),
            ],
            Encoding::HexUpper | Encoding::Base64url => unreachable!("no preset has it"),
        };
        for other in others {
            let mut headers = vector.headers();
            headers.insert(name.parse::<HeaderName>().unwrap(), other.parse().unwrap());
            let checked = vector.check(&headers, vector.body.as_bytes(), vector.now());
            assert!(checked.is_err(), "{}: {other}", vector.source);
        }
    }
}

#[test]
fn old_and_early_signatures_are_stale() {
    for vector in Vector::all() {
        let Some(now) = vector.now else {
            continue;
        };
        for (later, expected) in [
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(Unsigned::Stale { seconds: 301 })),
            (-301, Err(Unsigned::Stale { seconds: -301 })),
        ] {
            let checked = vector.check(&vector.headers(), vector.body.as_bytes(), now + later);
            assert_eq!(checked, expected, "{}", vector.source);
        }
    }
}

#[test]
fn times_are_read_as_they_are_written() {
    use TimestampFormat::{Milliseconds, Rfc3339, Seconds};

    for (format, text, expected) in [
        (Seconds, "0", Some(0)),
        (Seconds, "1700000000", Some(1_700_000_000_000)),
        (Seconds, "", None),
        (Seconds, "-1", None),
        (Seconds, "+1", None),
        (Seconds, " 1", None),
        (Seconds, "1.5", None),
        (Seconds, "1e9", None),
        (Seconds, "1700000000000", None),
        (Seconds, "99999999999999999999", None),
        (Milliseconds, "1700000000123", Some(1_700_000_000_123)),
        (Milliseconds, "-1", None),
        (Milliseconds, "99999999999999999999", None),
        (Rfc3339, "2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
        (
            Rfc3339,
            "2023-11-14T23:13:20.123456+01:00",
            Some(1_700_000_000_123),
        ),
        (Rfc3339, "2023-11-14T22:13:20", None),
        (Rfc3339, "2023-11-14", None),
        (Rfc3339, "1700000000", None),
    ] {
        let read = format.read(text).map(|time| time.as_millisecond());
        assert_eq!(read, expected, "{format:?} {text}");
    }
}

#[test]
fn every_way_to_write_a_time_is_signed_and_verified() {
    for timestamp_format in [
        TimestampFormat::Seconds,
        TimestampFormat::Milliseconds,
        TimestampFormat::Rfc3339,
    ] {
        let scheme = Scheme {
            timestamp_format,
            ..Preset::Stripe.scheme().unwrap()
        };
        let secret = Secret::new("long enough");
        let signing = Signing {
            secret: &secret,
            at: Timestamp::from_second(1000).unwrap(),
            id: "",
            body: b"{}",
        };
        let headers = scheme.sign(&signing).unwrap();
        let keys = [scheme.key(&secret).unwrap()];
        assert_eq!(check(&scheme, &headers, b"{}", 1300, &keys), Ok(()));
        assert_eq!(
            check(&scheme, &headers, b"{}", 1301, &keys),
            Err(Unsigned::Stale { seconds: 301 })
        );
    }
}

#[test]
fn one_time_and_any_current_signature_of_several() {
    let vector = stripe();
    let right = "6889ac5524652003e00c50e80e6925d061d43f50768adc6c677f1b3a66a9f817";
    let wrong = "0".repeat(64);
    for (header, expected) in [
        (format!("t=1700000000,v1={right}"), Ok(())),
        (format!("v1={right},t=1700000000"), Ok(())),
        (
            format!("t=1700000000,v1={wrong},v1=nonsense,v1={right}"),
            Ok(()),
        ),
        (format!("t=1700000000,v0={right}"), Err(Unsigned::Malformed)),
        (
            format!("t=1700000000,v1={wrong},v0={right}"),
            Err(Unsigned::Wrong),
        ),
        (
            format!("t=1700000000,t=1700000000,v1={right}"),
            Err(Unsigned::Repeated),
        ),
        (format!("v1={right}"), Err(Unsigned::Malformed)),
        ("t=1700000000".to_owned(), Err(Unsigned::Malformed)),
        ("t=1700000000,v1=".to_owned(), Err(Unsigned::Wrong)),
        (
            format!("t=1700000000, v1={right}"),
            Err(Unsigned::Malformed),
        ),
        (
            format!("t=1700000000,v1={}", &right[..62]),
            Err(Unsigned::Wrong),
        ),
        (format!("t=1700000000,v1={right}00"), Err(Unsigned::Wrong)),
        (right.to_owned(), Err(Unsigned::Malformed)),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", header.parse().unwrap());
        let checked = vector.check(&headers, vector.body.as_bytes(), vector.now());
        assert_eq!(checked, expected, "{header}");
    }
}

#[test]
fn any_of_several_secrets_counts() {
    let scheme = Preset::Stripe.scheme().unwrap();
    let [old, new, other] = ["old", "new", "other"].map(Secret::new);
    let key = |secret| scheme.key(secret).unwrap();
    let keys = [key(&old), key(&new)];
    for (secret, expected) in [
        (&old, Ok(())),
        (&new, Ok(())),
        (&other, Err(Unsigned::Wrong)),
    ] {
        let signing = Signing {
            secret,
            at: Timestamp::from_second(1000).unwrap(),
            id: "",
            body: b"{}",
        };
        let headers = scheme.sign(&signing).unwrap();
        assert_eq!(check(&scheme, &headers, b"{}", 1000, &keys), expected);
        assert_eq!(
            check(&scheme, &headers, b"{}", 1000, &[]),
            Err(Unsigned::Wrong)
        );
    }
}

#[test]
fn the_names_of_one_family_are_not_mixed_with_those_of_another() {
    let mut vectors = Vector::all().into_iter();
    let vector = vectors
        .find(|vector| vector.source.starts_with("Standard"))
        .unwrap();
    let mut headers = vector.headers();
    let id = headers.remove("webhook-id").unwrap();
    headers.insert("svix-id", id);
    let checked = vector.check(&headers, vector.body.as_bytes(), vector.now());
    assert_eq!(checked, Err(Unsigned::Missing));
}

#[test]
fn a_key_is_what_the_secret_says() {
    let scheme = Preset::Standard.scheme().unwrap();
    for (secret, expected) in [
        ("whsec_AAEC", Some(vec![0, 1, 2])),
        ("AAEC", Some(vec![0, 1, 2])),
        ("whsec_", None),
        ("whsec_A", None),
        ("whsec_AAEC ", None),
    ] {
        assert_eq!(
            scheme.key(&Secret::new(secret)).ok(),
            expected.map(Key),
            "{secret}"
        );
    }
    // Stripe's key is the whole text.
    let key = Preset::Stripe
        .scheme()
        .unwrap()
        .key(&Secret::new("whsec_AAEC"));
    assert_eq!(key.unwrap(), Key(b"whsec_AAEC".to_vec()));
}

#[test]
fn every_hash_and_encoding_signs_what_it_verifies() {
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for encoding in [
            Encoding::Hex,
            Encoding::HexUpper,
            Encoding::Base64,
            Encoding::Base64url,
        ] {
            let scheme = Scheme {
                hash,
                encoding,
                ..Preset::Standard.scheme().unwrap()
            };
            let secret = Secret::new("whsec_AAEC");
            let signing = Signing {
                secret: &secret,
                at: Timestamp::from_second(1000).unwrap(),
                id: "msg",
                body: b"body",
            };
            let headers = scheme.sign(&signing).unwrap();
            let keys = [scheme.key(&secret).unwrap()];
            assert_eq!(check(&scheme, &headers, b"body", 1000, &keys), Ok(()));
            assert_eq!(
                check(&scheme, &headers, b"Body", 1000, &keys),
                Err(Unsigned::Wrong)
            );
        }
    }
}

proptest! {
    #[test]
    fn no_header_makes_the_verifier_panic(value in "[ -~]{0,200}", time in "[ -~]{0,20}", n in 0..Preset::all().len()) {
        let scheme = Preset::all()[n].scheme().unwrap();
        let mut headers = HeaderMap::new();
        let names = &scheme.headers[0];
        headers.insert(&names.signature, value.parse().unwrap());
        for name in [&names.timestamp, &names.id].into_iter().flatten() {
            headers.insert(name, time.parse().unwrap());
        }
        let keys = [Key(b"key".to_vec())];
        let checked = check(&scheme, &headers, b"{}", 1000, &keys);
        prop_assert!(checked.is_err(), "{:?}", headers);
    }

    #[test]
    fn signed_requests_are_accepted_and_no_others(
        body in prop::collection::vec(any::<u8>(), 0..200),
        other in prop::collection::vec(any::<u8>(), 0..200),
        n in 0..Preset::all().len(),
    ) {
        let scheme = Preset::all()[n].scheme().unwrap();
        let secret = Secret::new("whsec_AAECAwQFBgcICQ==");
        let signing = Signing { secret: &secret, at: Timestamp::from_second(1000).unwrap(), id: "evt_1", body: &body };
        let headers = scheme.sign(&signing).unwrap();
        let keys = [scheme.key(&secret).unwrap()];
        prop_assert_eq!(check(&scheme, &headers, &body, 1000, &keys), Ok(()));
        prop_assert_eq!(check(&scheme, &headers, &other, 1000, &keys).is_ok(), other == body);
    }
}
