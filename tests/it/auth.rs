//! Logins, and the permissions of callers.

mod login;
mod nostr;
mod proof;
mod roles;
mod schemes;
mod wallets;
