//! `circled config`

use std::{
    io::{self, Write},
    path,
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{
    ConfigFile, environment, mistakes,
    output::{remark, stdout},
};
use crate::{
    config::{Entry, Loaded, Mistake, Problems, Settings},
    dispatch::settings::Backend,
    server::SetUp,
};

const EXAMPLES: &str = "\
Examples:
  circled config show > circled.toml             # a file to start from
  circled config check --config circled.toml
  CIRCLED_SESSION__MAX_BATCH=8 circled config show";

/// Look at the settings.
///
/// They come from the built-in defaults; the file overrides these, and the environment overrides the file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all mistakes in the settings, in secrets and in the scripts of webhooks, sorted by their places; also
    /// settings that hardly fit together ("should be"), with which a server starts, and warns. Exit code 0 if there
    /// are none.
    Check(ConfigFile),
    /// Print the settings in force as TOML, and where each comes from.
    Show(ConfigFile),
}

impl Config {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let loaded = match &self.command {
            Command::Check(file) => {
                Settings::load_and_try(file.config.as_deref(), environment(), |settings| {
                    let mut all = mistakes(SetUp::of(settings).map(drop));
                    all.extend(data_folder(settings));
                    all
                })
            }
            Command::Show(file) => file.load(),
        };
        let problems = match (&self.command, loaded) {
            (_, Err(Problems(problems))) => problems,
            (Command::Check(_), Ok(loaded)) => {
                for note in SetUp::of(&loaded.settings)?.notes() {
                    remark!("note: {note}");
                }
                if loaded.doubts.is_empty() {
                    writeln!(stdout(), "ok")?;
                    return Ok(ExitCode::SUCCESS);
                }
                loaded.doubts
            }
            (Command::Show(_), Ok(loaded)) => {
                show(&loaded, &mut stdout())?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        for problem in problems {
            remark!("{problem}");
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Finds out if there can be no data folder where the settings have it.
fn data_folder(settings: &Settings) -> Option<Mistake> {
    if settings.dispatch.backend != Backend::Embedded {
        return None;
    }
    let folder = path::absolute(&settings.dispatch.embedded.data_dir).ok()?;
    let there = folder.ancestors().find(|path| path.exists())?;
    let is_of_system = ["/proc", "/sys"]
        .iter()
        .any(|system| folder.starts_with(system));
    let message = if is_of_system {
        format!("nothing can be stored in {}", folder.display())
    } else if !there.is_dir() {
        format!(
            "must be a folder, or one that can be made: {} is none",
            there.display()
        )
    } else {
        return None;
    };
    let key = "dispatch.embedded.data_dir".to_owned();
    Some(Mistake { key, message })
}

fn show(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let mut section = "";
    for entry in &loaded.entries {
        let Some((table, name)) = entry.key.split_once('.') else {
            // The circles come below, one table each.
            continue;
        };
        if table != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}[{table}]")?;
            section = table;
        }
        writeln!(out, "{name} = {}  # {}", entry.value, entry.source)?;
    }
    let Some(Entry { source, .. }) = loaded.entries.iter().find(|entry| entry.key == "circle")
    else {
        return Ok(());
    };
    for lines in loaded.circles() {
        writeln!(out, "\n[[circle]]  # {source}")?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
