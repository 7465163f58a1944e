//! The `[webhooks]` settings.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use axum::http::{HeaderMap, HeaderName, header};
use serde::{
    Deserialize, Deserializer,
    de::{Error, value::MapDeserializer},
};
use serde_json::Value;

use super::{
    address::Parameter,
    body::Form,
    encodings::{Encoding, Hash, KeyEncoding, TimestampFormat},
    field::Field,
    preset::Preset,
    scheme::{Headers, Scheme, SchemeError, Signing},
    template::Template,
};
use crate::{
    auth::SecretSource,
    field_names::{field_names, field_names_of},
    units::{PositiveDuration, Size},
};

/// The limits of all requests, and the providers by name. The defaults are in `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most bytes of a body.
    #[serde(deserialize_with = "body_size")]
    pub max_body: usize,
    /// The most bytes of all bodies that are being received or handled. Beyond it, the slowest or oldest ones are
    /// refused (503).
    #[serde(with = "crate::units::size")]
    pub max_buffered: usize,
    /// The most bytes of such bodies from one address.
    #[serde(with = "crate::units::size")]
    pub max_buffered_per_address: usize,
    /// The most bytes of such bodies of one provider to one circle.
    #[serde(with = "crate::units::size")]
    pub max_buffered_per_circle: usize,
    /// The time in which a body must arrive.
    pub receive_timeout: PositiveDuration,
    /// The bytes of a body that must arrive each second.
    pub min_rate: Size,
    /// The most refusals of one code that are logged each second.
    pub refusals_logged: u32,
    /// `[webhooks.<name>]`
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderSettings>,
}

/// Reads a size of bodies that can be stored.
fn body_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Size::<1, { 256 << 20 }>::deserialize(deserializer).map(Size::get)
}

/// The `[webhooks.<name>]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self")]
pub struct ProviderSettings {
    /// The preset, if the service has one.
    pub preset: Option<Preset>,
    /// The secrets that the provider signs with. Any of them counts, so that they can be replaced without a gap.
    #[serde(default)]
    pub secrets: Vec<SecretSource>,
    /// The most that the time of a signature may differ from this server's.
    #[serde(default = "five_minutes", with = "crate::units::duration")]
    pub tolerance: Duration,
    /// The time for which the sender waits for the script.
    #[serde(default = "a_second", with = "crate::units::duration")]
    pub wait: Duration,
    /// The script that a delivery runs, relative to the settings file.
    pub script: Option<PathBuf>,
    /// The tokens that a GET may have that checks the address; any of them counts.
    #[serde(default)]
    pub get_tokens: Vec<SecretSource>,
    /// The settings of the preset that are `false`, which don't apply.
    #[serde(skip)]
    pub unset: Vec<String>,
    /// The description, as far as it differs from the preset.
    #[serde(skip)]
    pub description: Description,
    /// The settings that could not be read. Mistakes that involve them are not told.
    #[serde(skip)]
    pub unread: Vec<String>,
}

impl ProviderSettings {
    /// Returns the keys that such a table may have.
    pub fn keys() -> Vec<&'static str> {
        [Self::own_keys(), field_names::<Description>()].concat()
    }

    /// Returns true if a mistake may be none once the settings that could not be read have other values.
    pub(super) fn may_undo(&self, mistake: &SchemeError) -> bool {
        const OF_HEADERS: [&str; 7] = [
            "signature_header",
            "timestamp_header",
            "id_header",
            "separator",
            "signature_prefix",
            "timestamp_prefix",
            "signed",
        ];
        let mut unread = self.unread.iter().map(String::as_str);
        unread.any(|unread| {
            unread == "preset"
                || match mistake {
                    // An unknown setting may be the missing one, misspelt.
                    SchemeError::Missing(setting) => {
                        unread == *setting || !Self::keys().contains(&unread)
                    }
                    SchemeError::Half(one, other) => unread == *one || other.contains(unread),
                    SchemeError::Uneven(_)
                    | SchemeError::Unfilled { .. }
                    | SchemeError::Undated
                    | SchemeError::TwoTimes
                    | SchemeError::Inseparable => OF_HEADERS.contains(&unread),
                    SchemeError::Key { .. } | SchemeError::WeakKey => true,
                }
        })
    }

    /// Returns the keys that a provider has, but no preset.
    fn own_keys() -> &'static [&'static str] {
        field_names_of(|deserializer| Self::deserialize(deserializer))
    }
}

