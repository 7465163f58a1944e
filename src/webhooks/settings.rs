//! The `[webhooks]` settings.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use axum::http::{HeaderMap, HeaderName, header};
use serde::{
    Deserialize, Deserializer,
    de::{Error, value::MapDeserializer},
};
use serde_json::Value;

use super::{
    body::Form,
    field::Field,
    preset::Preset,
    scheme::{Headers, Scheme, SchemeError, Signing},
    template::Template,
    written::{Encoding, Hash, KeyEncoding, TimestampFormat},
};
use crate::auth::SecretSource;

/// What every request goes through, and the providers by name. The defaults stand in
/// `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Bytes of one body.
    #[serde(with = "crate::units::size")]
    pub max_body: usize,
    /// Bytes of all bodies that are being received or handed on at once. With more, those that have been arriving for
    /// longest are told to come back (503).
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// Bytes of such bodies from one address.
    #[serde(with = "crate::units::size")]
    pub max_buffered_per_address: usize,
    /// Bytes of such bodies of one provider to one circle.
    #[serde(with = "crate::units::size")]
    pub max_buffered_per_circle: usize,
    /// How long a body may take to arrive.
    #[serde(with = "crate::units::duration")]
    pub receive_timeout: Duration,
    /// Bytes of a body that must come each second.
    #[serde(with = "crate::units::size")]
    pub min_rate: usize,
    /// Refusals with one code that are logged each second, one by one.
    pub refusals_logged: u32,
    /// `[webhooks.<name>]`
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderSettings>,
}

/// The `[webhooks.<name>]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self")]
pub struct ProviderSettings {
    /// The service, if it is one that is known here.
    pub preset: Option<Preset>,
    /// What the provider signs with; any of them counts, so that they can be changed without a gap.
    #[serde(default)]
    pub secrets: Vec<SecretSource>,
    /// How far the time of a signature may be from this server's.
    #[serde(default = "five_minutes", with = "crate::units::duration")]
    pub tolerance: Duration,
    /// How long the sender waits for the script to end.
    #[serde(default = "a_second", with = "crate::units::duration")]
    pub wait: Duration,
    /// The script that a delivery runs, relative to the settings file.
    pub script: Option<PathBuf>,
    /// What a GET must know that asks whether this is the right address; any of them counts.
    #[serde(default)]
    pub get_tokens: Vec<SecretSource>,
    /// What of the preset doesn't hold here: its settings that are `false`.
    #[serde(skip)]
    pub unset: Vec<String>,
    /// How it signs, as far as that differs from the preset.
    #[serde(flatten)]
    pub description: Description,
}

impl ProviderSettings {
    /// Every key that such a table may have.
    pub const KEYS: &[&str] = &[
        "preset",
        "secrets",
        "tolerance",
        "wait",
        "script",
        "get_tokens",
        "signature_header",
        "timestamp_header",
        "id_header",
        "separator",
        "signature_prefix",
        "timestamp_prefix",
        "timestamp_format",
        "signed",
        "hash",
        "encoding",
        "key",
        "key_prefix",
        "body",
        "event_id",
        "event_type",
        "test_ids",
        "required",
        "kinds",
        "respond",
        "challenge",
        "challenge_type",
        "series",
        "series_final",
        "get_challenge",
        "get_token",
        "get_mode",
        "certificate_check",
    ];
    /// Those of them that are the provider's alone, and no preset's.
    const OWN_KEYS: &[&str] = &[
        "preset",
        "secrets",
        "tolerance",
        "wait",
        "script",
        "get_tokens",
    ];
}

impl<'de> Deserialize<'de> for ProviderSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let mut unset = Vec::new();
        table.retain(|key, value| {
            let keep = *value != Value::Bool(false) || Self::OWN_KEYS.contains(&key.as_str());
            if !keep {
                unset.push(key.clone());
            }
            keep
        });
        let table = MapDeserializer::<_, serde_json::Error>::new(table.into_iter());
        let settings = Self::deserialize(table).map_err(D::Error::custom)?;
        Ok(Self { unset, ..settings })
    }
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn a_second() -> Duration {
    Duration::from_secs(1)
}

