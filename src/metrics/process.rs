//! The figures of the process.

use std::{fs, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// The figures of the process right now, as far as the system tells.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// The time of all cores that it has used.
    pub(crate) cpu: Duration,
    /// The bytes of memory that it takes.
    pub(crate) resident: Option<u64>,
    /// Its open files.
    pub(crate) open_files: Option<u64>,
    /// The open files that the system permits.
    pub(crate) max_files: Option<u64>,
}

impl Process {
    /// Looks at the process. Reads `/proc`.
    pub(crate) fn look() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").ok();
        let files = fs::read_dir("/proc/self/fd").ok();
        Self {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident: status.as_deref().and_then(resident),
            // One of them is the folder that is read.
            open_files: files.map(|files| (files.count() as u64).saturating_sub(1)),
            max_files: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Returns the resident memory, which `/proc/self/status` has in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
