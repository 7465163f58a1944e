//! Signing secrets, and where they are kept.

use std::{fmt, io, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

/// What is shown in place of a secret.
pub(crate) const HIDDEN: &str = "***";

/// What a provider signs with. Never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret as the provider shows it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where a secret comes from, as the settings say it: `env:NAME`, `file:PATH`, or the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Env(String),
    /// A file, relative to the settings file. White space at its end is none of the secret.
    File(String),
    /// It stands in the settings.
    Literal(Secret),
}

/// A text that is no secret, and names no place for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretSource {
    /// A place without a name.
    #[error("must be \"env:NAME\", \"file:PATH\" or the secret itself")]
    Nameless,
    /// What is shown in place of a secret. Taken for one, it would be one that everybody knows.
    #[error(
        "\"***\" is what `circled config show` writes in place of a secret: put the secret itself there, or env:NAME"
    )]
    Hidden,
}

impl SecretSource {
    /// Looks the secret up; `None` where there is none, or an empty one, with which anyone could sign.
    ///
    /// # Errors
    /// A file that is there but can't be read.
    pub(crate) fn read(
        &self,
        base: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> io::Result<Option<Secret>> {
        let text = match self {
            Self::Env(name) => variable(name),
            Self::File(path) => match std::fs::read_to_string(base.join(path)) {
                Ok(text) => Some(text.trim_end().to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
            Self::Literal(secret) => Some(secret.expose().to_owned()),
        };
        Ok(text.filter(|text| !text.is_empty()).map(Secret))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Literal(_) => f.write_str(HIDDEN),
        }
    }
}

impl FromStr for SecretSource {
    type Err = InvalidSecretSource;

    fn from_str(text: &str) -> Result<Self, InvalidSecretSource> {
        if text == HIDDEN {
            return Err(InvalidSecretSource::Hidden);
        }
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let source = match text.split_once(':') {
            Some(("env", name)) => named(name).map(Self::Env),
            Some(("file", path)) => named(path).map(Self::File),
            _ => Some(Self::Literal(Secret::new(text))),
        };
        source.ok_or(InvalidSecretSource::Nameless)
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn source(text: &str) -> SecretSource {
        crate::json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn secrets_are_looked_up_where_the_settings_say() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), "from a file\n").unwrap();
        fs::write(folder.path().join("empty"), "\n").unwrap();
        let variable = |name: &str| match name {
            "SET" => Some("from the environment".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("env:SET", Some("from the environment")),
            ("env:EMPTY", None),
            ("env:UNSET", None),
            ("file:key", Some("from a file")),
            ("file:empty", None),
            ("file:missing", None),
            ("whsec_literal", Some("whsec_literal")),
            ("with:colon", Some("with:colon")),
            ("", None),
        ] {
            let secret = source(text).read(folder.path(), &variable).unwrap();
            assert_eq!(secret.as_ref().map(Secret::expose), expected, "{text}");
        }
        // A folder is no file.
        assert!(source("file:.").read(folder.path(), &variable).is_err());
        for wrong in ["env:", "file:", "***"] {
            assert!(crate::json::from_value::<SecretSource>(json!(wrong)).is_err());
        }
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let literal = source("hunter2");
        for text in [format!("{literal:?}"), literal.to_string()] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(source("env:NAME").to_string(), "env:NAME");
    }
}
