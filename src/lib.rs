//! circled serves circles: communities named by a secp256k1 public key.
//!
//! People open a WebSocket at `/<circle_pk>`, prove that they hold a key by signing a text, and run
//! sandboxed [Rhai](https://rhai.rs) scripts over JSON-RPC 2.0.
//!
//! # Map
//!
//! Imports run one way, top to bottom:
//!
//! * [`cli`]: the commands, each in a file of its own, and what they share.
//! * [`server`]: listeners, routes, and the order of shutting down.
//! * [`config`]: settings from file and environment.
//! * [`session`]: one WebSocket, from upgrade to close.
//! * [`webhooks`]: requests of services, from signature to delivery.
//! * [`rpc`]: JSON-RPC 2.0 without a transport: messages, errors, the method table.
//! * [`dispatch`]: jobs, outcomes, and the backends that run them.
//! * [`circle`]: members, named scripts, and runs of all kinds.
//! * [`auth`]: phases of a login, and permissions of each role.
//! * [`script`]: the sandbox, and the threads that scripts run on.
//! * [`backup`]: archives of circles, the same for all backends.
//! * [`store`]: values, events and jobs of circles, in transactions.
//!
//! The crate `circled_client` is the other end of a session; `circled_protocol` declares what goes over the wire.
//!
//! Beside them: `memory`, budgets in bytes; `files`, bounded reads of files; `document`, TOML with places; `units`, types of
//! settings.

mod address;
pub mod auth;
pub mod backup;
pub mod circle;
pub mod cli;
pub mod config;
pub mod dispatch;
mod document;
mod farewell;
mod field_names;
mod files;
#[cfg(test)]
mod golden;
mod log_limit;
mod memory;
mod metrics;
mod pace;
mod refusal;
pub mod rpc;
pub mod script;
pub mod server;
pub mod session;
mod shares;
pub mod store;
mod turns;
pub mod units;
pub mod webhooks;
mod weight;

/// Counts the allocations of each thread, so that a script's memory is measured. The allocator below it is mimalloc: it
/// handles the many small pieces of scripts and requests faster than the system's, and returns freed memory.
#[global_allocator]
static ALLOCATOR: script::Meter<mimalloc::MiMalloc> = script::Meter::new(mimalloc::MiMalloc);
