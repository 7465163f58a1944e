//! `circled backup`

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    ConfigFile,
    archive::{Source, create, read, restore},
    output::stdout,
    with_login::print_json,
};
use crate::backup::Summary;

const EXAMPLES: &str = "\
Examples:
  circled backup create --config circled.toml /backup/monday.circled
  circled backup info /backup/monday.circled
  circled backup restore --config new.toml /backup/monday.circled   # into an empty data folder";

/// Back up all circles into one file, and restore them.
///
/// The file is the same for both backends, and anybody who has it has all that the circles have.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Backup {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up all circles. A server may serve meanwhile: it is asked at its server.admin_listen.
    ///
    /// The file has all that was acknowledged before. It gets its name once it is whole, was read again and is on the disk.
    Create {
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        source: Source,
        /// Print the result as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that a file is whole and can be restored.
    Verify {
        /// The file.
        file: PathBuf,
    },
    /// Check a file, and print when it was made and how much is in it.
    Info {
        /// The file.
        file: PathBuf,
        /// Print it as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Restore all circles, into an empty data folder or an empty namespace of Redis: all of them, or nothing.
    Restore {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
}

impl Backup {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Create { file, source, json } => print(&create(source, None, file)?, *json)?,
            Command::Verify { file } => {
                read(file)?;
                writeln!(stdout(), "ok")?;
            }
            Command::Info { file, json } => print(&read(file)?, *json)?,
            Command::Restore { file, config } => print(&restore(config, file)?, false)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what is in an archive.
pub(super) fn print(summary: &Summary, as_json: bool) -> io::Result<()> {
    let Summary {
        header,
        circles,
        counts,
        contents,
    } = summary;
    let contents = format!("sha256:{}", hex::encode(contents));
    if as_json {
        return print_json(&json!({
            "format": header.format,
            "circled": header.circled,
            "made_at": header.made_at,
            "circle": header.circle,
            "circles": circles,
            "entries": counts.entries,
            "events": counts.events,
            "jobs": counts.jobs,
            "marks": counts.seen,
            "contents": contents,
        }));
    }
    let mut out = stdout();
    if let Some(circle) = header.circle {
        writeln!(out, "circle    {circle}")?;
    }
    writeln!(out, "made at   {}", header.made_at)?;
    writeln!(
        out,
        "by        circled {}, format {}",
        header.circled, header.format
    )?;
    writeln!(out, "circles   {circles}")?;
    writeln!(out, "entries   {}", counts.entries)?;
    writeln!(out, "events    {}", counts.events)?;
    writeln!(out, "jobs      {}", counts.jobs)?;
    writeln!(out, "marks     {}", counts.seen)?;
    writeln!(out, "contents  {contents}")
}