/// How a provider signs, and what its requests say where: see [`Scheme`] for how it all works together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Description {
    /// The header with the signature. With several names, the first that is there counts, and the other
    /// headers are looked for under the names at the same place.
    #[serde(default, deserialize_with = "header_names")]
    pub signature_header: Option<Vec<HeaderName>>,
    /// The header that says when it was signed.
    #[serde(default, deserialize_with = "header_names")]
    pub timestamp_header: Option<Vec<HeaderName>>,
    /// The header with the event's name, where that is signed too.
    #[serde(default, deserialize_with = "header_names")]
    pub id_header: Option<Vec<HeaderName>>,
    /// What stands between the items of the signature header.
    pub separator: Option<String>,
    /// What an item that is a signature begins with.
    pub signature_prefix: Option<String>,
    /// What the item that is the time begins with.
    pub timestamp_prefix: Option<String>,
    /// How the time is written; in seconds since 1970 if nothing else is said.
    pub timestamp_format: Option<TimestampFormat>,
    /// What is signed: `{body}`, `{timestamp}` and `{id}`, with text between them.
    pub signed: Option<Template>,
    /// The hash function; SHA-256 if nothing else is said.
    pub hash: Option<Hash>,
    /// How a signature is written; in hex if nothing else is said.
    pub encoding: Option<Encoding>,
    /// How the key is written in the secret; as it is if nothing else is said.
    pub key: Option<KeyEncoding>,
    /// What stands before the key in the secret.
    pub key_prefix: Option<String>,
    /// How bodies are written; JSON if nothing else is said.
    pub body: Option<Vec<Form>>,
    /// Where the event's name is: the first place that says anything.
    #[serde(default, deserialize_with = "fields")]
    pub event_id: Option<Vec<Field>>,
    /// Where its type is.
    #[serde(default, deserialize_with = "fields")]
    pub event_type: Option<Vec<Field>>,
    /// Names that the provider's tests give to one event after another: with one of these, the body tells
    /// events apart.
    pub test_ids: Option<Vec<String>>,
    /// JSON pointers (RFC 6901) to what every body has that is of none of `kinds`.
    #[serde(default, deserialize_with = "pointers")]
    pub required: Option<Vec<String>>,
    /// Bodies that have something else.
    pub kinds: Option<Vec<Kind>>,
    /// Bodies that are answered with what the script returns as `#{respond: ...}`, or else with nothing: those
    /// that are written so.
    pub respond: Option<Vec<Form>>,
    /// JSON pointer to a text that the provider wants back, when the body's `type` is `challenge_type`.
    #[serde(default, deserialize_with = "pointer")]
    pub challenge: Option<String>,
    /// See `challenge`.
    pub challenge_type: Option<String>,
    /// JSON pointer to what a series of deliveries has in common, of which none may undo the final one.
    #[serde(default, deserialize_with = "pointer")]
    pub series: Option<String>,
    /// JSON pointer to whether a delivery is the final one of its series. Where it points to nothing, the delivery
    /// belongs to none.
    #[serde(default, deserialize_with = "pointer")]
    pub series_final: Option<String>,
    /// The parameter of a GET that it wants back.
    pub get_challenge: Option<String>,
    /// The parameter of a GET that has one of `get_tokens` in it.
    pub get_token: Option<String>,
    /// A parameter that a GET has besides, like `hub.mode=subscribe`.
    pub get_mode: Option<String>,
    /// A parameter, and its value, of requests that only look at the server's certificate: of a GET, or of a form, signed or
    /// not. They are answered with nothing, and nothing runs.
    pub certificate_check: Option<String>,
}

/// Bodies that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// JSON pointer to what tells them from others.
    #[serde(deserialize_with = "one_pointer")]
    pub at: String,
    /// The text that stands there; any value will do where nothing is said.
    pub is: Option<String>,
    /// JSON pointers to what all of them have.
    #[serde(default, deserialize_with = "pointers")]
    pub required: Option<Vec<String>>,
}

/// Settings that mean something together alone.
pub(super) const PAIRS: [(&str, &str); 2] =
    [("challenge", "challenge_type"), ("series", "series_final")];

