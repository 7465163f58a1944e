//! What holds while processes, machines and the network fail: what is acknowledged is done once, who waits is
//! answered, and all of it works again by itself.
//!
//! Each test makes its fault a few times; `CIRCLED_TEST_SECONDS` says for how long instead (`make soak`).

mod failover;
mod gateways;
mod network;
mod outage;
mod pause;
mod sharded;
mod workers;

use std::time::{Duration, Instant};

/// Counts the faults to be made.
fn faults(few: usize) -> impl Iterator<Item = usize> {
    let seconds = std::env::var("CIRCLED_TEST_SECONDS");
    let seconds = seconds.map_or(0, |seconds| seconds.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    (0..).take_while(move |n| *n < few || Instant::now() < until)
}
