//! The keys in Redis; nothing else knows them. docs/OPERATIONS.md says what each is for.
//!
//! All that is about a circle is in the circle's partition, and a partition is a hash tag: one script can change all of
//! it at once, on a cluster too.

use circled_protocol::{JobId, PublicKey};
use fred::types::ClusterHash;

/// The group of all workers, in every partition's stream. The Lua scripts name it, too.
pub(crate) const GROUP: &str = "workers";

/// The number of partitions that [`Keys::agreement`] has as long as a restore isn't finished. No server's is the same, so none
/// starts, of earlier versions either.
pub(crate) const RESTORING: &str = "a restore instead of";

/// All keys within a namespace.
#[derive(Debug)]
pub(crate) struct Keys {
    namespace: String,
    partitions: Vec<Partition>,
}

/// The keys within a partition.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    prefix: String,
    /// The hash slot, by which commands find the node that has it.
    pub(crate) hash: ClusterHash,
}

impl Keys {
    pub(crate) fn new(namespace: &str, partitions: u16) -> Self {
        let partition = |number| {
            let prefix = format!("{{{namespace}:{number:02}}}:");
            let slot = redis_slot(&prefix);
            Partition {
                prefix,
                hash: ClusterHash::Custom(slot),
            }
        };
        Self {
            namespace: namespace.to_owned(),
            partitions: (0..partitions).map(partition).collect(),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the pattern that fits the [`usage`](Partition::usage) of all circles in all partitions.
    pub(crate) fn usage_pattern(&self) -> String {
        format!("{{{}:*}}:usage:*", literal(&self.namespace))
    }

    pub(crate) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Returns the partition of a circle. Points of a curve are spread evenly.
    pub(crate) fn number_of(&self, circle: &PublicKey) -> usize {
        let bytes = circle.as_bytes();
        let number = bytes[1..9]
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number % self.partitions.len() as u64).unwrap_or_default()
    }

    pub(crate) fn of(&self, circle: &PublicKey) -> &Partition {
        &self.partitions[self.number_of(circle)]
    }

    /// Returns the kind of a key, if it is one of the namespace: the first word of its name.
    pub(crate) fn kind_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix('{')?.strip_prefix(&self.namespace)?;
        let (partition, name) = rest.split_once("}:")?;
        let number = partition.strip_prefix(':');
        let is_own = number.map_or(partition.is_empty(), |number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        is_own.then(|| name.split(':').next())?
    }

    /// A hash: what all servers of the namespace must agree about.
    pub(crate) fn agreement(&self) -> String {
        format!("{{{}}}:agreement", self.namespace)
    }

    /// A string, while a backup is made: a name that it alone has.
    pub(crate) fn backup_lease(&self) -> String {
        format!("{{{}}}:backup", self.namespace)
    }

    /// A string, while circles are restored: a name that this restore alone has.
    pub(crate) fn restore_lease(&self) -> String {
        format!("{{{}}}:restore", self.namespace)
    }

    pub(crate) fn agreement_hash(&self) -> ClusterHash {
        ClusterHash::Custom(redis_slot(&self.agreement()))
    }
}

/// Returns the hash slot of a key, see
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>.
fn redis_slot(key: &str) -> u16 {
    fred::util::redis_keyslot(key.as_bytes())
}

/// Returns a text as a pattern that fits this text alone.
pub(crate) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if "*?[]\\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

impl Partition {
    /// The beginning of all of its keys.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A stream, group [`GROUP`]: jobs that may run now.
    pub(crate) fn jobs(&self) -> String {
        self.name("jobs")
    }

    /// A hash: a durable job's record, its input, the gateway that accepted it, and its entry in the stream.
    /// `lua/prelude.lua` makes this key, too, and that of an inbox.
    pub(crate) fn job(&self, id: JobId) -> String {
        format!("{}job:{id}", self.prefix)
    }

    /// A stream: outcomes and events for one gateway.
    pub(crate) fn inbox(&self, gateway: &str) -> String {
        format!("{}inbox:{gateway}", self.prefix)
    }

    /// A set: the names of workers that are there, or have been until lately.
    pub(crate) fn workers(&self) -> String {
        format!("{}workers", self.prefix)
    }

