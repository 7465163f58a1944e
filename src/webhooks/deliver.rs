//! What becomes of a request once its signature was right.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    field::{self, Field, Odd},
    layer::{Verified, at_length},
    provider::{Challenge, Reading, Series},
    refusal::Refusal,
};
use crate::{
    dispatch::{self, Delivery},
    rpc::Shared,
};

/// The longest name or type of an event, in bytes.
const MAX_NAME: usize = 255;

/// Keeps a delivery, and waits a little for what its script comes to.
pub async fn deliver(
    State(shared): State<Arc<Shared>>,
    Extension(verified): Extension<Verified>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let provider = verified.provider.clone();
    let read = || verified.form.read(&verified.body);
    let payload = at_length(verified.body.len(), read)
        .filter(|payload| provider.reading.is_complete(payload))
        .ok_or(Refusal::NotTheProviders)?;
    if let Some(answer) = provider.reading.challenge(&payload) {
        return Ok(answer.into_response());
    }
    let delivery = delivery(&verified, &headers, payload)?;
    tracing::debug!(
        provider = %provider.name,
        circle = %verified.circle,
        event = delivery.event_id,
        kind = delivery.event_type,
        "webhook received"
    );
    let receipt = shared.dispatcher.accept(delivery, provider.wait).await?;
    Ok(Json(receipt).into_response())
}

fn delivery(verified: &Verified, headers: &HeaderMap, payload: Value) -> Result<Delivery, Refusal> {
    let Verified {
        provider,
        circle,
        body,
        ..
    } = verified;
    let reading = &provider.reading;
    let read =
        |fields| Field::first(fields, headers, &payload).map_err(|Odd| Refusal::NotTheProviders);
    // What is signed can't be given to a request that has been here before.
    let event_id = match &verified.signed_id {
        Some(id) => Some(id.clone()),
        None => read(&reading.event_id)?,
    };
    let event_type = read(&reading.event_type)?;
    if [&event_id, &event_type]
        .into_iter()
        .flatten()
        .any(|name| name.len() > MAX_NAME)
    {
        return Err(Refusal::NotTheProviders);
    }
    Ok(Delivery {
        circle: *circle,
        provider: provider.name.clone(),
        identity: Some(match &event_id {
            Some(id) => identity(&provider.name, "id", id.as_bytes()),
            None => identity(&provider.name, "body", body),
        }),
        series: match &reading.series {
            Some(series) => Some(series.read(&provider.name, &payload)?),
            None => None,
        },
        event_id,
        event_type,
        payload,
        received_at: Timestamp::now(),
    })
}

/// Tells one thing of a provider from all others.
fn identity(provider: &str, kind: &str, name: &[u8]) -> [u8; 32] {
    // No provider's name has a zero in it.
    let mut hash = Sha256::new();
    for part in [provider.as_bytes(), b"\0", kind.as_bytes(), b"\0", name] {
        hash.update(part);
    }
    hash.finalize().into()
}

impl Series {
    /// Which one a delivery belongs to.
    fn read(&self, provider: &str, payload: &Value) -> Result<dispatch::Series, Refusal> {
        let name = payload.pointer(&self.name).and_then(field::text);
        let is_final = payload.pointer(&self.is_final).and_then(Value::as_bool);
        let (name, is_final) = name.zip(is_final).ok_or(Refusal::NotTheProviders)?;
        Ok(dispatch::Series {
            identity: identity(provider, "series", name.as_bytes()),
            is_final,
        })
    }
}

impl Reading {
    fn is_complete(&self, payload: &Value) -> bool {
        self.required.iter().all(|pointer| {
            payload
                .pointer(pointer)
                .is_some_and(|value| !value.is_null())
        })
    }

    /// What the provider wants back, if that is what it asks for.
    fn challenge(&self, payload: &Value) -> Option<String> {
        let Challenge { kind, answer } = self.challenge.as_ref()?;
        let asks = payload.get("type").and_then(Value::as_str) == Some(kind.as_str());
        let text = payload.pointer(answer)?.as_str()?;
        asks.then(|| text.to_owned())
    }
}
