//! Logins, and the permissions of callers.

mod login;
mod nostr;
mod roles;
mod schemes;
mod wallets;
