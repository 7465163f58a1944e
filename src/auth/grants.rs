//! The grants of circles' owners for this server's key, and the proofs that it makes of them.

use std::{collections::HashMap, fmt, path::Path};

use circled_protocol::{Grant, InvalidSecretKey, Origin, Proof, ProofError, PublicKey, SecretKey};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{Circle, SecretSource, UnusableSecret};

/// The time before the end of a grant from which the server warns.
const NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The server's own key, and the circles that it speaks for. All grants fit the server; some may have expired.
#[derive(Debug, Default)]
pub struct Grants {
    key: Option<SecretKey>,
    by_circle: HashMap<PublicKey, Granted>,
}

#[derive(Debug)]
struct Granted {
    /// The circle's number in the settings file, from 0.
    number: usize,
    grant: Grant,
}

/// A grant that ends soon, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantNote {
    /// The circle's number in the settings file, from 0.
    number: usize,
    circle: PublicKey,
    ends: Timestamp,
    has_ended: bool,
}

/// A reason why a key or a grant can't be used.
#[derive(Debug, Error)]
pub(crate) enum UnusableGrant {
    #[error("{0}")]
    Key(UnusableSecret),
    #[error("is no secret key (64 hex digits): `circled keygen server.key` makes one")]
    Malformed(#[from] InvalidSecretKey),
    #[error("is not set, and circles have grants for this server's key")]
    Unset,
    #[error("needs `server.key`, the key that it is for")]
    NoKey,
    #[error("needs `server.public_url`, the origin that it is for")]
    NoOrigin,
    #[error("is for the server key {granted}, and server.key is that of {own}")]
    OtherKey { granted: PublicKey, own: PublicKey },
    #[error(transparent)]
    Invalid(#[from] ProofError),
}

/// The surroundings of the grants, beside the circles.
pub(crate) struct OfServer<'a> {
    pub(crate) key: Option<&'a SecretSource>,
    pub(crate) origin: Option<&'a Origin>,
    /// The folder of relative paths.
    pub(crate) base: &'a Path,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Grants {
    /// Reads the server's key and checks the grants of `circles`. One that has expired is no mistake, but [noted](Self::notes).
    ///
    /// # Errors
    /// All mistakes, each with the key of its setting.
    pub(crate) fn set_up(
        server: &OfServer<'_>,
        circles: &[Circle],
    ) -> Result<Self, Vec<(String, UnusableGrant)>> {
        let granted = |circle: &Circle| Some((circle.number, circle.key, circle.grant.clone()?));
        let granted: Vec<_> = circles.iter().filter_map(granted).collect();
        let key = match read_key(server) {
            Ok(None) if server.key.is_some() && !granted.is_empty() => Err(UnusableGrant::Unset),
            key => key,
        };
        let key = key.map_err(|mistake| vec![("server.key".to_owned(), mistake)])?;
        let own = key.as_ref().map(SecretKey::public);
        let mut grants = Self {
            key,
            ..Self::default()
        };
        let mut mistakes = Vec::new();
        for (number, circle, grant) in granted {
            match check(&grant, &circle, own, server.origin) {
                Ok(()) => drop(grants.by_circle.insert(circle, Granted { number, grant })),
                Err(mistake) => mistakes.push((format!("circle[{number}].grant"), mistake)),
            }
        }
        match mistakes.is_empty() {
            true => Ok(grants),
            false => Err(mistakes),
        }
    }

    /// Proves to a client that this server speaks for `circle`; `None` without a grant, or after its end.
    pub(crate) fn prove(
        &self,
        circle: &PublicKey,
        challenge: &[u8; 32],
        now: Timestamp,
    ) -> Option<Proof> {
        let key = self.key.as_ref()?;
        let Granted { grant, .. } = self.by_circle.get(circle)?;
        if now >= grant.expires {
            return None;
        }
        Proof::sign(key, grant.clone(), circle, challenge)
    }

    /// Returns the grants that end within 14 days, or have ended, in the order of the settings.
    pub fn notes(&self, now: Timestamp) -> Vec<GrantNote> {
        let near = |(circle, granted): (&PublicKey, &Granted)| {
            let ends = granted.grant.expires;
            (ends.duration_since(now) < NEAR).then_some(GrantNote {
                number: granted.number,
                circle: *circle,
                ends,
                has_ended: ends <= now,
            })
        };
        let mut notes: Vec<_> = self.by_circle.iter().filter_map(near).collect();
        notes.sort_unstable();
        notes
    }

    /// Logs for how many circles there are grants, and which of these end soon.
    pub fn announce(&self, now: Timestamp) {
        let circles = self.by_circle.len();
        if let (Some(key), true) = (&self.key, circles > 0) {
            tracing::info!(key = %key.public(), circles, "proving that this server speaks for circles");
        }
        self.warn(now);
    }

    /// Logs the grants that end soon, or have ended.
    pub fn warn(&self, now: Timestamp) {
        for note in self.notes(now) {
            let GrantNote { circle, ends, .. } = note;
            if note.has_ended {
                tracing::error!(%circle, %ends, "a grant has ended, so this server does not prove that it speaks for the circle: have its owner make a new one (`circled grant`)");
            } else {
                tracing::warn!(%circle, %ends, "a grant ends soon: have the circle's owner make a new one (`circled grant`)");
            }
        }
    }

    /// Returns true if the keys are different.
    pub fn has_other_key(&self, before: &Self) -> bool {
        let public = |grants: &Self| grants.key.as_ref().map(SecretKey::public);
        public(self) != public(before)
    }
}

impl fmt::Display for GrantNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            circle,
            ends,
            has_ended,
        } = self;
        let how = match has_ended {
            true => "has ended, so there is no proof since",
            false => "ends at",
        };
        write!(
            f,
            "circle[{number}].grant: {how} {ends}: have the owner of {circle} make a new one (`circled grant`)"
        )
    }
}