    /// A hash: the bytes that count in an inbox, in all and by circle. `lua/prelude.lua` makes this key, too.
    pub(crate) fn inbox_bytes(&self, gateway: &str) -> String {
        format!("{}:bytes", self.inbox(gateway))
    }

    /// A string: there as long as a worker is.
    pub(crate) fn alive(&self, worker: &str) -> String {
        format!("{}alive:{worker}", self.prefix)
    }

    /// A hash: how many of a circle's jobs are in the stream, in all and of each caller, or wait for their next try.
    pub(crate) fn job_counts(&self, circle: &PublicKey) -> String {
        format!("{}job_counts:{circle}", self.prefix)
    }

    /// A sorted set: the callers of a circle who have plays that wait, by how many of theirs are in the stream.
    pub(crate) fn waiting_callers(&self, circle: &PublicKey) -> String {
        format!("{}waiting_callers:{circle}", self.prefix)
    }

    /// A sorted set, all with the same score: plays of a circle that wait; caller and name, so those of a caller by their
    /// arrival.
    pub(crate) fn waiting_plays(&self, circle: &PublicKey) -> String {
        format!("{}waiting_plays:{circle}", self.prefix)
    }

    /// A hash: each play of a circle that waits, all of it; and then its entry in the stream, until it is over.
    pub(crate) fn plays(&self, circle: &PublicKey) -> String {
        format!("{}plays:{circle}", self.prefix)
    }

    /// A list: durable jobs of a circle that wait.
    pub(crate) fn backlog(&self, circle: &PublicKey) -> String {
        format!("{}backlog:{circle}", self.prefix)
    }

    /// A sorted set, all with the same score: the durable jobs of a circle that callers have submitted and that aren't over;
    /// `g` of a guest or `m` of another one, caller, and id.
    pub(crate) fn open_jobs(&self, circle: &PublicKey) -> String {
        format!("{}open_jobs:{circle}", self.prefix)
    }

    /// A number: the event sequence of a circle, which is the number of its last event.
    pub(crate) fn event_sequence(&self, circle: &PublicKey) -> String {
        format!("{}event_sequence:{circle}", self.prefix)
    }

    /// Text: by how many bytes the last events of a circle exceed their shares of its log, and from which event to which
    /// that is known.
    pub(crate) fn event_excess(&self, circle: &PublicKey) -> String {
        format!("{}event_excess:{circle}", self.prefix)
    }

    /// A stream: the last events of a circle, by their numbers.
    pub(crate) fn events(&self, circle: &PublicKey) -> String {
        format!("{}events:{circle}", self.prefix)
    }

    /// A set: the gateways where somebody listens to a circle.
    pub(crate) fn watchers(&self, circle: &PublicKey) -> String {
        format!("{}watchers:{circle}", self.prefix)
    }

    /// A set: the gateways where somebody watches a circle's commits.
    pub(crate) fn commit_watchers(&self, circle: &PublicKey) -> String {
        format!("{}commit_watchers:{circle}", self.prefix)
    }

    /// A sorted set by time, in milliseconds: the circles of all partitions at which somebody looks, each with the time until
    /// which it is counted. Only the first partition has it.
    pub(crate) fn looked_at(&self) -> String {
        self.name("looked_at")
    }

    /// A sorted set by time, in milliseconds: the circles of all partitions that are being deleted, each with the time until
    /// which no gateway serves it. Only the first partition has it.
    pub(crate) fn deleting(&self) -> String {
        self.name("deleting")
    }

    /// A hash, for a while: how often things have happened in a circle at which somebody looks.
    pub(crate) fn activity(&self, circle: &PublicKey) -> String {
        format!("{}activity:{circle}", self.prefix)
    }

    /// A hash: the circle's store, values as JSON; those that expire with a header before it.
    pub(crate) fn store(&self, circle: &PublicKey) -> String {
        format!("{}store:{circle}", self.prefix)
    }

    /// A sorted set, all with the same score: the keys of the store in order.
    pub(crate) fn store_keys(&self, circle: &PublicKey) -> String {
        format!("{}store_keys:{circle}", self.prefix)
    }

    /// A sorted set by time, in milliseconds: the keys of the store that expire.
    pub(crate) fn expiring(&self, circle: &PublicKey) -> String {
        format!("{}expiring:{circle}", self.prefix)
    }

