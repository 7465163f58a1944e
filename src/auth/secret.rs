//! Signing secrets and their sources.

use std::{fmt, io, path::Path, str::FromStr};

use circled_protocol::is_secret_key;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::files;

/// The text that replaces a secret in outputs.
pub(crate) const HIDDEN: &str = "***";

/// A secret that a webhook provider signs with. Never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret as the provider shows it.
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

/// The source of a secret, as the settings name it: `env:NAME`, `file:PATH`, or the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file, relative to the settings file.
    File(String),
    /// The secret itself, in the settings.
    Literal(Secret),
}

/// The least length of a secret in bytes. A shorter one can be found by trying.
const SHORTEST: usize = 8;
/// The mark that some editors write at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The reason why a text names no secret. Its message never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretSource {
    /// `env:` or `file:` without a name.
    #[error("must be \"env:NAME\", \"file:PATH\" or the secret itself")]
    Nameless,
    /// The placeholder for a secret. As a secret, everybody would know it.
    #[error(
        "\"***\" is what `circled config show` writes in place of a secret: put the secret itself there, or env:NAME"
    )]
    Hidden,
    /// `ENV:NAME`, `env: NAME` and the like.
    #[error(
        "is neither a secret nor a place for one: write \"env:NAME\" or \"file:PATH\", in lowercase and without white space"
    )]
    Misspelt,
    /// `${NAME}`, `$NAME` and the like.
    #[error(
        "is the name of a variable, and nothing replaces it by the secret: write \"env:NAME\" to read the secret from the environment"
    )]
    Placeholder,
    /// `env:NAME=...`, the secret in place of a name, and the like.
    #[error(
        "has something else than a name after env: or file: (maybe the secret itself): write only the name of the variable or of the file"
    )]
    NotAName,
    /// Empty, or only white space.
    #[error("is empty: write \"env:NAME\", \"file:PATH\" or the secret itself")]
    Blank,
    /// White space around the secret, which hardly belongs to it.
    #[error("has white space around it: remove that")]
    Padded,
    /// Too short for a secret.
    #[error("is shorter than {SHORTEST} bytes, and could be guessed: take a longer secret")]
    Short,
}

/// The reason why the secret of a [`SecretSource`] can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableSecret {
    #[error("there is no such file")]
    NoFile,
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("it {0}")]
    Invalid(#[from] InvalidSecretSource),
}

/// A secret that was read from its source.
#[derive(Debug)]
pub(crate) struct FoundSecret {
    pub(crate) secret: Secret,
    /// True if white space around the secret, or a byte order mark before it, was removed.
    pub(crate) was_padded: bool,
}

