//! The time in which a certificate is valid (RFC 5280, section 4.1.2.5). rustls checks it for clients, but doesn't tell it.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

impl Validity {
    /// Reads it from a certificate; `None` if that is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = value(&mut &*certificate, SEQUENCE)?;
        let mut fields = value(&mut certificate, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            element(&mut fields)?;
        }
        // The serial number, the algorithm and the issuer come before it.
        for _ in 0..3 {
            element(&mut fields)?;
        }
        let mut times = value(&mut fields, SEQUENCE)?;
        Some(Self {
            begins: time(&mut times)?,
            ends: time(&mut times)?,
        })
    }
}

/// Takes the first element of DER: its tag and its value.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, short], mut rest) = der.split_first_chunk()?;
    let mut length = usize::from(short);
    if short & 0x80 != 0 {
        let (bytes, after) = rest.split_at_checked(usize::from(short & 0x7f))?;
        if bytes.len() > 3 {
            return None;
        }
        length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (value, after) = rest.split_at_checked(length)?;
    *der = after;
    Some((tag, value))
}

/// Takes the first element, which must have this tag.
fn value<'a>(der: &mut &'a [u8], expected: u8) -> Option<&'a [u8]> {
    let (tag, value) = element(der)?;
    (tag == expected).then_some(value)
}

/// Takes a time: `YYMMDDhhmmssZ` for the years from 1950 to 2049, or `YYYYMMDDhhmmssZ`.
fn time(der: &mut &[u8]) -> Option<Timestamp> {
    let (tag, digits) = element(der)?;
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let number = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let time = DateTime::new(
        year,
        number(0)?,
        number(2)?,
        number(4)?,
        number(6)?,
        number(8)?,
        0,
    );
    // "99991231235959Z" stands for no end.
    let timestamp = TimeZone::UTC.to_timestamp(time.ok()?);
    Some(timestamp.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        let head: &[u8] = match value.len() {
            0..128 => &[tag, length[1]],
            _ => &[tag, 0x82, length[0], length[1]],
        };
        [head, value].concat()
    }

    fn certificate(version: &[u8], begins: &[u8], ends: &[u8]) -> Vec<u8> {
        let times = der(SEQUENCE, &[begins, ends].concat());
        let issuer = der(SEQUENCE, &[0; 300]);
        let fields = [
            version,
            &der(2, &[1]),
            &der(SEQUENCE, &[]),
            &issuer,
            &times,
            &issuer,
        ];
        let fields = der(SEQUENCE, &fields.concat());
        der(SEQUENCE, &[fields, der(SEQUENCE, &[])].concat())
    }

    #[test]
    fn both_forms_of_times_are_read() {
        let utc = der(UTC_TIME, b"500203040506Z");
        let long = der(GENERALIZED_TIME, b"20510203040506Z");
        let never = der(GENERALIZED_TIME, b"99991231235959Z");
        let version = der(VERSION, &der(2, &[2]));
        for (version, ends, expected) in [
            (&version[..], &long, "2051-02-03T04:05:06Z"),
            (&[], &long, "2051-02-03T04:05:06Z"),
            (&version, &never, &Timestamp::MAX.to_string()),
            (
                &version,
                &der(UTC_TIME, b"491231235959Z"),
                "2049-12-31T23:59:59Z",
            ),
        ] {
            let validity = Validity::of(&certificate(version, &utc, ends)).unwrap();
            assert_eq!(validity.begins.to_string(), "1950-02-03T04:05:06Z");
            assert_eq!(validity.ends.to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        let time = der(UTC_TIME, b"260203040506Z");
        let whole = certificate(&[], &time, &time);
        assert!(Validity::of(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..end]), None, "{end}");
        }
        for wrong in [
            &b"260203040506"[..],
            b"2602030405Z",
            b"261303040506Z",
            "26020304050\u{e9}Z".as_bytes(),
            b"-60203040506Z",
        ] {
            let times = certificate(&[], &time, &der(UTC_TIME, wrong));
            assert_eq!(Validity::of(&times), None, "{wrong:?}");
        }
        assert_eq!(Validity::of(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
