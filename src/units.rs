//! Settings in human form: durations (`"250ms"`, `"10s"`, `"5m"`) and sizes (`"64KiB"`, `"1MiB"`).
//!
//! For use as `#[serde(with = "crate::units::duration")]` and `#[serde(with = "crate::units::size")]`.

use std::fmt;

use serde::de::{self, Visitor};

/// Durations, in jiff's friendly format.
pub(crate) mod duration {
    use std::time::Duration;

    use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};
    use serde::Deserializer;

    use super::Text;

    /// Reads a duration. A bare number is refused, because its unit would be unclear.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Text {
            parse,
            expected: "a duration like \"250ms\", \"10s\" or \"5m\"",
        })
    }

    /// Returns the milliseconds of a duration for the log, with three decimals.
    pub(crate) fn milliseconds(duration: Duration) -> f64 {
        u64::try_from(duration.as_micros()).map_or(f64::MAX, |micros| micros as f64 / 1000.0)
    }

    pub(crate) fn parse(text: &str) -> Option<Duration> {
        let span = SpanParser::new().parse_span(text).ok()?;
        let days = SpanRelativeTo::days_are_24_hours();
        span.to_duration(days).ok()?.try_into().ok()
    }
}

/// Sizes in bytes, with a unit of 1024 (`KiB`, `MiB`, `GiB`) or of 1000 (`KB`, `MB`, `GB`), or none.
pub(crate) mod size {
    use bytesize::ByteSize;
    use serde::Deserializer;

    use super::Text;

    /// Reads a size in bytes.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        deserializer.deserialize_str(Text {
            parse,
            expected: "a size like \"512B\", \"64KiB\" or \"1MiB\"",
        })
    }

    pub(crate) fn parse(text: &str) -> Option<usize> {
        let size: ByteSize = text.parse().ok()?;
        usize::try_from(size.as_u64()).ok()
    }
}

/// A visitor that parses a text into a value.
struct Text<T> {
    parse: fn(&str) -> Option<T>,
    expected: &'static str,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(
            super::duration::parse("250ms"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            super::duration::parse("1m 30s"),
            Some(Duration::from_secs(90))
        );
        for wrong in ["", "10", "-5s", "ten seconds", "5 parsecs"] {
            assert_eq!(super::duration::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_know_their_units() {
        assert_eq!(super::size::parse("256KiB"), Some(256 << 10));
        assert_eq!(super::size::parse("1MB"), Some(1_000_000));
        assert_eq!(super::size::parse("512"), Some(512));
        for wrong in ["", "KiB", "-1", "1 elephant"] {
            assert_eq!(super::size::parse(wrong), None, "{wrong}");
        }
    }
}
