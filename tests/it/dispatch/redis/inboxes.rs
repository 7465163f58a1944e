//! Gateways that stand still, and the messages to them meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    harness::{
        redis::{Fleet, RedisServer, backlog::ONE_PARTITION, fleet::circle},
        server::{TestServer, Ws, busy, eventually, key},
    },
    rpc::watches::{FOLLOWED, Followers, WRITES},
};

/// The time that eighty megabytes may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Opens a session of the owner of [`circle`] 0.
async fn owner(gateway: &TestServer) -> Ws {
    let mut session = gateway.connect_to(circle(0)).await;
    session.login(&key(100)).await;
    session
}

/// Returns the bytes of all inboxes in Redis.
async fn held(redis: &RedisServer) -> u64 {
    let sum = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', '*:inbox:*')) do
            sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
        end
        return sum";
    redis.command(&["EVAL", sum, "0"]).await.parse().unwrap()
}

#[tokio::test]
async fn an_inbox_that_nobody_reads_is_bounded_in_bytes_and_events_come_from_the_log() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__INBOX_BYTES", "16MiB")
        .with("DISPATCH__REDIS__LEASE", "10s");
    let (stopped, gateway) = tokio::join!(fleet.gateway(), fleet.gateway());
    let _worker = fleet.worker().await;
    let mut listener = owner(&stopped).await;
    let params = json!({ "topic": "n" });
    listener.call("subscribe", params).await.unwrap();
    let mut emitter = owner(&gateway).await;
    stopped.signal(Signal::STOP);
    // 24 MB of events.
    let script = "let s = \"\"; s.pad(16_000, 'x'); for n in 0..100 { emit(\"n\", s) }";
    let mut most = 0;
    for _ in 0..15 {
        emitter.play(script).await.unwrap();
        most = most.max(held(&redis).await);
    }
    assert!(most < 20 << 20, "{most}");
    stopped.signal(Signal::CONT);
    for id in 1..=1500 {
        assert_eq!(listener.event().await["id"], id);
    }
    // The inbox is there again, with new messages.
    emitter.play("emit(\"n\", 1)").await.unwrap();
    assert_eq!(listener.event().await["id"], 1501);
    listener.play("40 + 2").await.unwrap();
}

#[tokio::test]
async fn one_circles_messages_to_a_slow_gateway_cost_no_other_its_outcomes() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__LEASE", "30s")
        .with("DISPATCH__JOB_TIMEOUT", "2m");
    let (gateway, worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut greedy = owner(&gateway).await;
    let params = json!({ "topic": "n" });
    greedy.call("subscribe", params).await.unwrap();
    let mut other = gateway.connect_to(circle(1)).await;
    other.login(&key(101)).await;
    let jobs = async |count: &str| {
        let begun = Instant::now();
        while redis.command(&["XLEN", "{circled:00}:jobs"]).await != count {
            assert!(begun.elapsed() < LONG, "not {count} jobs");
            sleep(Duration::from_millis(20)).await;
        }
    };
    worker.signal(Signal::STOP);
    // 40 MB of events, and as many of results.
    let events = "let s = \"\"; s.pad(16_000, 'x'); for n in 0..100 { emit(\"n\", s) }";
    let results = "let s = \"\"; s.pad(1_000_000, 'x'); s";
    let mut large = Vec::new();
    for n in 0..50 {
        large.push(
            greedy
                .begin_play(if n < 25 { events } else { results })
                .await,
        );
    }
    jobs("50").await;
    let mut small = Vec::new();
    for n in 0..10 {
        let script = format!("store.incr(\"n\", 1); let s = \"\"; s.pad({n} * 1_000, 'x'); s");
        small.push(other.begin_play(&script).await);
    }
    jobs("60").await;
    gateway.signal(Signal::STOP);
    worker.signal(Signal::CONT);
    jobs("0").await;
    let most = held(&redis).await;
    assert!(most < 36 << 20, "{most}");
    gateway.signal(Signal::CONT);
    for (n, job) in small.into_iter().enumerate() {
        let value = other.answer(job).await.unwrap()["value"].clone();
        assert_eq!(value.as_str().unwrap().len(), n * 1_000);
    }
    // Its own results that had no place are reported as such, and no event is lost.
    let mut unknown = 0;
    for job in large {
        if let Err(error) = greedy.answer(job).await {
            assert_eq!(error["code"], -32007, "{error}");
            unknown += 1;
        }
    }
    assert!((1..=25).contains(&unknown), "{unknown}");
    for id in 1..=2500 {
        assert_eq!(greedy.event().await["id"], id);
    }
    // Fetched messages don't count.
    other.play("1").await.unwrap();
    redis.until_keys("*:inbox:*:bytes", 0).await;
}

#[tokio::test]
async fn a_gateway_that_stood_still_for_longer_than_its_inbox_is_kept_answers_at_once() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__JOB_TIMEOUT", "5m");
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut session = owner(&gateway).await;
    let script = busy(Duration::from_secs(1), "store.incr(\"n\", 1)");
    let job = session.begin_play(&script).await;
    redis.until_held(1).await;
    gateway.signal(Signal::STOP);
    eventually("its inbox to be gone", async || {
        redis.command(&["KEYS", "*:inbox:*"]).await.is_empty()
    })
    .await;
    gateway.signal(Signal::CONT);
    let error = session.answer(job).await.unwrap_err();
    assert_eq!(error["code"], -32007, "{error}");
    // It had been committed all the same.
    let next = session.play("store.incr(\"n\", 1)").await.unwrap();
    assert_eq!(next["value"], 2);
}

