//! circled serves circles: communities named by a secp256k1 public key.
//!
//! People open a WebSocket at `/<circle_pk>`, prove that they hold a key by signing a text, and run
//! sandboxed [Rhai](https://rhai.rs) scripts over JSON-RPC 2.0.
//!
//! # Map
//!
//! Imports run one way, top to bottom:
//!
//! * [`cli`]: one file a subcommand; [`config`]: settings from file and environment.
//! * [`server`]: listeners, routes, and the order of shutting down.
//! * [`session`]: one WebSocket, from upgrade to close.
//! * [`webhooks`]: what services POST, from signature to delivery.
//! * [`rpc`]: JSON-RPC 2.0 without a transport: messages, errors, the method table.
//! * [`auth`]: how far a login has come, and what each role may do.
//! * [`dispatch`]: jobs, outcomes, and who runs them.
//! * [`circle`]: what a circle is made of besides its store: members, named scripts, and runs of all kinds.
//! * [`script`]: the sandbox, and the threads that scripts run on.
//! * [`store`]: what circles keep, in transactions.
//!
//! The other end of a session is the crate `circled_client`; what both say to each other is `circled_protocol`.
//!
//! Beside them: `memory`, what others can make the server hold; `files`, files that somebody names; `units`, settings in
//! human form.

mod address;
pub mod auth;
pub mod circle;
pub mod cli;
pub mod config;
pub mod dispatch;
mod farewell;
mod files;
mod log_limit;
mod memory;
mod pace;
mod refusal;
pub mod rpc;
pub mod script;
pub mod server;
pub mod session;
mod shares;
pub mod store;
mod turns;
mod units;
pub mod webhooks;
mod weight;

/// Counts what each thread has allocated, so that a script's memory is measured, not guessed. Below it is
/// mimalloc: scripts and requests are made of many small pieces, which it handles in less time than the
/// system's allocator, and it gives back what is freed.
#[global_allocator]
static ALLOCATOR: script::Meter<mimalloc::MiMalloc> = script::Meter::new(mimalloc::MiMalloc);
