//! `circled keygen`

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use circled_protocol::SecretKey;
use clap::Args;

use super::{
    output::{remark, stdout},
    with_login::{check_key_file, read_key},
};

const EXAMPLES: &str = "\
Examples:
  circled keygen me.key                          # prints your public key
  circled keygen --show me.key                   # prints it again
  CIRCLE=$(circled keygen circle.key)            # a circle is a key; whoever has the file owns it";

/// Make a secp256k1 key.
///
/// Writes the secret key to FILE, which must not exist yet and which only you can read. Prints the public key, which
/// names a circle or a caller.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Keygen {
    /// The file for the secret key. A secret key is never printed, so - is refused.
    file: PathBuf,
    /// Make no key; print the public key of the one in FILE.
    #[arg(long)]
    show: bool,
}

impl Keygen {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.show {
            writeln!(stdout(), "{}", read_key(&self.file)?.public())?;
            return Ok(ExitCode::SUCCESS);
        }
        check_key_file(&self.file)?;
        let path = self.file.display();
        if self.file == Path::new("-") {
            bail!(
                "a secret key is never printed: name the file that it goes to (./- for one of this name)"
            );
        }
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
        let written = writeln!(file, "{}", key.to_hex()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a key is useless, and would be in the way of the next attempt.
            let _ = fs::remove_file(&self.file);
            return Err(error).with_context(|| format!("{path} cannot be written"));
        }
        writeln!(stdout(), "{}", key.public()).inspect_err(|_| {
            remark!("the secret key is in {path}, but its public half could not be printed");
        })?;
        if stdout().is_terminal() {
            remark!(
                "The secret key is in {path}: don't lose it, and show it to nobody. The line above is the public key."
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
