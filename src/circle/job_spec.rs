//! The description of one run, from the request for it to the executor.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use circled_protocol::{DeviceKey, JobId, Permission, PublicKey, Role};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Pinned, Procedure, Request};
use crate::{
    script::{DurableTry, Occasion, Seed},
    weight,
};

/// Bytes that a job takes while it waits, besides what its caller has written: with its handle, and the session's future.
/// Measured: the memory of a server grows by so much with each.
const LEAST_WEIGHT: usize = 12 << 10;

/// One run: of what, in which circle, for whom. It is passed on as it is, over the wire too. The fields before `task`
/// hold nothing that a caller has written: `lua/prelude.lua` searches for `id` and `caller`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSpec<'a> {
    /// The id of the job.
    pub id: JobId,
    /// The circle that it runs in.
    #[serde(with = "circled_protocol::trusted")]
    pub circle: PublicKey,
    /// The caller.
    pub caller: Caller<'a>,
    /// The role that the circle's own list must give the caller when it runs; nothing if the caller may run it anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Role>,
    /// The script or procedure.
    #[serde(borrow)]
    pub task: Task<'a>,
    /// The script's `ARGS`.
    #[serde(deserialize_with = "circled_json::cow_value")]
    pub args: Cow<'a, Value>,
    /// The script's `EVENT`: a delivery.
    #[serde(skip)]
    pub event: Option<Cow<'a, Value>>,
    /// The longest that its caller waits for it; a durable job has no caller who waits.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// The seed of the script's random numbers. Earlier versions send none.
    #[serde(default = "Seed::draw")]
    pub seed: Seed,
    /// The try of a durable job.
    #[serde(skip)]
    pub durable: Option<DurableTry>,
    /// The request that may be sent again, if its caller has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// True if the outcome tells its effects. An earlier version doesn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tells_effects: bool,
}

/// The script or procedure that a job runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task<'a> {
    /// This source.
    #[serde(borrow)]
    Source(Cow<'a, str>),
    /// The script that the circle has under a name when it runs.
    Named {
        /// The name.
        name: Cow<'a, str>,
        /// The version; the newest one if none is given.
        version: Option<Cow<'a, str>>,
    },
    /// A script as it was when its job was accepted.
    #[serde(skip)]
    Pinned(Arc<Pinned>),
    /// No script.
    Procedure(Procedure),
    /// A script that only reads. Its outcome says what it has read. An earlier version doesn't know it, and must never
    /// run it as anything else.
    Query {
        /// The script.
        #[serde(borrow)]
        script: QueryScript<'a>,
        /// The most bytes of what it reads, without the values.
        max_reads: usize,
    },
}

/// The script of a query.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryScript<'a> {
    /// This source.
    #[serde(borrow)]
    Source(Cow<'a, str>),
    /// The script that the circle has under a name when it runs.
    Named {
        /// The name.
        name: Cow<'a, str>,
        /// The version; the newest one if none is given.
        version: Option<Cow<'a, str>>,
    },
}

/// The error of what the key of a device may never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeedsOwnKey;

/// The caller of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller<'a> {
    /// The holder of a key.
    Key(PublicKey),
    /// The same, by a key of one of their devices: it may do no more than its scope, as long as it acts for them.
    Device {
        /// The caller's key.
        key: PublicKey,
        /// The device's key.
        device: DeviceKey,
    },
    /// Anyone who connected, where no login is needed.
    Anyone,
    /// A provider, which has signed its delivery.
    Provider(Cow<'a, str>),
}

impl JobSpec<'_> {
    /// Returns a copy that outlives the message it came in.
    pub fn into_owned(self) -> JobSpec<'static> {
        JobSpec {
            caller: self.caller.into_owned(),
            task: self.task.into_owned(),
            args: Cow::Owned(self.args.into_owned()),
            event: self.event.map(|event| Cow::Owned(event.into_owned())),
            ..self
        }
    }

    /// Returns about how many bytes it takes while it waits.
    pub fn weight(&self) -> usize {
        let task = match &self.task {
            Task::Source(source)
            | Task::Query {
                script: QueryScript::Source(source),
                ..
            } => source.len(),
            Task::Named { name, .. }
            | Task::Query {
                script: QueryScript::Named { name, .. },
                ..
            } => name.len(),
            Task::Pinned(_) => 0,
            Task::Procedure(procedure) => procedure.weight(),
        };
        LEAST_WEIGHT + task + weight::of_value(&self.args)
    }

    /// Returns the time and the randomness of the run: a caller's job has the time when it was accepted.
    pub fn occasion(&self) -> Occasion {
        let accepted = || self.id.made_at().as_millisecond();
        Occasion {
            time: self.durable.map_or_else(accepted, |durable| durable.time),
            seed: self.seed,
        }
    }
}

