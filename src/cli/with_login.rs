//! The parts that all commands with a login share: options, connection, output.

use std::{
    fs,
    io::{self, Write, stdin},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use circled_client::{Caller, Client, Error, Signer};
use circled_protocol::{Origin, PublicKey, Scheme, SecretKey};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    client_runtime, device_keys,
    events::remark_connection,
    explain::{FailedRun, exit_code, explain, printable},
    output::{remark, script_prints, stdout},
};
use crate::files;

/// Returns the part of a command's help with its exit codes: those of all commands with a login, and its `own`.
pub(super) fn exit_codes(own: &[(u8, &str)], examples: &str) -> String {
    let mut codes = vec![
        (0, "it is done"),
        (2, "the command line is wrong, or a file can't be read"),
        (3, "no connection, it was lost, or the server failed"),
        (
            4,
            "the login failed; the server asked to sign something else than its own login text, or did not prove itself",
        ),
        (5, "the caller may not do that in this circle"),
        (7, "the server is too busy, or stopping: try again later"),
        (
            9,
            "it is done, but the output could not be written, or is kept no more",
        ),
    ];
    codes.retain(|(code, _)| own.iter().all(|(other, _)| other != code));
    codes.extend(own);
    codes.sort_unstable();
    let lines: String = codes
        .iter()
        .map(|(code, when)| format!("\n  {code}  {when}"))
        .collect();
    format!("Exit codes:{lines}\n\nExamples (C is ws://host:port/<circle_pk>):\n  {examples}")
}

/// The exit code of a call that the server's time limit ended.
pub(super) const TOO_SLOW: (u8, &str) = (6, "the server took too long");

/// The exit code for unusable input.
const UNUSABLE: u8 = 2;

/// The circle to log in to, and the key.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The circle: ws://host:port/<circle_pk>, or wss://
    pub(super) url: String,
    /// The file with your secret key, made by `circled keygen`; never the key itself. Without it, the key that
    /// `circled login URL --device` keeps.
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    #[command(flatten)]
    pub(super) manner: LoginOptions,
}

/// The key to log in with, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct LoginKey {
    pub(super) signer: Signer,
    /// The caller's own key.
    pub(super) caller: PublicKey,
}

impl From<SecretKey> for LoginKey {
    fn from(key: SecretKey) -> Self {
        Self {
            caller: key.public(),
            signer: key.into(),
        }
    }
}

/// The options for the login and the output.
#[derive(Debug, Clone, Args)]
pub(super) struct LoginOptions {
    /// The signature scheme of the login.
    #[arg(long, value_enum, default_value_t = SchemeName::Eip191)]
    pub(super) scheme: SchemeName,
    /// The server's own origin, wss://circles.example.org, if you dial it by another name: only a login there is
    /// signed. Without it, the origin of the URL.
    #[arg(long, value_name = "URL")]
    pub(super) origin: Option<Origin>,
    /// Log in only to a server that proves that it speaks for the circle, with a grant of the circle's owner (`circled
    /// grant`). A wrong proof is refused in any case.
    #[arg(long)]
    pub(super) require_proof: bool,
    /// Print the result as one line of JSON (a list: one line for each item), or {"error"}. If the error is not from
    /// the server, `code` is the exit code.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SchemeName {
    Eip191,
    Sha256,
    Schnorr,
}

/// A script, for the display of errors in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScriptSource<'a> {
    /// The name of its file or of the script itself.
    pub(super) name: &'a str,
    /// The source, if it is at hand.
    pub(super) text: Option<&'a str>,
}

impl Login {
    /// Logs in, does the work, and prints the result to standard output, or an error in words to standard error.
    pub(super) fn run<T: Serialize>(
        &self,
        source: Option<ScriptSource<'_>>,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> ExitCode {
        self.run_to(source, work, self.or_json(print))
    }

