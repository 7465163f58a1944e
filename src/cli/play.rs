//! `circled play`

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use circled_client::Options;
use circled_protocol::methods::Played;
use clap::Args;
use serde_json::Value;

use super::{
    output::remark,
    with_login::{
        Login, ScriptSource, duration, exit_codes, json_value, milliseconds, print_logs,
        print_text, read_script, unreadable,
    },
};

/// The exit codes of commands that run a script.
pub(super) const OF_RUNS: [(u8, &str); 3] = [
    (0, "the script ended with a value"),
    (1, "the script failed, or doesn't compile"),
    (6, "the script took too long"),
];

const EXAMPLES: &str = "\
  circled play C --key me.key '40 + 2'
  circled play C --key me.key -f report.rhai --args '{\"month\": 3}'
  echo 'CALLER_ID' | circled play C --key me.key -";

/// Log in to a circle and play a script: send its source and have it run.
///
/// The value of the script goes to standard output, the lines that it prints to standard error. If the connection is
/// lost, the command connects again and asks for the same run: the script runs once. The command signs only a login text
/// that names this server, circle and key.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&OF_RUNS, EXAMPLES))]
pub(super) struct Play {
    #[command(flatten)]
    login: Login,
    /// The script; - reads it from standard input.
    #[arg(required_unless_present = "file")]
    script: Option<String>,
    /// Read the script from a file; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "script")]
    file: Option<PathBuf>,
    #[command(flatten)]
    with: RunOptions,
}

/// The options of a run besides its script.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// The value that the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", allow_negative_numbers = true, value_parser = json_value)]
    args: Option<Value>,
    /// The time limit of the script, like 500ms or 2s; at most the server's own limit. So long it is also asked again
    /// if the connection is lost; without a limit, for a minute.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// A name of this request, instead of a new one. If a request with this name has changed anything before, its result
    /// is printed, and nothing runs: after a failure, the same command with the same name finds out what has happened.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Print on standard error what the run has read and changed, as JSON. Only for callers who may manage.
    #[arg(long)]
    effects: bool,
}

impl Play {
    pub(super) fn run(&self) -> ExitCode {
        let script = match self.script() {
            Ok(script) => script,
            Err(error) => return unreadable(&error),
        };
        let file = self.file.as_deref().and_then(Path::to_str);
        let source = ScriptSource {
            name: file.filter(|name| *name != "-").unwrap_or("script"),
            text: Some(&script),
        };
        let options = self.with.options();
        self.login.run_calls(
            source,
            async |caller| caller.play(&script, &options).await,
            print_played,
        )
    }

    fn script(&self) -> anyhow::Result<String> {
        match (self.file.as_deref(), self.script.as_deref()) {
            (Some(path), _) => read_script(path),
            (None, Some("-")) => read_script(Path::new("-")),
            (None, Some(script)) => Ok(script.to_owned()),
            (None, None) => bail!("there is no script"),
        }
    }
}

impl RunOptions {
    pub(super) fn options(&self) -> Options {
        Options {
            args: self.args.clone().unwrap_or_default(),
            timeout_ms: self.timeout.map(milliseconds),
            request_id: self.request_id.clone(),
            effects: self.effects,
        }
    }
}

/// Prints a run's logs to standard error, its value to standard output.
pub(super) fn print_played(played: &Played) -> io::Result<()> {
    if played.replayed {
        remark!("this is the result of an earlier run for the same --request-id");
    }
    print_logs(played.logs.iter().map(String::as_str));
    if let Some(effects) = &played.effects {
        remark!("effects: {}", serde_json::to_string(effects)?);
    }
    match played.output.as_str() {
        "" => Ok(()),
        output => print_text(output),
    }
}
