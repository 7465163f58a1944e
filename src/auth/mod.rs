//! Who is at the other end: keys, the text that a caller signs, signature schemes, roles; and the secrets that
//! services sign with.
//!
//! Everything here is a pure decision: the time and the randomness are handed in.

mod access;
mod challenge;
mod key;
mod origin;
mod page;
mod phase;
mod secret;
mod signature;

pub use access::{
    Access, Action, Admission, Change, Circle, CirclesSettings, Denied, Role, Rule, decide,
};
pub use challenge::{Challenge, ChallengeError, Settings};
pub use key::{InvalidKey, InvalidSecretKey, PublicKey, SecretKey};
pub(crate) use key::{is_secret_key, trusted};
pub use origin::{InvalidOrigin, Origin, Origins};
pub use page::{AllowedPage, InvalidPage};
pub(crate) use phase::login_key;
pub use phase::{Anonymous, Authenticated, Challenged, LoginRefusal, Out, Phase, UnverifiedLogin};
pub(crate) use secret::{HIDDEN, UnusableSecret};
pub use secret::{InvalidSecretSource, Secret, SecretSource};
pub use signature::{BadSignature, Scheme, sign, verify};