impl Description {
    /// What is said here, and what isn't, as `other` says it.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            signature_header: self.signature_header.or(other.signature_header),
            timestamp_header: self.timestamp_header.or(other.timestamp_header),
            id_header: self.id_header.or(other.id_header),
            separator: self.separator.or(other.separator),
            signature_prefix: self.signature_prefix.or(other.signature_prefix),
            timestamp_prefix: self.timestamp_prefix.or(other.timestamp_prefix),
            timestamp_format: self.timestamp_format.or(other.timestamp_format),
            signed: self.signed.or(other.signed),
            hash: self.hash.or(other.hash),
            encoding: self.encoding.or(other.encoding),
            key: self.key.or(other.key),
            key_prefix: self.key_prefix.or(other.key_prefix),
            body: self.body.or(other.body),
            event_id: self.event_id.or(other.event_id),
            event_type: self.event_type.or(other.event_type),
            test_ids: self.test_ids.or(other.test_ids),
            required: self.required.or(other.required),
            kinds: self.kinds.or(other.kinds),
            respond: self.respond.or(other.respond),
            challenge: self.challenge.or(other.challenge),
            challenge_type: self.challenge_type.or(other.challenge_type),
            series: self.series.or(other.series),
            series_final: self.series_final.or(other.series_final),
            get_challenge: self.get_challenge.or(other.get_challenge),
            get_token: self.get_token.or(other.get_token),
            get_mode: self.get_mode.or(other.get_mode),
            certificate_check: self.certificate_check.or(other.certificate_check),
        }
    }

    /// How it signs.
    ///
    /// # Errors
    /// Something that a signature takes is said nowhere, or can't be.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let missing = SchemeError::Missing;
        let pairs = [
            (self.challenge.is_some(), self.challenge_type.is_some()),
            (self.series.is_some(), self.series_final.is_some()),
        ];
        for ((one, other), there) in PAIRS.into_iter().zip(pairs) {
            match there {
                (true, false) => return Err(SchemeError::Half(one, other)),
                (false, true) => return Err(SchemeError::Half(other, one)),
                (true, true) | (false, false) => {}
            }
        }
        let names = self
            .signature_header
            .as_ref()
            .ok_or(missing("signature_header"))?;
        let timestamps = self.timestamp_header.as_deref();
        let ids = self.id_header.as_deref();
        for (setting, other) in [("timestamp_header", timestamps), ("id_header", ids)] {
            if other.is_some_and(|other| other.len() != names.len()) {
                return Err(SchemeError::Uneven(setting));
            }
        }
        let headers = names.iter().enumerate().map(|(n, signature)| Headers {
            signature: signature.clone(),
            timestamp: timestamps.and_then(|names| names.get(n)).cloned(),
            id: ids.and_then(|names| names.get(n)).cloned(),
        });
        let scheme = Scheme {
            headers: headers.collect(),
            separator: self.separator.clone().filter(|text| !text.is_empty()),
            signature_prefix: self.signature_prefix.clone().unwrap_or_default(),
            timestamp_prefix: self.timestamp_prefix.clone(),
            timestamp_format: self.timestamp_format.unwrap_or(TimestampFormat::Seconds),
            signed: self.signed.clone().ok_or(missing("signed"))?,
            hash: self.hash.unwrap_or(Hash::Sha256),
            encoding: self.encoding.unwrap_or(Encoding::Hex),
            key: self.key.unwrap_or(KeyEncoding::Text),
            key_prefix: self.key_prefix.clone().unwrap_or_default(),
        };
        scheme.check().map(|()| scheme)
    }
}

impl Description {
    /// Returns the ways in which the provider's bodies are written, the usual one first.
    pub fn forms(&self) -> &[Form] {
        self.body.as_deref().unwrap_or(&[Form::Json])
    }

    /// The headers of a request as the provider would send it, with a body as it usually is.
    ///
    /// # Errors
    /// It can't be told how to sign.
    pub fn sign(&self, signing: &Signing<'_>, event_type: &str) -> Result<HeaderMap, SchemeError> {
        let mut headers = self.scheme()?.sign(signing)?;
        let form = self.forms().first().copied().unwrap_or(Form::Json);
        headers.insert(header::CONTENT_TYPE, form.content_type());
        for (fields, value) in [(&self.event_id, signing.id), (&self.event_type, event_type)] {
            if let Some([Field::Header(name), ..]) = fields.as_deref()
                && let Ok(value) = value.parse()
            {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

fn header_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<HeaderName>>, D::Error> {
    one_or_more(
        deserializer,
        "must be the name of a header, or a list of names, like \"X-Signature\"",
    )
}

fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Field>>, D::Error> {
    one_or_more(
        deserializer,
        "must be like \"header:X-Event-Id\" or \"body:/data/id\", or a list of such",
    )
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    one_pointer(deserializer).map(Some)
}

fn one_pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.starts_with('/') {
        Ok(text)
    } else {
        Err(Error::custom(POINTER))
    }
}

fn pointers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.iter().all(|text| text.starts_with('/')) {
        Ok(Some(texts))
    } else {
        Err(Error::custom(POINTER))
    }
}

const POINTER: &str = "must be a JSON pointer, which begins with /, like \"/data/id\"";

fn one_or_more<'de, D: Deserializer<'de>, T: std::str::FromStr>(
    deserializer: D,
    expected: &str,
) -> Result<Option<Vec<T>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }

    let wrong = || Error::custom(expected);
    let texts = match OneOrMore::deserialize(deserializer).map_err(|_| wrong())? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    let parsed: Option<Vec<T>> = texts.iter().map(|text| text.parse().ok()).collect();
    parsed
        .filter(|parsed| !parsed.is_empty())
        .map(Some)
        .ok_or_else(wrong)
}