fn read_key(server: &OfServer<'_>) -> Result<Option<SecretKey>, UnusableGrant> {
    let Some(source) = server.key else {
        return Ok(None);
    };
    let found = source
        .read(server.base, server.variable)
        .map_err(UnusableGrant::Key)?;
    let key = found.map(|found| SecretKey::from_hex(found.secret.expose()));
    Ok(key.transpose()?)
}

fn check(
    grant: &Grant,
    circle: &PublicKey,
    own: Option<PublicKey>,
    origin: Option<&Origin>,
) -> Result<(), UnusableGrant> {
    let own = own.ok_or(UnusableGrant::NoKey)?;
    let origin = origin.ok_or(UnusableGrant::NoOrigin)?;
    // Whether its time is over is noted: the other circles need the server.
    grant.check(circle, origin, Timestamp::MIN)?;
    if grant.server != own {
        return Err(UnusableGrant::OtherKey {
            granted: grant.server,
            own,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_hex(&hex::encode([seed; 32])).unwrap()
    }

    fn origin() -> Origin {
        "wss://circles.example.org".parse().unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-23T16:44:00Z".parse().unwrap()
    }

    fn days(days: i64) -> SignedDuration {
        SignedDuration::from_hours(days * 24)
    }

    fn grant(origin: &str, server: u8, left: SignedDuration) -> Grant {
        let origin = origin.parse().unwrap();
        Grant::sign(&key(1), key(server).public(), &origin, now() + left).unwrap()
    }

    fn set_up(
        grant: &Grant,
        key_of_server: Option<u8>,
        has_origin: bool,
    ) -> Result<Grants, String> {
        let circle = circled_json::from_value(serde_json::json!({
            "key": key(1).public(),
            "grant": grant,
        }));
        let source: Option<SecretSource> =
            key_of_server.map(|seed| key(seed).to_hex().parse().unwrap());
        let origin = origin();
        let server = OfServer {
            key: source.as_ref(),
            origin: has_origin.then_some(&origin),
            base: Path::new(""),
            variable: &|_| None,
        };
        let mistakes = Grants::set_up(&server, &[circle.unwrap()]);
        mistakes.map_err(|mistakes| {
            let texts = mistakes
                .iter()
                .map(|(key, mistake)| format!("{key} {mistake}"));
            texts.collect()
        })
    }

    #[test]
    fn a_grant_must_fit_the_server() {
        let right = grant("wss://circles.example.org", 2, days(90));
        let grants = set_up(&right, Some(2), true).unwrap();
        let circle = key(1).public();
        let proof = grants.prove(&circle, &[7; 32], now()).unwrap();
        assert_eq!(proof.check(&circle, &origin(), &[7; 32], now()), Ok(()));
        assert!(grants.notes(now()).is_empty());
        assert!(grants.prove(&key(9).public(), &[7; 32], now()).is_none());
        assert!(grants.prove(&circle, &[7; 32], right.expires).is_none());

        let mut forged = right.clone();
        forged.expires = now() + days(900);
        let other = grant("wss://circles.example.com", 2, days(90));
        for (grant, key_of_server, has_origin, expected) in [
            (&right, None, true, "needs `server.key`"),
            (&right, Some(2), false, "needs `server.public_url`"),
            (&right, Some(3), true, "is for the server key"),
            (&forged, Some(2), true, "not signed by the circle's key"),
            (&other, Some(2), true, "not for wss://circles.example.org"),
        ] {
            let told = set_up(grant, key_of_server, has_origin).unwrap_err();
            assert!(told.starts_with("circle[0].grant "), "{told}");
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_grant_that_ends_soon_is_noted() {
        let grant = grant("wss://circles.example.org", 2, days(90));
        let grants = set_up(&grant, Some(2), true).unwrap();
        for (after, told) in [
            (days(75), None),
            (days(77), Some("circle[0].grant: ends at")),
            (days(90), Some("circle[0].grant: has ended")),
        ] {
            let notes = grants.notes(now() + after);
            let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
            assert_eq!(notes.len(), usize::from(told.is_some()), "{after}");
            assert!(
                notes
                    .iter()
                    .all(|note| note.contains(told.unwrap_or_default()))
            );
        }
    }
}
