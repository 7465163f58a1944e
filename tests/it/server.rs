//! A server's listeners, its start and end, and the settings that change while it runs.

mod backups;
mod circles;
#[cfg(feature = "console")]
mod console;
pub(crate) mod doors;
mod http;
mod metrics;
mod reload;
mod service_manager;
mod shutdown;
mod tls;
