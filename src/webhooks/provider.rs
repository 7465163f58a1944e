//! The providers of webhooks: their settings, with the secrets read.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use circled_protocol::PublicKey;
use thiserror::Error;

use super::{
    address::{AddressCheck, Parameter},
    body::Form,
    encodings::Key,
    field::Field,
    payload::Pointers,
    preset::Preset,
    refusal::NoProvider,
    scheme::{Scheme, SchemeError},
    settings::{Description, Kind, ProviderSettings, Settings},
};
use crate::{
    auth::{Circle, Secret, SecretSource, UnusableSecret},
    dispatch::Scripts,
    files,
    script::{Failure, Limits, Sandbox},
};

/// The script that runs if the settings name none.
pub(super) const DEFAULT_SCRIPT: &str = include_str!("scripts/default.rhai");

/// One provider, set up.
#[derive(Debug)]
pub struct Provider {
    /// The name in the settings and in URLs.
    pub name: Arc<str>,
    pub(super) scheme: Scheme,
    pub(super) reading: RequestFields,
    pub(super) tolerance: Duration,
    pub(super) wait: Duration,
    pub(super) address_check: Option<AddressCheck>,
    pub(super) certificate_check: Option<Parameter>,
    keys: Vec<Key>,
    by_circle: HashMap<PublicKey, Vec<Key>>,
}

/// The fields that are read from a provider's requests.
#[derive(Debug)]
pub(super) struct RequestFields {
    /// The pointers to all that is examined of a body.
    pub(super) pointers: Pointers,
    pub(super) forms: Vec<Form>,
    pub(super) event_id: Vec<Field>,
    pub(super) event_type: Vec<Field>,
    /// Event ids that don't tell events apart.
    pub(super) test_ids: Vec<String>,
    /// JSON pointers to members that every body of no kind has.
    pub(super) required: Vec<String>,
    pub(super) kinds: Vec<Kind>,
    /// The forms of bodies whose script responds.
    pub(super) respond: Vec<Form>,
    pub(super) challenge: Option<Challenge>,
    pub(super) series: Option<Series>,
}

/// A text that a provider wants back, to see that the address works.
#[derive(Debug)]
pub(super) struct Challenge {
    /// The `type` of such a body.
    pub(super) kind: String,
    /// The JSON pointer to the text.
    pub(super) answer: String,
}

impl Challenge {
    /// The JSON pointer to the kind.
    pub(super) const KIND: &str = "/type";
}

/// A series of deliveries, in which none may follow the final one.
#[derive(Debug)]
pub(super) struct Series {
    /// The JSON pointer to the value that they have in common.
    pub(super) name: String,
    /// The JSON pointer to the flag of the final one.
    pub(super) is_final: String,
}

/// All providers, by name.
#[derive(Debug, Default)]
pub struct Providers {
    by_name: HashMap<Arc<str>, Arc<Provider>>,
    scripts: HashMap<Arc<str>, Arc<str>>,
    off: Vec<ProviderOff>,
    notes: Vec<Note>,
}

/// A remark on a secret that doesn't keep the server from starting.
#[derive(Debug, Clone)]
pub struct Note {
    provider: Arc<str>,
    secret: SecretOf,
    what: Noted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Unset,
    Padded,
}

/// A secret's source, and its circle if it isn't for all.
#[derive(Debug, Clone)]
struct SecretOf {
    /// The setting of the provider that has it, unless a circle has.
    setting: &'static str,
    source: String,
    circle: Option<PublicKey>,
}

/// A provider that is off because it has no secret.
#[derive(Debug)]
struct ProviderOff {
    name: String,
    sources: Vec<String>,
}

/// All mistakes that keep providers from being set up.
#[derive(Debug, Error)]
pub struct SetUpError(Vec<Mistake>);

/// One mistake.
#[derive(Debug, Error)]
#[error("webhooks.{provider}: {reason}")]
struct Mistake {
    provider: String,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    #[error("the secret {whose} cannot be used: {source}")]
    Secret {
        whose: SecretOf,
        source: UnusableSecret,
    },
    #[error("the secret {whose} cannot be used: {source}")]
    Key {
        whose: SecretOf,
        source: SchemeError,
    },
    #[error("the script {} cannot be read: {source}", path.display())]
    NoScript { path: PathBuf, source: io::Error },
    #[error("the script {}{} is not valid Rhai: {}", path.display(), Position(failure), failure.message)]
    Script {
        path: PathBuf,
        failure: Box<Failure>,
    },
    #[error(
        "can't be the name of a provider: it is part of URLs, and has 1 to 64 lowercase letters, digits, - and _"
    )]
    Name,
}

