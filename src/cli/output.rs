//! Writes the output of commands: results to standard output, remarks to standard error.
//!
//! A result that can't be written makes the command fail, even if its writer ignores the error: [`finish`] checks that.

use std::{
    fmt,
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use super::http::NoAnswer;

/// The exit code of a command that did its work, but couldn't write the result.
const UNWRITTEN: u8 = 9;

/// The exit code of a command that couldn't reach a server.
const UNREACHED: u8 = 3;

/// The first failed write of a result.
static FAILED: Mutex<Option<ErrorKind>> = Mutex::new(None);

/// The standard output. A failed write is remembered until [`finish`].
pub(super) struct Stdout(io::Stdout);

/// Returns the standard output of a command.
#[expect(
    clippy::disallowed_methods,
    reason = "this is what all others are to use"
)]
pub(super) fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Stdout {
    pub(super) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        noted(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        noted(self.0.flush())
    }
}

fn noted<T>(written: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &written
        && error.kind() != ErrorKind::Interrupted
    {
        let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error.kind());
    }
    written
}

/// Writes a line that a script has printed to standard error. It is part of the result.
pub(super) fn script_prints(line: &str) {
    let _ = noted(writeln!(io::stderr(), "{line}"));
}

/// Writes a remark to standard error. If that fails, the exit code says enough.
macro_rules! remark {
    ($($arg:tt)*) => {
        $crate::cli::output::write_remark(format_args!($($arg)*))
    };
}
pub(super) use remark;

pub(super) fn write_remark(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Returns the exit code of a command with this result, and prints its error.
pub(super) fn finish(ended: anyhow::Result<ExitCode>) -> ExitCode {
    let _ = stdout().flush();
    let failed = *FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    let unwritten = match failed {
        None => None,
        // The reader has seen enough, like `head`.
        Some(ErrorKind::BrokenPipe) => Some(ExitCode::SUCCESS),
        Some(kind) => {
            remark!("error: the output cannot be written: {kind}");
            Some(ExitCode::from(UNWRITTEN))
        }
    };
    match (ended, unwritten) {
        (Ok(ExitCode::SUCCESS), Some(code)) => code,
        (Ok(code), _) => code,
        // The error has been printed.
        (Err(error), Some(code)) if error.is::<io::Error>() => code,
        (Err(error), _) => {
            remark!("error: {error:#}");
            match error.is::<NoAnswer>() {
                true => ExitCode::from(UNREACHED),
                false => ExitCode::FAILURE,
            }
        }
    }
}
