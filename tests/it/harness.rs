//! The parts that tests are made of: servers, clients, Redis, and load.

pub(crate) mod backend;
pub(crate) mod calls;
pub(crate) mod command;
pub(crate) mod counting;
pub(crate) mod devices;
pub(crate) mod disk;
pub(crate) mod load;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod webhooks;
