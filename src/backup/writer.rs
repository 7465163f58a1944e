//! Writes an archive.

use std::io::Write;

use sha2::{Digest, Sha256};
use zstd::Encoder;

use super::{
    check::Check,
    counts::{Counts, Summary},
    error::ArchiveError,
    frame::{Frame, Kind, MAGIC, end_of},
    header::Header,
    record::Part,
};

/// zstd's usual one: fast, and small enough.
const LEVEL: i32 = 3;

/// Writes an archive. It is whole once [`finish`](Self::finish) has returned.
pub struct Writer<W: Write> {
    out: Encoder<'static, W>,
    header: Header,
    check: Check,
    frame: Frame,
    /// Of the beginning.
    begun: Sha256,
    /// Of the circle.
    circle: Sha256,
    /// Of the circles' sums.
    contents: Sha256,
    circles: u64,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// It can't be written.
    pub fn begin(out: W, header: Header) -> Result<Self, ArchiveError> {
        let mut out = Encoder::new(out, LEVEL)?;
        out.include_checksum(true)?;
        let mut writer = Self {
            out,
            check: Check::new(header.circle),
            frame: Frame::default(),
            begun: Sha256::new(),
            circle: Sha256::new(),
            contents: Sha256::new(),
            circles: 0,
            counts: Counts::default(),
            header,
        };
        writer.out.write_all(MAGIC)?;
        writer.frame.set(Kind::Header, &[&writer.header.encode()])?;
        writer.out.write_all(writer.frame.all())?;
        writer.begun.update(MAGIC);
        writer.begun.update(writer.frame.all());
        Ok(writer)
    }

    /// Writes the next part.
    ///
    /// # Errors
    /// It can't be written, or isn't the next one.
    pub fn part(&mut self, part: &Part) -> Result<(), ArchiveError> {
        match part {
            Part::Circle(head) => {
                self.check.begin(head)?;
                self.circle = Sha256::new();
                self.frame.set_head(head)?;
                self.put()
            }
            Part::Records(records) => records.iter().try_for_each(|record| {
                self.check.record(record)?;
                self.frame.set_record(record)?;
                self.put()
            }),
            Part::End => {
                let counts = self.check.end()?;
                let sum = self.circle.clone().finalize().into();
                self.frame.set(Kind::End, &[&end_of(counts, &sum)])?;
                self.out.write_all(self.frame.all())?;
                self.contents.update(sum);
                self.circles += 1;
                self.counts += counts;
                Ok(())
            }
            Part::Done => Ok(()),
        }
    }

    fn put(&mut self) -> Result<(), ArchiveError> {
        self.circle.update(self.frame.all());
        Ok(self.out.write_all(self.frame.all())?)
    }

    /// Ends the archive. Returns what it was written to.
    ///
    /// # Errors
    /// It can't be written, or a circle isn't whole.
    pub fn finish(mut self) -> Result<(W, Summary), ArchiveError> {
        if self.check.is_open() {
            return Err(ArchiveError::damaged("its last circle isn't whole"));
        }
        let contents: [u8; 32] = self.contents.finalize().into();
        let circles = self.circles.to_be_bytes();
        let sum = self.begun.chain_update(circles).chain_update(contents);
        self.frame
            .set(Kind::Trailer, &[&circles, &contents, &sum.finalize()])?;
        self.out.write_all(self.frame.all())?;
        let mut out = self.out.finish()?;
        out.flush()?;
        let summary = Summary {
            header: self.header,
            circles: self.circles,
            counts: self.counts,
            contents,
        };
        Ok((out, summary))
    }
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Writer").field(&self.header).finish()
    }
}
