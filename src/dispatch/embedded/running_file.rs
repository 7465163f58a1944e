//! A file that names the durable jobs whose scripts run right now. A job that stands there when a server starts, the
//! last server died of.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use circled_protocol::JobId;

const NAME: &str = "running";
/// Bytes of a slot: a job's name, or zeros.
const SLOT: usize = 16;
const EMPTY: [u8; SLOT] = [0; SLOT];

/// The file, with a slot for each job that runs. It is written but never synced: what the process has written outlives
/// it, and when the whole machine goes down no job is to blame. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct RunningFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    taken: Mutex<Vec<bool>>,
}

/// The slot of a job that runs. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct RunningSlot {
    running: RunningFile,
    number: usize,
}

impl RunningFile {
    /// Opens the file. Also returns the jobs that ran when the last server died.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<JobId>)> {
        let path = folder.join(NAME);
        let found = match std::fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let jobs = found
            .chunks_exact(SLOT)
            .filter(|slot| **slot != EMPTY)
            .filter_map(JobId::from_slice);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        let running = Self(Arc::new(Inner {
            file,
            taken: Mutex::default(),
        }));
        Ok((running, jobs.collect()))
    }

    /// Clears the file, once the jobs in it are counted.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.0.file.set_len(0)
    }

    /// Writes a job that begins to run into a slot.
    pub(super) fn begin(&self, job: JobId) -> RunningSlot {
        let number = {
            let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let free = taken.iter().position(|taken| !taken);
            let number = free.unwrap_or(taken.len());
            if free.is_none() {
                taken.push(true);
            } else {
                taken[number] = true;
            }
            number
        };
        self.write(number, job.as_bytes());
        RunningSlot {
            running: self.clone(),
            number,
        }
    }

    fn write(&self, slot: usize, bytes: &[u8; SLOT]) {
        // With no room on the disk, a job that kills the server is found out later.
        if let Err(error) = self.0.file.write_all_at(bytes, (slot * SLOT) as u64) {
            tracing::debug!(%error, "failed to note which job runs");
        }
    }
}

impl Drop for RunningSlot {
    fn drop(&mut self) {
        self.running.write(self.number, &EMPTY);
        let mut taken = self
            .running
            .0
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken[self.number] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_found_again_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let (running, before) = RunningFile::open(folder.path()).unwrap();
        assert_eq!(before, []);
        let jobs = [JobId::new(), JobId::new(), JobId::new()];
        let first = running.begin(jobs[0]);
        let second = running.begin(jobs[1]);
        drop(first);
        let third = running.begin(jobs[2]);
        let found = || RunningFile::open(folder.path()).unwrap().1;
        assert_eq!(found(), [jobs[2], jobs[1]], "slots are used again");
        drop((second, third));
        assert_eq!(found(), []);
        let _slot = running.begin(jobs[0]);
        running.clear().unwrap();
        assert_eq!(found(), []);
    }
}
