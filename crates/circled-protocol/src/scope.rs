//! The scope of a device key: what a session that logs in by it may do, of what its caller may.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name of a script, in characters.
const LONGEST_NAME: usize = 64;
/// The beginning of a permission to call one script.
const CALL: &str = "call:";

/// A permission of a device key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Scripts of one's own: `play`.
    Play,
    /// Events: `subscribe`.
    Subscribe,
    /// Durable jobs: `jobs`. To submit one takes the permission to run its script, too.
    Jobs,
    /// All named scripts: `call`.
    Call,
    /// One named script: `call:<name>`.
    CallNamed(String),
}

/// What a device key may do: one or more permissions, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Vec<Permission>);

/// The reason why a scope is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidScope {
    /// It has a word that is no permission.
    #[error("a scope has `play`, `subscribe`, `jobs`, `call` and `call:<name of a script>`")]
    Word,
    /// It has none, or very many.
    #[error("a scope has 1 to {} permissions", Scope::MOST)]
    Length,
    /// It has one twice.
    #[error("the scope has `{0}` twice")]
    Twice(Permission),
}

/// Returns true if this is a valid name of a script.
pub fn is_script_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first
        && name.len() <= LONGEST_NAME
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

impl Scope {
    /// The most permissions.
    pub const MOST: usize = 32;

    /// Creates a scope with these permissions.
    ///
    /// # Errors
    /// There are none, too many, or one is there twice.
    pub fn new(permissions: Vec<Permission>) -> Result<Self, InvalidScope> {
        if !(1..=Self::MOST).contains(&permissions.len()) {
            return Err(InvalidScope::Length);
        }
        let twice = permissions
            .iter()
            .enumerate()
            .find(|(n, one)| permissions[..*n].contains(one));
        match twice {
            Some((_, permission)) => Err(InvalidScope::Twice(permission.clone())),
            None => Ok(Self(permissions)),
        }
    }

    /// Returns the permissions in the order in which they were given.
    pub fn permissions(&self) -> &[Permission] {
        &self.0
    }

    /// Returns true if it has this permission, or a wider one.
    pub fn permits(&self, permission: &Permission) -> bool {
        self.0.iter().any(|own| {
            own == permission
                || *own == Permission::Call && matches!(permission, Permission::CallNamed(_))
        })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Play => f.write_str("play"),
            Self::Subscribe => f.write_str("subscribe"),
            Self::Jobs => f.write_str("jobs"),
            Self::Call => f.write_str("call"),
            Self::CallNamed(name) => write!(f, "{CALL}{name}"),
        }
    }
}

impl FromStr for Permission {
    type Err = InvalidScope;

    fn from_str(word: &str) -> Result<Self, InvalidScope> {
        Ok(match word {
            "play" => Self::Play,
            "subscribe" => Self::Subscribe,
            "jobs" => Self::Jobs,
            "call" => Self::Call,
            _ => match word.strip_prefix(CALL) {
                Some(name) if is_script_name(name) => Self::CallNamed(name.to_owned()),
                _ => return Err(InvalidScope::Word),
            },
        })
    }
}

/// Writes the permissions, joined by commas.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, permission) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{permission}")?;
        }
        Ok(())
    }
}

/// Reads permissions, joined by commas.
impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let permissions: Result<_, _> = text.split(',').map(str::parse).collect();
        Self::new(permissions?)
    }
}

impl Serialize for Permission {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let permissions = Vec::deserialize(deserializer)?;
        Self::new(permissions).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Scope {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "description": "The scope of a device key: `play`, `subscribe`, `jobs`, `call` (all named scripts), `call:<name>` (one of them).",
            "minItems": 1,
            "maxItems": Self::MOST,
            "uniqueItems": true,
            "items": {
                "type": "string",
                "pattern": "^(play|subscribe|jobs|call|call:[A-Za-z_][A-Za-z0-9_./-]{0,63})$",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        let text = "call:a/b.c-d_E,jobs,play,subscribe,call";
        let scope: Scope = text.parse().unwrap();
        assert_eq!(scope.to_string(), text);
        let written = json!(scope);
        assert_eq!(
            written,
            json!(["call:a/b.c-d_E", "jobs", "play", "subscribe", "call"])
        );
        let read: Scope = circled_json::from_value(written).unwrap();
        assert_eq!(read, scope);
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for wrong in [
            "",
            "Play",
            "play,",
            ",play",
            "play, jobs",
            "manage",
            "call:",
            "call:1",
            "call:a b",
            "call:a\nb",
            "call:é",
            "jobs:a",
            "*",
        ] {
            assert_eq!(wrong.parse::<Scope>(), Err(InvalidScope::Word), "{wrong:?}");
        }
        assert_eq!(
            "call:a,play,call:a".parse::<Scope>(),
            Err(InvalidScope::Twice(Permission::CallNamed("a".into())))
        );
        assert_eq!(Scope::new(Vec::new()), Err(InvalidScope::Length));
        let named = |n: usize| (0..n).map(|n| Permission::CallNamed(format!("s{n}")));
        assert!(Scope::new(named(32).collect()).is_ok());
        assert_eq!(Scope::new(named(33).collect()), Err(InvalidScope::Length));
        assert!(format!("call:{}", "a".repeat(64)).parse::<Scope>().is_ok());
        assert!(format!("call:{}", "a".repeat(65)).parse::<Scope>().is_err());
    }

    #[test]
    fn a_scope_permits_what_it_has_and_nothing_else() {
        let all = ["play", "subscribe", "jobs", "call", "call:a", "call:b"];
        let all = all.map(|word| word.parse::<Permission>().unwrap());
        for (scope, permitted) in [
            ("play", &[0][..]),
            ("subscribe", &[1]),
            ("jobs", &[2]),
            ("call", &[3, 4, 5]),
            ("call:a", &[4]),
            ("call:b,play", &[0, 5]),
        ] {
            let scope: Scope = scope.parse().unwrap();
            for (n, permission) in all.iter().enumerate() {
                let expected = permitted.contains(&n);
                assert_eq!(scope.permits(permission), expected, "{scope}: {permission}");
            }
        }
    }
}
