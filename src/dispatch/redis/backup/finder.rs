//! Finds the circles of a namespace, and the marks that tell duplicates: no key lists them.

use std::collections::BTreeSet;

use circled_protocol::PublicKey;
use fred::types::Value;

use super::{RedisBackup, RedisBackupError, error::unreadable, marks::Marks, namespace::LOOKS};
use crate::dispatch::redis::proto::scripts::{Circles, Find};

impl RedisBackup {
    /// Finds all circles, and all marks.
    pub(super) async fn find(
        &self,
        only: Option<PublicKey>,
        marks: &mut Marks,
    ) -> Result<BTreeSet<PublicKey>, RedisBackupError> {
        let keys = self.keys();
        let is_cluster = self.redis.is_cluster();
        let partitions: Vec<_> = match only {
            Some(only) => vec![keys.of(&only)],
            None => keys.partitions().iter().collect(),
        };
        let mut circles = BTreeSet::new();
        let read = |circle: Value| PublicKey::from_stored_hex(&circle.into_string()?);
        let everywhere = !is_cluster && only.is_none();
        // One look finds what is in all partitions.
        for partition in &partitions[..if everywhere { 1 } else { partitions.len() }] {
            let mut cursor = "0".to_owned();
            loop {
                let find = Find {
                    cursor,
                    everywhere,
                    about: only.map_or(String::new(), |only| only.to_string()),
                    most: LOOKS,
                };
                let found = self.call(partition, find).await?.into_array();
                let Ok([next, some, found]) = <[Value; 3]>::try_from(found) else {
                    return Err(unreadable("the list of its keys"));
                };
                circles.extend(some.into_array().into_iter().filter_map(read));
                let found = found.into_array().into_iter();
                circles.extend(found.filter_map(|mark| marks.add_found(mark)));
                cursor = next.into_string().unwrap_or_default();
                if cursor == "0" {
                    break;
                }
            }
        }
        for partition in partitions {
            let mut from = "-".to_owned();
            loop {
                let most = LOOKS;
                let found = self.call(partition, Circles { from, most }).await?;
                let found: Vec<_> = found.into_array().into_iter().filter_map(read).collect();
                circles.extend(&found);
                match found.last().filter(|_| found.len() == most) {
                    // Names are of hex digits and hyphens.
                    Some(last) => from = format!("({last}g"),
                    None => break,
                }
            }
        }
        Ok(circles)
    }
}
