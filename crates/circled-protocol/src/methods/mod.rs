//! Every method: its name, its parameters, its result and its own errors; and the notification `event`.
//!
//! Parameters are read by name from an object, or by position from an array: their fields stand in the order of
//! positions. A value that a script made is a `V`: [`Json`](crate::Json) for who reads it, JSON that is passed on as it
//! is for the server. A reader passes over fields that a later server adds.

mod deliveries;
mod discover;
mod events;
mod jobs;
mod login;
mod members;
mod runs;
mod scripts;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use deliveries::{
    Deliveries, Delivery, DeliveryDetails, GetDelivery, ListDeliveries, Redeliver, Redelivered,
};
pub use discover::{Discover, Document};
pub use events::{Event, Notice, Notification, Subscribe, Subscribed, Unsubscribe};
pub use jobs::{
    GetJob, Job, JobError, Jobs, ListJobs, Retried, RetryJob, StopJob, Stopped, SubmitJob,
    Submitted,
};
pub use login::{Authenticate, FetchNonce, Identity, Whoami};
pub use members::{AddMember, Added, ListMembers, Member, Members, RemoveMember, Removed};
pub use runs::{CallScript, Called, Play, Played};
pub use scripts::{
    DeleteScript, Deleted, GetScript, ListScripts, PutScript, Script, ScriptEntry, ScriptPut,
    ScriptVersion, Scripts,
};

/// A method; the type that implements it is its parameters.
pub trait Method: Serialize {
    /// Its name on the wire.
    const NAME: &'static str;
    /// What it does, in a sentence.
    const SUMMARY: &'static str;
    /// Codes of the errors that are its own, beside those that come of what a caller must be for it.
    const ERRORS: &'static [i32] = &[];
    /// What it returns.
    type Result: DeserializeOwned + JsonSchema;
}
