//! The methods, one file each.

mod authenticate;
mod discover;
mod fetch_nonce;
mod play;
mod whoami;

pub(super) use authenticate::Authenticate;
pub(super) use discover::Discover;
pub(super) use fetch_nonce::FetchNonce;
pub(super) use play::Play;
pub(super) use whoami::Whoami;
