//! All durable jobs that there are records of, by circle and in the order of their arrival.

use fred::types::Value;

use super::{keys::Partition, link::Link};
use crate::{dispatch::JobId, store::Unavailable};

/// Where the first page begins.
pub(super) const START: &str = "-";
/// Jobs to a page.
pub(super) const PAGE: usize = 1000;

/// One page of a partition's jobs, as they stand in the index and by name, and where the next one begins.
///
/// # Errors
/// It can't be read.
pub(super) async fn read(
    link: &Link,
    partition: &Partition,
    from: String,
) -> Result<(Vec<(String, JobId)>, Option<String>), Unavailable> {
    let args = [
        partition.index().into(),
        from.into(),
        "+".into(),
        "LIMIT".into(),
        Value::Integer(0),
        Value::Integer(PAGE as i64),
    ];
    let members = link.send("ZRANGEBYLEX", partition, args).await?;
    let members = members.into_array().into_iter();
    let members: Vec<_> = members.filter_map(Value::into_string).collect();
    let last = members.last().filter(|_| members.len() == PAGE);
    let next = last.map(|last| format!("({last}"));
    let named = members.into_iter().filter_map(|member| {
        let id = id_of(&member)?;
        Some((member, id))
    });
    Ok((named.collect(), next))
}

/// When a job came, in milliseconds: its name begins with that.
pub(super) fn millis(id: JobId) -> i64 {
    let bytes = id.as_bytes()[..6].iter();
    bytes.fold(0, |millis, byte| millis << 8 | i64::from(*byte))
}

/// The job's name comes last.
fn id_of(member: &str) -> Option<JobId> {
    let from = member.len().checked_sub(36)?;
    member.get(from..)?.parse().ok()
}
