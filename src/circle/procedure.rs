//! Procedures: changes and reads of a circle's members and named scripts.

use circled_protocol::{
    DeviceKey, Permission, PublicKey, Role, is_script_name,
    methods::{
        AddDeviceKey, AddMember, Added, Deleted, DeployScripts, DeviceRemoved, Devices, Members,
        PutScript, Removed, ScriptChecked, Scripts,
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Caller, Settings, deploy, devices, job_spec::NeedsOwnKey, members, scripts, store_reads,
};
use crate::{script::RunError, store::Transaction};

/// A change or read of a circle's members or scripts. It runs like a script: in a transaction, wherever jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Procedure {
    /// Stores a source under a name. The source has been compiled by then, see [`Executor`](super::Executor). Earlier
    /// versions send this and the next one.
    PutScript {
        /// The name.
        name: String,
        /// The source.
        source: String,
    },
    /// Does the same under conditions. A version of this program that doesn't know them doesn't know this either, and
    /// does nothing.
    PutScriptWith(PutScript),
    /// Does the same, and may give the script a rule. An earlier version doesn't know this, and so does nothing: it would
    /// take a rule that the script has for no script at all.
    PutRuledScript(PutScript),
    /// Does nothing: the source has been compiled.
    CheckScript {
        /// The source.
        source: String,
    },
    /// Returns a script.
    GetScript {
        /// Its name.
        name: String,
        /// The version; the newest one if none is given.
        version: Option<String>,
    },
    /// Lists the scripts.
    ListScripts,
    /// Deletes a script with all its versions.
    DeleteScript {
        /// Its name.
        name: String,
    },
    /// Does the same if the newest version is the expected one.
    DeleteScriptIf {
        /// Its name.
        name: String,
        /// The version that must be the newest one.
        if_version: String,
    },
    /// Puts and deletes several scripts as one change.
    DeployScripts(DeployScripts),
    /// Lists entries of the store.
    ListStore {
        /// The beginning of their keys.
        prefix: String,
        /// The key after which they come.
        after: Option<String>,
        /// The most of them.
        limit: usize,
    },
    /// Returns an entry of the store.
    GetKey {
        /// Its key.
        key: String,
    },
    /// Adds a member. A field that this version doesn't know is refused, unlike elsewhere: without it, the member might
    /// get more than was meant.
    AddMember(AddMember),
    /// Removes a member.
    RemoveMember {
        /// The member's public key.
        #[serde(with = "circled_protocol::trusted")]
        pubkey: PublicKey,
    },
    /// Lists the members.
    ListMembers {
        /// The members that the settings list.
        fixed: Vec<PublicKey>,
    },
    /// Adds a device key of the caller's, who has proved it. A field that this version doesn't know is refused, as for
    /// members.
    AddDeviceKey(AddDeviceKey),
    /// Removes a device key of the caller's.
    RemoveDeviceKey {
        /// The device's public key.
        pubkey: DeviceKey,
    },
    /// Lists the device keys of the caller.
    ListDeviceKeys,
    /// Notes that the caller has logged in by a device key.
    NoteDeviceUse,
}

impl Procedure {
    /// Returns the sources that must compile first, and their names. Those with invalid names are left out.
    pub(super) fn sources(&self) -> Vec<(Option<&str>, &str)> {
        if let Self::DeployScripts(DeployScripts { put, .. }) = self {
            let valid = put.iter().filter(|put| is_script_name(&put.name));
            return valid.map(|put| (Some(&*put.name), &*put.source)).collect();
        }
        self.source().into_iter().collect()
    }

    /// Returns the only source.
    fn source(&self) -> Option<(Option<&str>, &str)> {
        match self {
            Self::PutScript { name, source }
            | Self::PutScriptWith(PutScript { name, source, .. })
            | Self::PutRuledScript(PutScript { name, source, .. })
                if is_script_name(name) =>
            {
                Some((Some(name), source))
            }
            Self::CheckScript { source } => Some((None, source)),
            Self::PutScript { .. }
            | Self::PutScriptWith(_)
            | Self::PutRuledScript(_)
            | Self::DeployScripts(_)
            | Self::DeleteScriptIf { .. }
            | Self::GetScript { .. }
            | Self::ListScripts
            | Self::ListStore { .. }
            | Self::GetKey { .. }
            | Self::DeleteScript { .. }
            | Self::AddMember(_)
            | Self::RemoveMember { .. }
            | Self::ListMembers { .. }
            | Self::AddDeviceKey(_)
            | Self::RemoveDeviceKey { .. }
            | Self::ListDeviceKeys
            | Self::NoteDeviceUse => None,
        }
    }

    /// Returns the permission that a device's key needs for it, if it needs one.
    pub(super) fn permission(&self) -> Result<Option<Permission>, NeedsOwnKey> {
        match self {
            Self::ListScripts => Ok(Some(Permission::Call)),
            // A device lists and removes no other.
            Self::RemoveDeviceKey { .. } | Self::ListDeviceKeys | Self::NoteDeviceUse => Ok(None),
            Self::PutScript { .. }
            | Self::PutScriptWith(_)
            | Self::PutRuledScript(_)
            | Self::DeployScripts(_)
            | Self::CheckScript { .. }
            | Self::GetScript { .. }
            | Self::DeleteScript { .. }
            | Self::DeleteScriptIf { .. }
            | Self::ListStore { .. }
            | Self::GetKey { .. }
            | Self::AddMember(_)
            | Self::RemoveMember { .. }
            | Self::ListMembers { .. }
            | Self::AddDeviceKey(_) => Err(NeedsOwnKey),
        }
    }

