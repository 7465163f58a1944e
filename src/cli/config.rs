//! `circled config`

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::ConfigFile;

#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find every mistake in the settings; exit code 0 if there is none.
    Check(ConfigFile),
    /// Print the settings in force as TOML, each with where it comes from.
    Show(ConfigFile),
}

impl Config {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (file, show) = match &self.command {
            Command::Check(file) => (file, false),
            Command::Show(file) => (file, true),
        };
        let loaded = match file.load() {
            Ok(loaded) => loaded,
            Err(problems) => {
                eprintln!("{problems}");
                return Ok(ExitCode::FAILURE);
            }
        };
        let mut out = stdout().lock();
        if !show {
            writeln!(out, "ok")?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut section = "";
        for entry in &loaded.entries {
            let Some((table, name)) = entry.key.split_once('.') else {
                // A list of tables stands before the first table, or it would be part of it.
                continue;
            };
            if table != section {
                writeln!(
                    out,
                    "{}[{table}]",
                    if section.is_empty() { "" } else { "\n" }
                )?;
                section = table;
            }
            writeln!(out, "{name} = {}  # {}", entry.value, entry.source)?;
        }
        for circle in &loaded.settings.circle {
            writeln!(
                out,
                "\n[[circle]]\nkey = \"{}\"\nmembers = {:?}",
                circle.key,
                circle
                    .members
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