impl<'de> Deserialize<'de> for ProviderSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Table = BTreeMap<String, Value>;

        let own_keys = Self::own_keys();
        let (own, description): (Table, Table) = Table::deserialize(deserializer)?
            .into_iter()
            .partition(|(key, _)| own_keys.contains(&key.as_str()));
        let (unset, description): (Table, Table) = description
            .into_iter()
            .partition(|(_, value)| *value == Value::Bool(false));
        let own = MapDeserializer::<_, serde_json::Error>::new(own.into_iter());
        let description = MapDeserializer::<_, serde_json::Error>::new(description.into_iter());
        Ok(Self {
            unset: unset.into_keys().collect(),
            description: Description::deserialize(description).map_err(D::Error::custom)?,
            ..Self::deserialize(own).map_err(D::Error::custom)?
        })
    }
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn a_second() -> Duration {
    Duration::from_secs(1)
}

/// A description of a provider's signatures and requests; see [`Scheme`] for how it works together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The header with the signature. With several names, the first that is there counts; the other headers then have
    /// the names at the same position.
    #[serde(default, deserialize_with = "header_names")]
    pub signature_header: Option<Vec<HeaderName>>,
    /// The header with the time of the signature.
    #[serde(default, deserialize_with = "header_names")]
    pub timestamp_header: Option<Vec<HeaderName>>,
    /// The header with the event's id, if the id is signed.
    #[serde(default, deserialize_with = "header_names")]
    pub id_header: Option<Vec<HeaderName>>,
    /// The separator of the items in the signature header.
    pub separator: Option<String>,
    /// The prefix of an item that is a signature.
    pub signature_prefix: Option<String>,
    /// The prefix of the item that is the time.
    pub timestamp_prefix: Option<String>,
    /// The format of the time; by default seconds since 1970.
    pub timestamp_format: Option<TimestampFormat>,
    /// The signed text: `{body}`, `{timestamp}` and `{id}`, with text between them.
    pub signed: Option<Template>,
    /// The hash function; by default SHA-256.
    pub hash: Option<Hash>,
    /// The encoding of a signature; by default hex.
    pub encoding: Option<Encoding>,
    /// The encoding of the key in the secret; by default the text itself.
    pub key: Option<KeyEncoding>,
    /// The text before the key in the secret.
    pub key_prefix: Option<String>,
    /// The forms of bodies; by default JSON.
    pub body: Option<Vec<Form>>,
    /// The places of the event's id; the first that has a value counts.
    #[serde(default, deserialize_with = "fields")]
    pub event_id: Option<Vec<Field>>,
    /// The places of the event's type.
    #[serde(default, deserialize_with = "fields")]
    pub event_type: Option<Vec<Field>>,
    /// Ids that the provider's tests give to every event. With one of these, the body tells events apart.
    pub test_ids: Option<Vec<String>>,
    /// JSON pointers (RFC 6901) to members that every body of none of `kinds` has.
    #[serde(default, deserialize_with = "pointers")]
    pub required: Option<Vec<String>>,
    /// Kinds of bodies with other members.
    pub kinds: Option<Vec<Kind>>,
    /// The forms of bodies that get a response: what the script returns as `#{respond: ...}`, or an empty one.
    pub respond: Option<Vec<Form>>,
    /// The JSON pointer to a text that the provider wants back when the body's `type` is `challenge_type`.
    #[serde(default, deserialize_with = "pointer")]
    pub challenge: Option<String>,
    /// The `type` of a body with a challenge.
    pub challenge_type: Option<String>,
    /// The JSON pointer to the value that a series of deliveries has in common. None of them may follow the final one.
    #[serde(default, deserialize_with = "pointer")]
    pub series: Option<String>,
    /// The JSON pointer to the flag of a series' final delivery. A delivery without the flag belongs to no series.
    #[serde(default, deserialize_with = "pointer")]
    pub series_final: Option<String>,
    /// The parameter of a GET whose value it wants back.
    pub get_challenge: Option<String>,
    /// The parameter of a GET that has one of `get_tokens`.
    pub get_token: Option<String>,
    /// A further parameter of such a GET, like `hub.mode=subscribe`.
    pub get_mode: Option<Parameter>,
    /// A parameter and its value in requests that only check the server's certificate: in a GET, or in a form, signed
    /// or not. The response is empty, and nothing runs.
    pub certificate_check: Option<Parameter>,
}

