//! Identifies and authorizes callers: phases of a login, origins, roles; and the secrets that webhook providers sign
//! with. Keys, login texts and signatures are in `circled_protocol`.
//!
//! Everything here is a pure decision: time and randomness are parameters.

mod access;
mod credentials;
mod grants;
mod origins;
mod page;
mod phase;
mod recent_keys;
mod secret;
mod settings;

pub use access::{
    Access, Action, Change, Circle, CirclesSettings, Denied, HIGHEST_LISTED, Rule, decide,
};
pub use credentials::{Credentials, Wanted};
pub(crate) use grants::OfServer;
pub use grants::{GrantNote, Grants};
pub use origins::Origins;
pub(crate) use page::host_of_page;
pub use page::{AllowedPage, InvalidPage};
pub(crate) use phase::login_key;
pub use phase::{
    Anonymous, Authenticated, Challenged, PendingChallenge, Phase, Proved, Signer, UnverifiedLogin,
};
pub use recent_keys::RecentKeys;
pub(crate) use secret::{HIDDEN, UnusableSecret};
pub use secret::{InvalidSecretSource, Secret, SecretSource};
pub use settings::Settings;
