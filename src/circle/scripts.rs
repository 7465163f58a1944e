//! The circle's named scripts. Each version is stored by the hash of its source, and never changes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use circled_protocol::{
    CallRule, Role, Word, is_script_name,
    methods::{Script, ScriptEntry, ScriptPut, ScriptState, ScriptVersion},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ALL, Settings, is_full};
use crate::{
    script::{self, RunError, Sandbox},
    store::{NewEvent, Transaction, Unavailable, Value, WriteError},
};

/// The prefixes of the keys of names and of sources.
const NAMES: &[u8] = b"s";
const SOURCES: &[u8] = b"v";
/// The rule for names.
pub const NAME_RULE: &str =
    "a script's name has 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`";

/// The SHA-256 of a source, in hex.
pub type Version = String;

/// The versions of a named script, as they are stored: the newest one comes first.
#[derive(Debug, Default)]
struct StoredScript {
    versions: Vec<ScriptVersion>,
    /// The least role that may call it, if it has a rule of its own.
    call: Option<Role>,
}

/// A script as it is in the store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredForm {
    Plain {
        versions: Vec<ScriptVersion>,
    },
    /// Versions of this program that don't know rules can't read this, and so find no script that they might run for
    /// anyone.
    Ruled {
        call: Role,
        ruled: Vec<ScriptVersion>,
    },
}

impl From<StoredForm> for StoredScript {
    fn from(form: StoredForm) -> Self {
        match form {
            StoredForm::Plain { versions } => Self {
                versions,
                call: None,
            },
            StoredForm::Ruled { call, ruled } => Self {
                versions: ruled,
                call: Some(call),
            },
        }
    }
}

impl StoredScript {
    fn into_form(self) -> StoredForm {
        let Self { versions, call } = self;
        match call {
            None => StoredForm::Plain { versions },
            Some(call) => StoredForm::Ruled {
                call,
                ruled: versions,
            },
        }
    }
}

/// A version of a script that was found.
pub(super) struct FoundVersion {
    pub(super) put: ScriptVersion,
    pub(super) source: Value,
    /// The least role that may call the script, if it has a rule of its own.
    pub(super) call: Option<Role>,
}

/// A script with everything that it imports, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version that its name had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The source.
    pub source: Arc<str>,
    /// The sources of the imported scripts, by name.
    #[serde(default, with = "by_name")]
    pub modules: Arc<script::PinnedModules>,
}

/// (De)serializes modules as a map by name.
mod by_name {
    use std::{collections::BTreeMap, sync::Arc};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::script::PinnedModules;

