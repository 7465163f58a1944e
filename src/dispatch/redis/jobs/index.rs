//! The indexes of durable jobs: by circle, or by circle and caller, and in the order of their arrival.

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;

use crate::{
    dispatch::{
        Cursor,
        jobs::List,
        redis::{
            conn::Connection,
            proto::{keys::Partition, scripts::IndexDead},
        },
    },
    store::Unavailable,
};

/// The position where the first page begins.
pub(in crate::dispatch::redis) const START: &str = "-";
/// Jobs to a page.
pub(in crate::dispatch::redis) const PAGE: usize = 1000;
/// The length of a job id.
const ID: usize = 36;
/// Jobs that are listed at a time.
pub(super) const SOME: usize = 100;
/// Dead letters that are indexed in one step: Redis does nothing else meanwhile.
const INDEXED_AT_ONCE: usize = 500;

/// Returns one page of an index of a partition, each entry with its job id, and where the next page begins.
///
/// # Errors
/// It can't be read.
pub(in crate::dispatch::redis) async fn read(
    redis: &Connection,
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
    let members = redis.send("ZRANGEBYLEX", partition, args).await?;
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

/// Returns some of the jobs of a partition's list, in its order: those after `from`, and if all are listed, those of
/// one circle alone if one is given.
///
/// # Errors
/// They can't be read.
pub(in crate::dispatch::redis) async fn listed(
    redis: &Connection,
    partition: &Partition,
    (number, list): (usize, List),
    circle: Option<PublicKey>,
    from: Option<&Cursor>,
) -> Result<Vec<Cursor>, Unavailable> {
    let cursor = |ended_at, circle, id| Cursor {
        partition: number,
        list,
        ended_at,
        circle,
        id,
    };
    let (index, least, most) = match list {
        List::Dead => return dead(redis, partition, from, cursor).await,
        List::Open => {
            let least = from.map(|from| format!("({}", from.id));
            (partition.pending(), least, None)
        }
        List::All => {
            let circle = circle.map(|circle| circle.to_string());
            let least = match from {
                Some(Cursor { circle, id, .. }) => {
                    let circle = circle.map_or(String::new(), |circle| circle.to_string());
                    Some(format!("({circle}{id}"))
                }
                None => circle.as_ref().map(|circle| format!("[{circle}")),
            };
            // Names are of hex digits and hyphens.
            let most = circle.map(|circle| format!("({circle}g"));
            (partition.index(), least, most)
        }
    };
    let args = [
        index.into(),
        least.unwrap_or_else(|| START.to_owned()).into(),
        most.unwrap_or_else(|| "+".to_owned()).into(),
        "LIMIT".into(),
        Value::Integer(0),
        Value::Integer(SOME as i64),
    ];
    let members = redis.send("ZRANGEBYLEX", partition, args).await?;
    let members = members.into_array().into_iter();
    Ok(members
        .filter_map(|member| {
            let member = member.into_string()?;
            let id = id_of(&member)?;
            let circle = member
                .get(..member.len() - ID)
                .and_then(|circle| circle.parse().ok());
            Some(cursor(0, circle, id))
        })
        .collect())
}

/// Returns some of the dead letters, in the order of their ends.
async fn dead(
    redis: &Connection,
    partition: &Partition,
    from: Option<&Cursor>,
    cursor: impl Fn(i64, Option<PublicKey>, JobId) -> Cursor,
) -> Result<Vec<Cursor>, Unavailable> {
    let from = from.map(|from| (from.ended_at, from.id.to_string()));
    let least = from.as_ref().map_or(i64::MIN, |(ended_at, _)| *ended_at);
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let args = [
            partition.dead().into(),
            Value::Integer(least),
            "+inf".into(),
            "WITHSCORES".into(),
            "LIMIT".into(),
            Value::Integer(offset),
            Value::Integer(SOME as i64),
        ];
        let members = redis.send("ZRANGEBYSCORE", partition, args).await?;
        let members = members.flatten_array_values(1).into_array();
        for pair in members.chunks_exact(2) {
            let (Some(member), Some(ended_at)) = (pair[0].as_string(), pair[1].as_f64()) else {
                continue;
            };
            let ended_at = ended_at as i64;
            // Of one moment, those that come before it were there already.
            let is_after = |(at, id): &(i64, String)| (ended_at, &member) > (*at, id);
            if let Ok(id) = member.parse()
                && from.as_ref().is_none_or(is_after)
            {
                found.push(cursor(ended_at, None, id));
            }
        }
        if found.len() >= SOME || members.len() < 2 * SOME {
            found.truncate(SOME);
            return Ok(found);
        }
        offset += SOME as i64;
    }
}

/// Makes the index of dead letters by circle again, step by step: adds those that it doesn't have, or deletes the ones
/// that are none any more.
///
/// # Errors
/// It can't be read or written.
pub(in crate::dispatch::redis) async fn index_dead(
    redis: &Connection,
    partition: &Partition,
    are_extra: bool,
) -> Result<(), Unavailable> {
    let mut from = Some(0);
    while let Some(rank) = from {
        let index = IndexDead {
            from: rank,
            most: INDEXED_AT_ONCE,
            are_extra,
        };
        let next = redis.call(partition, index).await?.as_i64();
        from = next.and_then(|next| usize::try_from(next).ok());
    }
    Ok(())
}

/// Returns the job id, which comes last.
pub(super) fn id_of(member: &str) -> Option<JobId> {
    let from = member.len().checked_sub(ID)?;
    member.get(from..)?.parse().ok()
}
