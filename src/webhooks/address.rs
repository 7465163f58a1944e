//! Requests that check the address of a webhook. Meta sends a GET with an agreed token, and wants a text back. Slack
//! only checks the server's certificate.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, de::Error};
use sha2::Sha256;

use super::{
    scheme::{SchemeError, Unsigned},
    settings::{Description, ProviderSettings},
};
use crate::auth::Secret;

/// The most bytes of a text that is sent back.
const MAX_CHALLENGE: usize = 1024;

/// The GET by which a provider checks the address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AddressCheck {
    challenge: String,
    token: String,
    mode: Option<Parameter>,
    tokens: Vec<Secret>,
}

/// A parameter of a query or form with the value that it must have: `ssl_check=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    name: String,
    value: String,
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (name, value) = text.split_once('=').ok_or_else(|| {
            D::Error::custom("must be a parameter and its value, like \"hub.mode=subscribe\"")
        })?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl Parameter {
    /// Returns true if the parameter is there once, with this value.
    pub(super) fn is_in(&self, query: &[u8]) -> bool {
        only(query, &self.name).is_ok_and(|value| value == self.value)
    }
}

impl AddressCheck {
    /// Creates the check; returns `None` if the provider sends no such GET.
    pub(super) fn new(
        description: &Description,
        settings: &ProviderSettings,
        tokens: Vec<Secret>,
    ) -> Result<Option<Self>, SchemeError> {
        let half = |one, other| Err(SchemeError::Half(one, other));
        let (challenge, token) = match (&description.get_challenge, &description.get_token) {
            (Some(challenge), Some(token)) => (challenge.clone(), token.clone()),
            (Some(_), None) => return half("get_challenge", "get_token"),
            (None, Some(_)) => return half("get_token", "get_challenge"),
            (None, None) if !settings.get_tokens.is_empty() => {
                return half("get_tokens", "get_challenge and get_token");
            }
            (None, None) => return Ok(None),
        };
        if settings.get_tokens.is_empty() {
            return half("get_challenge", "get_tokens");
        }
        Ok(Some(Self {
            challenge,
            token,
            mode: description.get_mode.clone(),
            tokens,
        }))
    }

    /// Returns the response to a GET with this query.
    pub(super) fn answer(&self, query: &str) -> Result<Response, Unsigned> {
        let query = query.as_bytes();
        let challenge = only(query, &self.challenge)?;
        let token = only(query, &self.token)?;
        if self.mode.as_ref().is_some_and(|mode| !mode.is_in(query)) {
            return Err(Unsigned::NotAsked);
        }
        if challenge.len() > MAX_CHALLENGE {
            return Err(Unsigned::NotAsked);
        }
        let known = self.tokens.iter();
        if !known.fold(false, |found, known| found | is_same(known, &token)) {
            return Err(Unsigned::WrongToken);
        }
        let mut response = challenge.into_response();
        // The response is plain text, whatever the content looks like.
        response.headers_mut().insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Ok(response)
    }
}

/// Returns the value of a parameter that must be there exactly once.
fn only(query: &[u8], name: &str) -> Result<String, Unsigned> {
    let mut values = form_urlencoded::parse(query).filter(|(other, _)| other == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(value.into_owned()),
        _ => Err(Unsigned::NotAsked),
    }
}

/// Compares in constant time.
fn is_same(known: &Secret, other: &str) -> bool {
    let mac = |text: &str| {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&[]);
        mac.map(|mac| mac.chain_update(text)).ok()
    };
    mac(known.expose())
        .zip(mac(other))
        .is_some_and(|(known, other)| known.verify(&other.finalize().into_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(text: &str) -> Result<Parameter, serde_json::Error> {
        circled_json::from_value(text.into())
    }

    #[test]
    fn only_whoever_knows_the_token_gets_the_text_back() {
        let check = AddressCheck {
            challenge: "hub.challenge".to_owned(),
            token: "hub.verify_token".to_owned(),
            mode: parameter("hub.mode=subscribe").ok(),
            tokens: ["the old token", "the new token"].map(Secret::new).into(),
        };
        let long = "x".repeat(MAX_CHALLENGE + 1);
        for (query, expected) in [
            (
                "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=the+new+token",
                Ok(()),
            ),
            (
                "hub.verify_token=the%20old%20token&hub.challenge=%3Cb%3E&hub.mode=subscribe&more=1",
                Ok(()),
            ),
            (
                "hub.mode=subscribe&hub.challenge=1&hub.verify_token=the+new+toke",
                Err(Unsigned::WrongToken),
            ),
            (
                "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
                Err(Unsigned::WrongToken),
            ),
            (
                "hub.mode=subscribe&hub.challenge=1&hub.verify_token=the+new+token%00",
                Err(Unsigned::WrongToken),
            ),
            (
                "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=the+new+token",
                Err(Unsigned::NotAsked),
            ),
            (
                "hub.challenge=1&hub.verify_token=the+new+token",
                Err(Unsigned::NotAsked),
            ),
            (
                "hub.mode=subscribe&hub.verify_token=the+new+token",
                Err(Unsigned::NotAsked),
            ),
            (
                "hub.mode=subscribe&hub.challenge=1",
                Err(Unsigned::NotAsked),
            ),
            (
                "hub.mode=subscribe&hub.challenge=1&hub.verify_token=x&hub.verify_token=the+new+token",
                Err(Unsigned::NotAsked),
            ),
            ("", Err(Unsigned::NotAsked)),
            (
                &format!("hub.mode=subscribe&hub.challenge={long}&hub.verify_token=the+new+token"),
                Err(Unsigned::NotAsked),
            ),
        ] {
            assert_eq!(check.answer(query).map(drop), expected, "{query}");
        }
    }

    #[test]
    fn a_parameter_is_there_once_with_its_value() {
        assert!(parameter("ssl_check").is_err());
        let parameter = parameter("ssl_check=1").unwrap();
        for (query, expected) in [
            ("ssl_check=1", true),
            ("token=x&ssl_check=1&more", true),
            ("ssl%5Fcheck=%31", true),
            ("ssl_check=0", false),
            ("ssl_check", false),
            ("ssl_check=1&ssl_check=1", false),
            ("Ssl_check=1", false),
            ("", false),
        ] {
            assert_eq!(parameter.is_in(query.as_bytes()), expected, "{query}");
        }
    }
}
