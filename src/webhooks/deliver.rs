//! Delivers requests whose signature is right.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::{
    field::{self, Field, UnusableValue},
    layer::{Verified, at_length},
    payload::Payload,
    provider::{Challenge, RequestFields, Series},
    refusal::{InvalidBody, WebhookRefusal},
};
use crate::{
    dispatch::{self, Delivery, Progress, Receipt, Viewer},
    rpc::Shared,
};

/// The most bytes of an event's id or type.
const MAX_NAME: usize = 255;

/// Stores a delivery, and waits a short time for its script.
pub async fn deliver(
    State(shared): State<Arc<Shared>>,
    Extension(verified): Extension<Verified>,
    headers: HeaderMap,
) -> Result<Response, WebhookRefusal> {
    let provider = verified.provider.clone();
    let read = || (verified.form).read(&verified.body, &provider.reading.pointers);
    let payload = at_length(verified.body.len(), read).map_err(InvalidBody::from)?;
    provider.reading.check(&payload)?;
    if let Some(answer) = provider.reading.challenge(&payload) {
        return Ok(answer.into_response());
    }
    let delivery = delivery(&verified, &headers, payload)?;
    tracing::debug!(
        provider = %provider.name,
        circle = %verified.circle,
        "webhook received"
    );
    let receipt = shared.dispatcher.accept(delivery, provider.wait).await?;
    if verified.asked_at.is_some() {
        // In a box: it is rare, and its room would be copied for each delivery.
        return Ok(Box::pin(response(&shared, verified.circle, receipt)).await);
    }
    Ok(Json(receipt).into_response())
}

/// Returns the response that a script has returned as `#{respond: ...}`, if it has ended.
async fn response(shared: &Shared, circle: PublicKey, receipt: Receipt) -> Response {
    #[derive(Deserialize)]
    struct Returned<'a> {
        #[serde(borrow)]
        respond: &'a RawValue,
    }

    if matches!(receipt.status, Progress::Accepted | Progress::Failed) {
        return StatusCode::OK.into_response();
    }
    let job = shared
        .dispatcher
        .jobs()
        .record_in(circle, receipt.job, Viewer::Provider)
        .await;
    let value = job.ok().flatten().and_then(|job| job.value);
    let returned = value.as_deref().map(RawValue::get);
    let returned = returned.and_then(|text| circled_json::borrowed::<Returned<'_>>(text).ok());
    let Some(Returned { respond }) = returned else {
        return StatusCode::OK.into_response();
    };
    match respond.get() {
        "null" => StatusCode::OK.into_response(),
        text => match circled_json::from_str::<String>(text) {
            Ok(text) => text.into_response(),
            Err(_) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], text.to_owned()).into_response()
            }
        },
    }
}

fn delivery(
    verified: &Verified,
    headers: &HeaderMap,
    payload: Payload<'_>,
) -> Result<Delivery, WebhookRefusal> {
    let Verified {
        provider, circle, ..
    } = verified;
    let reading = &provider.reading;
    let read = |fields, what| {
        Field::first(fields, headers, &payload)
            .map_err(|UnusableValue| InvalidBody::UnusableName(what))
    };
    // An id that is signed can't be given to a copy of an earlier request.
    let event_id = match &verified.signed_id {
        Some(id) => Some(id.clone()),
        None => read(&reading.event_id, "id")?,
    };
    let event_type = read(&reading.event_type, "type")?;
    if [&event_id, &event_type]
        .into_iter()
        .flatten()
        .any(|name| name.len() > MAX_NAME)
    {
        return Err(InvalidBody::LongName.into());
    }
    Ok(Delivery {
        circle: *circle,
        provider: provider.name.clone(),
        identity: Some(identity(
            &provider.name,
            &reading.identity_part(verified, event_id.as_deref(), event_type.as_deref()),
        )),
        series: match &reading.series {
            Some(series) => series.read(&provider.name, &payload)?,
            None => None,
        },
        event_id,
        event_type,
        payload: payload.text,
        received_at: Timestamp::now(),
    })
}

