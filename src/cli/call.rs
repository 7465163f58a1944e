//! `circled call`

use std::process::ExitCode;

use clap::Args;

use super::{
    login::{Login, ScriptSource, exit_codes},
    play::{RunOptions, print_played},
};

const EXIT_CODES: &str = exit_codes!(
    "the script ended with a value",
    "1  the script failed",
    examples: "  circled call C --key me.key greet --args '{\"name\": \"Ada\"}'
  circled call C --key me.key greet --version 3f1a...          # as it was"
);

/// Log in to a circle and call one of its named scripts.
///
/// The script's prints go to standard error, its value to standard output.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Call {
    #[command(flatten)]
    login: Login,
    /// The script's name; `circled script list` shows all.
    name: String,
    /// The version to run; without it, the newest one.
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    with: RunOptions,
}

impl Call {
    pub(super) fn run(&self) -> ExitCode {
        let source = ScriptSource {
            name: &self.name,
            text: None,
        };
        let options = self.with.options();
        let version = self.version.as_deref();
        self.login.run(
            Some(source),
            async |client| client.call_script(&self.name, version, &options).await,
            |called| print_played(&called.played),
        )
    }
}
