//! `circled play`

use std::{
    fs,
    io::{Read, Write, stderr, stdin, stdout},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client_runtime;
use crate::{
    auth::{Scheme, SecretKey},
    client::{Client, Error, Options, Played, RpcError},
    rpc::code,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  the script ended with a value
  1  the script failed
  2  the command line makes no sense, or a file can't be read
  3  no connection, or it was lost
  4  the login failed, or the server asked to sign something that isn't its own login text
  5  the caller may not do that in this circle
  6  the script took too long
  7  the server is too busy, or stopping: try again later

Examples:
  circled play ws://127.0.0.1:8080/<circle_pk> --key me.key '40 + 2'
  circled play ws://127.0.0.1:8080/<circle_pk> --key me.key -f report.rhai --args '{\"month\": 3}'
  echo 'CALLER_ID' | circled play ws://127.0.0.1:8080/<circle_pk> --key me.key -";

/// Log in to a circle and run a script there. What the script prints goes to standard error, its
/// value to standard output. The text that the server asks to sign is checked first: only a login to
/// this very server, circle and key is signed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Play {
    /// The circle: ws://host:port/<circle_pk>, or wss://
    url: String,
    /// The file with your secret key, made by `circled keygen`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The script; - reads it from standard input.
    #[arg(required_unless_present = "file")]
    script: Option<String>,
    /// Read the script from a file.
    #[arg(short, long, value_name = "FILE", conflicts_with = "script")]
    file: Option<PathBuf>,
    /// What the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<Value>(text))]
    args: Option<Value>,
    /// How long the script may take, like 500ms or 2s; the server's own limit at most.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// How to sign the login.
    #[arg(long, value_enum, default_value_t = SchemeName::Eip191)]
    scheme: SchemeName,
    /// Print everything as one line of JSON: {"output", "value", "logs", "job_id"} or {"error"}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemeName {
    Eip191,
    Sha256,
    Schnorr,
}

impl Play {
    pub(super) fn run(&self) -> ExitCode {
        let (key, script) = match self.key().and_then(|key| Ok((key, self.script()?))) {
            Ok(read) => read,
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::from(2);
            }
        };
        let played = match client_runtime() {
            Ok(runtime) => runtime.block_on(self.play(&key, &script)),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(3);
            }
        };
        let code = match &played {
            Ok(_) => 0,
            Err(error) => exit_code(error),
        };
        // Whoever reads this may have left; the exit code tells all the same.
        let _ = if self.json {
            print_json(&played)
        } else {
            print_text(&played, &script)
        };
        ExitCode::from(code)
    }

    async fn play(&self, key: &SecretKey, script: &str) -> Result<Played, Error> {
        let client = Client::connect(&self.url).await?;
        client.authenticate(key, self.scheme.into()).await?;
        let timeout_ms = self
            .timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let options = Options {
            args: self.args.clone().unwrap_or_default(),
            timeout_ms,
        };
        let played = client.play_with(script, &options).await;
        client.close().await;
        played
    }

    fn key(&self) -> anyhow::Result<SecretKey> {
        let path = self.key.display();
        let text = fs::read_to_string(&self.key).with_context(|| {
            format!("the key {path} cannot be read (`circled keygen {path}` makes one)")
        })?;
        if fs::metadata(&self.key)?.mode() & 0o077 != 0 {
            eprintln!("warning: others on this machine can read the key {path}: chmod 600 {path}");
        }
        SecretKey::from_hex(text.trim()).with_context(|| format!("{path} is not a key file"))
    }

    fn script(&self) -> anyhow::Result<String> {
        match (&self.file, self.script.as_deref()) {
            (Some(path), _) => fs::read_to_string(path)
                .with_context(|| format!("the script {} cannot be read", path.display())),
            (None, Some("-")) => {
                let mut text = String::new();
                stdin()
                    .read_to_string(&mut text)
                    .context("the script cannot be read from standard input")?;
                Ok(text)
            }
            (None, Some(script)) => Ok(script.to_owned()),
            (None, None) => bail!("there is no script"),
        }
    }
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Eip191 => Self::Eip191,
            SchemeName::Sha256 => Self::Sha256,
            SchemeName::Schnorr => Self::Schnorr,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::units::duration::parse(text).ok_or_else(|| "write it like 500ms, 2s or 1m".to_owned())
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Address(_) | Error::Circle(_) => 2,
        Error::Connect { .. } | Error::Closed(_) | Error::Answer(_) => 3,
        Error::Challenge(_) | Error::Unsigned => 4,
        Error::Rpc(error) => match error.code {
            code::EXECUTION_ERROR => 1,
            code::INVALID_PARAMS => 2,
            code::AUTHENTICATION_REQUIRED | code::INVALID_CREDENTIALS => 4,
            code::FORBIDDEN => 5,
            code::TIMEOUT => 6,
            code::LIMIT_EXCEEDED | code::UNAVAILABLE | code::CANCELLED => 7,
            _ => 3,
        },
    }
}

