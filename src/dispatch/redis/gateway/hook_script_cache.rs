//! A cache of the circles' scripts for providers' deliveries (hook scripts). Redis compares what each was chosen by
//! when it stores a delivery's job.

use std::sync::Arc;

use circled_protocol::PublicKey;
use fred::types::Value;
use quick_cache::sync::Cache;

use crate::{
    circle::{self, Compiler, Pinned},
    dispatch::{
        NotAccepted,
        redis::proto::{
            scripts::{Accept, HookScriptReads, Read},
            values::{bytes, expected},
        },
    },
    script::RunError,
    store::{Effects, Transaction, Unavailable},
};

/// Circles and providers that are remembered.
const CAPACITY: usize = 10_000;

/// A circle's script for a provider.
pub(in crate::dispatch::redis) struct HookScript {
    /// The values that were read to choose it, as Redis compares them.
    reads: Vec<(Value, Value)>,
    pub(in crate::dispatch::redis) script: Option<Arc<Pinned>>,
}

/// The hook scripts that were used last.
pub(in crate::dispatch::redis) struct HookScriptCache(
    Cache<(PublicKey, Arc<str>), Arc<HookScript>>,
);

impl HookScript {
    /// Adds it to the arguments of a call.
    pub(super) fn write(&self, accept: &mut Accept) {
        accept.hook_scripts.push(HookScriptReads {
            num_reads: u32::try_from(self.reads.len()).unwrap_or(u32::MAX),
        });
        for (key, expected) in self.reads.iter().cloned() {
            accept.reads.push(Read { key, expected });
        }
    }
}

impl HookScriptCache {
    pub(in crate::dispatch::redis) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Returns a circle's script for a provider, read now or before.
    pub(in crate::dispatch::redis) async fn find(
        &self,
        circle: PublicKey,
        provider: &Arc<str>,
        find_script: impl AsyncFnOnce(String) -> Result<Result<HookScript, NotAccepted>, RunError>,
    ) -> Result<Arc<HookScript>, NotAccepted> {
        let key = (circle, provider.clone());
        if let Some(hook_script) = self.0.get(&key) {
            return Ok(hook_script);
        }
        let found = find_script(circle::script_for(provider)).await;
        let hook_script = Arc::new(found.map_err(|_| NotAccepted::ScriptQueue)??);
        self.0.insert(key, hook_script.clone());
        Ok(hook_script)
    }

    pub(in crate::dispatch::redis) fn forget(&self, circle: PublicKey, provider: &Arc<str>) {
        self.0.remove(&(circle, provider.clone()));
    }
}

/// Reads a circle's script of a name. Blocks.
pub(in crate::dispatch::redis) fn read(
    mut transaction: Transaction,
    compiler: &Compiler<'_>,
    name: &str,
) -> Result<HookScript, NotAccepted> {
    let there = circle::has_script(&mut transaction, name);
    let script = match there.map_err(|_| NotAccepted::Unavailable)? {
        false => None,
        true => circle::pin_for_deliveries(&mut transaction, compiler, name)
            .map_err(|Unavailable| NotAccepted::Unavailable)?
            .map(Arc::new),
    };
    let Effects { reads, .. } = transaction.into_effects();
    Ok(HookScript {
        reads: reads
            .keys()
            .map(|(key, value)| (bytes(key), expected(value.as_ref())))
            .collect(),
        script,
    })
}
