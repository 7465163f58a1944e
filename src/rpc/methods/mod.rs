//! The server's side of each method, one file for each topic, as in `circled_protocol::methods`, which declares the
//! params and results.

mod asked_job;
mod deliveries;
mod devices;
mod discover;
mod events;
mod jobs;
mod login;
mod members;
mod proof;
mod runs;
mod scripts;
mod store;
mod watches;

use super::Method;
pub(super) use login::end_login;

/// The methods of each topic. The most frequent ones come first.
pub(super) const TOPICS: &[&[Method]] = &[
    runs::METHODS,
    watches::METHODS,
    login::METHODS,
    proof::METHODS,
    scripts::METHODS,
    store::METHODS,
    members::METHODS,
    devices::METHODS,
    jobs::METHODS,
    deliveries::METHODS,
    events::METHODS,
    discover::METHODS,
];
