//! Archives: all that is stored of circles, in one file that both backends write and read.
//!
//! A source sends [`Part`]s, circle by circle; a target takes them. An archive is both. What a backend can derive from the
//! parts and its settings, as indexes and sizes, isn't in them.
//!
//! # The format
//!
//! One zstd frame with its checksum. In it: the text `circled archive` and a line feed, then frames. A frame is a byte for
//! its kind, its length in 4 bytes, and its content. All numbers have the highest byte first.
//!
//! | kind | content |
//! |---|---|
//! | `H` | the header, JSON: `format` (1), `circled` (the version that wrote it), `made_at`, and `circle` if it is of one circle alone |
//! | `C` | a circle begins: its key (33), the number of its last commit (8), and of its last event (8) |
//! | `k` | an entry of its store: the key's length (4), the key, and the value as it is stored: JSON, before it a byte 1 and 8 bytes for the expiry time in milliseconds since 1970 if it expires. Keys that begin with the byte 255 are the circle's own: members, scripts, devices, replies to requests |
//! | `e` | an event: its number (8), JSON |
//! | `j` | a durable job: its id (16); a byte with 1 if it is not over, 2 if it is dead, 4 if it has an input; the record's length (4), the record, the input, both JSON |
//! | `s` | a mark that tells duplicates: identity (32), the job's id (16), and the time in milliseconds since 1970 when it expires (8), or nothing if it never does |
//! | `E` | the circle ends: the numbers of its entries, events, jobs and marks (8 each), and the SHA-256 of its frames from `C` to the last one before this |
//! | `T` | the archive ends: the number of circles (8), the SHA-256 of all circles' sums one after another, and the SHA-256 of the text at the beginning, the frame `H`, and what is before this in `T` |
//!
//! Circles are sorted by key. Within a circle, entries come first, sorted by key; then events, by number; jobs, by id; and
//! marks, by identity. So two archives of the same contents differ in `H` and the last sum alone, and nothing is twice in one.

mod check;
mod counts;
mod error;
mod failure;
mod frame;
mod header;
mod new_file;
mod pipe;
mod reader;
mod record;
mod series;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub use check::MOST_KEY;
pub use counts::{Counts, Summary};
pub use error::ArchiveError;
pub use failure::Failure;
pub use header::Header;
pub use new_file::NewFile;
pub use pipe::{PartsIn, PartsOut, pack, pipe, unpack};
pub use reader::Reader;
pub use record::{Head, Part, Record};
pub use series::Series;
pub use settings::Settings;
pub use writer::Writer;

/// About how many bytes of records are in one [`Part`].
pub const PAGE: usize = 1 << 20;
