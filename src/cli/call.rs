//! `circled call`

use std::process::ExitCode;

use clap::Args;

use super::{
    play::{OF_RUNS, RunOptions, print_played},
    with_login::{Login, ScriptSource, exit_codes},
};

const EXAMPLES: &str = "\
  circled call C --key me.key greet --args '{\"name\": \"Ada\"}'
  circled call C --key me.key greet --version 3f1a...          # as it was";

/// Log in to a circle and call one of its named scripts.
///
/// The value of the script goes to standard output, the lines that it prints to standard error. If the connection is
/// lost, the command connects again and asks for the same run: the script runs once.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[&OF_RUNS[..], &[(8, "there is no such script or version")]].concat(), EXAMPLES))]
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
        self.login.run_calls(
            source,
            async |caller| caller.call_script(&self.name, version, &options).await,
            |called| print_played(&called.played),
        )
    }
}
