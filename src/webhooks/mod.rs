//! Webhooks: POST requests of services to `/webhooks/<provider>/<circle_pk>`.
//!
//! Invariants:
//!
//! - **Only verified requests run scripts.** [`VerifyLayer`], a Tower layer, is in front of the handler: it buffers the
//!   raw body, checks the signature over exactly those bytes in constant time, and passes a [`Verified`] on. One
//!   verifier serves all providers: a provider is described by data ([`Scheme`]), and common services have a
//!   [`Preset`].
//! - **Only stored deliveries are acknowledged.** A 200 means that the delivery is on disk. Its script runs sooner or
//!   later, and a second copy of the delivery runs nothing.
//! - **Refusals and logs reveal nothing.** A refused sender doesn't learn the reason, the log does
//!   ([`WebhookRefusals`]). No payload is ever logged, and secrets have a type that doesn't print itself.
//! - **Nobody is kept out.** Bodies have bounded memory, reserved as they arrive, and slow ones are given up.

mod address;
mod body;
mod body_memory;
mod deliver;
mod encodings;
mod field;
mod layer;
mod payload;
mod preset;
mod provider;
mod receive;
mod refusal;
mod refusals;
mod scheme;
mod settings;
mod template;

pub use address::Parameter;
pub use body::Form;
pub use deliver::deliver;
pub use encodings::{Encoding, Hash, KeyEncoding, TimestampFormat};
pub use field::{Field, InvalidField};
pub use layer::{Verified, Verify, VerifyLayer};
pub use preset::Preset;
pub use provider::{Note, Provider, Providers, SetUpError};
pub use refusal::{InvalidBody, NoProvider, WebhookRefusal};
pub use refusals::WebhookRefusals;
pub use scheme::{Scheme, SchemeError, Signing, Unsigned};
pub use settings::{Description, Kind, ProviderSettings, Settings};
pub use template::{InvalidTemplate, Template};
