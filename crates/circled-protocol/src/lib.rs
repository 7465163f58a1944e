#![doc = include_str!("../README.md")]

mod address;
mod challenge;
mod device;
mod device_claim;
mod error;
mod job_id;
mod key;
pub mod methods;
mod nostr;
mod origin;
mod proof;
mod scope;
mod signature;
mod siwe;
mod vocabulary;
mod words;

pub use address::{Address, InvalidAddress};
pub use challenge::{Challenge, ChallengeError};
pub use circled_json::Json;
pub use device::{DeviceKey, DeviceSecretKey, InvalidDeviceKey, InvalidDeviceSecretKey};
pub use device_claim::{DeviceClaim, InvalidClaim};
pub use error::{RpcError, code};
pub use job_id::{InvalidJobId, JobId};
pub use key::{InvalidKey, InvalidSecretKey, Point, PublicKey, SecretKey, is_secret_key, trusted};
pub use methods::Method;
pub use nostr::NostrEvent;
pub use origin::{InvalidOrigin, Origin};
pub use proof::{Grant, Proof, ProofError};
pub use scope::{InvalidScope, Permission, Scope, is_script_name};
pub use signature::{BadSignature, Scheme, sign, verify};
pub use siwe::SiweMessage;
pub use vocabulary::{UnknownWord, Vocabulary, Word};
pub use words::{CallRule, FailureKind, JobKind, JobStatus, LoginRefusal, Role, View, WriteOp};
