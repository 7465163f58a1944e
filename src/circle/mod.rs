//! A circle: its members, its named scripts, and the runs in it.
//!
//! All of that is stored in the circle's own store, under keys that no script can name. So it goes through the same
//! [`Transaction`] as the values of scripts: everything that a run reads of it is checked when the run is committed. A
//! [`Procedure`] changes it; [`Executor`] runs procedures and scripts alike.

mod deploy;
mod devices;
mod executor;
mod guest_devices;
mod job_spec;
mod members;
mod procedure;
mod request;
mod scripts;
mod store_reads;
#[cfg(test)]
mod tests;

pub use devices::{
    DEVICE_ADDED, DEVICE_REMOVED, DeviceRecord, check_scope, device_record_key, find_device,
};
pub use executor::Executor;
pub use job_spec::{Caller, JobSpec, QueryScript, Task};
pub use members::{list_role, member_key};
pub use procedure::Procedure;
pub use request::Request;
pub use scripts::{
    Compiler, NAME_RULE, Pinned, Version, has_script, name_key, pin, pin_for_deliveries,
    pin_source, script_for, version as version_of_source,
};

use std::time::Duration;

use crate::{
    auth,
    store::{Transaction, WriteError},
};

/// The most names that are listed: all of them, because the setting may have been larger once.
const ALL: usize = u32::MAX as usize;

/// The limits of a circle, see `[circles]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most members that are added at run time.
    pub max_members: usize,
    /// The most device keys of one caller.
    pub max_device_keys: usize,
    /// The most device keys that guests have added.
    pub max_guest_device_keys: usize,
    /// The most named scripts.
    pub max_scripts: usize,
    /// The number of versions that are kept of each script.
    pub script_versions: usize,
    /// The time for which the replies to requests are kept.
    pub requests_for: Duration,
}

impl Settings {
    /// Collects the limits from the settings of several sections.
    pub fn new(
        circles: &auth::CirclesSettings,
        auth: &auth::Settings,
        requests_for: Duration,
    ) -> Self {
        Self {
            max_members: circles.max_members.get(),
            max_device_keys: auth.max_device_keys.get(),
            max_guest_device_keys: auth.max_guest_device_keys.get(),
            max_scripts: circles.max_scripts.get(),
            script_versions: circles.script_versions.get(),
            requests_for,
        }
    }
}

/// Returns the source of the newest version of a script, for `import`.
pub(crate) fn find_module(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<crate::store::Value>, WriteError> {
    scripts::current_source(transaction, name)
}

/// Returns true if at least `most` keys begin with `prefix`.
fn is_full(transaction: &mut Transaction, prefix: &[u8], most: usize) -> Result<bool, WriteError> {
    match transaction.own_keys(prefix, most) {
        Ok(keys) => Ok(keys.len() >= most),
        Err(WriteError::Keys { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
