//! Deployments: several named scripts are put and deleted as one change.

use std::collections::BTreeSet;

use circled_protocol::methods::{DeployScripts, Deployed};
use jiff::Timestamp;

use super::{Settings, scripts};
use crate::{script::RunError, store::Transaction};

/// Does what a deployment says, if all scripts are as its caller has seen them.
pub(super) fn deploy(
    transaction: &mut Transaction,
    deployment: &DeployScripts,
    by: &dyn std::fmt::Display,
    now: Timestamp,
    settings: &Settings,
) -> Result<Deployed, RunError> {
    let DeployScripts { put, delete, .. } = deployment;
    let delete = delete.as_deref().unwrap_or_default();
    let put_states = put.iter().map(|put| (&put.name, put.was.as_ref()));
    let deleted_states = delete.iter().map(|gone| (&gone.name, Some(&gone.was)));
    let mut seen = BTreeSet::new();
    for (name, was) in put_states.chain(deleted_states) {
        if !seen.insert(name) {
            let reason = format!("the script \"{name}\" is there twice");
            return Err(RunError::Invalid { reason });
        }
        scripts::expect_state(transaction, name, was)?;
    }
    // There is room for new scripts then.
    for gone in delete {
        scripts::delete(transaction, &gone.name)?;
    }
    let put = put.iter().map(|put| {
        let (name, source) = (&put.name, &put.source);
        scripts::put(transaction, name, source, put.call, by, now, settings)
    });
    Ok(Deployed {
        put: put.collect::<Result<_, _>>()?,
        deleted: delete.iter().map(|gone| gone.name.clone()).collect(),
    })
}

/// Returns true if a deployment puts a script of this name, and false if it deletes it; nothing if it leaves it alone.
pub(super) fn leaves(deployment: &DeployScripts, name: &str) -> Option<bool> {
    let DeployScripts { put, delete, .. } = deployment;
    if put.iter().any(|put| put.name == name) {
        return Some(true);
    }
    let mut delete = delete.iter().flatten();
    delete.any(|gone| gone.name == name).then_some(false)
}