impl Mistake {
    fn all(provider: &str, reasons: Vec<Reason>) -> impl Iterator<Item = Self> {
        reasons.into_iter().map(move |reason| Self {
            provider: provider.to_owned(),
            reason,
        })
    }
}

impl SetUpError {
    /// Returns each mistake with the key of its setting.
    pub fn by_key(&self, circles: &[Circle]) -> Vec<(String, String)> {
        let of = |Mistake { provider, reason }: &Mistake| {
            let setting = match reason {
                Reason::Scheme(mistake) => mistake.setting(),
                Reason::Name => None,
                Reason::NoScript { .. } | Reason::Script { .. } => Some("script"),
                Reason::Secret { whose, .. } | Reason::Key { whose, .. } => {
                    let mut circles = circles.iter();
                    if let Some(circle) = circles.find(|circle| whose.circle == Some(circle.key)) {
                        let key = format!("circle[{}].secrets.{provider}", circle.number);
                        return (key, reason.to_string());
                    }
                    Some(whose.setting)
                }
            };
            let setting = setting.map(|setting| format!(".{setting}"));
            let key = format!("webhooks.{provider}{}", setting.unwrap_or_default());
            (key, reason.to_string())
        };
        self.0.iter().map(of).collect()
    }
}

impl fmt::Display for SetUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let gap = if n > 0 { "\n" } else { "" };
            write!(f, "{gap}{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SecretOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match self.circle {
            Some(circle) => write!(f, " of the circle {circle}"),
            None => Ok(()),
        }
    }
}

impl Noted {
    fn message(self) -> &'static str {
        match self {
            Self::Unset => "a secret is not set, and is skipped",
            Self::Padded => "white space or a byte order mark around a secret is removed",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider,
            secret,
            what,
        } = self;
        write!(f, "webhooks.{provider}: {secret}: {}", what.message())
    }
}

/// Displays as `:line:column`, like compilers.
struct Position<'a>(&'a Failure);

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [self.0.line, self.0.column]
            .into_iter()
            .flatten()
            .try_for_each(|number| write!(f, ":{number}"))
    }
}

/// Parameters of setting up, beside the settings themselves.
struct Surroundings<'a> {
    /// The folder of relative paths.
    base: &'a Path,
    circles: &'a [Circle],
    variable: &'a dyn Fn(&str) -> Option<String>,
    sandbox: Sandbox,
}

impl Providers {
    /// Reads the secrets and compiles the scripts. `base` is the folder of relative paths, `variable` reads the
    /// environment.
    ///
    /// # Errors
    /// All mistakes. A variable that isn't set is no mistake: without any secret, the provider is off.
    pub fn set_up(
        settings: &Settings,
        circles: &[Circle],
        limits: &Limits,
        base: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SetUpError> {
        let surroundings = Surroundings {
            base,
            circles,
            variable,
            sandbox: Sandbox::new(limits.clone()),
        };
        let mut providers = Self::default();
        let mut mistakes = Vec::new();
        for (name, settings) in &settings.providers {
            let mut reasons = Vec::new();
            providers.add(name, settings, &surroundings, &mut reasons);
            mistakes.extend(Mistake::all(name, reasons));
        }
        if mistakes.is_empty() {
            Ok(providers)
        } else {
            Err(SetUpError(mistakes))
        }
    }

    /// Compiles only the scripts: running deliveries needs no secrets.
    ///
    /// # Errors
    /// All names and scripts that can't be used.
    pub fn set_up_scripts(
        settings: &Settings,
        limits: &Limits,
        base: &Path,
    ) -> Result<Scripts, SetUpError> {
        let sandbox = Sandbox::new(limits.clone());
        let mut providers = Self::default();
        let mut mistakes = Vec::new();
        for (name, settings) in &settings.providers {
            let mut reasons = Vec::new();
            providers.add_script(name, settings, base, &sandbox, &mut reasons);
            mistakes.extend(Mistake::all(name, reasons));
        }
        if mistakes.is_empty() {
            Ok(providers.scripts())
        } else {
            Err(SetUpError(mistakes))
        }
    }

    /// Returns the provider of this name, unless it is off.
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.by_name.get(name)
    }

    /// Returns the reason why there is no provider of this name.
    pub(super) fn missing(&self, name: &str) -> NoProvider {
        match self.off.iter().find(|off| off.name == name) {
            Some(off) => NoProvider::Off(off.sources.join(", ")),
            None => NoProvider::Unknown,
        }
    }

    /// Returns the scripts that deliveries run, including those of providers that are off: earlier deliveries may still
    /// be pending.
    pub fn scripts(&self) -> Scripts {
        let scripts = self.scripts.iter();
        scripts
            .map(|(name, script)| (name.clone(), script.clone()))
            .collect()
    }

