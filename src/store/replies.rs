//! Replies to requests, as they are stored: the account that each counts for, and its entries in [`Table::Expiry`].
//!
//! Each member has an account. All guests have one together, for a key costs nothing. A reply has its account after its
//! first fields; one without is a guest's, or an earlier version's.

use super::{
    expiring::{HEADER, expiry_of, read_entry},
    range::{KeyRange, OWN},
    table::{Key, Record, Table, Value},
};

/// The prefix of those of the circle's own keys that have the replies to requests. Of its own keys, these alone expire.
/// They don't count in the quota. `lua/prelude.lua` has it, too.
const REQUEST: [u8; 2] = [OWN, b'r'];

/// Bytes of a reply's JSON, an object, that say which request it is for: its first fields. `lua/prelude.lua` has it, too.
pub const REPLY_HEAD: usize = 92;
/// The field that may follow, up to the account. With it, these fields stay where many replies are kept.
const ACCOUNT_FIELD: &[u8] = b",\"account\":\"";
/// Bytes of a member's account.
const ACCOUNT: usize = 16;

/// The first byte of the entry of a guest's reply, and of one that was shortened. Their expiry time follows, and the key.
pub(super) const LETTERS: [u8; 2] = [b'r', b's'];
/// The first byte of the entries of a member's replies by time, shortened or not.
pub(super) const OF_MEMBER: u8 = b'm';
/// The first byte of those by account. The account follows, and then the same as for a guest's.
const BY_ACCOUNT: u8 = b'n';

/// The key of the bytes of the guests' replies in [`Table::Usage`]. That of a member's has the account after it.
const USAGE: &[u8] = b"replies";

/// An account for the bytes of replies. Of two that have as many, the guests' is the larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Account {
    Member([u8; ACCOUNT]),
    Guests,
}

impl Account {
    /// Returns the account that a reply counts for.
    pub(super) fn of(stored: &[u8]) -> Self {
        head(stored).0
    }

    /// Returns the range of the entries of its replies, of which at most `limit` are read: first the whole ones, then the
    /// shortened ones, each from the oldest on.
    pub(super) fn entries(&self, limit: usize) -> KeyRange {
        let [whole, short] = LETTERS;
        let bound = |letter| Key::from([&self.prefix()[..], &[letter]].concat());
        KeyRange {
            start: bound(whole),
            end: bound(short + 1),
            limit,
            reverse: false,
        }
    }

    /// Returns the entry of one of its replies in this range.
    pub(super) fn entry(&self, key: &[u8], stored: &[u8]) -> Option<Key> {
        let expiry = expiry_of(key, stored)?.to_be_bytes();
        let is_short = stored.len() == head(stored).1 + 1;
        let letter = [LETTERS[usize::from(is_short)]];
        let parts = [&self.prefix()[..], &letter, &expiry, key];
        Some(Key::from(parts.concat()))
    }

    /// Returns the key of the reply that an entry in this range is for.
    pub(super) fn key_in(&self, entry: &[u8]) -> Option<Key> {
        let entry = entry.strip_prefix(&self.prefix()[..])?;
        read_entry(entry).map(|(_, key)| Key::new(key))
    }

    /// Returns the record of its bytes in [`Table::Usage`]. None stands for 0.
    pub(super) fn usage(&self, bytes: u64) -> Record {
        let key = match self {
            Self::Guests => USAGE.to_vec(),
            Self::Member(account) => [USAGE, &account[..]].concat(),
        };
        match bytes {
            0 => Record::remove(Table::Usage, key),
            _ => Record::put(Table::Usage, key, bytes.to_be_bytes()),
        }
    }

    /// Returns the account and the bytes of a record in [`Table::Usage`], which is another one's if it is none.
    pub(super) fn read_usage(key: &[u8], stored: &[u8]) -> Option<(Self, u64)> {
        let account = match key.strip_prefix(USAGE)? {
            [] => Self::Guests,
            account => Self::Member(account.try_into().ok()?),
        };
        Some((account, u64::from_be_bytes(stored.try_into().ok()?)))
    }

    /// Returns the key before which none of these records is.
    pub(super) fn first_usage() -> &'static [u8] {
        USAGE
    }

    fn prefix(&self) -> Vec<u8> {
        match self {
            Self::Guests => Vec::new(),
            Self::Member(account) => [&[BY_ACCOUNT], &account[..]].concat(),
        }
    }
}

/// Returns the account of a reply, and the bytes of its first fields and of all before them.
fn head(stored: &[u8]) -> (Account, usize) {
    let head = HEADER + REPLY_HEAD;
    let rest = stored.get(head..).unwrap_or_default();
    let account = rest.strip_prefix(ACCOUNT_FIELD);
    match account.and_then(|rest| rest.first_chunk()) {
        // The quotation mark is the last one of them.
        Some(account) => {
            let length = head + ACCOUNT_FIELD.len() + ACCOUNT + 1;
            (Account::Member(*account), length)
        }
        None => (Account::Guests, head),
    }
}

