//! The circles' stores: keys and JSON values, read and written in transactions, on this machine's disk.
//!
//! These always hold:
//!
//! - **Serializable.** A [`Transaction`] remembers what it read, ranges too, and keeps its writes to itself.
//!   Committing checks that everything it read still stands, so any set of transactions leaves what it
//!   would have left one after another.
//! - **Durable.** A commit is reported once it is on disk, synced. One thread writes; all that waits goes
//!   into one synced write.
//! - **One step.** What a commit brings besides the store's own keys (a job's record, its outcome) lands
//!   with it or not at all.
//! - **Apart.** Circles share the writing thread and nothing else: no circle's transaction waits for
//!   another's lock.
//!
//! Readers that must not wait see what is on disk ([`Store::begin`]). What will write, and so waits for the disk
//! anyway, may build on commits that are still on their way there ([`Store::begin_latest`]): those are written before
//! it, or not at all, and then it isn't either.

mod circle;
mod commit;
mod commit_hub;
mod counts;
mod database;
mod deletion;
mod disk;
mod disk_snapshot;
mod effects;
mod error;
mod event;
pub(crate) mod event_record;
mod expiring;
mod hub;
mod in_memory;
mod locked_circle;
mod log;
mod moment;
mod preconditions;
mod queue;
mod range;
mod read_set;
mod replies;
mod reply_bytes;
mod reply_room;
mod restore;
mod room;
mod settings;
mod snapshot;
mod submitted_job;
mod sweep;
mod table;
mod told_effects;
mod transaction;
mod watermark;
mod write;
mod writer;

pub use commit::{CommitCallback, RejectedCommit, Scan, Store, WaitPolicy};
pub use commit_hub::{Commit, CommitFeed, CommitHub, CommitSignal, WantedKeys};
pub use counts::{Counting, Counts};
pub use disk::Disk;
pub use effects::Effects;
pub use error::{CommitError, OpenError, Unavailable, WriteError};
pub use event::NewEvent;
pub use event_record::is_event;
pub use expiring::{has_expired, is_of_store, is_stored_value, stored_expiry};
pub use hub::{Event, Feed, Hub, Log, Signal};
pub use in_memory::InMemory;
pub use locked_circle::LockedCircle;
pub use moment::{Moment, NoMoment};
pub use preconditions::Preconditions;
pub use range::{KeyRange, Want};
pub use read_set::{Found, RangeRead, ReadSet};
pub use replies::{REPLY_HEAD, is_request, request_key};
pub use restore::{NewDisk, RestoredCircle};
pub use settings::{DiskSettings, Settings};
pub use submitted_job::{JobQueue, SubmittedJob};
pub use table::{Key, Record, Table, Value};
pub use transaction::{OnCounted, RemoteReads, Scanned, Transaction, own as own_key, pushed};
pub use write::{AddError, Write, sum};

#[cfg(test)]
mod tests;
