//! The text that a caller signs to log in, written by the server and checked by the client.

use std::{fmt::Display, str::FromStr, time::Duration};

use jiff::{Timestamp, ToSpan};
use thiserror::Error;

use crate::{Origin, PublicKey};

const TITLE: &str = "circled login v1";

/// The facts that one login proves: a `key` (a caller's, or with [`DeviceKey`](crate::DeviceKey) a device's), to one server
/// (`origin`) and `circle`, until a time, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<K = PublicKey> {
    /// The origin by which clients know the server.
    pub origin: String,
    /// The session's circle.
    pub circle: PublicKey,
    /// The key that must sign.
    pub key: K,
    /// The time of expiry, in whole seconds.
    pub expires: Timestamp,
    /// Random bytes of this one text.
    pub nonce: [u8; 32],
}

/// The reason why a text must not be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChallengeError {
    /// The text could be anything, even another service's login or a payment.
    #[error("it is not a circled login text")]
    Malformed,
    /// The text is for another server: this one may be passing it on.
    #[error("it is for the server {asked}, but this connection is to {dialled}")]
    Origin {
        /// The server in the text.
        asked: String,
        /// The server that the client connected to.
        dialled: String,
    },
    /// The text is for another circle.
    #[error("it is for the circle {0}, which is not the one connected to")]
    Circle(PublicKey),
    /// The text is for another key.
    #[error("it is for the key {0}, which is not the one that signs")]
    Key(String),
}