fn print_json(played: &Result<Played, Error>) -> std::io::Result<()> {
    let value = match played {
        Ok(played) => json!(played),
        Err(Error::Rpc(error)) => json!({ "error": error }),
        Err(error) => json!({ "error": { "message": error.to_string() } }),
    };
    writeln!(stdout(), "{value}")
}

fn print_text(played: &Result<Played, Error>, script: &str) -> std::io::Result<()> {
    match played {
        Ok(played) => {
            print_logs(played.logs.iter().map(String::as_str))?;
            if !played.output.is_empty() {
                writeln!(stdout(), "{}", played.output)?;
            }
            Ok(())
        }
        Err(Error::Rpc(error)) => {
            print_logs(
                error.data["logs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str),
            )?;
            writeln!(stderr(), "{}", explain(error, script))
        }
        Err(error) => writeln!(stderr(), "error: {error}"),
    }
}

fn print_logs<'a>(mut lines: impl Iterator<Item = &'a str>) -> std::io::Result<()> {
    lines.try_for_each(|line| writeln!(stderr(), "{line}"))
}

/// An error in words, with the place in the script that it is about.
fn explain(error: &RpcError, script: &str) -> String {
    let data = &error.data;
    let mut text = format!("error: {}", error.message);
    for (name, what) in [
        ("reason", ""),
        ("needs", "needs the role "),
        ("limit", "the limit is "),
    ] {
        if let Some(detail) = data[name].as_str() {
            text += &format!(": {what}{detail}");
        }
    }
    if let Some(ms) = data["timeout_ms"].as_u64() {
        text += &format!(": it took longer than {}", readable(ms));
    }
    if let Some(ms) = data["retry_after_ms"].as_u64() {
        text += &format!("; try again in {}", readable(ms));
    }
    let place = |name: &str| data[name].as_u64().and_then(|n| usize::try_from(n).ok());
    if let Some(line) = place("line") {
        text += &excerpt(script, line, place("column").unwrap_or(0));
    }
    text
}

fn readable(ms: u64) -> String {
    format!("{:?}", Duration::from_millis(ms))
}

/// The line of a script with a caret under the column, both counted from 1, columns in characters.
fn excerpt(script: &str, line: usize, column: usize) -> String {
    let Some(source) = line
        .checked_sub(1)
        .and_then(|line| script.lines().nth(line))
    else {
        return String::new();
    };
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let caret = match column.checked_sub(1) {
        // Tabs stay tabs, so that the caret stands where the terminal puts the character.
        Some(before) => source
            .chars()
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .chain(['^'])
            .collect(),
        None => String::new(),
    };
    format!("\n{margin} |\n{number} | {source}\n{margin} | {caret}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column() {
        assert_eq!(
            excerpt("let a = 1;\n\tlet ä = foo;", 2, 10),
            "\n  |\n2 | \tlet ä = foo;\n  | \t        ^"
        );
        assert_eq!(excerpt("1 +", 1, 4), "\n  |\n1 | 1 +\n  |    ^");
        assert_eq!(excerpt("", 1, 1), "");
        assert_eq!(excerpt("x", 7, 1), "");
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let rpc = |code| {
            exit_code(&Error::Rpc(RpcError {
                code,
                message: String::new(),
                data: Value::Null,
            }))
        };
        assert_eq!(rpc(code::EXECUTION_ERROR), 1);
        assert_eq!(rpc(code::INVALID_CREDENTIALS), 4);
        assert_eq!(rpc(code::FORBIDDEN), 5);
        assert_eq!(rpc(code::TIMEOUT), 6);
        assert_eq!(rpc(code::LIMIT_EXCEEDED), 7);
    }
}
