//! `circled play`

use std::{
    fs,
    io::{self, IsTerminal, Read, Write, stderr, stdin, stdout},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    client_runtime,
    explain::{Run, exit_code, explain, printable},
};
use crate::{
    auth::{Scheme, SecretKey},
    client::{Client, Error, Options, Played},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  the script ended with a value
  1  the script failed
  2  the command line makes no sense, or a file can't be read
  3  no connection, it was lost, or the server failed
  4  the login failed, or the server asked to sign something that isn't its own login text
  5  the caller may not do that in this circle
  6  the script took too long
  7  the server is too busy, or stopping: try again later

Examples:
  circled play ws://127.0.0.1:8080/<circle_pk> --key me.key '40 + 2'
  circled play ws://127.0.0.1:8080/<circle_pk> --key me.key -f report.rhai --args '{\"month\": 3}'
  echo 'CALLER_ID' | circled play ws://127.0.0.1:8080/<circle_pk> --key me.key -";

/// Log in to a circle and run a script there.
///
/// What the script prints goes to standard error, its value to standard output. The text that the
/// server asks to sign is checked first: only a login to this very server, circle and key is signed.
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
    /// Read the script from a file; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "script")]
    file: Option<PathBuf>,
    /// What the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", allow_negative_numbers = true, value_parser = |text: &str| serde_json::from_str::<Value>(text))]
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
        let code = played.as_ref().map_or_else(exit_code, |_| 0);
        // Whoever reads this may have left; the exit code tells all the same.
        let _ = if self.json {
            print_json(&played)
        } else {
            print_text(&played, &self.about(&key, &script))
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
        let text = fs::read_to_string(&self.key).map_err(|error| {
            let message = if error.kind() == io::ErrorKind::NotFound {
                format!("the key {path} cannot be read (`circled keygen {path}` makes one)")
            } else if error.kind() == io::ErrorKind::InvalidData {
                format!("{path} is not a key file")
            } else {
                format!("the key {path} cannot be read")
            };
            anyhow::Error::new(error).context(message)
        })?;
        if fs::metadata(&self.key)?.mode() & 0o077 != 0 {
            eprintln!("warning: others on this machine can read the key {path}: chmod 600 {path}");
        }
        SecretKey::from_hex(text.trim()).with_context(|| format!("{path} is not a key file"))
    }

    fn script(&self) -> anyhow::Result<String> {
        let dash = Path::new("-");
        match (self.file.as_deref(), self.script.as_deref()) {
            (Some(path), _) if path != dash => fs::read_to_string(path)
                .with_context(|| format!("the script {} cannot be read", path.display())),
            (Some(_), _) | (None, Some("-")) => {
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

    fn about<'a>(&'a self, key: &SecretKey, script: &'a str) -> Run<'a> {
        let file = self.file.as_deref().and_then(Path::to_str);
        Run {
            name: file.filter(|name| *name != "-").unwrap_or("script"),
            script,
            caller: key.public(),
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
    crate::units::duration::parse(text)
        .filter(|duration| duration.as_millis() > 0)
        .ok_or_else(|| "write it like 500ms, 2s or 1m".to_owned())
}

fn print_json(played: &Result<Played, Error>) -> io::Result<()> {
    let value = match played {
        Ok(played) => json!(played),
        Err(Error::Rpc(error)) => json!({ "error": error }),
        Err(error) => json!({ "error": { "message": error.to_string() } }),
    };
    writeln!(stdout(), "{value}")
}

fn print_text(played: &Result<Played, Error>, run: &Run<'_>) -> io::Result<()> {
    match played {
        Ok(played) => {
            print_logs(played.logs.iter().map(String::as_str));
            match played.output.as_str() {
                "" => Ok(()),
                output if stdout().is_terminal() => writeln!(stdout(), "{}", printable(output)),
                output => writeln!(stdout(), "{output}"),
            }
        }
        Err(error) => {
            if let Error::Rpc(error) = error {
                let logs = error.data["logs"].as_array().into_iter().flatten();
                print_logs(logs.filter_map(Value::as_str));
            }
            writeln!(stderr(), "{}", explain(error, run))
        }
    }
}

/// Where nobody reads them, the value may still be wanted.
fn print_logs<'a>(lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        let _ = writeln!(stderr(), "{}", printable(line));
    }
}
