//! The reasons for refusing a webhook, and their form on the wire.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use thiserror::Error;

use super::{payload::Unreadable, scheme::Unsigned};
use crate::{dispatch::NotAccepted, refusal::refuse};

/// The seconds after which a sender should try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The reason why no provider sends to a circle. The log has it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoProvider {
    /// The settings have no provider of this name.
    #[error("the settings have no [webhooks.<provider>] of this name")]
    Unknown,
    /// None of the provider's secrets is set.
    #[error("the provider is off: no secret is set ({0})")]
    Off(String),
    /// The provider has no secret for this circle.
    #[error("the provider is off in this circle: no secret is set for it")]
    OffHere,
}

/// The reason why a signed body isn't one that the provider sends. The log has it: names alone, nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBody {
    /// The body can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A field that the setting demands is missing.
    #[error("the body has no {pointer} (`{setting}`)")]
    Missing {
        /// The JSON pointer to the field.
        pointer: String,
        /// The setting.
        setting: &'static str,
    },
    /// The event's id or type can't be used.
    #[error("the event's {0} is there twice, or is neither text nor number (`event_{0}`)")]
    UnusableName(&'static str),
    /// The event's id or type is too long.
    #[error("the event's id or type is longer than 255 bytes")]
    LongName,
    /// The fields of a series can't be used.
    #[error(
        "{name} is neither text nor number (`series`), or {is_final} is neither true nor false (`series_final`)"
    )]
    Series {
        /// The JSON pointer to the name of the series.
        name: String,
        /// The JSON pointer to the flag of its final delivery.
        is_final: String,
    },
}

/// The reason for refusing a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WebhookRefusal {
    /// The request names no host, or two.
    #[error("a request needs exactly one Host header, with the name and port that were dialled")]
    NoHost,
    /// The path isn't the path of a webhook.
    #[error("webhooks are at /webhooks/<provider>/<circle_pk>")]
    Misaddressed,
    /// No provider of this name has a secret here.
    #[error("no such provider sends to this circle; see [webhooks] in the settings")]
    UnknownProvider(NoProvider),
    /// The path doesn't name a key.
    #[error(
        "the path does not end in a secp256k1 public key: 66 or 130 hex digits of a point on the curve"
    )]
    NotAKey,
    /// The circle isn't served.
    #[error("this server does not serve that circle")]
    UnknownCircle,
    /// The method isn't POST.
    #[error("send a POST")]
    NotAPost,
    /// The provider sends nothing of this type.
    #[error("the Content-Type is not one that the provider sends")]
    MediaType,
    /// The body is too long.
    #[error("the body is longer than webhooks.max_body")]
    TooLarge,
    /// The body takes too long to arrive.
    #[error(
        "the body took longer than webhooks.receive_timeout, or came slower than webhooks.min_rate"
    )]
    TooSlow,
    /// The body ended before it was whole.
    #[error("the body ended early")]
    CutOff,
    /// The provider's signature isn't right.
    #[error("the signature is missing, malformed, wrong or stale")]
    Unsigned(Unsigned),
    /// The request is signed, but isn't one that the provider sends.
    #[error("the body is not what the provider sends")]
    NotTheProviders(#[from] InvalidBody),
    /// There is no memory for more bodies.
    #[error("too much is being received; try again later")]
    Busy,
    /// The delivery can't be stored.
    #[error("the delivery cannot be kept now; try again later")]
    Unavailable,
}

impl From<NotAccepted> for WebhookRefusal {
    fn from(why: NotAccepted) -> Self {
        match why {
            NotAccepted::Backlog
            | NotAccepted::CallerShare
            | NotAccepted::GuestsShare
            | NotAccepted::ScriptQueue => Self::Busy,
            NotAccepted::Unavailable => Self::Unavailable,
        }
    }
}

impl WebhookRefusal {
    /// One refusal with each code.
    pub(super) const ALL: [Self; 14] = [
        Self::NoHost,
        Self::Misaddressed,
        Self::UnknownProvider(NoProvider::Unknown),
        Self::NotAKey,
        Self::UnknownCircle,
        Self::NotAPost,
        Self::MediaType,
        Self::TooLarge,
        Self::TooSlow,
        Self::CutOff,
        Self::Unsigned(Unsigned::Wrong),
        Self::NotTheProviders(InvalidBody::LongName),
        Self::Busy,
        Self::Unavailable,
    ];

    /// Returns the form on the wire: the status, and the code for machines.
    pub fn on_the_wire(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoHost => (StatusCode::BAD_REQUEST, "invalid_host"),
            Self::Misaddressed => (StatusCode::NOT_FOUND, "not_found"),
            Self::UnknownProvider(_) => (StatusCode::NOT_FOUND, "unknown_provider"),
            Self::NotAKey => (StatusCode::NOT_FOUND, "invalid_circle"),
            Self::UnknownCircle => (StatusCode::NOT_FOUND, "unknown_circle"),
            Self::NotAPost => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Self::CutOff => (StatusCode::BAD_REQUEST, "cut_off"),
            Self::Unsigned(_) => (StatusCode::UNAUTHORIZED, "unsigned"),
            Self::NotTheProviders(_) => (StatusCode::BAD_REQUEST, "invalid_payload"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    /// Returns the reason for the log, which may say more than the sender learns.
    pub(super) fn reason(&self) -> String {
        if let Self::Unsigned(why) = self {
            why.to_string()
        } else if let Self::UnknownProvider(why) = self {
            why.to_string()
        } else if let Self::NotTheProviders(why) = self {
            why.to_string()
        } else {
            self.to_string()
        }
    }
}

impl IntoResponse for WebhookRefusal {
    fn into_response(self) -> Response {
        let (status, code) = self.on_the_wire();
        let mut response = refuse(status, code, &self.to_string());
        let headers = response.headers_mut();
        match &self {
            Self::Busy | Self::Unavailable => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            Self::NotAPost => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            // The rest of the body isn't read.
            Self::TooLarge | Self::TooSlow | Self::CutOff => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::NoHost
            | Self::Misaddressed
            | Self::UnknownProvider(_)
            | Self::NotAKey
            | Self::UnknownCircle
            | Self::MediaType
            | Self::Unsigned(_)
            | Self::NotTheProviders(_) => {}
        }
        // The log uses it.
        response.extensions_mut().insert(self);
        response
    }
}