    /// A sorted set by time, in milliseconds: circles with keys that expire, each with a time before which none does.
    pub(crate) fn expiring_circles(&self) -> String {
        self.name("expiring")
    }

    /// A sorted set by time, in milliseconds: the keys of the store that have the replies to guests' requests, by when they
    /// expire. Those of an earlier version are members', too.
    pub(crate) fn replies(&self, circle: &PublicKey) -> String {
        format!("{}replies:{circle}", self.prefix)
    }

    /// A sorted set by time, in milliseconds: those of them that were shortened to make room.
    pub(crate) fn short_replies(&self, circle: &PublicKey) -> String {
        format!("{}short_replies:{circle}", self.prefix)
    }

    /// A number: the bytes of these keys and their values.
    pub(crate) fn reply_bytes(&self, circle: &PublicKey) -> String {
        format!("{}reply_bytes:{circle}", self.prefix)
    }

    /// A sorted set by time, in milliseconds: the keys of the store that have the replies to members' requests, by when
    /// they expire.
    pub(crate) fn member_replies(&self, circle: &PublicKey) -> String {
        format!("{}member_replies:{circle}", self.prefix)
    }

    /// A sorted set, all with the same score: these keys, after the account of the member, `r` or, where it was shortened,
    /// `s`, and the time.
    pub(crate) fn replies_by_member(&self, circle: &PublicKey) -> String {
        format!("{}replies_by_member:{circle}", self.prefix)
    }

    /// A sorted set by bytes: the accounts of members with the bytes of these keys and their values, and `~` with those
    /// of all.
    pub(crate) fn member_reply_bytes(&self, circle: &PublicKey) -> String {
        format!("{}member_reply_bytes:{circle}", self.prefix)
    }

    /// A string: bytes in the store, and the number of the last commit that changed it.
    pub(crate) fn usage(&self, circle: &PublicKey) -> String {
        format!("{}usage:{circle}", self.prefix)
    }

    /// A string, for a moment: the worker and the entry of the run that alone may commit in the circle.
    pub(crate) fn circle_lock(&self, circle: &PublicKey) -> String {
        format!("{}lock:{circle}", self.prefix)
    }

    /// A string, for a while: the job id of a delivery that has been here.
    pub(crate) fn seen(&self, circle: &PublicKey, identity: &[u8; 32]) -> String {
        format!("{}seen:{circle}:{}", self.prefix, hex::encode(identity))
    }

    /// A string, for good: the job id of the final delivery of a series.
    pub(crate) fn final_delivery(&self, circle: &PublicKey, series: &[u8; 32]) -> String {
        format!("{}final:{circle}:{}", self.prefix, hex::encode(series))
    }

    /// A sorted set, all with the same score, so in the order of their names, which is that of their arrival: durable
    /// jobs that are not over.
    pub(crate) fn pending(&self) -> String {
        self.name("pending")
    }

    /// A sorted set, all with the same score: each durable job that was asked for with a login; circle, caller and
    /// name.
    pub(crate) fn submitted(&self) -> String {
        self.name("submitted")
    }

    /// A sorted set by time: durable jobs that run then, for the first time or again.
    pub(crate) fn delayed(&self) -> String {
        self.name("delayed")
    }

    /// A sorted set, all with the same score: each durable job that there is a record of, circle and name, so
    /// those of a circle by their arrival.
    pub(crate) fn index(&self) -> String {
        self.name("index")
    }

    /// A sorted set by time of the end: dead letters.
    pub(crate) fn dead(&self) -> String {
        self.name("dead")
    }

    /// A sorted set, all with the same score: the dead letters, circle and name, so those of a circle by their arrival.
    /// An earlier version changes [`dead`](Self::dead) alone: they differ until this one is made again.
    pub(crate) fn dead_by_circle(&self) -> String {
        self.name("dead_by_circle")
    }

    /// A pattern that fits the marks of a circle's deliveries, [`seen`](Self::seen) and
    /// [`final_delivery`](Self::final_delivery), and no other key.
    pub(crate) fn marks_pattern(&self, circle: &PublicKey) -> String {
        format!("{}*:{circle}:*", literal(&self.prefix))
    }

