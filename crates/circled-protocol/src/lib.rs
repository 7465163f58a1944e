#![doc = include_str!("../README.md")]

mod challenge;
mod error;
mod job_id;
mod key;
pub mod methods;
mod origin;
mod signature;
mod vocabulary;
mod words;

pub use challenge::{Challenge, ChallengeError};
pub use circled_json::Json;
pub use error::{RpcError, code};
pub use job_id::{InvalidJobId, JobId};
pub use key::{InvalidKey, InvalidSecretKey, Point, PublicKey, SecretKey, is_secret_key, trusted};
pub use methods::Method;
pub use origin::{InvalidOrigin, Origin};
pub use signature::{BadSignature, Scheme, sign, verify};
pub use vocabulary::{UnknownWord, Vocabulary, Word};
pub use words::{CallRule, FailureKind, JobKind, JobStatus, LoginRefusal, Role};
