//! The members that a circle's owner has added.

use circled_protocol::{PublicKey, methods::Member};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ALL, is_full};
use crate::{
    script::RunError,
    store::{NewEvent, Transaction, Value, WriteError},
};

/// The prefix of their keys in the store.
const MEMBERS: &[u8] = b"m";

/// A member, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMember {
    added_at: Timestamp,
}

fn key(member: &PublicKey) -> Vec<u8> {
    [MEMBERS, member.as_bytes()].concat()
}

/// Returns true if a key is on the circle's member list.
///
/// # Errors
/// The store can't be read.
pub fn is_member(transaction: &mut Transaction, member: &PublicKey) -> Result<bool, WriteError> {
    Ok(transaction.own_get(&key(member))?.is_some())
}

/// Adds a member. Returns true if it wasn't one before.
pub(super) fn add(
    transaction: &mut Transaction,
    member: &PublicKey,
    now: Timestamp,
    most: usize,
) -> Result<bool, RunError> {
    if is_member(transaction, member)? {
        return Ok(false);
    }
    if is_full(transaction, MEMBERS, most)? {
        return Err(RunError::limit("circles.max_members"));
    }
    let stored = serde_json::to_vec(&StoredMember { added_at: now }).unwrap_or_default();
    transaction.own_set(&key(member), Some(Value::new(&stored)));
    tell(transaction, "circle.member_added", member);
    Ok(true)
}

/// Removes a member. Returns true if it was one.
pub(super) fn remove(transaction: &mut Transaction, member: &PublicKey) -> Result<bool, RunError> {
    if !is_member(transaction, member)? {
        return Ok(false);
    }
    transaction.own_set(&key(member), None);
    tell(transaction, "circle.member_removed", member);
    Ok(true)
}

/// Returns all added members, in the order of their keys.
pub(super) fn list(transaction: &mut Transaction) -> Result<Vec<Member>, RunError> {
    let mut members = Vec::new();
    for key in transaction.own_keys(MEMBERS, ALL)? {
        let stored = transaction.own_get(&key)?;
        let stored = stored.and_then(|value| circled_json::from_slice::<StoredMember>(&value).ok());
        let pubkey = key.get(MEMBERS.len()..).and_then(|key| key.try_into().ok());
        if let (Some(pubkey), Some(StoredMember { added_at })) = (pubkey, stored) {
            members.push(Member {
                pubkey: PublicKey::from_stored(pubkey),
                added_at,
            });
        }
    }
    Ok(members)
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
