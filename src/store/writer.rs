//! The thread that writes: all that waits, in one synced write.

use std::{
    collections::HashMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Instant,
};

use crate::metrics::metrics;

use super::{commit::Shared, disk::Disk, error::Unavailable, queue::PendingCommit, table::Table};

/// Starts it. It writes so many bytes at once, or one commit that has more.
pub(super) fn start(
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    at_once: usize,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name("circled-writer".to_owned())
        .spawn(move || {
            // After a panic, what comes is refused: nobody waits for good.
            while catch_unwind(AssertUnwindSafe(|| run(&disk, &shared, at_once))).is_err() {
                fail(&disk, &shared);
            }
        })
}

fn run(disk: &Arc<Disk>, shared: &Shared, at_once: usize) {
    let mut full = !disk.has_room();
    if full {
        log_room(disk, full);
    }
    while let Some(writes) = shared.queue.take(at_once) {
        if full == disk.has_room() {
            full = !full;
            log_room(disk, full);
        }
        write(disk, shared, writes, full);
    }
}

fn log_room(disk: &Disk, full: bool) {
    let folder = disk.path().display();
    if full {
        tracing::error!(
            %folder,
            "the disk is full: nothing new is accepted until it has space (dispatch.embedded.min_free)"
        );
    } else {
        tracing::info!(%folder, "the disk has space again");
    }
}

/// Ends the server: a write failed, nobody can tell how much of it has reached the disk, and so nothing may come after
/// it.
fn fail(disk: &Arc<Disk>, shared: &Shared) {
    if !shared.failed.is_cancelled() {
        shared.failed.cancel();
        // Closing it would write what the disk hadn't taken: by then, its senders know that it was refused.
        mem::forget(disk.clone());
        tracing::error!(
            folder = %disk.path().display(),
            "a write to the disk failed: nothing new is accepted, and circled exits. Check that the disk works and has space, and start circled again. Acknowledged data is safe"
        );
    }
}

fn write(disk: &Arc<Disk>, shared: &Shared, writes: Vec<PendingCommit>, full: bool) {
    // What builds on a commit that was lost is lost.
    let (writes, lost): (Vec<_>, Vec<_>) = writes
        .into_iter()
        .partition(|write| !write.generation.is_lost());
    // Given back even where what follows panics.
    let reserved = writes.iter().chain(&lost).map(|write| write.reserved).sum();
    let _reservation = shared.queue.reservation_of(reserved);
    let result = if full || shared.failed.is_cancelled() {
        Err(Unavailable)
    } else {
        let records = writes.iter().flat_map(|write| {
            let records = write.records.iter();
            records.map(|record| (&write.key, record))
        });
        let begun = Instant::now();
        let written = disk.write(records);
        metrics().syncs.observe(begun.elapsed());
        written.inspect_err(|_| fail(disk, shared))
    };
    if result.is_ok() {
        metrics().commits.add(writes.len() as u64);
    }
    let mut circles = HashMap::new();
    for write in &writes {
        circles.insert(write.key, (write.circle.clone(), write.number));
    }
    for (circle, number) in circles.values() {
        match result {
            Ok(()) => circle.mark_durable(*number),
            Err(Unavailable) => circle.start_over(),
        }
    }
    for write in writes {
        if let (Ok(()), Some(number)) = (result, write.commit) {
            let keys = || {
                let written = write.records.iter();
                let written = written.filter(|record| record.table == Table::Store);
                written.map(|record| record.key.clone()).collect()
            };
            shared.hub.commits().publish(&write.key, number, keys);
        }
        if result.is_ok() && !write.events.is_empty() {
            shared.hub.publish(&write.key, write.events);
        }
        (write.done)(result);
    }
    for write in lost {
        (write.done)(Err(Unavailable));
    }
    let now = disk.clock().now();
    for (key, (circle, _)) in circles {
        drop(circle);
        // Nobody else may have hold of it: they would go on with it beside a new one.
        shared.circles.remove_if(&key, |_, circle| {
            Arc::strong_count(circle) == 1 && circle.is_idle(now)
        });
    }
}
