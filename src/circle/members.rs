//! The members that a circle's owner has added.

use std::{collections::BTreeMap, sync::Arc};

use circled_protocol::{
    PublicKey, Role, Word,
    methods::{AddMember, Member},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ALL, is_full};
use crate::{
    auth::{Access, HIGHEST_LISTED},
    script::{People, RunError},
    store::{self, Key, NewEvent, Transaction, Value, WriteError},
};

/// The prefix of their keys in the store.
const MEMBERS: &[u8] = b"m";

/// A member, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMember {
    /// The role, maybe one that only a later version knows. Earlier versions stored none.
    #[serde(default = "member")]
    role: Word<Role>,
    added_at: Timestamp,
}

fn member() -> Word<Role> {
    Role::Member.into()
}

fn key(member: &PublicKey) -> Vec<u8> {
    [MEMBERS, member.as_bytes()].concat()
}

/// Returns the key of the store that has a member's entry in the circle's list.
pub fn member_key(member: &PublicKey) -> Key {
    store::own_key(&key(member))
}

/// Returns the role that the circle's list gives the holder of a key. A role that this version doesn't know gives none.
///
/// # Errors
/// The store can't be read.
pub fn list_role(
    transaction: &mut Transaction,
    member: &PublicKey,
) -> Result<Option<Role>, WriteError> {
    let stored = transaction.own_get(&key(member))?;
    Ok(stored
        .and_then(|value| read(&value))
        .and_then(|member| match member.role {
            Word::Known(role) => Some(role.min(HIGHEST_LISTED)),
            Word::Other(_) => None,
        }))
}

/// The people of circles: those that the settings know, and those that are stored.
#[derive(Debug)]
pub(super) struct CirclePeople(pub(super) Arc<Access>);

impl People for CirclePeople {
    fn role(&self, transaction: &mut Transaction, key: &PublicKey) -> Result<Role, WriteError> {
        role(&self.0, transaction, key)
    }

    fn members(&self, transaction: &mut Transaction) -> Result<Vec<(PublicKey, Role)>, WriteError> {
        let circle = transaction.circle();
        let mut members = BTreeMap::new();
        for key in transaction.own_keys(MEMBERS, ALL)? {
            let Some(pubkey) = key_in(&key) else {
                continue;
            };
            if let Some(role) = list_role(transaction, &pubkey)? {
                members.insert(*pubkey.as_bytes(), (pubkey, role));
            }
        }
        for key in self.0.fixed_members(&circle).into_iter().chain([circle]) {
            members.insert(*key.as_bytes(), (key, self.0.fixed_role(&circle, &key)));
        }
        Ok(members.into_values().collect())
    }
}

/// Returns the role of the holder of a key, by the settings and by the circle's list.
pub(super) fn role(
    access: &Access,
    transaction: &mut Transaction,
    key: &PublicKey,
) -> Result<Role, WriteError> {
    let fixed = access.fixed_role(&transaction.circle(), key);
    if fixed >= HIGHEST_LISTED {
        return Ok(fixed);
    }
    Ok(list_role(transaction, key)?.map_or(fixed, |listed| listed.max(fixed)))
}

/// Returns the public key in the key of a stored member.
fn key_in(key: &[u8]) -> Option<PublicKey> {
    let bytes = key.get(MEMBERS.len()..)?.try_into().ok()?;
    Some(PublicKey::from_stored(bytes))
}

/// Adds a member. Returns true if it wasn't one before.
pub(super) fn add(
    transaction: &mut Transaction,
    new: &AddMember,
    now: Timestamp,
    most: usize,
) -> Result<bool, RunError> {
    let key = key(&new.pubkey);
    if transaction.own_get(&key)?.is_some() {
        return Ok(false);
    }
    if is_full(transaction, MEMBERS, most)? {
        return Err(RunError::limit("circles.max_members"));
    }
    let member = StoredMember {
        role: member(),
        added_at: now,
    };
    let stored = serde_json::to_vec(&member).unwrap_or_default();
    transaction.own_set(&key, Some(Value::new(&stored)));
    tell(transaction, "circle.member_added", &new.pubkey);
    Ok(true)
}

/// Removes a member. Returns true if it was one.
pub(super) fn remove(transaction: &mut Transaction, member: &PublicKey) -> Result<bool, RunError> {
    let key = key(member);
    if transaction.own_get(&key)?.is_none() {
        return Ok(false);
    }
    transaction.own_set(&key, None);
    tell(transaction, "circle.member_removed", member);
    Ok(true)
}

/// Returns all added members, in the order of their keys.
pub(super) fn list(transaction: &mut Transaction) -> Result<Vec<Member>, RunError> {
    let mut members = Vec::new();
    for key in transaction.own_keys(MEMBERS, ALL)? {
        let stored = transaction.own_get(&key)?;
        let stored = stored.and_then(|value| read(&value));
        if let (Some(pubkey), Some(StoredMember { role, added_at })) = (key_in(&key), stored) {
            members.push(Member {
                pubkey,
                unknown_role: match role {
                    Word::Known(_) => None,
                    Word::Other(name) => Some(name.into()),
                },
                added_at,
            });
        }
    }
    Ok(members)
}

fn read(stored: &Value) -> Option<StoredMember> {
    circled_json::from_slice(stored).ok()
}

/// Emits an event for the owner and for the member's sessions, see the events in docs/PROTOCOL.md.
fn tell(transaction: &mut Transaction, topic: &str, member: &PublicKey) {
    let data = format!("{{\"pubkey\":\"{member}\"}}");
    let owner = transaction.circle();
    transaction.emit_unchecked(NewEvent {
        topic: topic.into(),
        data: Value::new(data.as_bytes()),
        to: Some(owner),
    });
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;
    use jiff::Timestamp;

    use super::{StoredMember, key};
    use crate::golden;

    #[test]
    fn members_are_stored_as_before() {
        let member = StoredMember {
            role: super::member(),
            added_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        };
        let written = serde_json::to_string(&member).unwrap();
        golden::check_json("member", &written, &[""], |text| {
            let member: StoredMember = circled_json::from_str(text).ok()?;
            serde_json::to_string(&member).ok()
        });
        let key = key(&SecretKey::from_hex(&"01".repeat(32)).unwrap().public());
        golden::check("member_key", &hex::encode(key), |text| {
            Some(text.to_owned())
        });
    }
}
