//! `circled completions`

use std::{io::Write, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, output::stdout};

const EXAMPLES: &str = "\
Examples:
  circled completions bash > ~/.local/share/bash-completion/completions/circled
  circled completions zsh > ~/.zfunc/_circled          # a folder in zsh's $fpath
  circled completions fish > ~/.config/fish/completions/circled.fish";

/// Print the completions of a shell, which complete commands and options.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "circled", &mut script);
        stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
