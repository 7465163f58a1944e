//! A disk of the test's own, which only root can create. Without it, the test is skipped.

use std::{path::Path, process::Command};

use tempfile::TempDir;

/// A file system that is unmounted when it is dropped.
pub(super) struct Volume {
    mounted: TempDir,
    /// The folder of the disk's image, if it has one.
    _image: Option<TempDir>,
}

impl Volume {
    /// Creates a file system of this size in memory.
    pub(super) fn small(mib: u64) -> Option<Self> {
        Self::mount(
            &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"],
            None,
        )
    }

    /// Creates a file system that can be frozen: writes to it block then.
    pub(super) fn freezable() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(128 << 20)
            .unwrap();
        let image = image.to_str().unwrap().to_owned();
        if !run("mkfs.ext4", &["-q", &image]) {
            return None;
        }
        Self::mount(&["-o", "loop,noatime", &image], Some(folder))
    }

    fn mount(what: &[&str], image: Option<TempDir>) -> Option<Self> {
        let mounted = tempfile::tempdir().unwrap();
        let at = mounted.path().to_str().unwrap();
        if !run("mount", &[what, &[at]].concat()) {
            eprintln!("left out: no disk can be mounted here");
            return None;
        }
        Some(Self {
            mounted,
            _image: image,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Leaves so many bytes free. Returns the file that takes the rest.
    pub(super) fn fill(&self, free: u64) -> TempFile {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let taken = usize::try_from(stat.f_bavail * stat.f_frsize - free).unwrap();
        let mut file = tempfile::NamedTempFile::new_in(self.path()).unwrap();
        std::io::Write::write_all(&mut file, &vec![1; taken]).unwrap();
        file
    }

    /// Freezes it: writes wait until it is thawed.
    pub(super) fn freeze(&self) -> Frozen<'_> {
        assert!(run(
            "fsfreeze",
            &["--freeze", self.path().to_str().unwrap()]
        ));
        Frozen(self)
    }
}

pub(super) type TempFile = tempfile::NamedTempFile;

impl Drop for Volume {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.path().to_str().unwrap()]);
    }
}

/// Thaws the volume when it is dropped.
pub(super) struct Frozen<'a>(&'a Volume);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", self.0.path().to_str().unwrap()]);
    }
}

/// Runs a program. Returns true if it succeeds.
fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
