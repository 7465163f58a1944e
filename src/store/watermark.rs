//! The durable watermark: the number of the last write that is safe, in a file beside the database, so that a loss in
//! the database is noticed.
//!
//! A database's journal is read up to the first entry that makes no sense. It can't tell whether that is its last
//! write, cut off before anybody was told of it, or damage to what was safe long ago. So every write has a number,
//! stored with it, and the number of the last one that was safe stands in this file. The file is not synced: after a
//! power cut it may say less than there is, and never more.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The number of the last write that was safe.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    number: AtomicU64,
}

impl Watermark {
    /// Its name.
    pub(super) const FILE: &str = "written";

    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(Self::FILE)
    }

    /// Reads the file, and creates it if there is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(Self::path(folder))?;
        let mut bytes = [0; size_of::<u64>()];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            // New, or as a power cut left it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bytes = [0; _],
            Err(error) => return Err(error),
        }
        Ok(Self {
            file,
            number: AtomicU64::new(u64::from_be_bytes(bytes)),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Notes that every write up to this one is safe.
    pub(super) fn set(&self, number: u64) -> io::Result<()> {
        self.number.store(number, Ordering::Release);
        self.file.write_all_at(&number.to_be_bytes(), 0)
    }
}