impl<K: Display + FromStr + PartialEq> Challenge<K> {
    /// Creates a challenge that expires `ttl` after `now`, rounded up to whole seconds.
    pub fn new(
        origin: String,
        circle: PublicKey,
        key: K,
        ttl: Duration,
        now: Timestamp,
        nonce: [u8; 32],
    ) -> Self {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2);
        let until = now
            .checked_add(seconds.seconds())
            .unwrap_or(Timestamp::MAX)
            .as_second();
        let expires = Timestamp::from_second(until + i64::from(now.subsec_nanosecond() > 0))
            .unwrap_or(Timestamp::MAX);
        Self {
            origin,
            circle,
            key,
            expires,
            nonce,
        }
    }

    /// Returns the text to sign.
    pub fn text(&self) -> String {
        let Self {
            origin,
            circle,
            key,
            expires,
            nonce,
        } = self;
        let nonce = hex::encode(nonce);
        format!(
            "{TITLE}\norigin: {origin}\ncircle: {circle}\nkey: {key}\nexpires: {expires}\nnonce: {nonce}"
        )
    }

    /// Parses a text, to the letter: [`Challenge::text`] returns exactly the text that is accepted here.
    ///
    /// # Errors
    /// [`ChallengeError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ChallengeError> {
        Self::parse_fields(text)
            .filter(|challenge| challenge.text() == text)
            .ok_or(ChallengeError::Malformed)
    }

    /// Checks a text before a client signs it. A text for another server, circle or key is refused, so that a server in
    /// the middle can't pass a challenge on.
    ///
    /// # Errors
    /// The text is for another server, circle or key, or isn't a login text.
    pub fn check(
        text: &str,
        dialled: &Origin,
        circle: &PublicKey,
        key: &K,
    ) -> Result<(), ChallengeError> {
        let challenge = Self::parse(text)?;
        if challenge.origin.parse().as_ref() != Ok(dialled) {
            return Err(ChallengeError::Origin {
                asked: challenge.origin,
                dialled: dialled.to_string(),
            });
        }
        if challenge.circle != *circle {
            return Err(ChallengeError::Circle(challenge.circle));
        }
        if challenge.key != *key {
            return Err(ChallengeError::Key(challenge.key.to_string()));
        }
        Ok(())
    }

    fn parse_fields(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
        let origin = field("origin")?.to_owned();
        let circle = field("circle")?.parse().ok()?;
        let key = field("key")?.parse().ok()?;
        let expires = field("expires")?.parse().ok()?;
        let mut nonce = [0; 32];
        hex::decode_to_slice(field("nonce")?, &mut nonce).ok()?;
        lines.next().is_none().then_some(Self {
            origin,
            circle,
            key,
            expires,
            nonce,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SecretKey;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([seed; 32]))
            .unwrap()
            .public()
    }

    fn challenge() -> Challenge {
        let now = "2026-11-23T16:44:00Z".parse().unwrap();
        Challenge::new(
            "wss://circles.example.org".to_owned(),
            key(1),
            key(2),
            Duration::from_secs(60),
            now,
            [0xab; 32],
        )
    }

    #[test]
    fn the_text_reads_well_in_a_wallet() {
        let expected = format!(
            "circled login v1\norigin: wss://circles.example.org\ncircle: {}\nkey: {}\nexpires: 2026-11-23T16:45:00Z\nnonce: {}",
            key(1),
            key(2),
            "ab".repeat(32)
        );
        assert_eq!(challenge().text(), expected);
        assert_eq!(Challenge::<PublicKey>::parse(&expected), Ok(challenge()));
    }

    #[test]
    fn a_part_of_a_second_is_not_lost() {
        let now = "2026-11-23T16:44:00.25Z".parse().unwrap();
        let challenge = Challenge::new(
            String::new(),
            key(1),
            key(2),
            Duration::from_secs(60),
            now,
            [0; 32],
        );
        assert_eq!(challenge.expires.to_string(), "2026-11-23T16:45:01Z");
    }

    #[test]
    fn a_client_signs_for_its_own_server_circle_and_key_only() {
        let text = challenge().text();
        let dialled: Origin = "wss://circles.example.org:443".parse().unwrap();
        assert_eq!(Challenge::check(&text, &dialled, &key(1), &key(2)), Ok(()));

        let elsewhere: Origin = "wss://circles.example.com".parse().unwrap();
        let origin = Challenge::check(&text, &elsewhere, &key(1), &key(2));
        assert!(
            matches!(origin, Err(ChallengeError::Origin { .. })),
            "{origin:?}"
        );
        assert_eq!(
            Challenge::check(&text, &dialled, &key(3), &key(2)),
            Err(ChallengeError::Circle(key(1)))
        );
        assert_eq!(
            Challenge::check(&text, &dialled, &key(1), &key(3)),
            Err(ChallengeError::Key(key(2).to_string()))
        );
        for wrong in [
            "",
            "Some data",
            &format!("{text}\n"),
            &text.replace('\n', "\r\n"),
            &text.to_uppercase(),
            &text.replace("v1", "v2"),
        ] {
            assert_eq!(
                Challenge::check(wrong, &dialled, &key(1), &key(2)),
                Err(ChallengeError::Malformed),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(circled login v1\n)?(origin: )?\\PC*\n?(circle: )?\\PC*") {
            let _ = Challenge::<PublicKey>::parse(&text);
        }

        #[test]
        fn every_text_reads_back(origin in "wss?://[a-z.]{1,20}", seconds in 0i64..4_000_000_000, nonce: [u8; 32]) {
            let challenge = Challenge { origin, circle: key(1), key: key(2), expires: Timestamp::from_second(seconds).unwrap(), nonce };
            prop_assert_eq!(Challenge::<PublicKey>::parse(&challenge.text()), Ok(challenge));
        }

        #[test]
        fn a_changed_text_is_no_longer_the_same(at in 0usize..200, with in proptest::char::range(' ', '~')) {
            let text = challenge().text();
            let mut changed: Vec<char> = text.chars().collect();
            let at = at % changed.len();
            changed[at] = with;
            let changed: String = changed.into_iter().collect();
            prop_assert!(changed == text || Challenge::<PublicKey>::parse(&changed) != Ok(challenge()));
        }
    }
}
