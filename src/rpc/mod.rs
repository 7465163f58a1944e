//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>) without a transport: texts in, texts out.
//!
//! Methods are under `methods/`, one file for each topic; `rpc.discover` is generated from them.

mod activity;
mod call;
mod context;
mod counted;
mod device_login;
mod device_sessions;
mod error;
mod message;
mod method;
mod methods;
mod openrpc;
mod quota;
mod subscriptions;
mod watches;

pub(crate) use call::failed;
pub use call::{Answer, Handled, PendingCall, Reply, ReplyText, on_text};
use context::Admitted;
pub use context::{Client, Context, InFlight, Limits, Shared};
pub(crate) use counted::prepare as prepare_counters;
pub use device_sessions::{DeviceEnd, DeviceSessions};
pub use error::Error;
pub use message::{Batch, Id, Incoming, Invalid, Request};
use method::{Call, CallResult};
pub use method::{DeviceNeeds, Method, Needs};
pub use openrpc::discover;
pub use quota::{Exceeded, Permit, QuotaSettings, Quotas};
pub use subscriptions::{Events, Gather, Notice, Subscriptions};
pub use watches::{WatchLimits, Watches};