    pub(super) fn serialize<S: Serializer>(
        modules: &Arc<PinnedModules>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        modules.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<PinnedModules>, D::Error> {
        let modules = BTreeMap::<String, Arc<str>>::deserialize(deserializer)?;
        Ok(Arc::new(PinnedModules(modules)))
    }
}

/// Returns the key of a named script among the circle's own keys.
pub fn name_key(name: &str) -> Vec<u8> {
    [NAMES, name.as_bytes()].concat()
}

fn source_key(name: &str, version: &str) -> Vec<u8> {
    [SOURCES, name.as_bytes(), b"\0", version.as_bytes()].concat()
}

fn read_stored(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<StoredScript>, WriteError> {
    if !is_script_name(name) {
        return Ok(None);
    }
    let value = transaction.own_get(&name_key(name))?;
    Ok(value.and_then(|value| {
        circled_json::from_slice::<StoredForm>(&value)
            .inspect_err(|error| tracing::error!(name, %error, "failed to read a named script"))
            .ok()
            .map(StoredScript::from)
            .filter(|stored| !stored.versions.is_empty())
    }))
}

/// Returns the name of the script that a provider's deliveries run, if the circle has it.
pub fn script_for(provider: &str) -> String {
    format!("on_{provider}")
}

/// Returns the rule that a script has of its own: the least role that may call it. The outer nothing: there is no such
/// script.
pub(super) fn rule(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<Option<Role>>, WriteError> {
    Ok(read_stored(transaction, name)?.map(|stored| stored.call))
}

/// Returns true if the circle has a script under a name.
///
/// # Errors
/// The store can't be read.
pub fn has_script(transaction: &mut Transaction, name: &str) -> Result<bool, WriteError> {
    Ok(transaction.own_get(&name_key(name))?.is_some())
}

fn write_stored(transaction: &mut Transaction, name: &str, stored: StoredScript) {
    let value = serde_json::to_vec(&stored.into_form()).unwrap_or_default();
    transaction.own_set(&name_key(name), Some(Value::new(&value)));
}

/// Returns the source of the newest version.
pub(super) fn current_source(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<Value>, WriteError> {
    match read_stored(transaction, name)? {
        Some(stored) => transaction.own_peek(&source_key(name, &stored.versions[0].version)),
        None => Ok(None),
    }
}

/// Finds a version of a script, the newest one if none is given. It may be abbreviated if that is unambiguous.
pub(super) fn find(
    transaction: &mut Transaction,
    name: &str,
    version: Option<&str>,
) -> Result<FoundVersion, RunError> {
    let Some(stored) = read_stored(transaction, name)? else {
        return Err(RunError::not_found("script"));
    };
    let put = version_of(&stored, version)?;
    let source = transaction.own_peek(&source_key(name, &put.version))?;
    Ok(FoundVersion {
        put: put.clone(),
        source: source.ok_or_else(no_version)?,
        call: stored.call,
    })
}

/// Returns the version with this name, or the only one that begins with it.
fn version_of<'a>(
    stored: &'a StoredScript,
    version: Option<&str>,
) -> Result<&'a ScriptVersion, RunError> {
    let versions = &stored.versions;
    let Some(version) = version else {
        return versions.first().ok_or_else(no_version);
    };
    let begins = |put: &&ScriptVersion| !version.is_empty() && put.version.starts_with(version);
    let mut found = versions.iter().filter(begins);
    match (found.next(), found.count()) {
        (Some(put), 0) => Ok(put),
        (Some(_), others) => Err(RunError::Invalid {
            reason: format!(
                "`version`: {} versions begin with \"{version}\"; give more digits",
                others + 1
            ),
        }),
        (None, _) => Err(no_version()),
    }
}

fn no_version() -> RunError {
    RunError::not_found("version")
}

/// Stores a source under a name. Returns its version, and true if that wasn't the newest one already.
pub(super) fn put(
    transaction: &mut Transaction,
    name: &str,
    source: &str,
    call: Option<CallRule>,
    by: &dyn std::fmt::Display,
    now: Timestamp,
    settings: &Settings,
) -> Result<ScriptPut, RunError> {
    if !is_script_name(name) {
        return Err(RunError::Invalid {
            reason: NAME_RULE.to_owned(),
        });
    }
    let version = version(source);
    let known = read_stored(transaction, name)?;
    if known.is_none() && is_full(transaction, NAMES, settings.max_scripts)? {
        return Err(RunError::limit("circles.max_scripts"));
    }
    let mut stored = known.unwrap_or_default();
    let rule = call.map_or(stored.call, CallRule::role);
    let has_rule = stored.call == rule;
    stored.call = rule;
    if stored
        .versions
        .first()
        .is_some_and(|put| put.version == version)
    {
        if !has_rule {
            write_stored(transaction, name, stored);
            tell(transaction, "circle.script_put", name);
        }
        return Ok(ScriptPut {
            name: name.to_owned(),
            version,
            created: false,
        });
    }
    stored.versions.retain(|put| put.version != version);
    let put = ScriptVersion {
        version: version.clone(),
        put_at: now,
        put_by: by.to_string(),
    };
    stored.versions.insert(0, put);
    let kept = stored.versions.len().min(settings.script_versions.max(1));
    for old in stored.versions.split_off(kept) {
        transaction.own_set(&source_key(name, &old.version), None);
    }
    transaction.own_set(
        &source_key(name, &version),
        Some(Value::new(source.as_bytes())),
    );
    write_stored(transaction, name, stored);
    tell(transaction, "circle.script_put", name);
    Ok(ScriptPut {
        name: name.to_owned(),
        version,
        created: true,
    })
}

/// Returns the version of a source.
pub fn version(source: &str) -> Version {
    hex::encode(Sha256::digest(source))
}

/// Checks that this version of a script is the newest one.
pub(super) fn expect(
    transaction: &mut Transaction,
    name: &str,
    version: &str,
) -> Result<(), RunError> {
    let stored = read_stored(transaction, name)?.unwrap_or_default();
    let newest = stored.versions.into_iter().next().map(|put| put.version);
    if newest.as_deref() == Some(version) {
        Ok(())
    } else {
        Err(RunError::Outdated {
            version: newest,
            script: None,
        })
    }
}

/// Checks that a script is in this state, or that there is none.
pub(super) fn expect_state(
    transaction: &mut Transaction,
    name: &str,
    state: Option<&ScriptState>,
) -> Result<(), RunError> {
    let StoredScript { versions, call } = read_stored(transaction, name)?.unwrap_or_default();
    let newest = versions.into_iter().next().map(|put| put.version);
    let now = newest.map(|version| ScriptState { version, call });
    if now.as_ref() == state {
        return Ok(());
    }
    Err(RunError::Outdated {
        version: now.map(|now| now.version),
        script: Some(name.to_owned()),
    })
}

/// Deletes a script. Returns true if there was one.
pub(super) fn delete(transaction: &mut Transaction, name: &str) -> Result<bool, RunError> {
    let Some(stored) = read_stored(transaction, name)? else {
        return Ok(false);
    };
    for put in stored.versions {
        transaction.own_set(&source_key(name, &put.version), None);
    }
    transaction.own_set(&name_key(name), None);
    tell(transaction, "circle.script_deleted", name);
    Ok(true)
}

/// Emits an event for the owner, see the events in docs/PROTOCOL.md.
fn tell(transaction: &mut Transaction, topic: &str, name: &str) {
    // Names need no escapes.
    let data = format!("{{\"name\":\"{name}\"}}");
    let owner = transaction.circle();
    transaction.emit_unchecked(NewEvent {
        topic: topic.into(),
        data: Value::new(data.as_bytes()),
        to: Some(owner),
    });
}

pub(super) fn show(
    transaction: &mut Transaction,
    name: &str,
    version: Option<&str>,
) -> Result<Script, RunError> {
    let FoundVersion { put, source, call } = find(transaction, name, version)?;
    let versions = read_stored(transaction, name)?.unwrap_or_default().versions;
    Ok(Script {
        name: name.to_owned(),
        shown: put,
        source: text(&source).into_owned(),
        call: call.map(Word::from),
        versions,
    })
}

/// Returns all scripts, in the order of their names.
pub(super) fn list(transaction: &mut Transaction) -> Result<Vec<ScriptEntry>, RunError> {
    let mut scripts = Vec::new();
    for key in transaction.own_keys(NAMES, ALL)? {
        let name = text(key.get(NAMES.len()..).unwrap_or_default()).into_owned();
        let Some(mut stored) = read_stored(transaction, &name)? else {
            continue;
        };
        let call = stored.call.map(Word::from);
        let current = stored.versions.drain(..1).next();
        scripts.extend(current.map(|current| ScriptEntry {
            name,
            current,
            call,
        }));
    }
    Ok(scripts)
}

/// Compiles scripts that are to be pinned.
pub struct Compiler<'a> {
    /// The sandbox, with its limits.
    pub sandbox: &'a Sandbox,
    /// The deadline for compiling all of them.
    pub deadline: Instant,
    /// The time that there was at first.
    pub time: Duration,
    /// Set to end the compilation early.
    pub cancel: &'a Arc<AtomicBool>,
}

impl Compiler<'_> {
    fn imports(&self, source: &str) -> Result<Vec<String>, RunError> {
        let imports = self
            .sandbox
            .imports(source, Some(self.deadline), self.cancel);
        imports.map_err(|error| error.by_deadline(self.deadline, self.time))
    }
}