    /// Does the same with calls that are asked again if their replies are lost.
    pub(super) fn run_calls<T: Serialize>(
        &self,
        source: ScriptSource<'_>,
        work: impl AsyncFnOnce(&Caller) -> Result<T, Error>,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> ExitCode {
        let connected = async |key: &LoginKey| {
            let caller = Caller::new(&self.url, key.signer.clone())
                .login(self.manner.login())
                .on_change(remark_connection());
            // Where no server is, none is waited for.
            caller.connect().await?;
            let answer = work(&caller).await;
            caller.close().await;
            answer
        };
        self.end(Some(source), connected, self.or_json(print))
    }

    /// Returns what prints a result as JSON if that is wanted, else as `print` does.
    fn or_json<T: Serialize>(
        &self,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> impl FnOnce(&T) -> io::Result<()> {
        |answer: &T| {
            if self.manner.json {
                print_json(answer)
            } else {
                print(answer)
            }
        }
    }

    /// Does the same as `run`, for a result whose printed form is also its JSON form.
    pub(super) fn run_to<T>(
        &self,
        source: Option<ScriptSource<'_>>,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> ExitCode {
        let connected = async |key: &LoginKey| {
            let client = self.connect(key).await?;
            let answer = work(&client).await;
            client.close().await;
            answer
        };
        self.end(source, connected, print)
    }

    /// Does work that connects by itself, and prints its result or error.
    pub(super) fn run_connecting<T: Serialize>(
        &self,
        work: impl AsyncFnOnce(&LoginKey) -> Result<T, Error>,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> ExitCode {
        self.end(None, work, self.or_json(print))
    }

    /// Returns the key of the file, or else the device key that is kept for the circle.
    pub(super) fn key(&self) -> anyhow::Result<LoginKey> {
        match &self.key {
            Some(file) => read_key(file).map(LoginKey::from),
            None => device_keys::kept(&self.url),
        }
    }

    /// Does the work with the key, and prints its result or error.
    fn end<T>(
        &self,
        source: Option<ScriptSource<'_>>,
        work: impl AsyncFnOnce(&LoginKey) -> Result<T, Error>,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> ExitCode {
        let key = match self.key() {
            Ok(key) => key,
            Err(error) => return self.unusable(&error),
        };
        let answer = match client_runtime() {
            Ok(runtime) => runtime.block_on(work(&key)),
            Err(error) => {
                remark!("error: {error}");
                return ExitCode::from(3);
            }
        };
        match answer {
            // A failed write is reported at the end of the command.
            Ok(answer) => {
                let _ = print(&answer);
                ExitCode::SUCCESS
            }
            Err(error) => self.failed(&error, source, &key),
        }
    }

    /// Prints an error.
    pub(super) fn failed(
        &self,
        error: &Error,
        source: Option<ScriptSource<'_>>,
        key: &LoginKey,
    ) -> ExitCode {
        let _ = if self.manner.json {
            print_json(&json_of(error))
        } else {
            if let Error::Rpc(error) = error {
                let logs = error.data["logs"].as_array().into_iter().flatten();
                print_logs(logs.filter_map(Value::as_str));
            }
            let run = FailedRun {
                source,
                caller: key.caller,
            };
            remark!("{}", explain(error, &run));
            Ok(())
        };
        ExitCode::from(exit_code(error))
    }

    /// Prints that the command line can't be used.
    pub(super) fn unusable(&self, error: &anyhow::Error) -> ExitCode {
        if self.manner.json {
            let error = json!({ "code": UNUSABLE, "message": format!("{error:#}") });
            let _ = print_json(&json!({ "error": error }));
            return ExitCode::from(UNUSABLE);
        }
        unreadable(error)
    }

    pub(super) async fn connect(&self, key: &LoginKey) -> Result<Client, Error> {
        let client = Client::connect(&self.url).await?;
        client.log_in(&key.signer, &self.manner.login()).await?;
        Ok(client)
    }
}

impl LoginOptions {
    /// Returns the way to log in.
    pub(super) fn login(&self) -> circled_client::Login {
        circled_client::Login {
            scheme: self.scheme.into(),
            origin: self.origin.clone(),
            require_proof: self.require_proof,
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

/// Returns an error as JSON, with the id of a request that may have happened.
fn json_of(error: &Error) -> Value {
    if let Error::Unanswered { request_id, last } = error {
        let mut json = json_of(last);
        json["request_id"] = request_id.as_str().into();
        return json;
    }
    if let Error::Rpc(error) = error {
        return json!({ "error": error });
    }
    json!({ "error": { "code": exit_code(error), "message": error.to_string() } })
}

/// Prints that the command line can't be used.
pub(super) fn unreadable(error: &anyhow::Error) -> ExitCode {
    remark!("error: {error:#}");
    ExitCode::from(UNUSABLE)
}

/// Refuses a key in place of the name of its file, and doesn't show it.
///
/// # Errors
/// The name is written like a key.
pub(super) fn check_key_file(file: &Path) -> anyhow::Result<()> {
    /// The fewest hex digits that are taken for a part of a key. A part must not be shown either.
    const FEWEST: usize = 32;
    let name = file.to_str().unwrap_or_default().trim();
    let digits = name.trim_start_matches("0x").trim_start_matches("0X");
    if digits.len() >= FEWEST && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!(
            "this is a key, not the name of a key file: put it into a file that only you can read, and give the name of that file (with ./ before it, if this is a file name). If others can see what you type, make a new key"
        );
    }
    Ok(())
}

pub(super) fn read_key(file: &Path) -> anyhow::Result<SecretKey> {
    check_key_file(file)?;
    let path = file.display();
    let text = files::read_text(file, files::SECRET).map_err(|error| {
        let message = if error.kind() == io::ErrorKind::NotFound {
            format!("the key {path} cannot be read (`circled keygen {path}` makes one)")
        } else if error.kind() == io::ErrorKind::InvalidData {
            format!("{path} is not a key file")
        } else {
            format!("the key {path} cannot be read")
        };
        anyhow::Error::new(error).context(message)
    })?;
    if fs::metadata(file)?.mode() & 0o077 != 0 {
        remark!("warning: others on this machine can read the key {path}: chmod 600 {path}");
    }
    SecretKey::from_hex(text.trim()).with_context(|| format!("{path} is not a key file"))
}

/// The most bytes that a command sends: far more than servers take.
pub(super) const MAX_SENT: usize = 64 << 20;

/// Reads a script from a file; `-` is standard input.
pub(super) fn read_script(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return files::text_of(stdin(), MAX_SENT)
            .context("the script cannot be read from standard input");
    }
    files::read_text(file, MAX_SENT)
        .with_context(|| format!("the script {} cannot be read", file.display()))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::units::duration::parse(text)
        .filter(|duration| duration.as_millis() > 0)
        .ok_or_else(|| "write it like 500ms, 2s or 1m".to_owned())
}

pub(super) fn json_value(text: &str) -> Result<Value, String> {
    circled_json::parse(text)
        .map_err(|error| format!("not JSON ({error}): write a text as '\"x\"'"))
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    writeln!(stdout(), "{}", json!(value))
}

/// Prints a text of others to standard output: unchanged, but escaped for a terminal.
pub(super) fn print_text(text: &str) -> io::Result<()> {
    if stdout().is_terminal() {
        writeln!(stdout(), "{}", printable(text))
    } else {
        writeln!(stdout(), "{text}")
    }
}

/// If nobody reads the logs, the value may still be wanted.
pub(super) fn print_logs<'a>(lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        script_prints(&printable(line));
    }
}
