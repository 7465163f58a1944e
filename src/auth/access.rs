//! Which circles are served, and what a caller may do in them.

use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PublicKey, SecretSource};

/// The `[circles]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CirclesSettings {
    /// Any key names a circle, and any caller may play.
    pub open: bool,
    /// Permits `open` on an address past loopback.
    pub allow_open: bool,
}

/// One `[[circle]]` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// The circle's own key, whose holder is its owner.
    pub key: PublicKey,
    /// Who may play in it.
    #[serde(default)]
    pub members: Vec<PublicKey>,
    /// What providers sign with for this circle alone, by provider. Where there are such, no others count.
    #[serde(default)]
    pub secrets: BTreeMap<String, Vec<SecretSource>>,
}

/// What a caller is in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Proved a key, which the circle doesn't know.
    Guest,
    /// Listed by the circle.
    Member,
    /// Holds the circle's own key.
    Owner,
}

/// Answers which circles are served and who is what in them.
#[derive(Debug, Clone)]
pub struct Access {
    open: bool,
    members: HashMap<PublicKey, HashSet<PublicKey>>,
}

impl Access {
    /// From the settings.
    pub fn new(open: bool, circles: &[Circle]) -> Self {
        let mut members: HashMap<PublicKey, HashSet<PublicKey>> = HashMap::new();
        for circle in circles {
            members
                .entry(circle.key)
                .or_default()
                .extend(&circle.members);
        }
        Self { open, members }
    }

    /// Whether this server serves `circle`.
    pub fn serves(&self, circle: &PublicKey) -> bool {
        self.open || self.members.contains_key(circle)
    }

    /// What the holder of `key` is in `circle`.
    pub fn role(&self, circle: &PublicKey, key: &PublicKey) -> Role {
        if key == circle {
            Role::Owner
        } else if self
            .members
            .get(circle)
            .is_some_and(|members| members.contains(key))
        {
            Role::Member
        } else {
            Role::Guest
        }
    }

    /// The least role that may run scripts.
    pub fn to_play(&self) -> Role {
        if self.open { Role::Guest } else { Role::Member }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SecretKey;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([seed; 32]))
            .unwrap()
            .public()
    }

    #[test]
    fn a_closed_server_knows_its_circles_and_members() {
        let (circle, member, other) = (key(1), key(2), key(3));
        let access = Access::new(
            false,
            &[Circle {
                key: circle,
                members: vec![member],
                secrets: BTreeMap::new(),
            }],
        );
        assert!(access.serves(&circle) && !access.serves(&other));
        assert_eq!(access.role(&circle, &circle), Role::Owner);
        assert_eq!(access.role(&circle, &member), Role::Member);
        assert_eq!(access.role(&circle, &other), Role::Guest);
        assert!(
            Role::Guest < access.to_play()
                && Role::Member >= access.to_play()
                && Role::Owner >= access.to_play()
        );
    }

    #[test]
    fn an_open_server_lets_anyone_play_anywhere() {
        let access = Access::new(true, &[]);
        assert!(access.serves(&key(1)));
        assert!(access.role(&key(1), &key(2)) >= access.to_play());
    }
}