/// Pins a named script, as it is now or in a stored version, with everything that it imports.
///
/// # Errors
/// The script, or one that it imports, doesn't exist or doesn't compile.
pub fn pin(
    transaction: &mut Transaction,
    compiler: &Compiler<'_>,
    name: &str,
    version: Option<&str>,
) -> Result<Pinned, RunError> {
    let FoundVersion { put, source, .. } = find(transaction, name, version)?;
    let pinned = pin_source(transaction, compiler, &text(&source))?;
    Ok(Pinned {
        name: Some(name.to_owned()),
        version: Some(put.version),
        ..pinned
    })
}

/// Pins the script that a circle has for a provider's deliveries, if there is one. No other script may run instead. A
/// script that can't be pinned is returned without its imports, and fails when it runs, so that its author sees the
/// reason.
///
/// # Errors
/// The store can't be read.
pub fn pin_for_deliveries(
    transaction: &mut Transaction,
    compiler: &Compiler<'_>,
    name: &str,
) -> Result<Option<Pinned>, Unavailable> {
    match pin(transaction, compiler, name, None) {
        Ok(pinned) => return Ok(Some(pinned)),
        Err(RunError::NotFound { .. }) => return Ok(None),
        Err(RunError::Unavailable | RunError::Cancelled) => return Err(Unavailable),
        Err(_) => {}
    }
    let FoundVersion { put, source, .. } = match find(transaction, name, None) {
        Ok(found) => found,
        Err(RunError::Unavailable) => return Err(Unavailable),
        Err(_) => return Ok(None),
    };
    Ok(Some(Pinned {
        name: Some(name.to_owned()),
        version: Some(put.version),
        source: text(&source).into(),
        modules: Arc::default(),
    }))
}

