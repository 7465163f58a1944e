//! Open files: the number that this process may have, and the part that is reserved.
//!
//! Every connection is one. The store must always get its files: it can't go on after a write that failed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServeError;

/// The least number of files with which a server works.
const LEAST: usize = 64;

/// The open files of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenFiles {
    /// The number that the system permits.
    pub(super) permitted: usize,
    /// The number that is reserved, not for connections.
    pub(super) reserved: usize,
}

impl OpenFiles {
    /// Raises the limit as far as the system permits, and reserves `reserve` files, or half of all.
    ///
    /// # Errors
    /// The system permits too few.
    pub(super) fn claim(reserve: usize) -> Result<Self, ServeError> {
        let limit = getrlimit(Resource::Nofile);
        let raised = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
        let permitted = if raised.is_ok() {
            limit.maximum
        } else {
            limit.current
        };
        let permitted = permitted.map_or(usize::MAX, |permitted| {
            usize::try_from(permitted).unwrap_or(usize::MAX)
        });
        Self::of(permitted, reserve).ok_or(ServeError::Files {
            permitted,
            least: LEAST,
        })
    }

    fn of(permitted: usize, reserve: usize) -> Option<Self> {
        let reserved = reserve.min(permitted / 2);
        (permitted >= LEAST).then_some(Self {
            permitted,
            reserved,
        })
    }

    /// Returns the number that is left for connections.
    pub(super) fn for_connections(&self) -> usize {
        self.permitted - self.reserved
    }

    /// Returns the number of reserved files that the store may keep open. Files that it opens for a moment come on top.
    pub(super) fn for_store(&self) -> usize {
        self.reserved / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_has_its_files_whatever_the_limit() {
        for (permitted, reserve, expected) in [
            (20_000, 1024, Some((18_976, 256))),
            (1024, 1024, Some((512, 128))),
            (64, 1024, Some((32, 8))),
            (63, 0, None),
        ] {
            let files = OpenFiles::of(permitted, reserve);
            let found = files.map(|files| (files.for_connections(), files.for_store()));
            assert_eq!(found, expected, "{permitted}");
        }
    }
}
