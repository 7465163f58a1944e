//! Tests of circled from outside: the real binary, real sockets, a server of its own for each test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect is to fail right there"
)]

mod backend;
mod cli;
mod client;
mod commands;
mod config;
mod crates;
mod disk;
mod doors;
mod http;
mod isolation;
mod json;
mod layers;
mod life;
mod limits;
mod load;
mod logging;
mod login;
mod memory;
mod openrpc;
mod play;
mod redis;
mod reload;
mod rpc;
mod same;
mod server;
mod shutdown;
mod store;
mod turns;
mod webhooks;
