//! A new file that has its name once all of it is on the disk.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The end of the name that a file has until it is whole.
const PARTIAL: &str = ".partial";

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
        if fs::symlink_metadata(path).is_ok() {
            return Err(already_there());
        }
        let mut partial = OsString::from(path);
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        // What an earlier process left there is overwritten.
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
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
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            partial,
            is_done: false,
        })
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

fn already_there() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it exists already")
}
