//! Behaviour while processes, machines and the network fail: acknowledged work is done once, waiting callers get a
//! reply, and everything recovers by itself.
//!
//! Each test makes its fault a few times; `CIRCLED_TEST_SECONDS` gives a time to repeat it instead (`make soak`).

mod asked_again;
mod failover;
mod gateways;
mod network;
mod outage;
mod pause;
mod power;
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