impl SecretSource {
    /// Reads the secret; `None` if a variable isn't set, or is empty.
    ///
    /// # Errors
    /// The file is missing, can't be read, or holds no possible secret.
    pub(crate) fn read(
        &self,
        base: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<FoundSecret>, UnusableSecret> {
        let text = match self {
            Self::Env(name) => match variable(name).filter(|text| !text.is_empty()) {
                Some(text) => text,
                None => return Ok(None),
            },
            Self::File(path) => {
                files::read_text(&base.join(path), files::SECRET).map_err(|error| {
                    if error.kind() == io::ErrorKind::NotFound {
                        UnusableSecret::NoFile
                    } else {
                        UnusableSecret::Unreadable(error)
                    }
                })?
            }
            Self::Literal(secret) => {
                return Ok(Some(FoundSecret {
                    secret: secret.clone(),
                    was_padded: false,
                }));
            }
        };
        let trimmed = text.trim_start_matches(BYTE_ORDER_MARK).trim();
        may_be_secret(trimmed, is_placeholder)?;
        long_enough(trimmed)?;
        Ok(Some(FoundSecret {
            secret: Secret::new(trimmed),
            // Most files end with a line end.
            was_padded: trimmed != text.trim_end_matches(['\r', '\n']),
        }))
    }
}

/// Refuses a text that can only be a mistake, such as a placeholder.
fn may_be_secret(text: &str, is_placeholder: fn(&str) -> bool) -> Result<(), InvalidSecretSource> {
    use InvalidSecretSource::{Blank, Hidden, Misspelt, Padded, Placeholder};

    let scheme = text.split_once(':').map(|(scheme, _)| scheme.trim());
    let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
    Err(if text.trim().is_empty() {
        Blank
    } else if text == HIDDEN {
        Hidden
    } else if is("env") || is("file") {
        Misspelt
    } else if is("$env") || is_placeholder(text.trim()) {
        Placeholder
    } else if text.trim() != text {
        Padded
    } else {
        return Ok(());
    })
}

fn long_enough(text: &str) -> Result<(), InvalidSecretSource> {
    if text.len() < SHORTEST {
        return Err(InvalidSecretSource::Short);
    }
    Ok(())
}

/// Returns true if a part of the text, or all of it, is a variable as shells and templates write them.
fn has_placeholder(text: &str) -> bool {
    let has = |open: &str, close: &str| {
        text.split_once(open)
            .is_some_and(|(_, rest)| rest.contains(close))
    };
    has("${", "}") || has("{{", "}}") || is_placeholder(text)
}

/// Returns true if the whole text is a variable as shells and templates write them.
fn is_placeholder(text: &str) -> bool {
    let between = |open: &str, close: &str| {
        text.strip_prefix(open)
            .is_some_and(|rest| rest.ends_with(close))
    };
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(is_part)
    };
    let percent = text
        .strip_prefix('%')
        .and_then(|rest| rest.strip_suffix('%'));
    text.strip_prefix('$').is_some_and(is_name)
        || percent.is_some_and(is_name)
        || between("${", "}")
        || between("{{", "}}")
        || between("$(", ")")
        || between("<", ">")
}

/// Returns true if a variable may have this name. Secrets rarely consist of such characters alone.
fn is_variable(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.bytes().all(is_part)
}

