//! The text by which a device's key proves that its holder wants it to act for a caller.

use std::str::FromStr;

use jiff::Timestamp;
use thiserror::Error;

use crate::{DeviceKey, PublicKey, Scope};

const TITLE: &str = "circled device v1";

/// The facts that the proof of a device key tells: the key acts for a caller in a circle, within a scope, until a time.
/// The device's own key signs them, so nobody can claim another's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceClaim {
    /// The circle.
    pub circle: PublicKey,
    /// The caller.
    pub caller: PublicKey,
    /// The device's key, which must sign.
    pub key: DeviceKey,
    /// The scope of the key.
    pub scope: Scope,
    /// The time of expiry, in whole seconds.
    pub expires: Timestamp,
}

/// The error of a text that is no claim of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is not the text of a device key")]
pub struct InvalidClaim;

impl DeviceClaim {
    /// Returns the text to sign.
    pub fn text(&self) -> String {
        let Self {
            circle,
            caller,
            key,
            scope,
            expires,
        } = self;
        format!(
            "{TITLE}\ncircle: {circle}\ncaller: {caller}\nkey: {key}\nscope: {scope}\nexpires: {expires}"
        )
    }

    fn parse_fields(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let circle = field("circle")?.parse().ok()?;
        let caller = field("caller")?.parse().ok()?;
        let key = field("key")?.parse().ok()?;
        let scope = field("scope")?.parse().ok()?;
        let expires: Timestamp = field("expires")?.parse().ok()?;
        (lines.next().is_none() && expires.subsec_nanosecond() == 0).then_some(Self {
            circle,
            caller,
            key,
            scope,
            expires,
        })
    }
}

/// Parses a text, to the letter: [`DeviceClaim::text`] returns exactly the text that is accepted here.
impl FromStr for DeviceClaim {
    type Err = InvalidClaim;

    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        Self::parse_fields(text)
            .filter(|claim| claim.text() == text)
            .ok_or(InvalidClaim)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{DeviceSecretKey, SecretKey};

    fn claim() -> DeviceClaim {
        let public = |seed: &str| SecretKey::from_hex(&seed.repeat(32)).unwrap().public();
        DeviceClaim {
            circle: public("01"),
            caller: public("02"),
            key: DeviceSecretKey::from_hex(&"03".repeat(32))
                .unwrap()
                .public(),
            scope: "call,subscribe".parse().unwrap(),
            expires: "2027-02-27T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_text_is_that_of_the_contract() {
        let DeviceClaim {
            circle,
            caller,
            key,
            ..
        } = claim();
        let expected = format!(
            "circled device v1\ncircle: {circle}\ncaller: {caller}\nkey: {key}\nscope: call,subscribe\nexpires: 2027-02-27T00:00:00Z"
        );
        assert_eq!(claim().text(), expected);
        assert_eq!(expected.parse(), Ok(claim()));
    }

    #[test]
    fn texts_made_by_others_are_read() {
        let vectors = circled_json::parse(include_str!("../tests/vectors/devices.json")).unwrap();
        for vector in vectors.as_array().unwrap() {
            let text = vector["claim"].as_str().unwrap();
            let claim: DeviceClaim = text.parse().unwrap();
            assert_eq!(serde_json::json!(claim.scope), vector["scope"]);
            let same = |name: &str, written: &str| assert_eq!(vector[name], Value::from(written));
            same("circle", &claim.circle.to_string());
            same("caller", &claim.caller.to_string());
            same("pubkey", &claim.key.to_string());
            same("expires", &claim.expires.to_string());
        }
    }

    #[test]
    fn a_text_that_is_not_to_the_letter_is_refused() {
        let text = claim().text();
        for wrong in [
            "",
            &format!("{text}\n"),
            &text.replace('\n', "\r\n"),
            &text.to_uppercase(),
            &text.replace("v1", "v2"),
            &text.replace("device", "login"),
            &text.replace("call,subscribe", "call, subscribe"),
            &text.replace("call,subscribe", "call,call"),
            &text.replace("call,subscribe", ""),
            &text.replace("00Z", "00.000Z"),
            &text.replace("00Z", "00.5Z"),
            &text.replace("00Z", "00+00:00"),
        ] {
            assert_eq!(wrong.parse::<DeviceClaim>(), Err(InvalidClaim), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_text_is_no_longer_the_same(at in 0usize..400, with in proptest::char::range(' ', '~')) {
            let text = claim().text();
            let mut changed: Vec<char> = text.chars().collect();
            let at = at % changed.len();
            changed[at] = with;
            let changed: String = changed.into_iter().collect();
            prop_assert!(changed == text || changed.parse() != Ok(claim()));
        }
    }
}
