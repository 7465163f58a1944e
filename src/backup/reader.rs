//! Reads an archive, which anybody may have made.

use std::io::{BufRead, BufReader, Read};

use sha2::{Digest, Sha256};
use zstd::Decoder;

use super::{
    PAGE,
    check::Check,
    counts::{Counts, Summary},
    error::ArchiveError,
    frame::{COUNTS, Frame, Kind, MAGIC, SUM, end_of},
    header::Header,
    record::Part,
};

/// The first bytes of every zstd frame.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads an archive part by part. Nothing of it is certain before all of it has been read.
pub struct Reader<R: BufRead> {
    input: BufReader<Decoder<'static, R>>,
    header: Header,
    check: Check,
    frame: Frame,
    /// The kind of the frame, if it was read and belongs to the next part.
    next: Option<Kind>,
    begun: Sha256,
    circle: Sha256,
    contents: Sha256,
    circles: u64,
    counts: Counts,
    summary: Option<Summary>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// It is no archive, of a newer format, or can't be read.
    pub fn open(mut input: R) -> Result<Self, ArchiveError> {
        let first = input.fill_buf()?;
        let length = first.len().min(ZSTD.len());
        if first[..length] != ZSTD[..length] {
            return Err(ArchiveError::Foreign);
        }
        let decoder = Decoder::with_buffer(input)?.single_frame();
        let mut input = BufReader::new(decoder);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(ArchiveError::Foreign);
        }
        let mut frame = Frame::default();
        let kind = frame.read(&mut input)?;
        if kind != Kind::Header {
            return Err(ArchiveError::damaged("it has no header"));
        }
        let begun = Sha256::new().chain_update(MAGIC).chain_update(frame.all());
        let header = Header::decode(frame.content())?;
        Ok(Self {
            input,
            check: Check::new(header.circle),
            header,
            frame,
            next: None,
            begun,
            circle: Sha256::new(),
            contents: Sha256::new(),
            circles: 0,
            counts: Counts::default(),
            summary: None,
        })
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what all of it is, once there is no next part.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Reads the next part. Returns nothing if the last one was the last, and all sums are right.
    ///
    /// # Errors
    /// It can't be read, ends too early, or is damaged.
    pub fn next_part(&mut self) -> Result<Option<Part>, ArchiveError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            let kind = match self.next.take() {
                Some(kind) => kind,
                None => self.frame.read(&mut self.input)?,
            };
            let is_record = matches!(kind, Kind::Entry | Kind::Event | Kind::Job | Kind::Seen);
            if !records.is_empty() && (!is_record || bytes >= PAGE) {
                self.next = Some(kind);
                return Ok(Some(Part::Records(records)));
            }
            if !is_record {
                return self.other(kind);
            }
            let record = self.frame.to_record(kind);
            let record = record.ok_or_else(|| ArchiveError::damaged("a record can't be read"))?;
            self.check.record(&record)?;
            self.circle.update(self.frame.all());
            bytes += record.size();
            records.push(record);
        }
    }

    fn other(&mut self, kind: Kind) -> Result<Option<Part>, ArchiveError> {
        let damaged = |why: &str| Err(ArchiveError::damaged(why));
        match kind {
            Kind::Circle => {
                let Some(head) = self.frame.to_head() else {
                    return damaged("the beginning of a circle can't be read");
                };
                self.check.begin(&head)?;
                self.circle = Sha256::new_with_prefix(self.frame.all());
                Ok(Some(Part::Circle(head)))
            }
            Kind::End => {
                let counts = self.check.end()?;
                let sum = self.circle.clone().finalize().into();
                if self.frame.content() != end_of(counts, &sum) {
                    let of_counts = self.frame.content().get(..COUNTS);
                    let is_missing = of_counts != end_of(counts, &sum).get(..COUNTS);
                    return damaged(match is_missing {
                        true => "a circle has more or fewer records than it says",
                        false => "the sum of a circle is wrong",
                    });
                }
                self.contents.update(sum);
                self.circles += 1;
                self.counts += counts;
                Ok(Some(Part::End))
            }
            Kind::Trailer => self.end(),
            Kind::Header => damaged("it has two headers"),
            Kind::Entry | Kind::Event | Kind::Job | Kind::Seen => damaged("a record is alone"),
        }
    }

    fn end(&mut self) -> Result<Option<Part>, ArchiveError> {
        let contents: [u8; SUM] = self.contents.clone().finalize().into();
        let circles = self.circles.to_be_bytes();
        let sum = self.begun.clone().chain_update(circles);
        let sum = sum.chain_update(contents).finalize();
        if self.check.is_open() || self.frame.content() != [&circles[..], &contents, &sum].concat()
        {
            return Err(ArchiveError::damaged("the sum of all is wrong"));
        }
        // The checksum of zstd comes after what it is of.
        if self.input.read(&mut [0])? > 0 || !self.input.get_mut().get_mut().fill_buf()?.is_empty()
        {
            return Err(ArchiveError::damaged("something comes after its end"));
        }
        self.summary = Some(Summary {
            header: self.header.clone(),
            circles: self.circles,
            counts: self.counts,
            contents,
        });
        Ok(None)
    }

    /// Reads all that is left, and gives it to nobody.
    ///
    /// # Errors
    /// As [`next_part`](Self::next_part).
    pub fn verify(mut self) -> Result<Summary, ArchiveError> {
        while self.next_part()?.is_some() {}
        self.summary
            .ok_or_else(|| ArchiveError::damaged("it has no end"))
    }
}

impl<R: BufRead> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reader").field(&self.header).finish()
    }
}
