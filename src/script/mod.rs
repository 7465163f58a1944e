//! Scripts: Rhai source in, an output, a value and log lines out, with everything bounded.
//!
//! What always holds, whatever the source is:
//!
//! - A run ends: operations, wall clock, memory, depth and sizes have named limits ([`Limits`]), and no
//!   script can catch or outlast one of them. Functions of Rhai's standard library that could do unbounded
//!   work in one call are replaced with bounded ones (`natives`). All of it holds in what a script imports
//!   (`modules`), which shares the run's budget.
//! - A run keeps nothing: its memory is back when it ends, cycles of captured variables included (`cells`).
//! - A panic below ends one run, never a thread.
//!
//! [`Sandbox`] runs scripts on the thread it is called on; [`Runner`] has the threads that may block for it.
//! Engines and compiled scripts belong to one thread each (`local`): a script that locks itself out of its
//! own captured variables gets an error, and nothing on the hot path takes a lock.

mod budget;
mod cells;
mod constants;
mod engine;
mod failure;
#[cfg(test)]
mod hostile;
mod json;
mod keeping;
mod known;
mod limits;
mod local;
mod logs;
mod meter;
mod modules;
mod natives;
mod outcome;
mod print;
mod runner;
mod sandbox;
mod scanner;
pub(crate) mod shares;
mod stack;
mod subjects;
mod turn;

pub use limits::Limits;
pub use meter::Meter;
pub use modules::{FindModule, Pinned};
pub use outcome::{Ending, Failure, FailureKind, Inputs, Success};
pub use runner::{QueueFull, Room, Runner};
pub use sandbox::Sandbox;
pub use turn::{keep_slot, noting};
