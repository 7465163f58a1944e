//! The data folder of a server that doesn't run.

use std::{num::NonZeroUsize, path::Path};

use circled::{
    store::{Disk, DiskSettings, Preconditions, Record, Settings, Store},
    units::Size,
};

use super::server::circle;

/// Opens the store in a folder, and writes records of [`circle`], if there are any.
pub(crate) fn with_store(folder: &Path, change: impl FnOnce(&Store) -> Vec<Record>) {
    let settings = DiskSettings {
        data_dir: folder.to_owned(),
        min_free: 0,
        write_queue: Size::new(1 << 20).unwrap(),
        memtables: Size::new(16 << 20).unwrap(),
        cache: 1 << 20,
        open_files: 64,
        max_requests: 1 << 20,
    };
    let limits = Settings {
        max_key: Size::new(512).unwrap(),
        max_value: Size::new(1 << 16).unwrap(),
        max_writes: 1000,
        max_range_delete: 100_000,
        max_events: NonZeroUsize::new(100).unwrap(),
        event_log: NonZeroUsize::new(100).unwrap(),
        event_log_bytes: Size::new(1 << 20).unwrap(),
        events_waiting: Size::new(1 << 20).unwrap(),
        events_waiting_in_all: Size::new(1 << 20).unwrap(),
        max_event: 1 << 14,
        quota: 1 << 30,
    };
    let store = Store::start(Disk::open(&settings).unwrap(), &settings, limits).unwrap();
    let records = change(&store);
    if !records.is_empty() {
        store
            .write_and_wait(circle(), records, Preconditions::NONE)
            .unwrap();
    }
    store.shutdown();
}
