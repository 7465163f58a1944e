//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>) without a transport: texts in, texts out.
//!
//! A method is one file under `methods/` and one line in [`Method::TABLE`]; `rpc.discover` is generated from that
//! table.

mod call;
mod context;
mod error;
mod message;
mod method;
mod methods;
mod openrpc;
mod quota;
mod subscriptions;

pub(crate) use call::failed;
pub use call::{Answer, Handled, PendingCall, Reply, ReplyText, on_text};
pub use context::{Client, Context, InFlight, Limits, Shared};
pub use error::Error;
pub use message::{Batch, Id, Incoming, Invalid, Request};
pub use method::{Method, Needs};
pub use openrpc::discover;
pub use quota::{Exceeded, Permit, QuotaSettings, Quotas};
pub use subscriptions::{Events, Gather, Notice, Subscriptions};
