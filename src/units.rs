//! Values of settings that no number alone can be: durations (`"250ms"`, `"10s"`, `"5m"`) and sizes (`"64KiB"`,
//! `"1MiB"`), and those that have a least value.
//!
//! Each type's `Deserialize` says what would be right, so no other code checks a single value.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// A number of bytes, from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const LEAST: usize = 1, const MOST: usize = { usize::MAX }>(usize);

/// A duration of at least `LEAST_MS` milliseconds, longer than nothing, and a year at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveDuration<const LEAST_MS: u64 = 0>(Duration);

impl<const LEAST: usize, const MOST: usize> Size<LEAST, MOST> {
    /// Returns the size, unless it is too small or too large.
    pub const fn new(bytes: usize) -> Option<Self> {
        if LEAST <= bytes && bytes <= MOST {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Returns the number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl<const LEAST_MS: u64> PositiveDuration<LEAST_MS> {
    /// Returns the duration, unless it is too short or too long.
    pub const fn new(duration: Duration) -> Option<Self> {
        let is_long_enough = duration.as_millis() >= LEAST_MS as u128 && !duration.is_zero();
        if is_long_enough && duration.as_nanos() <= duration::LONGEST.as_nanos() {
            Some(Self(duration))
        } else {
            None
        }
    }

    /// Returns the duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de, const LEAST: usize, const MOST: usize> Deserialize<'de> for Size<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = size::deserialize(deserializer)?;
        Self::new(bytes).ok_or_else(|| {
            de::Error::custom(if bytes < LEAST {
                format!("must be at least {}", size::written(LEAST))
            } else {
                format!("must be {} at most", size::written(MOST))
            })
        })
    }
}

impl<'de, const LEAST_MS: u64> Deserialize<'de> for PositiveDuration<LEAST_MS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duration = duration::deserialize(deserializer)?;
        Self::new(duration).ok_or_else(|| {
            de::Error::custom(if LEAST_MS == 0 {
                "must be longer than nothing, like \"10s\"".to_owned()
            } else {
                format!("must be at least {:?}", Duration::from_millis(LEAST_MS))
            })
        })
    }
}

/// Durations of a year at most, as jiff's friendly format reads them: `#[serde(with = "crate::units::duration")]`.
pub(crate) mod duration {
    use std::time::Duration;

    use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};
    use serde::{Deserializer, de::Error};

    use super::Text;

    /// The longest duration: an instant so far ahead can still be computed.
    pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Reads a duration. A bare number is refused, because its unit would be unclear.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let duration = deserializer.deserialize_str(Text {
            parse,
            expected: "a duration like \"250ms\", \"10s\" or \"5m\"",
        })?;
        if duration > LONGEST {
            return Err(D::Error::custom("must be a year at most"));
        }
        Ok(duration)
    }

    /// Returns the milliseconds of a duration for the log, with three decimals.
    pub(crate) fn milliseconds(duration: Duration) -> f64 {
        u64::try_from(duration.as_micros()).map_or(f64::MAX, |micros| micros as f64 / 1000.0)
    }

    /// Returns the milliseconds of a setting for the log.
    pub(crate) fn whole_milliseconds(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn parse(text: &str) -> Option<Duration> {
        let span = SpanParser::new().parse_span(text).ok()?;
        let days = SpanRelativeTo::days_are_24_hours();
        span.to_duration(days).ok()?.try_into().ok()
    }
}

/// Sizes in bytes, with a unit of 1024 (`KiB`, `MiB`, `GiB`) or of 1000 (`KB`, `MB`, `GB`), or none:
/// `#[serde(with = "crate::units::size")]`.
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

    /// Returns a size as the settings have it.
    pub(super) fn written(bytes: usize) -> String {
        match bytes {
            0 => "0B".to_owned(),
            bytes if bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
            bytes => format!("{bytes}B"),
        }
    }
}

/// Reads a value from its text.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

/// A visitor that parses a text into a value. Its errors say what is expected.
pub(crate) struct Text<'a, T> {
    pub(crate) parse: fn(&str) -> Option<T>,
    pub(crate) expected: &'a str,
}

impl<T> Visitor<'_> for Text<'_, T> {
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
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration::parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration::parse("1m 30s"), Some(Duration::from_secs(90)));
        for wrong in ["", "10", "-5s", "ten seconds", "5 parsecs"] {
            assert_eq!(duration::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_know_their_units() {
        assert_eq!(size::parse("256KiB"), Some(256 << 10));
        assert_eq!(size::parse("1MB"), Some(1_000_000));
        assert_eq!(size::parse("512"), Some(512));
        for wrong in ["", "KiB", "-1", "1 elephant"] {
            assert_eq!(size::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_told_what_would_be_right() {
        fn error<T: de::DeserializeOwned + fmt::Debug>(text: &str) -> String {
            let text = format!("{text:?}");
            circled_json::from_str::<T>(&text).unwrap_err().to_string()
        }
        assert_eq!(Size::<1>::new(0), None);
        assert!(error::<Size>("0B").starts_with("must be at least 1B"));
        assert!(error::<Size<{ 4 << 10 }>>("4095B").starts_with("must be at least 4KiB"));
        assert!(error::<Size<1, { 1 << 20 }>>("2MiB").starts_with("must be 1MiB at most"));
        assert!(error::<PositiveDuration>("0s").starts_with("must be longer than nothing"));
        assert!(error::<PositiveDuration>("366d").starts_with("must be a year at most"));
        assert!(error::<PositiveDuration<100>>("99ms").starts_with("must be at least 100ms"));
        let second = circled_json::from_str::<PositiveDuration<1000>>("\"1s\"");
        assert_eq!(second.unwrap().get(), Duration::from_secs(1));
    }
}