    /// A pattern that fits the [`usage`](Self::usage) of all circles here.
    pub(crate) fn usage_pattern(&self) -> String {
        literal(&self.name("usage:")) + "*"
    }

    /// A string, while a circle is backed up: the circle. `lua/prelude.lua` makes this key and those of the next two, too.
    pub(crate) fn backup(&self) -> String {
        self.name("backup")
    }

    /// A list, while a backup is made: the marks that are made meanwhile; circle, identity, job and expiry time.
    pub(crate) fn backup_marks(&self) -> String {
        self.name("backup:marks")
    }

    /// A hash, for a while: durable jobs of the circle that is backed up: those that weren't over, and those that were, as
    /// they were before they came to life again.
    pub(crate) fn copied_jobs(&self) -> String {
        self.name("backup:jobs")
    }

    /// The copy of a [`store`](Self::store), for a while.
    pub(crate) fn copied_store(&self) -> String {
        self.name("backup:store")
    }

    /// The copy of [`store_keys`](Self::store_keys) with the keys of replies, for a while.
    pub(crate) fn copied_keys(&self) -> String {
        self.name("backup:store_keys")
    }

    /// The copy of [`events`](Self::events), for a while.
    pub(crate) fn copied_events(&self) -> String {
        self.name("backup:events")
    }

    /// The copy of a circle's part of the [`index`](Self::index), for a while.
    pub(crate) fn copied_index(&self) -> String {
        self.name("backup:index")
    }

    fn name(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::{JobId, SecretKey};
    use fred::{types::ClusterHash, util::redis_keyslot};

    use super::Keys;
    use crate::golden;

    #[test]
    fn keys_have_the_names_that_they_had() {
        let keys = Keys::new("town", 16);
        let circle = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let partition = keys.of(&circle);
        let names = [
            keys.agreement(),
            partition.jobs(),
            partition.job(JobId::from_bytes([7; 16])),
            partition.inbox("gateway"),
            partition.inbox_bytes("gateway"),
            partition.workers(),
            partition.alive("worker"),
            partition.job_counts(&circle),
            partition.waiting_callers(&circle),
            partition.waiting_plays(&circle),
            partition.plays(&circle),
            partition.backlog(&circle),
            partition.open_jobs(&circle),
            partition.event_sequence(&circle),
            partition.events(&circle),
            partition.event_excess(&circle),
            partition.watchers(&circle),
            partition.commit_watchers(&circle),
            partition.looked_at(),
            partition.activity(&circle),
            partition.store(&circle),
            partition.store_keys(&circle),
            partition.expiring(&circle),
            partition.expiring_circles(),
            partition.replies(&circle),
            partition.short_replies(&circle),
            partition.reply_bytes(&circle),
            partition.member_replies(&circle),
            partition.replies_by_member(&circle),
            partition.member_reply_bytes(&circle),
            partition.usage(&circle),
            partition.circle_lock(&circle),
            partition.seen(&circle, &[9; 32]),
            partition.final_delivery(&circle, &[9; 32]),
            partition.pending(),
            partition.submitted(),
            partition.delayed(),
            partition.index(),
            partition.dead(),
            partition.dead_by_circle(),
        ];
        golden::check("redis_keys", &names.join("\n"), |text| {
            Some(text.to_owned())
        });
    }

    #[test]
    fn all_that_is_about_a_circle_is_in_one_slot() {
        let keys = Keys::new("town", 16);
        let mut taken = [0; 16];
        for seed in 1..=200_u8 {
            let secret = SecretKey::from_hex(&hex::encode([seed; 32])).unwrap();
            let circle = secret.public();
            taken[keys.number_of(&circle)] += 1;
            let partition = keys.of(&circle);
            let ClusterHash::Custom(slot) = partition.hash else {
                panic!("a slot is known beforehand");
            };
            for key in [
                partition.jobs(),
                partition.job(JobId::new()),
                partition.inbox("gateway"),
                partition.inbox_bytes("gateway"),
                partition.waiting_plays(&circle),
                partition.store(&circle),
                partition.seen(&circle, &[seed; 32]),
            ] {
                assert!(key.starts_with("{town:"), "{key}");
                assert_eq!(redis_keyslot(key.as_bytes()), slot, "{key}");
            }
        }
        assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
    }
}
