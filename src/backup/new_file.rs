//! A new file that has its name once all of it is on the disk.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The end of the name that a file has until it is whole.
pub(super) const PARTIAL: &str = ".partial";

/// A file that is being written. One that is dropped, or whose process dies, never gets its name.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    is_done: bool,
}

impl NewFile {
    /// Begins a file that nobody else on this machine may read.
    ///
    /// # Errors
    /// There is a file of this name, another process writes one, or the folder takes none.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut partial = OsString::from(path);
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = loop {
            if fs::symlink_metadata(path).is_ok() {
                return Err(already_there());
            }
            // What an earlier process left there is overwritten.
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&partial)?;
            if lock(&file, &partial)? {
                break file;
            }
        };
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            partial,
            is_done: false,
        })
    }

    /// Deletes an unfinished file that has this name, unless somebody is writing it.
    pub(super) fn remove_left(partial: &Path) -> io::Result<()> {
        let file = File::options().write(true).open(partial)?;
        match lock(&file, partial) {
            Ok(true) => fs::remove_file(partial),
            Ok(false) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the name that it has until it is whole.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Has all of it on the disk, and then gives it its name.
    ///
    /// # Errors
    /// The disk doesn't take it, or there is a file of this name by now.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if fs::symlink_metadata(&self.path).is_ok() {
            return Err(already_there());
        }
        fs::rename(&self.partial, &self.path)?;
        self.is_done = true;
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Locks a file that was opened at this path. Returns whether it is there still: whoever had locked it before may have
/// finished or deleted it.
fn lock(file: &File, partial: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process is writing it",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let opened = file.metadata()?;
    match fs::symlink_metadata(partial) {
        Ok(there) => Ok((opened.dev(), opened.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn already_there() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it exists already")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_finished_since_it_was_opened_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut first = NewFile::create(&path).unwrap();
        first.write_all(b"whole").unwrap();
        let partial = first.partial().to_owned();
        let opened = File::options().write(true).open(&partial).unwrap();
        let busy = lock(&opened, &partial).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        first.finish().unwrap();
        assert!(!lock(&opened, &partial).unwrap());
        // Nor is it where another one has begun meanwhile.
        fs::write(&partial, "").unwrap();
        assert!(!lock(&opened, &partial).unwrap());
        let next = File::options().write(true).open(&partial).unwrap();
        assert!(lock(&next, &partial).unwrap());
        let error = NewFile::create(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