impl Task<'_> {
    fn into_owned(self) -> Task<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Source(source) => Task::Source(owned(source)),
            Self::Named { name, version } => Task::Named {
                name: owned(name),
                version: version.map(owned),
            },
            Self::Pinned(pinned) => Task::Pinned(pinned),
            Self::Procedure(procedure) => Task::Procedure(procedure),
            Self::Query { script, max_reads } => {
                let script = match script {
                    QueryScript::Source(source) => QueryScript::Source(owned(source)),
                    QueryScript::Named { name, version } => QueryScript::Named {
                        name: owned(name),
                        version: version.map(owned),
                    },
                };
                Task::Query { script, max_reads }
            }
        }
    }

    /// Returns whether it is a script that only reads.
    pub fn is_query(&self) -> bool {
        matches!(self, Self::Query { .. })
    }

    /// Returns whether its caller has chosen a version of a named script.
    pub fn has_version(&self) -> bool {
        match self {
            Self::Named { version, .. }
            | Self::Query {
                script: QueryScript::Named { version, .. },
                ..
            } => version.is_some(),
            Self::Source(_) | Self::Query { .. } | Self::Pinned(_) | Self::Procedure(_) => false,
        }
    }

    /// Returns the permission that a device's key needs to run it, if it needs one.
    ///
    /// # Errors
    /// Only the caller's own key will do.
    pub(super) fn permission(&self) -> Result<Option<Permission>, NeedsOwnKey> {
        let named = |name: &str| Ok(Some(Permission::CallNamed(name.to_owned())));
        match self {
            Self::Source(_)
            | Self::Query {
                script: QueryScript::Source(_),
                ..
            } => Ok(Some(Permission::Play)),
            _ if self.has_version() => Err(NeedsOwnKey),
            Self::Named { name, .. }
            | Self::Query {
                script: QueryScript::Named { name, .. },
                ..
            } => named(name),
            Self::Pinned(pinned) => match &pinned.name {
                Some(name) => named(name),
                None => Ok(Some(Permission::Play)),
            },
            Self::Procedure(procedure) => procedure.permission(),
        }
    }

    /// Returns the name that the script has in its circle.
    pub fn script(&self) -> Option<&str> {
        match self {
            Self::Named { name, .. }
            | Self::Query {
                script: QueryScript::Named { name, .. },
                ..
            } => Some(name),
            Self::Pinned(pinned) => pinned.name.as_deref(),
            Self::Source(_) | Self::Procedure(_) | Self::Query { .. } => None,
        }
    }
}

impl Caller<'_> {
    /// The prefix of a provider's name, where callers are written.
    pub const PROVIDER: &'static str = "webhook:";

    /// Returns a copy that outlives the message it came in.
    pub fn into_owned(self) -> Caller<'static> {
        match self {
            Self::Key(key) => Caller::Key(key),
            Self::Device { key, device } => Caller::Device { key, device },
            Self::Anyone => Caller::Anyone,
            Self::Provider(name) => Caller::Provider(Cow::Owned(name.into_owned())),
        }
    }

    /// Returns its key, if it has proved one.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) | Self::Device { key, .. } => Some(key),
            Self::Anyone | Self::Provider(_) => None,
        }
    }

    /// Returns the key of the device by which it acts, if it does.
    pub fn device(&self) -> Option<&DeviceKey> {
        match self {
            Self::Device { device, .. } => Some(device),
            Self::Key(_) | Self::Anyone | Self::Provider(_) => None,
        }
    }

    /// Returns the same caller, whether they act by a device or not.
    pub fn without_device(&self) -> Self {
        match self {
            Self::Device { key, .. } => Self::Key(*key),
            Self::Key(_) | Self::Anyone | Self::Provider(_) => self.clone(),
        }
    }
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) | Self::Device { key, .. } => key.fmt(f),
            Self::Anyone => f.write_str("anonymous"),
            Self::Provider(name) => write!(f, "{}{name}", Self::PROVIDER),
        }
    }
}

/// Writes a key, or `null`: the jobs of providers are never sent. The key of a device follows that of its caller: an earlier
/// version, which wouldn't read its scope, can't read that either.
impl Serialize for Caller<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Device { key, device } => serializer.collect_str(&format_args!("{key}.{device}")),
            Self::Key(_) | Self::Anyone | Self::Provider(_) => self.key().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Caller<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else {
            return Ok(Self::Anyone);
        };
        let key = PublicKey::from_stored_hex;
        let caller = match text.split_once('.') {
            None => key(&text).map(Self::Key),
            Some((caller, device)) => key(caller)
                .zip(DeviceKey::from_stored_hex(device))
                .map(|(key, device)| Self::Device { key, device }),
        };
        caller.ok_or_else(|| serde::de::Error::custom("not a caller"))
    }
}

/// A duration as a number of milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
