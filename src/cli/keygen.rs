//! `circled keygen`

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write, stdout},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;

use crate::auth::SecretKey;

/// Make a secp256k1 key. The secret goes to FILE, which only you can read and which must not exist;
/// the public key, which names a circle or a caller, goes to standard output.
#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Where the secret key goes.
    file: PathBuf,
}

impl Keygen {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = self.file.display();
        let key = SecretKey::generate().context("the operating system gives no randomness")?;
        let mut file = match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{path} exists already, and a key is never overwritten: choose another name")
            }
            opened => opened.with_context(|| format!("{path} cannot be written"))?,
        };
        writeln!(file, "{}", key.to_hex())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("{path} cannot be written"))?;
        writeln!(stdout(), "{}", key.public())?;
        if stdout().is_terminal() {
            eprintln!(
                "The secret key is in {path}: keep it, and keep it to yourself. Above is the public key."
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
