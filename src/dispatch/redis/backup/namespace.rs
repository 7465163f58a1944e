//! The keys of a namespace: if there are any, and servers that use it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fred::types::{ClusterHash, Value};

use super::{RedisBackup, RedisBackupError};
use crate::dispatch::redis::proto::{keys::literal, values::number};

/// Keys that Redis looks at in one step.
pub(super) const LOOKS: usize = 1000;

/// The names of all keys that are there all the time while it is asked for them, some at a time.
pub(super) struct Names<'a> {
    backup: &'a RedisBackup,
    /// Where to look, and the pattern there.
    places: VecDeque<(ClusterHash, String)>,
    cursor: String,
}

impl<'a> Names<'a> {
    /// The names of all keys of a namespace.
    fn of_all(backup: &'a RedisBackup) -> Self {
        let keys = backup.keys();
        let tag = |tag: &str| literal(tag) + "*";
        let agreement = keys.agreement_hash();
        let places = if backup.redis.is_cluster() {
            let partitions = keys.partitions().iter();
            let places = partitions.map(|one| (one.hash.clone(), tag(one.prefix())));
            let namespace = format!("{{{}}}:", keys.namespace());
            places.chain([(agreement, tag(&namespace))]).collect()
        } else {
            VecDeque::from([(agreement, tag(&format!("{{{}", keys.namespace())))])
        };
        Self {
            backup,
            places,
            cursor: "0".to_owned(),
        }
    }

    /// The names of all keys in the first partition.
    fn of_first(backup: &'a RedisBackup) -> Self {
        let first = backup.keys().partitions().iter().take(1);
        let places = first.map(|one| (one.hash.clone(), literal(one.prefix()) + "*"));
        Self {
            backup,
            places: places.collect(),
            cursor: "0".to_owned(),
        }
    }

    /// Returns some of them, and where they are; nothing at the end.
    async fn next(&mut self) -> Result<Option<(ClusterHash, Vec<String>)>, RedisBackupError> {
        let Some((hash, pattern)) = self.places.front().cloned() else {
            return Ok(None);
        };
        let args = [&*self.cursor, "MATCH", &pattern, "COUNT"].map(Value::from);
        let args = args.into_iter().chain([number(LOOKS)]);
        let found = self.backup.ask_slot("SCAN", hash.clone(), args).await?;
        let mut found = found.into_array().into_iter();
        self.cursor = found
            .next()
            .and_then(Value::into_string)
            .unwrap_or_default();
        if self.cursor.is_empty() || self.cursor == "0" {
            self.cursor = "0".to_owned();
            self.places.pop_front();
        }
        let names = found.next().map(Value::into_array).unwrap_or_default();
        let names = names.into_iter().filter_map(Value::into_string);
        let is_own = |name: &String| self.backup.keys().kind_of(name).is_some();
        Ok(Some((hash, names.filter(is_own).collect())))
    }
}

impl RedisBackup {
    /// Checks that no server uses the namespace.
    pub(in crate::dispatch) async fn check_unserved(&self) -> Result<(), RedisBackupError> {
        let mut servers = BTreeSet::new();
        let mut names = Names::of_first(self);
        while let Some((_, some)) = names.next().await? {
            for name in some {
                let (_, rest) = name.split_once("}:").unwrap_or_default();
                let server = rest.strip_prefix("alive:").or(rest.strip_prefix("inbox:"));
                servers.extend(server.map(|server| server.trim_end_matches(":bytes").to_owned()));
            }
        }
        if servers.is_empty() {
            return Ok(());
        }
        let servers: Vec<_> = servers.into_iter().collect();
        Err(RedisBackupError::Served {
            namespace: self.keys().namespace().to_owned(),
            servers: servers.join(", "),
            // The inbox of a gateway lives so long.
            seconds: self.settings.redis.lease.get().as_secs() * 6,
        })
    }

    /// Checks that no key of the namespace is there, but for this one.
    pub(super) async fn check_empty(&self, but: &str) -> Result<(), RedisBackupError> {
        let mut kinds = BTreeMap::<_, usize>::new();
        let mut names = Names::of_all(self);
        while let Some((_, some)) = names.next().await? {
            for name in some.iter().filter(|name| *name != but) {
                let kind = self.keys().kind_of(name).unwrap_or_default();
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
        if kinds.is_empty() {
            return Ok(());
        }
        let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
        Err(RedisBackupError::NotEmpty {
            namespace: self.keys().namespace().to_owned(),
            some: kinds.collect::<Vec<_>>().join(", "),
        })
    }

    /// Deletes all keys of the namespace, but for these.
    pub(super) async fn clear(&self, but: &[String]) -> Result<(), RedisBackupError> {
        let mut names = Names::of_all(self);
        while let Some((hash, some)) = names.next().await? {
            let gone = some.into_iter().filter(|name| !but.contains(name));
            let gone: Vec<_> = gone.map(Value::from).collect();
            if !gone.is_empty() {
                self.ask_slot("UNLINK", hash, gone).await?;
            }
        }
        Ok(())
    }
}