    /// Returns about how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let sources = self.sources().into_iter();
        sources.map(|(_, source)| source.len()).sum()
    }

    /// Returns true if a script of this name is there afterwards, and false if not; nothing if that is as before.
    pub(super) fn leaves(&self, name: &str) -> Option<bool> {
        if let Self::DeployScripts(deployment) = self {
            return deploy::leaves(deployment, name);
        }
        (self.source()?.0 == Some(name)).then_some(true)
    }

    /// Returns true if it may put several scripts.
    pub(super) fn has_several(&self) -> bool {
        matches!(self, Self::DeployScripts(_))
    }

    /// Returns true if it may be a lot of work.
    pub(super) fn is_long(&self) -> bool {
        matches!(
            self,
            Self::DeployScripts(_)
                | Self::ListScripts
                | Self::ListStore { .. }
                | Self::ListMembers { .. }
                | Self::AddMember(_)
        )
    }

    /// Performs the procedure for a caller. Returns the result as JSON.
    pub(super) fn perform(
        &self,
        transaction: &mut Transaction,
        caller: &Caller<'_>,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<Box<RawValue>, RunError> {
        let answer = match self {
            Self::PutScript { name, source } => json(&scripts::put(
                transaction,
                name,
                source,
                None,
                caller,
                now,
                settings,
            )?),
            Self::PutScriptWith(PutScript {
                name,
                source,
                if_version,
                call,
            })
            | Self::PutRuledScript(PutScript {
                name,
                source,
                if_version,
                call,
            }) => {
                if let Some(version) = if_version {
                    scripts::expect(transaction, name, version)?;
                }
                json(&scripts::put(
                    transaction,
                    name,
                    source,
                    *call,
                    caller,
                    now,
                    settings,
                )?)
            }
            Self::CheckScript { source } => json(&ScriptChecked {
                version: scripts::version(source),
            }),
            Self::GetScript { name, version } => {
                json(&scripts::show(transaction, name, version.as_deref())?)
            }
            Self::ListStore {
                prefix,
                after,
                limit,
            } => json(&store_reads::list(
                transaction,
                prefix,
                after.as_deref(),
                *limit,
            )?),
            Self::GetKey { key } => json(&store_reads::get(transaction, key)?),
            Self::ListScripts => {
                let scripts = scripts::list(transaction)?;
                json(&Scripts { scripts })
            }
            Self::DeleteScript { name } => {
                let deleted = scripts::delete(transaction, name)?;
                json(&Deleted { deleted })
            }
            Self::DeleteScriptIf { name, if_version } => {
                scripts::expect(transaction, name, if_version)?;
                let deleted = scripts::delete(transaction, name)?;
                json(&Deleted { deleted })
            }
            Self::DeployScripts(deployment) => json(&deploy::deploy(
                transaction,
                deployment,
                caller,
                now,
                settings,
            )?),
            Self::AddMember(new) => {
                let added = members::add(transaction, new, now, settings.max_members)?;
                json(&Added { added })
            }
            Self::RemoveMember { pubkey } => {
                let removed = members::remove(transaction, pubkey)?;
                json(&Removed {
                    removed,
                    stopped: None,
                    failed: None,
                })
            }
            Self::ListMembers { fixed } => {
                let members = members::list(transaction)?;
                json(&Members {
                    members,
                    fixed: fixed.clone(),
                })
            }
            Self::AddDeviceKey(new) => {
                let most = settings.max_device_keys;
                json(&devices::add(transaction, key_of(caller)?, new, now, most)?)
            }
            Self::RemoveDeviceKey { pubkey } => {
                if caller.device().is_some_and(|own| own != pubkey) {
                    return Err(RunError::OutOfScope { needs: None });
                }
                let removed = devices::remove(transaction, key_of(caller)?, pubkey, now)?;
                json(&DeviceRemoved { removed })
            }
            Self::ListDeviceKeys => {
                let mut device_keys = devices::list(transaction, key_of(caller)?, now)?;
                if let Some(own) = caller.device() {
                    device_keys.retain(|device| device.pubkey == *own);
                }
                json(&Devices { device_keys })
            }
            Self::NoteDeviceUse => {
                if let Some(device) = caller.device() {
                    devices::note_use(transaction, device, now)?;
                }
                RawValue::NULL.to_owned()
            }
        };
        Ok(answer)
    }
}

/// Returns the key of a caller who has logged in.
fn key_of<'a>(caller: &'a Caller<'_>) -> Result<&'a PublicKey, RunError> {
    caller
        .key()
        .ok_or(RunError::Forbidden { needs: Role::Guest })
}

fn json(value: &impl Serialize) -> Box<RawValue> {
    // Names and numbers can always be written as JSON.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