/// Pins a source with everything that it imports.
///
/// # Errors
/// The source, or a script that it imports, doesn't exist or doesn't compile.
pub fn pin_source(
    transaction: &mut Transaction,
    compiler: &Compiler<'_>,
    source: &str,
) -> Result<Pinned, RunError> {
    let sandbox = compiler.sandbox;
    let mut modules = BTreeMap::new();
    // All of it is stored with each job.
    let mut room = sandbox
        .limits()
        .max_source
        .get()
        .saturating_sub(source.len());
    let mut wanted = compiler.imports(source)?;
    while let Some(name) = wanted.pop() {
        if modules.contains_key(&name) {
            continue;
        }
        if modules.len() >= sandbox.limits().max_modules {
            return Err(RunError::limit("script.max_modules"));
        }
        let Some(module) = current_source(transaction, &name)? else {
            // It fails when it runs, so that its author sees where.
            continue;
        };
        let too_long = || RunError::limit("script.max_source");
        room = room.checked_sub(module.len()).ok_or_else(too_long)?;
        let module: Arc<str> = text(&module).into();
        wanted.extend(compiler.imports(&module)?);
        modules.insert(name, module);
    }
    Ok(Pinned {
        name: None,
        version: None,
        source: source.into(),
        modules: Arc::new(script::PinnedModules(modules)),
    })
}

/// Returns a source as text: sources are stored as they were sent, in UTF-8.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use circled_protocol::methods::ScriptVersion;
    use jiff::Timestamp;

    use super::{Role, StoredForm, StoredScript, name_key, source_key};
    use crate::golden;

    #[test]
    fn scripts_are_stored_as_before() {
        let version = |digit: &str, millis| ScriptVersion {
            version: digit.repeat(64),
            put_at: Timestamp::from_millisecond(millis).unwrap(),
            put_by: "02".repeat(33),
        };
        let mut script = StoredScript {
            call: None,
            versions: vec![
                version("b", 1_700_000_000_000),
                version("a", 1_600_000_000_000),
            ],
        };
        let write = |script: StoredScript| serde_json::to_string(&script.into_form()).unwrap();
        let read = |text: &str| {
            let form: StoredForm = circled_json::from_str(text).ok()?;
            Some(write(form.into()))
        };
        let versions = script.versions.clone();
        golden::check_json("script", &write(script), &["", "/versions/0"], read);
        script = StoredScript {
            call: Some(Role::Owner),
            versions,
        };
        golden::check_json("script_with_rule", &write(script), &["", "/ruled/0"], read);
        let keys = [name_key("lib/a"), source_key("lib/a", &"a".repeat(64))];
        let keys = keys.map(hex::encode).join(" ");
        golden::check("script_keys", &keys, |text| Some(text.to_owned()));
    }
}
