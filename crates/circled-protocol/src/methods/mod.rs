//! Every method: its name, parameters, result and own errors; and the notifications `event` and `value`.
//!
//! Parameters are read by name from an object, or by position from an array in the order of the fields. A value of a
//! script has the type `V`: [`Json`](crate::Json) for clients, raw JSON for the server. Readers ignore fields that a
//! later server adds.

mod activity;
mod deliveries;
mod deploy;
mod devices;
mod discover;
mod effects;
mod events;
mod jobs;
mod login;
mod members;
mod proof;
mod runs;
mod scripts;
mod store;
mod watches;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use activity::*;
pub use deliveries::*;
pub use deploy::*;
pub use devices::*;
pub use discover::*;
pub use effects::*;
pub use events::*;
pub use jobs::*;
pub use login::*;
pub use members::*;
pub use proof::*;
pub use runs::*;
pub use scripts::*;
pub use store::*;
pub use watches::*;

/// A method; the type that implements it is its parameters.
pub trait Method: Serialize {
    /// The name on the wire.
    const NAME: &'static str;
    /// One sentence about what it does.
    const SUMMARY: &'static str;
    /// True if it changes nothing, neither in the circle nor in the session. A client whose reply was lost can ask it again.
    const READS: bool;
    /// The codes of its own errors, beside those that any method with its requirement has.
    const ERRORS: &'static [i32] = &[];
    /// The result.
    type Result: DeserializeOwned + JsonSchema;
}
