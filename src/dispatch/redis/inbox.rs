//! What comes back to a gateway: outcomes, in a stream for each partition.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fred::types::Value;
use futures_util::future::try_join_all;
use tokio::time::{interval, sleep};
use tokio_util::task::TaskTracker;

use super::{
    gateway::{Gateway, millis},
    keys::Partition,
    link::{BLOCK, Blocking},
    reply,
};
use crate::{
    dispatch::{JobId, Outcome, Progress},
    store::Unavailable,
};

/// How long to wait before looking again, where that failed.
const AGAIN: Duration = Duration::from_millis(100);
/// How often it is kept from expiring.
const RENEW: Duration = Duration::from_secs(1);
/// Messages taken at a time.
const AT_ONCE: i64 = 1000;
/// Outcomes that were read, before they are removed.
const TRIM: usize = 1000;

/// Reads the inboxes, and keeps them there.
pub(super) fn start(gateway: &Arc<Gateway>, tasks: &TaskTracker) -> Result<(), fred::error::Error> {
    for partitions in reply::shared_reads(&gateway.link) {
        let reader = gateway.link.blocking()?;
        tasks.spawn(read(gateway.clone(), reader, partitions));
    }
    tasks.spawn(keep(gateway.clone()));
    Ok(())
}

/// An inbox outlives its gateway for a while only.
async fn keep(gateway: Arc<Gateway>) {
    let mut tick = interval(RENEW);
    let link = &gateway.link;
    loop {
        let kept = link.is_up() && renew(&gateway).await.is_ok();
        let had = gateway.has_inboxes.swap(kept, Ordering::Relaxed);
        if kept {
            if !had {
                gateway.look();
            }
            gateway.watch_less().await;
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = link.came_up(), if !kept => sleep(AGAIN / 10).await,
            () = gateway.stop.cancelled() => break,
        }
    }
    for partition in link.keys().partitions() {
        let inbox = Value::from(partition.inbox(link.name()));
        let _ = link.send("DEL", partition, [inbox]).await;
    }
}

async fn renew(gateway: &Gateway) -> Result<(), Unavailable> {
    let link = &gateway.link;
    let keep_for = millis(gateway.settings.lease * 6);
    let renew = async |partition: &Partition| {
        let inbox = partition.inbox(link.name());
        let expire = [Value::from(inbox.clone()), keep_for.clone()];
        let renewed = link.send("PEXPIRE", partition, expire.clone()).await?;
        if renewed.as_i64() == Some(0) {
            // No other way makes an empty stream.
            let create = ["CREATE", &inbox, "inbox", "0", "MKSTREAM"].map(Value::from);
            link.send("XGROUP", partition, create).await?;
            link.send("PEXPIRE", partition, expire).await?;
            gateway.watch_again(partition).await?;
        }
        Ok::<_, Unavailable>(())
    };
    let all = link.keys().partitions().iter().map(renew);
    try_join_all(all).await.map(drop)
}

async fn read(gateway: Arc<Gateway>, reader: Blocking, partitions: Vec<usize>) {
    let all = gateway.link.keys().partitions();
    let name = gateway.link.name();
    let inboxes: Vec<_> = partitions.iter().map(|n| all[*n].inbox(name)).collect();
    let numbers: HashMap<_, _> = inboxes.iter().cloned().zip(0..).collect();
    let mut last = vec!["0-0".to_owned(); inboxes.len()];
    let mut read = vec![0; inboxes.len()];
    let mut was_cut_off = false;
    loop {
        let mut args = vec![
            Value::from("COUNT"),
            Value::Integer(AT_ONCE),
            Value::from("BLOCK"),
            millis(BLOCK),
            Value::from("STREAMS"),
        ];
        args.extend(inboxes.iter().map(Value::from));
        args.extend(last.iter().map(Value::from));
        let answer = tokio::select! {
            answer = reader.send("XREAD", &all[partitions[0]], args) => answer,
            () = gateway.stop.cancelled() => break,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                gateway.link.failed("XREAD", &error);
                was_cut_off = true;
                sleep(AGAIN).await;
                continue;
            }
        };
        if mem::take(&mut was_cut_off) {
            // Redis may be another one, which hasn't got all that the first one had told.
            gateway.look();
        }
        let streams = reply::streams(answer);
        let idle = streams.is_empty();
        for (stream, entries) in streams {
            let Some(number) = numbers.get(&stream) else {
                continue;
            };
            for entry in entries {
                read[*number] += handle(&gateway, &entry);
                last[*number] = entry.id;
            }
        }
        for number in 0..inboxes.len() {
            if read[number] >= TRIM || idle && read[number] > 0 {
                read[number] = 0;
                // They have done their service.
                let inbox = Value::from(&inboxes[number]);
                let trim = [inbox, "MINID".into(), last[number].as_str().into()];
                let _ = gateway
                    .link
                    .send("XTRIM", &all[partitions[number]], trim)
                    .await;
            }
        }
    }
    reader.close(BLOCK).await;
}

/// A message has what became of jobs, or events. Answers how many.
fn handle(gateway: &Gateway, message: &reply::Entry) -> usize {
    let mut count = 0;
    for (id, outcome) in message.pairs() {
        count += 1;
        let Ok(id) = id.parse::<JobId>() else {
            gateway.tell_event(id, outcome);
            continue;
        };
        if let Some((_, waiter)) = gateway.deliveries.remove(&id) {
            if let Ok(progress) = crate::json::from_slice::<Progress>(outcome) {
                // Whoever waited may have left.
                let _ = waiter.send(progress);
            }
        } else if gateway.plays.contains_key(&id) {
            let outcome = crate::json::from_slice::<Outcome>(outcome).unwrap_or_else(|error| {
                tracing::error!(job = %id, %error, "failed to read an outcome");
                Outcome::Unavailable
            });
            gateway.tell(id, outcome);
        }
    }
    count
}
