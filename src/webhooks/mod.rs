//! Webhooks: what services POST to `/webhooks/<provider>/<circle_pk>`.
//!
//! What always holds:
//!
//! - **Nothing runs unverified.** [`VerifyLayer`], a Tower layer, stands in front of the handler: it buffers
//!   the raw body, checks the signature over exactly those bytes in constant time, and hands a
//!   [`Verified`] on. One verifier serves all providers: what tells them apart is data ([`Scheme`]), and
//!   those of services that many use are [`Preset`]s.
//! - **Nothing is acknowledged unkept.** A 200 means that the delivery is on disk; its script runs sooner or
//!   later, and a second delivery of it runs nothing.
//! - **Nothing is told.** A sender that isn't believed doesn't learn why, the log does ([`WebhookRefusals`]); no payload is ever
//!   logged, and secrets have a type that doesn't print itself.
//! - **Nobody is kept out.** Bodies have bounded room, which is taken as they arrive, and who is slow gives way.

mod address;
mod body;
mod body_memory;
mod deliver;
mod field;
mod layer;
mod preset;
mod provider;
mod receive;
mod refusal;
mod refusals;
mod scheme;
mod settings;
mod template;
mod written;

pub use body::Form;
pub use deliver::deliver;
pub use field::{Field, InvalidField};
pub use layer::{Verified, Verify, VerifyLayer};
pub use preset::Preset;
pub use provider::{Note, Provider, Providers, SetUpError};
pub use refusal::WebhookRefusal;
pub use refusals::WebhookRefusals;
pub use scheme::{Scheme, SchemeError, Signing, Unsigned};
pub use settings::{Description, Kind, ProviderSettings, Settings};
pub use template::{InvalidTemplate, Template};
pub use written::{Encoding, Hash, KeyEncoding, TimestampFormat};
