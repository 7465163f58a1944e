//! The pipe between a source and a target: it holds a few parts, so that neither is far ahead.

use std::io::{BufRead, Write};

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{
    counts::Summary, failure::Failure, header::Header, reader::Reader, record::Part, writer::Writer,
};

/// Parts that wait for the target.
const WAITING: usize = 2;

/// The end of a source. It sends [`Part::Done`] at last, or why it can't.
pub type PartsIn = Sender<Result<Part, Failure>>;

/// The end of a target. All has been sent once [`Part::Done`] comes; if none comes, the source has died.
pub type PartsOut = Receiver<Result<Part, Failure>>;

/// Returns both ends of a pipe.
pub fn pipe() -> (PartsIn, PartsOut) {
    mpsc::channel(WAITING)
}

/// Writes all parts into an archive. Blocks.
///
/// # Errors
/// The source fails, or the archive can't be written.
pub fn pack<W: Write>(
    mut parts: PartsOut,
    out: W,
    header: Header,
) -> Result<(W, Summary), Failure> {
    let mut writer = Writer::begin(out, header)?;
    loop {
        match parts.blocking_recv().ok_or(Failure::Ended)?? {
            Part::Done => return Ok(writer.finish()?),
            part @ (Part::Circle(_) | Part::Records(_) | Part::End) => writer.part(&part)?,
        }
    }
}

/// Sends all parts of an archive, or why it can't be read. Blocks.
pub fn unpack<R: BufRead>(mut reader: Reader<R>, parts: &PartsIn) {
    loop {
        let part = match reader.next_part() {
            Ok(part) => Ok(part.unwrap_or(Part::Done)),
            Err(error) => Err(error.into()),
        };
        let goes_on = matches!(&part, Ok(part) if *part != Part::Done);
        if parts.blocking_send(part).is_err() || !goes_on {
            return;
        }
    }
}
