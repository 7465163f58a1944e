//! Requests that may be sent again: the reply to one that has changed something is kept with its changes, and is the reply
//! to all that come after it.
//!
//! It is stored under one of the circle's own keys, which expires. A run reads that key when it begins and writes it when
//! it ends, so of two at once, one conflicts, and finds the other's reply.

use std::time::Duration;

use circled_protocol::{JobId, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{JobSpec, Task};
use crate::{
    script::{RunError, Success},
    store::{self, Transaction},
};

/// A request that may be sent again, as its caller has named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// A digest of its caller and its id.
    id: Digest16,
    /// A digest of what it asks for.
    params: Digest16,
}

/// The first half of a SHA-256, in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Digest16(#[serde(with = "hex::serde")] [u8; 16]);

/// The account that a member's replies count for: the first bytes of the X coordinate that is their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Account(#[serde(with = "hex::serde")] [u8; 8]);

/// The reply to a request, as it is stored. The first fields, without the account, have [`store::REPLY_HEAD`] bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    params: Digest16,
    job_id: JobId,
    /// Nothing for a guest's. An earlier version has stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    /// Nothing once it had to make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    success: Option<Success>,
}

impl Request {
    /// The longest id.
    const MAX_ID: usize = 64;

    /// Names a request of a caller for a script with arguments. Returns nothing if this can be no id.
    pub fn new(caller: &PublicKey, id: &str, task: &Task<'_>, args: &Value) -> Option<Self> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if !(1..=Self::MAX_ID).contains(&id.len()) || !id.bytes().all(is_id) {
            return None;
        }
        // Clients may write the same map in another order next time.
        let mut args = args.clone();
        args.sort_all_objects();
        let params = serde_json::to_vec(&(task, args)).ok()?;
        Some(Self {
            id: Digest16::of(&[caller.as_bytes(), id.as_bytes()]),
            params: Digest16::of(&[&params]),
        })
    }

    /// Returns the circle's own key that has the reply.
    fn key(&self) -> Vec<u8> {
        store::request_key(&self.id.0)
    }

    /// Returns the reply if the request was answered before.
    ///
    /// # Errors
    /// The id was another request's; the reply had to make room for others; the store can't be reached.
    pub(super) fn find(&self, transaction: &mut Transaction) -> Result<Option<Success>, RunError> {
        let Some(stored) = transaction.own_get(&self.key())? else {
            return Ok(None);
        };
        let reply: Reply = circled_json::from_slice(&stored).map_err(|_| RunError::Unavailable)?;
        if reply.params != self.params {
            return Err(RunError::Invalid {
                reason: "request_id_reused".to_owned(),
            });
        }
        let success = reply.success.ok_or_else(|| RunError::Invalid {
            reason: "reply_dropped".to_owned(),
        })?;
        Ok(Some(Success {
            replayed: Some(reply.job_id),
            ..success
        }))
    }

    /// Keeps the reply for some time from when the job was accepted. It counts for an account, or for all guests.
    pub(super) fn keep(
        &self,
        transaction: &mut Transaction,
        job: &JobSpec<'_>,
        success: &Success,
        account: Option<Account>,
        time: Duration,
    ) {
        let reply = Reply {
            params: self.params,
            job_id: job.id,
            account,
            success: Some(success.clone()),
        };
        let reply = serde_json::to_vec(&reply).unwrap_or_default();
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let expiry = job.id.made_at().as_millisecond().saturating_add(time);
        transaction.own_set_until(&self.key(), &reply, expiry);
    }
}

impl Account {
    pub(super) fn of(member: &PublicKey) -> Self {
        let [_, first @ ..] = *member.as_bytes().first_chunk::<9>().unwrap_or(&[0; 9]);
        Self(first)
    }
}

impl Digest16 {
    fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(half)
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;
    use serde_json::json;

    use super::*;
    use crate::golden;

    #[test]
    fn the_order_of_members_does_not_matter() {
        let caller = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let params = |args: &str| {
            let args = circled_json::parse(args).unwrap();
            Request::new(&caller, "one", &Task::Source("1".into()), &args).map(|one| one.params)
        };
        let one = params(r#"[{"a":{"c":1,"d":2},"b":[1,2]}]"#);
        assert_eq!(one, params(r#"[{"b":[1,2],"a":{"d":2,"c":1}}]"#));
        assert_ne!(one, params(r#"[{"b":[2,1],"a":{"d":2,"c":1}}]"#));
    }

    #[test]
    fn replies_are_stored_as_before() {
        let caller = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let task = Task::Source("1".into());
        let request = Request::new(&caller, "one", &task, &json!([1])).unwrap();
        golden::check("request_key", &hex::encode(request.key()), |text| {
            Some(text.to_owned())
        });
        let reply = Reply {
            params: request.params,
            job_id: JobId::from_bytes([7; 16]),
            account: None,
            success: Some(Success {
                output: "1".to_owned(),
                value: serde_json::value::to_raw_value(&1).unwrap(),
                logs: vec!["one".to_owned()],
                version: Some("aa".to_owned()),
                queried: None,
                replayed: None,
                effects: None,
            }),
        };
        let written = |reply: &Reply| serde_json::to_string(reply).unwrap();
        let check = |name, reply: &Reply| {
            golden::check_json(name, &written(reply), &["", "/success"], |text| {
                let reply: Reply = circled_json::from_str(text).ok()?;
                serde_json::to_string(&reply).ok()
            });
        };
        check("request", &reply);
        let head = written(&reply)[..store::REPLY_HEAD].to_owned();
        let account = Some(Account::of(&caller));
        let of_member = Reply { account, ..reply };
        check("request_of_member", &of_member);
        let short = |account| Reply {
            account,
            success: None,
            ..of_member
        };
        assert_eq!(written(&short(None)), format!("{head}}}"));
        let of_member = ",\"account\":\"1b84c5567b126440\"}";
        assert_eq!(written(&short(account)), format!("{head}{of_member}"));
    }

    #[test]
    fn a_request_is_its_callers_and_asks_for_one_thing() {
        let key = |seed: &str| SecretKey::from_hex(&seed.repeat(32)).unwrap().public();
        let named = |version: Option<&'static str>| Task::Named {
            name: "1".into(),
            version: version.map(Into::into),
        };
        let new = |seed, id: &str, task, args| Request::new(&key(seed), id, &task, &args);
        let source = || Task::Source("1".into());
        let one = new("01", "a", source(), json!(1)).unwrap();
        assert_eq!(new("01", "a", source(), json!(1)), Some(one));
        for (seed, id) in [("02", "a"), ("01", "b")] {
            assert_ne!(new(seed, id, source(), json!(1)).unwrap().id, one.id);
        }
        for (task, args) in [
            (source(), json!(2)),
            (Task::Source("2".into()), json!(1)),
            (named(None), json!(1)),
            (named(Some("1")), json!(1)),
        ] {
            let other = new("01", "a", task, args).unwrap();
            assert_eq!(other.id, one.id);
            assert_ne!(other.params, one.params);
        }
        for id in ["", "a b", "é", &"a".repeat(65)] {
            assert_eq!(new("01", id, source(), json!(1)), None, "{id}");
        }
        assert!(new("01", &"aZ9_.:-".repeat(9), source(), json!(1)).is_some());
    }
}