/// Returns the circle's own key that has the reply to a request.
pub fn request_key(id: &[u8]) -> Vec<u8> {
    [&REQUEST[1..], id].concat()
}

/// Returns whether a key has the reply to a request.
pub fn is_request(key: &[u8]) -> bool {
    key.starts_with(&REQUEST)
}

/// Returns the bytes of a reply with its key.
pub(super) fn size(key: &Key, stored: &Value) -> u64 {
    (key.len() + stored.len()) as u64
}

/// Returns a reply with its first fields alone, as it is stored; nothing if it has no others.
pub(super) fn shortened(stored: &[u8]) -> Option<Value> {
    let head = stored.get(..head(stored).1)?;
    (stored.len() > head.len() + 1).then(|| Value::from([head, b"}"].concat()))
}

/// Returns whether an entry in [`Table::Expiry`] is for a member's reply, by account.
pub(super) fn is_by_account(entry: &[u8]) -> bool {
    entry.first() == Some(&BY_ACCOUNT)
}

/// Returns the entries of a reply in [`Table::Expiry`].
pub(super) fn entries(key: &Key, stored: &Value) -> Vec<Key> {
    let account = Account::of(stored);
    let mut entries = Vec::from_iter(account.entry(key, stored));
    if let (Account::Member(_), Some(expiry)) = (account, expiry_of(key, stored)) {
        let parts = [&[OF_MEMBER], &expiry.to_be_bytes()[..], key];
        entries.push(Key::from(parts.concat()));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden,
        store::expiring::{reindex, with_expiry},
    };

    const END: i64 = 1_700_000_000_123;
    const KEY: &[u8] = b"\xffrid";

    /// Returns a reply with this after its first fields.
    fn reply(rest: &str) -> Value {
        with_expiry(format!("{}{rest}", "7".repeat(REPLY_HEAD)).as_bytes(), END)
    }

    #[test]
    fn entries_are_stored_as_before() {
        for (name, stored) in [
            ("expiry_of_request", with_expiry(b"7", END)),
            ("expiry_of_short_reply", reply("}")),
            (
                "expiry_of_members_reply",
                reply(",\"account\":\"0123456789abcdef\",1}"),
            ),
            (
                "expiry_of_members_short_reply",
                reply(",\"account\":\"0123456789abcdef\"}"),
            ),
        ] {
            let account = Account::of(&stored);
            let all = entries(&Key::new(KEY), &stored);
            let written = all.iter().map(hex::encode).collect::<Vec<_>>().join(" ");
            golden::check(name, &written, |text| {
                let kept: Option<Vec<_>> = text.split(' ').map(|it| hex::decode(it).ok()).collect();
                let (first, others) = kept.as_deref()?.split_first()?;
                let range = account.entries(1);
                let by_time = others
                    .iter()
                    .all(|entry| read_entry(entry) == Some((END, KEY)));
                let is_found = range.contains(first) && account.key_in(first)?[..] == *KEY;
                (is_found && by_time).then(|| text.to_owned())
            });
        }
        let account = Account::of(&reply(",\"account\":\"0123456789abcdef\"}"));
        for (name, account) in [
            ("usage_of_replies", Account::Guests),
            ("usage_of_members_replies", account),
        ] {
            let record = account.usage(0x0102);
            let stored = record.value.as_ref().unwrap();
            let written = format!("{} {}", hex::encode(&record.key), hex::encode(stored));
            golden::check(name, &written, |text| {
                let (key, stored) = text.split_once(' ')?;
                let [key, stored] = [hex::decode(key).ok()?, hex::decode(stored).ok()?];
                let read = Account::read_usage(&key, &stored)?;
                (read == (account, 0x0102)).then(|| text.to_owned())
            });
            assert_eq!(account.usage(0).value, None);
        }
    }

    #[test]
    fn a_reply_is_shortened_once_and_stays_its_accounts() {
        let key = Key::new(KEY);
        for head in ["", ",\"account\":\"0123456789abcdef\""] {
            let whole = reply(&format!("{head},\"success\":1}}"));
            let short = shortened(&whole).unwrap();
            assert_eq!(short, reply(&format!("{head}}}")));
            assert_eq!(shortened(&short), None);
            let account = Account::of(&whole);
            assert_eq!(Account::of(&short), account);
            assert_eq!(account == Account::Guests, head.is_empty());
            let [old, new] = [&whole, &short].map(|it| account.entry(&key, it).unwrap());
            assert!(old < new);
            // The entry by time stays.
            let changes = reindex(&key, Some(&whole), Some(&short));
            let keys: Vec<_> = changes.iter().map(|record| &record.key).collect();
            assert_eq!(keys, [&old, &new]);
            assert_eq!(reindex(&key, Some(&whole), Some(&whole)), []);
        }
    }
}
