//! Logins, and the permissions of callers.

mod device_ends;
mod devices;
mod login;
mod nostr;
mod proof;
mod roles;
mod schemes;
mod wallets;