#[tokio::test]
async fn events_come_again_though_redis_failed_while_an_inbox_was_made() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url()).with(ONE_PARTITION.0, ONE_PARTITION.1);
    let (gateway, _worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let mut listener = owner(&gateway).await;
    let params = json!({ "topic": "n" });
    listener.call("subscribe", params).await.unwrap();
    listener.play("emit(\"n\", 1)").await.unwrap();
    assert_eq!(listener.event().await["id"], 1);
    let refused = async || {
        let errors = redis.command(&["INFO", "errorstats"]).await;
        errors.contains("errorstat_NOPERM")
    };
    let watchers = format!("{{circled:00}}:watchers:{}", circle(0));
    redis.command(&["ACL", "SETUSER", "default", "-sadd"]).await;
    let gone = "for _, key in ipairs(redis.call('KEYS', '*:inbox:*')) do redis.call('DEL', key) end
        return redis.call('DEL', KEYS[1])";
    redis.command(&["EVAL", gone, "1", &watchers]).await;
    eventually("the gateway to be refused", refused).await;
    let allowed = redis.command(&["ACL", "SETUSER", "default", "+sadd"]);
    allowed.await;
    eventually("the gateway to watch again", async || {
        redis.command(&["SCARD", &watchers]).await == "1"
    })
    .await;
    listener.play("emit(\"n\", 2)").await.unwrap();
    assert_eq!(listener.event().await["id"], 2);
}

#[tokio::test]
async fn a_gateway_that_stood_still_reads_a_little_first() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__LEASE", "10s");
    let (stopped, gateway) = tokio::join!(fleet.gateway(), fleet.gateway());
    let _worker = fleet.worker().await;
    let mut listener = owner(&stopped).await;
    let params = json!({ "topic": "n" });
    listener.call("subscribe", params).await.unwrap();
    let mut emitter = owner(&gateway).await;
    // It reads much at a time by then.
    for id in 1..=20 {
        emitter.play("emit(\"n\", 1)").await.unwrap();
        assert_eq!(listener.event().await["id"], id);
    }
    stopped.signal(Signal::STOP);
    // The earlier requests are answered with this one.
    emitter.play("emit(\"n\", 1)").await.unwrap();
    let script = "let s = \"\"; s.pad(16_000, 'x'); for n in 0..100 { emit(\"n\", s) }";
    emitter.play(script).await.unwrap();
    let longest = "local longest, name = 0, ''
        for _, key in ipairs(redis.call('KEYS', '*:inbox:*')) do
            if redis.call('TYPE', key).ok == 'stream' then
                for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
                    local bytes = 0
                    for _, text in ipairs(entry[2]) do bytes = bytes + #text end
                    if bytes > longest then longest, name = bytes, key end
                end
            end
        end
        return longest .. ' ' .. name";
    let longest = redis.command(&["EVAL", longest, "0"]).await;
    // The largest key is the inbox that the stopped gateway has not read.
    let (longest, inbox) = longest.split_once(' ').unwrap();
    let longest: usize = longest.parse().unwrap();
    assert!((1 << 19..1_200_000).contains(&longest), "{longest}");
    // It counts as standing still after two seconds.
    sleep(Duration::from_secs(3)).await;
    redis
        .command(&["CONFIG", "SET", "slowlog-max-len", "100000"])
        .await;
    redis
        .command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"])
        .await;
    stopped.signal(Signal::CONT);
    for id in 21..=121 {
        assert_eq!(listener.event().await["id"], id);
    }
    let log = redis.ask(&["SLOWLOG", "GET", "-1"]).await;
    // The newest first: its number, when, how long, and the command.
    let reads = log.items().iter().filter_map(|entry| {
        let asked = entry.items()[3].items();
        let is_its_own = asked.iter().any(|word| word.to_string() == inbox);
        let is_read = asked[0].to_string() == "XREAD" && is_its_own;
        is_read.then(|| asked[2].to_string().parse::<u32>().unwrap())
    });
    let reads: Vec<_> = reads.collect();
    assert!(reads.contains(&1), "{reads:?}");
}

#[tokio::test]
async fn whoever_watches_has_the_last_value_though_inboxes_are_lost() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let _worker = fleet.worker().await;
    let addresses: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway.url(crate::harness::server::circle()))
        .collect();
    let followers = Followers::of(&addresses, &FOLLOWED);
    let mut writer = gateways[0].log_in(&key(2)).await;
    let delete =
        "for _, key in ipairs(redis.call('KEYS', '*inbox*')) do redis.call('DEL', key) end";
    for _ in 0..5 {
        for _ in 0..20 {
            // A result may have been lost.
            let _ = writer.play(WRITES).await;
        }
        redis.command(&["EVAL", delete, "0"]).await;
    }
    eventually("a play that is answered", async || {
        writer.play(WRITES).await.is_ok()
    })
    .await;
    followers.agree_with(&mut writer, &FOLLOWED).await;
}
