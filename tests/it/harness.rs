//! What tests are made of: servers, clients, Redis, and load.

pub(crate) mod backend;
pub(crate) mod calls;
pub(crate) mod redis;
pub(crate) mod server;
