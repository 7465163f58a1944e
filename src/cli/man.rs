//! `circled man`

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use rustix::{fs::Mode, process::umask};

use super::Cli;

/// Write a manual page for each command, for packages.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder to write them to; it must exist.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        // Unlike other files, these are for everybody.
        umask(Mode::WGRP | Mode::WOTH);
        let mut all = Cli::command().disable_help_subcommand(true);
        all.build();
        write_pages(&all, &self.folder)
            .with_context(|| format!("{} cannot be written to", self.folder.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the pages of a command and of its subcommands.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write_pages(command, folder)?;
    }
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("circled ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page)?;
    // Each line of an example stays a line.
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\n", ".SH EXAMPLES\n.nf\n");
    fs::write(folder.join(man.get_filename()), page)
}
