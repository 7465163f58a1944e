//! Settings: every module's own, put together from the built-in defaults, a file and the environment.
//!
//! `config/default.toml` has every key there is, so a key that isn't in it is a mistake. All mistakes
//! are found at once, each with its key, its value, where it stands and what would be right.

mod layers;
mod rules;

use std::{fmt, path::Path};

use serde::Deserialize;
use thiserror::Error;

use crate::{auth, dispatch, script, server, session};

pub use layers::{Entry, Source};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[server]`
    pub server: server::Settings,
    /// `[session]`
    pub session: session::Settings,
    /// `[auth]`
    pub auth: auth::Settings,
    /// `[circles]`
    pub circles: auth::CirclesSettings,
    /// `[[circle]]`
    #[serde(default)]
    pub circle: Vec<auth::Circle>,
    /// `[dispatch]`
    pub dispatch: dispatch::Settings,
    /// `[script]`
    pub script: script::Limits,
    /// `[log]`
    pub log: Log,
}

/// The `[log]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is logged, as [`tracing_subscriber::EnvFilter`] reads it.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// Settings, and where each of them comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// Every key with its value and its source, in the order of `config/default.toml`.
    pub entries: Vec<Entry>,
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, like `session.max_batch`; empty for a mistake of the file as a whole.
    pub key: String,
    /// What stands there.
    pub value: Option<String>,
    /// Where.
    pub source: Option<Source>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// Every mistake there is in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl Settings {
    /// Reads the settings: the defaults, then `file`, then those of `environment` that begin with
    /// `CIRCLED_`.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Problems> {
        let layers = layers::read(file, environment)?;
        let (settings, mut problems) = layers.settle();
        if let Some(settings) = settings {
            problems.extend(rules::check(&settings, &layers));
            if problems.is_empty() {
                return Ok(Loaded {
                    entries: layers.entries(),
                    settings,
                });
            }
        }
        Err(Problems(problems))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            if let Some(source) = &self.source {
                write!(f, " ({source})")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let path = file.path().to_str().unwrap().to_owned();
        Settings::load(Some(file.path()), environment)
            .map_err(|problems| problems.to_string().replace(&path, "circled.toml"))
    }

    #[test]
    fn the_defaults_are_whole() {
        let loaded = Settings::load(None, []).unwrap();
        assert_eq!(loaded.settings.session.max_message, 256 << 10);
        assert!(
            loaded
                .entries
                .iter()
                .all(|entry| entry.source == Source::Default)
        );
        assert!(
            loaded
                .entries
                .iter()
                .any(|entry| entry.key == "script.max_operations")
        );
    }

    #[test]
    fn the_environment_comes_last() {
        let environment = [
            ("CIRCLED_SESSION__MAX_BATCH", "3"),
            (
                "CIRCLED_SERVER__ALLOWED_ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("CIRCLED_CIRCLES__ALLOW_OPEN", "true"),
            ("HOME", "/root"),
        ];
        let loaded = load("[session]\nmax_batch = 2\nmax_in_flight = 2", &environment).unwrap();
        assert_eq!(
            (
                loaded.settings.session.max_batch,
                loaded.settings.session.max_in_flight
            ),
            (3, 2)
        );
        assert_eq!(
            loaded.settings.server.allowed_origins,
            ["https://a.example", "https://b.example"]
        );
        let source = |key| {
            loaded
                .entries
                .iter()
                .find(|entry| entry.key == key)
                .unwrap()
                .source
                .clone()
        };
        assert_eq!(
            source("session.max_batch"),
            Source::Environment("CIRCLED_SESSION__MAX_BATCH".to_owned())
        );
        assert!(matches!(source("session.max_in_flight"), Source::File(_)));
        assert_eq!(source("session.ping_interval"), Source::Default);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let toml = "[sesion]\nmax_batch = 1\n[session]\nmax_bach = 2\nping_interval = 10\nmax_in_flight = \"many\"\n[[circle]]\nkey = \"02\"\nmember = []";
        let problems = load(
            toml,
            &[
                ("CIRCLED_SERVER__LISTN", "x"),
                ("CIRCLED_SESSION__MAX_SESSIONS", "lots"),
            ],
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r#"
        circle.member (circled.toml): there is no such setting; did you mean `members`?
        sesion.max_batch = 1 (circled.toml): there is no such setting; did you mean `session.max_batch`?
        session.max_bach = 2 (circled.toml): there is no such setting; did you mean `session.max_batch`?
        server.listn = "x" (CIRCLED_SERVER__LISTN): there is no such setting; did you mean `server.listen`?
        session.max_in_flight = "many" (circled.toml): invalid type: string "many", expected a whole number
        session.max_sessions = "lots" (CIRCLED_SESSION__MAX_SESSIONS): invalid type: string "lots", expected a whole number
        session.ping_interval = 10 (circled.toml): invalid type: integer `10`, expected a duration like "250ms", "10s" or "5m"
        "#);
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_apart() {
        let problems = load("[session\n", &[]).unwrap_err();
        assert!(
            problems.contains("circled.toml") && problems.contains("line 1"),
            "{problems}"
        );
        let missing = Settings::load(Some(Path::new("no/such/file.toml")), [])
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("no/such/file.toml") && missing.contains("No such file"),
            "{missing}"
        );
    }

    #[test]
    fn an_open_server_stays_on_loopback() {
        let problems = load("[server]\nlisten = \"0.0.0.0:8080\"", &[]).unwrap_err();
        insta::assert_snapshot!(problems, @r#"
        circles.open = true (default): anyone who finds a server past loopback could run scripts on it; set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true
        server.public_url = "" (default): a server past loopback needs it: it stands in the text that people sign to log in, "wss://circles.example.org"
        "#);
        load("[server]\nlisten = \"0.0.0.0:8080\"\npublic_url = \"wss://circles.example.org\"\n[circles]\nallow_open = true", &[]).unwrap();
    }

    #[test]
    fn senseless_values_are_refused() {
        for (toml, key) in [
            ("[session]\nmax_in_flight = 0", "session.max_in_flight"),
            ("[session]\npong_timeout = \"0s\"", "session.pong_timeout"),
            ("[session]\nmax_message = \"0B\"", "session.max_message"),
            (
                "[server]\npublic_url = \"https://circles.example.org\"",
                "server.public_url",
            ),
            (
                "[server]\nallowed_origins = [\"app.example.org\"]",
                "server.allowed_origins",
            ),
            (
                "[server]\nadmin_listen = \"localhost\"",
                "server.admin_listen",
            ),
            (
                "[server]\nadmin_listen = \"127.0.0.1:8080\"",
                "server.admin_listen",
            ),
            ("[circles]\nopen = false", "circles.open"),
            ("[log]\nlevel = \"=loud=\"", "log.level"),
            (
                "[dispatch]\nbackend = \"carrier pigeon\"",
                "dispatch.backend",
            ),
            ("[script]\nmax_operations = -1", "script.max_operations"),
        ] {
            let problems = load(toml, &[]).unwrap_err();
            assert!(
                problems.starts_with(key) && problems.lines().count() == 1,
                "{problems}"
            );
        }
    }
}