/// Returns true if it can be the path of a file. A URL isn't one, nor is the text of a file.
fn is_path(path: &str) -> bool {
    let scheme = path.split_once(':').map(|(scheme, _)| scheme);
    !path.contains(char::is_control) && !matches!(scheme, Some("env" | "file"))
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

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for SecretSource {
    type Err = InvalidSecretSource;

    fn from_str(text: &str) -> Result<Self, InvalidSecretSource> {
        let named = |name: &str, is_name: fn(&str) -> bool| match name {
            "" => Err(InvalidSecretSource::Nameless),
            name if name.trim() != name => Err(InvalidSecretSource::Misspelt),
            name if name.contains('$') => Err(InvalidSecretSource::Placeholder),
            name if !is_name(name) || is_secret_key(name) => Err(InvalidSecretSource::NotAName),
            name => Ok(name.to_owned()),
        };
        match text.split_once(':') {
            Some(("env", name)) => named(name, is_variable).map(Self::Env),
            Some(("file", path)) => named(path, is_path).map(Self::File),
            _ => may_be_secret(text, has_placeholder).map(|()| Self::Literal(Secret::new(text))),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let source: Self = text.parse().map_err(D::Error::custom)?;
        if let Self::Literal(secret) = &source {
            long_enough(secret.expose()).map_err(D::Error::custom)?;
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn source(text: &str) -> SecretSource {
        circled_json::from_value(json!(text)).unwrap()
    }

    fn read(source: &SecretSource) -> Result<Option<FoundSecret>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("key", "from a file\n"),
            ("padded", " \u{a0}from a file\r\n\n"),
            ("empty", ""),
            ("blank", " \n"),
            ("short", "1234567\n"),
            ("placeholder", "${STRIPE}\n"),
            ("marked", "\u{feff}from a file\n"),
            ("marked-blank", "\u{feff}\n"),
            ("random", "aV${3}k{{9}}q\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::write(folder.path().join("binary"), b"\xff\xfe\xfd").unwrap();
        let variable = |name: &str| {
            let text = match name {
                "SET" => "from the environment",
                "PADDED" => " from the environment\n",
                "EMPTY" => "",
                "BLANK" => " \t",
                "SHORT" => "1234567",
                "PLACEHOLDER" => "$STRIPE_SECRET",
                "SOURCE" => "env:STRIPE_SECRET",
                _ => return None,
            };
            Some(text.to_owned())
        };
        source
            .read(folder.path(), &variable)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_looked_up_where_the_settings_say() {
        for (text, expected, was_padded) in [
            ("env:SET", Some("from the environment"), false),
            ("env:PADDED", Some("from the environment"), true),
            ("env:EMPTY", None, false),
            ("env:UNSET", None, false),
            ("file:key", Some("from a file"), false),
            ("file:padded", Some("from a file"), true),
            ("file:marked", Some("from a file"), true),
            // The content needn't be a mistake: it wasn't written by hand.
            ("file:random", Some("aV${3}k{{9}}q"), false),
            ("whsec_literal", Some("whsec_literal"), false),
            ("with:colon", Some("with:colon"), false),
            ("inner space", Some("inner space"), false),
            ("pa$$word", Some("pa$$word"), false),
            ("12345678", Some("12345678"), false),
        ] {
            let found = read(&source(text)).unwrap();
            let secret = found.as_ref().map(|found| found.secret.expose());
            assert_eq!(secret, expected, "{text}");
            assert_eq!(found.is_some_and(|found| found.was_padded), was_padded);
        }
    }

    #[test]
    fn obvious_mistakes_are_no_secrets() {
        for text in [
            "",
            " ",
            "\n",
            "***",
            "env:",
            "file:",
            "env: NAME",
            "env:NAME ",
            "env:$NAME",
            "env:${NAME}",
            "env:NAME=hunter2-hunter2",
            "env:=hunter2-hunter2",
            "env:hunter2/hunter2+==",
            "env:NAME OTHER",
            "env:NAME:hunter2",
            "env:file:NAME",
            "env:/run/secrets/key",
            "env:1717171717171717171717171717171717171717171717171717171717171717",
            "file:1717171717171717171717171717171717171717171717171717171717171717",
            "file:env:NAME",
            "file:hunter2-hunter2\nhunter2",
            "file:${HOME}/key",
            "ENV:NAME",
            "Env:NAME",
            " env:NAME",
            "env :NAME",
            "FILE:key",
            "$env:NAME",
            "$STRIPE_WEBHOOK_SECRET",
            "$stripe_secret",
            "${STRIPE_WEBHOOK_SECRET}",
            "${STRIPE_WEBHOOK_SECRET:-none}",
            "whsec_${REST}",
            "$(cat secret)",
            "{{ stripe_secret }}",
            "%STRIPE_SECRET%",
            "<your secret>",
            " padded secret",
            "padded secret\n",
            "1234567",
        ] {
            let read = circled_json::from_value::<SecretSource>(json!(text));
            let error = read.unwrap_err().to_string();
            // The text may be a secret all the same.
            assert!(text.trim().len() < 8 || !error.contains(text), "{error}");
            assert!(
                !error.contains("hunter2") && !error.contains("1717"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_secret_that_is_found_can_be_a_mistake_too() {
        for (text, expected) in [
            ("env:BLANK", "empty"),
            ("env:SHORT", "shorter than 8"),
            ("env:PLACEHOLDER", "name of a variable"),
            ("env:SOURCE", "neither a secret nor a place"),
            ("file:missing", "no such file"),
            ("file:empty", "empty"),
            ("file:blank", "empty"),
            ("file:marked-blank", "empty"),
            ("file:short", "shorter than 8"),
            ("file:placeholder", "name of a variable"),
            ("file:binary", "cannot be read"),
            // A folder.
            ("file:.", "cannot be read"),
        ] {
            let error = read(&source(text)).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let literal = source("hunter2-hunter2");
        let written = json!(literal).to_string();
        for text in [format!("{literal:?}"), literal.to_string(), written] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(source("env:NAME").to_string(), "env:NAME");
    }
}