    /// Returns the settings that name other secrets than `before`. The settings may be the same, because files can
    /// change.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        for (name, provider) in &self.by_name {
            let Some(before) = before.by_name.get(name) else {
                continue;
            };
            if provider.keys != before.keys {
                changed.push(format!("webhooks.{name}.secrets"));
            }
            if provider.address_check != before.address_check {
                changed.push(format!("webhooks.{name}.get_tokens"));
            }
            if provider.by_circle != before.by_circle {
                changed.push("circle".to_owned());
            }
        }
        changed
    }

    /// Logs which providers are on.
    pub fn announce(&self) {
        let mut on: Vec<&str> = self.by_name.keys().map(AsRef::as_ref).collect();
        on.sort_unstable();
        if !on.is_empty() {
            tracing::info!(providers = on.join(", "), "taking webhooks");
        }
        for Note {
            provider,
            secret,
            what,
        } in &self.notes
        {
            tracing::warn!(
                %provider,
                circle = secret.circle.map(|circle| circle.to_string()),
                secret = secret.source,
                "{}", what.message()
            );
        }
        for ProviderOff { name, sources } in &self.off {
            tracing::info!(
                provider = name,
                secrets = sources.join(", "),
                "webhooks are off: none of the secrets is set"
            );
        }
    }

    /// Returns the remarks on the secrets.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    fn add_script(
        &mut self,
        name: &str,
        settings: &ProviderSettings,
        base: &Path,
        sandbox: &Sandbox,
        reasons: &mut Vec<Reason>,
    ) {
        if !is_name(name) {
            reasons.push(Reason::Name);
        }
        match script(settings, base, sandbox) {
            Ok(script) => drop(self.scripts.insert(name.into(), script)),
            Err(reason) => reasons.push(reason),
        }
    }

    fn add(
        &mut self,
        name: &str,
        settings: &ProviderSettings,
        surroundings: &Surroundings<'_>,
        reasons: &mut Vec<Reason>,
    ) {
        let Surroundings { base, sandbox, .. } = surroundings;
        self.add_script(name, settings, base, sandbox, reasons);
        let name: Arc<str> = name.into();
        let description = settings.description();
        let scheme = description.checked_scheme();
        let mut secrets = Secrets {
            provider: &name,
            scheme: scheme.as_ref().ok().filter(|_| settings.unread.is_empty()),
            surroundings,
            notes: Vec::new(),
            reasons,
        };
        let keys = secrets.keys(&settings.secrets, None);
        let tokens = secrets.tokens(&settings.get_tokens);
        let address_check = AddressCheck::new(&description, settings, tokens);
        let by_circle: HashMap<_, _> = surroundings
            .circles
            .iter()
            .filter_map(|circle| {
                let sources = circle.secrets.get(&*name)?;
                Some((circle.key, secrets.keys(sources, Some(circle.key))))
            })
            .collect();
        let notes = secrets.notes;
        let (scheme, address_check) = match (scheme, address_check) {
            (Ok(scheme), Ok(address_check)) => (scheme, address_check),
            (scheme, address_check) => {
                let mistakes = scheme.err().unwrap_or_default();
                let mistakes = mistakes.into_iter().chain(address_check.err());
                let mistakes = mistakes.filter(|mistake| !settings.may_undo(mistake));
                reasons.extend(mistakes.map(Reason::from));
                return;
            }
        };
        if keys.is_empty() && by_circle.values().all(Vec::is_empty) {
            let sources = settings.secrets.iter().map(ToString::to_string);
            self.off.push(ProviderOff {
                name: name.to_string(),
                sources: sources.collect(),
            });
            return;
        }
        self.notes.extend(notes);
        let provider = Provider {
            name: name.clone(),
            scheme,
            certificate_check: description.certificate_check.clone(),
            reading: RequestFields::new(description),
            tolerance: settings.tolerance,
            wait: settings.wait,
            address_check,
            keys,
            by_circle,
        };
        self.by_name.insert(name, Arc::new(provider));
    }
}

impl Provider {
    /// Returns the keys for a circle: its own keys from the settings if it has any, otherwise the provider's.
    pub(super) fn keys(&self, circle: &PublicKey) -> &[Key] {
        self.by_circle.get(circle).unwrap_or(&self.keys)
    }
}

impl ProviderSettings {
    /// Returns the provider's description, with the settings over the preset.
    pub fn description(&self) -> Description {
        let own = self.description.clone();
        match self.preset {
            Some(preset) => own.or(preset.without(&self.unset)),
            None => own,
        }
    }
}

impl Preset {
    /// Returns the service's signature scheme.
    ///
    /// # Errors
    /// None: every preset is complete.
    pub fn scheme(self) -> Result<Scheme, SchemeError> {
        self.description().scheme()
    }
}

