//! Scripts: Rhai source in, an output, a value and log lines out, with everything bounded.
//!
//! These always hold, whatever the source is:
//!
//! - A run ends: operations, wall clock, memory, depth and sizes have named limits ([`Limits`]), and no
//!   script can catch or outlast one of them. Functions of Rhai's standard library that could do unbounded
//!   work in one call are replaced with bounded ones (`natives`). All of it holds in what a script imports
//!   (`modules`), which shares the run's budget.
//! - A run keeps nothing: its memory is back when it ends, cycles of captured variables included (`captured_variables`).
//! - A panic below ends one run, never a thread.
//!
//! [`Sandbox`] runs scripts on the thread it is called on; [`Runner`] has the threads that may block for it.
//! Engines and compiled scripts belong to one thread each (`local`): a script that locks itself out of its
//! own captured variables gets an error, and nothing on the hot path takes a lock.

mod budget;
mod calls;
mod captured_variables;
mod constants;
mod counted;
mod engine;
mod failure;
pub(crate) mod fair_queue;
mod host;
#[cfg(test)]
mod hostile;
mod json;
mod limits;
mod literal_bounds;
mod local;
mod logs;
mod meter;
mod modules;
mod natives;
mod occasion;
mod outcome;
mod people;
mod print;
mod queried;
mod run_context;
mod run_error;
mod run_slot;
mod runner;
mod sandbox;
mod scanner;
mod short_scripts;
mod stack;
mod switch_guard;
pub(crate) mod waiting_room;

pub(crate) use budget::may_go_on;
pub use host::Host;
pub use limits::Limits;
pub use local::Import;
pub use meter::Meter;
#[cfg(test)]
pub(crate) use meter::net;
pub(crate) use meter::returning_memory;
pub use modules::{FindModule, PinnedModules};
pub use occasion::{DurableTry, Occasion, Seed};
pub use outcome::{Failure, Inputs, ScriptName, Success, Thrown};
pub use people::People;
pub use queried::{Queried, Reads};
pub use run_error::{Outcome, RunError};
pub use run_slot::{has_room, holding, keep_slot, observe_aside, waited_for_lock, waiting};
pub use runner::{QueueFull, RoomFull, Runner, RunnerLimits};
pub use sandbox::Sandbox;
