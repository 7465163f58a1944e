//! The database in the folder: one keyspace a table, and the number of the last write.

use std::{
    io,
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};

use super::{room, settings::DiskSettings, table::Table};

/// The keyspace that holds the number of the last write, see [`Watermark`](super::watermark::Watermark).
const WRITES: &str = "writes";
pub(super) const LAST_WRITE: &str = "last";
/// A key in every table: a table that is gone would look like one with nothing in it. No circle's is so short.
const THERE: &str = "there";

/// The reason why the database can't be used.
pub(super) enum Reason {
    Locked,
    Io(io::Error),
    Damaged(String),
    /// This many writes that were safe are gone.
    Lost(u64),
}

/// The tables and their database.
pub(super) struct Tables {
    pub(super) database: Database,
    pub(super) writes: Keyspace,
    pub(super) by_table: [Keyspace; Table::ALL.len()],
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    pub(super) fn open(path: &Path, settings: &DiskSettings) -> Result<Self, Reason> {
        let open = || {
            let database = Database::builder(path)
                .cache_size(settings.cache as u64)
                .max_cached_files(Some(settings.open_files))
                .open()?;
            let keyspace = |name| {
                database.keyspace(name, || {
                    KeyspaceCreateOptions::default()
                        .max_memtable_size(room::of_one_table(settings) as u64)
                })
            };
            let [a, b, c, d, e, f, g, h, i, j] = Table::ALL.map(|table| keyspace(table.name()));
            Ok(Self {
                by_table: [a?, b?, c?, d?, e?, f?, g?, h?, i?, j?],
                writes: keyspace(WRITES)?,
                database,
            })
        };
        quietly(open).map_err(Reason::Damaged)?.map_err(Reason::of)
    }

    /// Returns whether memtables are being written out.
    pub(super) fn are_written_out(&self) -> bool {
        self.keyspaces()
            .any(|one| one.tree.sealed_memtable_count() > 0)
    }

    /// Begins to write out the largest memtable. Returns false if all are empty.
    pub(super) fn write_out(&self) -> fjall::Result<bool> {
        let size = |one: &&Keyspace| one.tree.active_memtable().size();
        let largest = self.keyspaces().max_by_key(size);
        largest.map_or(Ok(false), Keyspace::rotate_memtable)
    }

    fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        self.by_table.iter().chain([&self.writes])
    }

    /// Checks that every write up to the number `safe` is there, see [`Watermark`](super::watermark::Watermark).
    /// Returns the number of the last one that is.
    pub(super) fn check(&self, safe: u64) -> Result<u64, Reason> {
        let number = self.writes.get(LAST_WRITE).map_err(Reason::of)?;
        let last = number
            .and_then(|bytes| bytes[..].try_into().ok())
            .map_or(0, u64::from_be_bytes);
        if last < safe {
            return Err(Reason::Lost(safe - last));
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (table, keyspace) in Table::ALL.into_iter().zip(&self.by_table) {
            if keyspace.contains_key(THERE).map_err(Reason::of)? {
                continue;
            }
            if safe > 0 {
                let name = table.name();
                return Err(Reason::Damaged(format!("its table \"{name}\" is gone")));
            }
            batch.insert(keyspace, THERE, []);
        }
        batch.commit().map_err(Reason::of)?;
        Ok(last)
    }
}

impl Reason {
    fn of(error: fjall::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};

        if matches!(error, fjall::Error::Locked) {
            return Self::Locked;
        }
        // The folder itself can be used, and what is in it isn't as it should be.
        let broken = [
            AlreadyExists,
            InvalidData,
            InvalidInput,
            NotFound,
            UnexpectedEof,
        ];
        if let fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) = error {
            if !broken.contains(&error.kind()) {
                return Self::Io(error);
            }
            return Self::Damaged(error.to_string());
        }
        Self::Damaged(error_text(&error))
    }
}

/// Returns an error of the library in words; its own messages are names of types.
pub(super) fn error_text(error: &fjall::Error) -> String {
    let text = match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            return error.to_string();
        }
        fjall::Error::Poisoned => "an earlier write failed, and none is accepted since",
        fjall::Error::Locked => "another process has it open",
        fjall::Error::JournalRecovery(_) => "a journal cannot be read",
        fjall::Error::InvalidVersion(_) | fjall::Error::Storage(LsmError::InvalidVersion(_)) => {
            "a file is of another version"
        }
        fjall::Error::Decompress(_) | fjall::Error::Storage(LsmError::Decompress(_)) => {
            "what is compressed cannot be read"
        }
        fjall::Error::Storage(LsmError::ChecksumMismatch { .. }) => "a checksum is wrong",
        fjall::Error::Unrecoverable | fjall::Error::Storage(LsmError::Unrecoverable) => {
            "a file is missing"
        }
        fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::KeyspaceDeleted
        | fjall::Error::Storage(_)
        | _ => "a file is damaged",
    };
    text.to_owned()
}

/// Calls `work` and catches its panics: a damaged file can make the library panic. Returns the panic's message as an
/// error, and keeps it out of the terminal.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static ONE: Mutex<()> = Mutex::new(());

    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = Arc::new(Mutex::new(String::new()));
    let loud: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync> = panic::take_hook().into();
    let (here, saying, others) = (thread::current().id(), said.clone(), loud.clone());
    panic::set_hook(Box::new(move |panicked| {
        if thread::current().id() == here {
            let text = panicked.payload_as_str().unwrap_or("no reason given");
            text.clone_into(&mut saying.lock().unwrap_or_else(PoisonError::into_inner));
        } else {
            others(panicked);
        }
    }));
    let done = catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(Box::new(move |panicked| loud(panicked)));
    done.map_err(|_| {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        format!("reading it fails ({})", said.replace('\n', " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_complains_of_is_told_in_words() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, expected) in [
            (fjall::Error::Io(refused()), "permission denied"),
            (
                fjall::Error::Storage(LsmError::Io(refused())),
                "permission denied",
            ),
            (
                fjall::Error::Poisoned,
                "an earlier write failed, and none is accepted since",
            ),
            (fjall::Error::InvalidTrailer, "a file is damaged"),
        ] {
            assert_eq!(error_text(&error), expected);
        }
    }
}
