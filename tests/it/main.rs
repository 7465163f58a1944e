//! Tests of circled from outside: the real binary, real sockets, a server of its own for each test.
//!
//! A folder has the tests of the folder of `src` with the same name. `harness` is what tests are made of. The rest is
//! about several parts at once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect is to fail right there"
)]

mod auth;
mod circle;
mod cli;
mod client;
mod config;
mod crates;
mod dispatch;
mod harness;
mod json;
mod kept;
mod layers;
mod logging;
mod memory;
mod rpc;
mod script;
mod server;
mod session;
mod store;
mod turns;
mod upgrade;
mod webhooks;