impl RequestFields {
    fn new(description: Description) -> Self {
        let mut read = Self {
            pointers: Pointers::default(),
            forms: description.body.unwrap_or_else(|| vec![Form::Json]),
            event_id: description.event_id.unwrap_or_default(),
            event_type: description.event_type.unwrap_or_default(),
            test_ids: description.test_ids.unwrap_or_default(),
            required: description.required.unwrap_or_default(),
            kinds: description.kinds.unwrap_or_default(),
            respond: description.respond.unwrap_or_default(),
            challenge: description
                .challenge
                .zip(description.challenge_type)
                .map(|(answer, kind)| Challenge { kind, answer }),
            series: description
                .series
                .zip(description.series_final)
                .map(|(name, is_final)| Series { name, is_final }),
        };
        read.pointers = read.all_pointers();
        read
    }

    fn all_pointers(&self) -> Pointers {
        let fields = self.event_id.iter().chain(&self.event_type);
        let kinds = self.kinds.iter();
        let of_kinds = kinds.flat_map(|kind| kind.required.iter().flatten().chain([&kind.at]));
        let required = self.required.iter().chain(of_kinds);
        let challenge = self.challenge.iter();
        let series = self.series.iter();
        let pointers = (fields.filter_map(Field::pointer))
            .chain(required.map(String::as_str))
            .chain(challenge.flat_map(|challenge| [Challenge::KIND, &challenge.answer]))
            .chain(series.flat_map(|series| [&*series.name, &*series.is_final]));
        Pointers::new(pointers)
    }
}

fn is_name(text: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

/// Reads the secrets of one provider.
struct Secrets<'a> {
    provider: &'a Arc<str>,
    /// The scheme, if it has no mistakes.
    scheme: Option<&'a Scheme>,
    surroundings: &'a Surroundings<'a>,
    notes: Vec<Note>,
    reasons: &'a mut Vec<Reason>,
}

impl Secrets<'_> {
    /// Returns the keys of the secrets that are set.
    fn keys(&mut self, sources: &[SecretSource], circle: Option<PublicKey>) -> Vec<Key> {
        let mut keys = Vec::new();
        for source in sources {
            let whose = SecretOf {
                setting: "secrets",
                source: source.to_string(),
                circle,
            };
            let Some(secret) = self.find(source, &whose) else {
                continue;
            };
            let Some(scheme) = self.scheme else {
                continue;
            };
            match scheme.key(&secret) {
                Ok(key) if key.is_weak() => self.reasons.push(Reason::Key {
                    whose,
                    source: SchemeError::WeakKey,
                }),
                Ok(key) => keys.push(key),
                Err(source) => self.reasons.push(Reason::Key { whose, source }),
            }
        }
        keys
    }

    /// Returns tokens, which are as secret as keys.
    fn tokens(&mut self, sources: &[SecretSource]) -> Vec<Secret> {
        sources
            .iter()
            .filter_map(|source| {
                let whose = SecretOf {
                    setting: "get_tokens",
                    source: source.to_string(),
                    circle: None,
                };
                self.find(source, &whose)
            })
            .collect()
    }

    /// Reads one secret and notes remarks on it.
    fn find(&mut self, source: &SecretSource, whose: &SecretOf) -> Option<Secret> {
        let Surroundings { base, variable, .. } = *self.surroundings;
        match source.read(base, variable) {
            Ok(Some(found)) => {
                if found.was_padded {
                    self.note(whose.clone(), Noted::Padded);
                }
                return Some(found.secret);
            }
            Ok(None) => self.note(whose.clone(), Noted::Unset),
            Err(source) => self.reasons.push(Reason::Secret {
                whose: whose.clone(),
                source,
            }),
        }
        None
    }

    fn note(&mut self, secret: SecretOf, what: Noted) {
        self.notes.push(Note {
            provider: self.provider.clone(),
            secret,
            what,
        });
    }
}

fn script(settings: &ProviderSettings, base: &Path, sandbox: &Sandbox) -> Result<Arc<str>, Reason> {
    let Some(path) = &settings.script else {
        return Ok(settings
            .preset
            .map_or(DEFAULT_SCRIPT, Preset::script)
            .into());
    };
    let path = base.join(path);
    let source = match files::read_text(&path, sandbox.limits().max_source.get()) {
        Ok(source) => source,
        Err(source) => return Err(Reason::NoScript { path, source }),
    };
    match sandbox.check(&source) {
        Ok(()) => Ok(source.into()),
        Err(failure) => Err(Reason::Script {
            path,
            failure: Box::new(failure),
        }),
    }
}
