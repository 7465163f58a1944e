//! All durable jobs that there are records of, by circle, or by circle and caller, and in the order of their arrival.

use fred::types::Value;

use super::{keys::Partition, link::Link};
use crate::{auth::PublicKey, dispatch::JobId, store::Unavailable};

/// Where the first page begins.
pub(super) const START: &str = "-";
/// Jobs to a page.
pub(super) const PAGE: usize = 1000;
/// Jobs of a circle at a time.
pub(super) const SOME: usize = 100;

/// One page of an index of a partition, as they stand in the index and by name, and where the next one begins.
///
/// # Errors
/// It can't be read.
pub(super) async fn read(
    link: &Link,
    partition: &Partition,
    index: String,
    from: String,
) -> Result<(Vec<(String, JobId)>, Option<String>), Unavailable> {
    let args = [
        index.into(),
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

/// Some of a circle's jobs, or of those that a caller has asked for there, the newest first: those before `before`.
///
/// # Errors
/// They can't be read.
pub(super) async fn newest(
    link: &Link,
    circle: &PublicKey,
    caller: Option<&PublicKey>,
    before: Option<JobId>,
) -> Result<Vec<JobId>, Unavailable> {
    let partition = link.keys().of(circle);
    let (index, whose) = match caller {
        Some(caller) => (partition.own(), format!("{circle}{caller}")),
        None => (partition.index(), circle.to_string()),
    };
    let newest = match before {
        Some(before) => format!("({whose}{before}"),
        // Names are of hex digits and hyphens.
        None => format!("({whose}g"),
    };
    let args = [
        index.into(),
        newest.into(),
        format!("[{whose}").into(),
        "LIMIT".into(),
        Value::Integer(0),
        Value::Integer(SOME as i64),
    ];
    let members = link.send("ZREVRANGEBYLEX", partition, args).await?;
    let members = members.into_array().into_iter();
    Ok(members
        .filter_map(|member| id_of(&member.into_string()?))
        .collect())
}

/// The job's name comes last.
fn id_of(member: &str) -> Option<JobId> {
    let from = member.len().checked_sub(36)?;
    member.get(from..)?.parse().ok()
}
