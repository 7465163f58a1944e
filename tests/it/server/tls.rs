//! TLS of the listener for clients.

mod clients;
mod handshakes;
mod renewal;
mod settings;