/// A kind of bodies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// The JSON pointer to the member that marks the kind.
    #[serde(deserialize_with = "one_pointer")]
    pub at: String,
    /// The text of that member; by default any value.
    pub is: Option<String>,
    /// JSON pointers to members that all of them have.
    #[serde(default, deserialize_with = "pointers")]
    pub required: Option<Vec<String>>,
}

/// Settings that are only valid together.
pub(super) const PAIRS: [(&str, &str); 2] =
    [("challenge", "challenge_type"), ("series", "series_final")];

impl Description {
    /// Returns these settings; missing ones are taken from `other`.
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

    /// Returns the signature scheme.
    ///
    /// # Errors
    /// A setting that a signature needs is missing or invalid: the first mistake.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        self.checked_scheme()
            .map_err(|mut mistakes| mistakes.swap_remove(0))
    }

    /// Returns the signature scheme.
    ///
    /// # Errors
    /// All mistakes, one at least.
    pub(super) fn checked_scheme(&self) -> Result<Scheme, Vec<SchemeError>> {
        let mut mistakes = self.mistakes();
        let scheme = self.unchecked_scheme();
        let is_uneven = |mistake: &SchemeError| matches!(mistake, SchemeError::Uneven(_));
        // With lists of different lengths, nobody knows which names belong together.
        if let Some(scheme) = &scheme
            && !mistakes.iter().any(is_uneven)
        {
            mistakes.extend(scheme.mistakes());
        }
        scheme.filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }

    /// Returns the settings that are missing, or of which there is only one of two.
    fn mistakes(&self) -> Vec<SchemeError> {
        let mut mistakes = Vec::new();
        let pairs = [
            (self.challenge.is_some(), self.challenge_type.is_some()),
            (self.series.is_some(), self.series_final.is_some()),
        ];
        for ((one, other), there) in PAIRS.into_iter().zip(pairs) {
            match there {
                (true, false) => mistakes.push(SchemeError::Half(one, other)),
                (false, true) => mistakes.push(SchemeError::Half(other, one)),
                (true, true) | (false, false) => {}
            }
        }
        let needed = [
            ("signature_header", self.signature_header.is_some()),
            ("signed", self.signed.is_some()),
        ];
        let missing = needed.into_iter().filter(|(_, is_there)| !is_there);
        mistakes.extend(missing.map(|(setting, _)| SchemeError::Missing(setting)));
        let others = [
            ("timestamp_header", &self.timestamp_header),
            ("id_header", &self.id_header),
        ];
        for (setting, other) in others {
            if let (Some(names), Some(other)) = (&self.signature_header, other)
                && names.len() != other.len()
            {
                mistakes.push(SchemeError::Uneven(setting));
            }
        }
        mistakes
    }

    /// Returns the scheme, unless a setting that it needs is missing.
    fn unchecked_scheme(&self) -> Option<Scheme> {
        let nth = |names: &Option<Vec<HeaderName>>, n| names.as_ref()?.get(n).cloned();
        let names = self.signature_header.as_ref()?;
        let headers = names.iter().enumerate().map(|(n, signature)| Headers {
            signature: signature.clone(),
            timestamp: nth(&self.timestamp_header, n),
            id: nth(&self.id_header, n),
        });
        Some(Scheme {
            headers: headers.collect(),
            separator: self.separator.clone().filter(|text| !text.is_empty()),
            signature_prefix: self.signature_prefix.clone().unwrap_or_default(),
            timestamp_prefix: self.timestamp_prefix.clone(),
            timestamp_format: self.timestamp_format.unwrap_or(TimestampFormat::Seconds),
            signed: self.signed.clone()?,
            hash: self.hash.unwrap_or(Hash::Sha256),
            encoding: self.encoding.unwrap_or(Encoding::Hex),
            key: self.key.unwrap_or(KeyEncoding::Text),
            key_prefix: self.key_prefix.clone().unwrap_or_default(),
        })
    }
}

impl Description {
    /// Returns the forms of the provider's bodies, the usual one first.
    pub fn forms(&self) -> &[Form] {
        self.body.as_deref().unwrap_or(&[Form::Json])
    }

    /// Returns the headers of a request as the provider sends it, for its usual form of body.
    ///
    /// # Errors
    /// The scheme is invalid.
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