/// The part of an identity that tells deliveries of one provider apart.
enum IdentityPart<'a> {
    /// The event's id and type. Some providers use one id for events of several types.
    Event { id: &'a str, kind: &'a str },
    /// The whole body, if the event has no id.
    Body(&'a [u8]),
    /// The whole body and its time, for questions: the same question may be asked again.
    Question { at: &'a str, body: &'a [u8] },
    /// The value that deliveries of one series have in common.
    Series(&'a str),
}

fn identity(provider: &str, apart: &IdentityPart<'_>) -> [u8; 32] {
    let (what, first, second) = match apart {
        IdentityPart::Event { id, kind } => ("event", id.as_bytes(), kind.as_bytes()),
        IdentityPart::Body(body) => ("body", *body, &b""[..]),
        IdentityPart::Question { at, body } => ("question", at.as_bytes(), *body),
        IdentityPart::Series(name) => ("series", name.as_bytes(), &b""[..]),
    };
    let mut hash = Sha256::new();
    for part in [provider.as_bytes(), what.as_bytes(), first, second] {
        // The length is hashed, too, so that no two lists of parts give the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Series {
    /// Returns the series of a delivery, if it belongs to one.
    fn read(
        &self,
        provider: &str,
        payload: &Payload<'_>,
    ) -> Result<Option<dispatch::Series>, InvalidBody> {
        let is_final = match payload.pointer(&self.is_final) {
            None | Some(Value::Null) => return Ok(None),
            Some(is_final) => is_final.as_bool(),
        };
        let name = payload.pointer(&self.name).and_then(field::text);
        let (name, is_final) = name.zip(is_final).ok_or_else(|| InvalidBody::Series {
            name: self.name.clone(),
            is_final: self.is_final.clone(),
        })?;
        Ok(Some(dispatch::Series {
            identity: identity(provider, &IdentityPart::Series(&name)),
            is_final,
        }))
    }
}

impl RequestFields {
    /// Returns the part that tells a delivery from all others.
    fn identity_part<'a>(
        &self,
        verified: &'a Verified,
        id: Option<&'a str>,
        kind: Option<&'a str>,
    ) -> IdentityPart<'a> {
        let body = &verified.body;
        match (id, &verified.asked_at) {
            (Some(id), _) if !self.test_ids.iter().any(|test| test == id) => IdentityPart::Event {
                id,
                kind: kind.unwrap_or_default(),
            },
            (_, Some(at)) => IdentityPart::Question { at, body },
            (_, None) => IdentityPart::Body(body),
        }
    }

    /// Checks that the body has everything that bodies of its kind have.
    fn check(&self, payload: &Payload<'_>) -> Result<(), InvalidBody> {
        let there = |pointer: &str| payload.pointer(pointer).filter(|value| !value.is_null());
        let kind = self.kinds.iter().find(|kind| {
            there(&kind.at).is_some_and(|value| {
                let is = kind.is.as_deref();
                is.is_none_or(|is| value.as_str() == Some(is))
            })
        });
        let (required, setting) = match kind {
            Some(kind) => (kind.required.as_deref().unwrap_or_default(), "kinds"),
            None => (&*self.required, "required"),
        };
        match required.iter().find(|pointer| there(pointer).is_none()) {
            Some(pointer) => Err(InvalidBody::Missing {
                pointer: pointer.clone(),
                setting,
            }),
            None => Ok(()),
        }
    }

    /// Returns the text that the provider wants back, if the body asks for one.
    fn challenge(&self, payload: &Payload<'_>) -> Option<String> {
        let Challenge { kind, answer } = self.challenge.as_ref()?;
        let asks = payload.pointer(Challenge::KIND).and_then(Value::as_str) == Some(kind.as_str());
        let text = payload.pointer(answer)?.as_str()?;
        asks.then(|| text.to_owned())
    }
}
